"""Does the API server trust the certificate that the replicas serve, as far as the Secret of it tells?

Only certificates are parsed; the keys beside them are left alone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from cryptography import x509

from certs.authority import is_issuer
from certs.bundle import NEXT, SIGNING
from certs.pem import readable
from webhook.commands.cluster_view import ClusterView, Registration
from webhook.commands.installation.checklist import Check
from webhook.commands.installation.replicas import Deployment
from webhook.core.shown import quoted
from webhook.core.times import to_the_minute
from webhook.core.wire import Unreadable
from webhook.kube.ca import from_base64
from webhook.kube.cluster import ClusterError, SecretObject, decode

SECTION, NAME = "Webhook", "serving certificate"
SECRET_KEY = "tls.crt"  # noqa: S105  # a key's name
TLS_VOLUME = "tls"
"""The chart's volume with the certificate, if the replicas do not make it themselves."""
MAX_CHAIN = 10
_DOCS = "see docs/certificates.md"


async def check(view: ClusterView, deployment: Deployment | None, now: datetime) -> Check:
    tls, namespace = view.config.tls, view.config.namespace
    made = tls.cert_file is None
    secret = tls.ca_secret if made else deployment.secret_of(TLS_VOLUME) if deployment is not None else ""
    if not secret:
        return Check(SECTION, NAME, "unknown", "it is not known in which Secret it is")
    try:
        path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
        data = (await decode(msgspec.json.Decoder(SecretObject), await view.cluster.call("GET", path))).data or {}
        trusted = await _trusted(view)
    except (ClusterError, Unreadable) as e:
        if isinstance(e, ClusterError) and e.status == 404:
            hint = "does a replica run that makes it?" if made else _DOCS
            return Check(SECTION, NAME, "wrong", f"the Secret {secret} in {namespace} is missing", hint)
        return Check(
            SECTION, NAME, "unknown", f"the Secret {secret} in {namespace} or the caBundle cannot be read ({e})"
        )
    if made:
        return own(data, trusted, secret)
    chain = readable(from_base64(data.get(SECRET_KEY, "")))
    return served(chain, trusted, tls.names(namespace)[0], secret, now)


async def _trusted(view: ClusterView) -> tuple[x509.Certificate, ...]:
    """By each entry."""
    name = view.config.tls.webhook_configuration
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"
    found = await decode(msgspec.json.Decoder(Registration), await view.cluster.call("GET", path))
    every = [readable(from_base64(one.client_config.ca_bundle or "")) for one in found.webhooks or ()]
    return tuple(c for c in every[0] if all(c in other for other in every)) if every else ()


def own(data: Mapping[str, str], trusted: Sequence[x509.Certificate], secret: str) -> Check:
    """Made by the replicas: is the CA that signs what they serve the one that the API server trusts?"""
    signing = next((pem for key in (SIGNING[0], NEXT[0]) if (pem := from_base64(data.get(key, "")))), b"")
    authorities = readable(signing)
    if not authorities:
        return Check(SECTION, NAME, "wrong", f"the Secret {secret} has no CA that can be read", _DOCS)
    if authorities[0] not in trusted:
        why = f"the caBundle does not have the CA of the Secret {secret}, so the API server does not trust the replicas"
        hint = "the replicas publish it once a minute: see above whether they run and may do that, and their log"
        return Check(SECTION, NAME, "wrong", why, hint)
    return Check(SECTION, NAME, "right", f"the caBundle has the CA of the Secret {secret}")


def served(
    chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate], host: str, secret: str, now: datetime
) -> Check:
    """From files: `chain`, the certificate itself first."""
    if not chain:
        return Check(SECTION, NAME, "wrong", f"the Secret {secret} has no certificate that can be read", _DOCS)
    leaf = chain[0]
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        verb = "expired" if now >= leaf.not_valid_after_utc else "is not valid before"
        at = leaf.not_valid_after_utc if now >= leaf.not_valid_after_utc else leaf.not_valid_before_utc
        why = f"that of the Secret {secret} {verb} {to_the_minute(at)}"
        return Check(SECTION, NAME, "wrong", why, f"renew it; {_DOCS}")
    names = _names(leaf)
    if host not in names:
        why = f"that of the Secret {secret} is for {', '.join(map(quoted, names[:3])) or 'no name'}, not for {host}"
        return Check(SECTION, NAME, "wrong", why, f"issue one for {host}; {_DOCS}")
    if not _is_trusted(chain, trusted):
        why = f"that of the Secret {secret} is of no CA in the caBundle"
        return Check(SECTION, NAME, "wrong", why, f"put its CA there; {_DOCS}")
    return Check(SECTION, NAME, "right", f"of the Secret {secret}, until {to_the_minute(leaf.not_valid_after_utc)} UTC")


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _is_trusted(chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> bool:
    last = chain[0]
    for _ in range(MAX_CHAIN):
        if last in trusted or any(is_issuer(one, last) for one in trusted):
            return True
        above = next((one for one in chain[1:] if one != last and is_issuer(one, last)), None)
        if above is None:
            return False
        last = above
    return False
