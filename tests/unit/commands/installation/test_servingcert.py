"""Whether the API server trusts what the replicas serve, as far as a Secret tells."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import trustme
from cryptography import x509

from certs.authority import LEAF_LIFE, Authority
from certs.bundle import Bundle
from certs.pem import readable
from webhook.commands.cluster_view import ClusterView
from webhook.commands.installation import servingcert
from webhook.config import reading
from webhook.kube.cluster import Cluster

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CA, OTHER = Authority.create(NOW), Authority.create(NOW)
HOST = "pullsecret-webhook.pullsecret-webhook.svc"


def data(bundle: Bundle) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in bundle.data().items()}


def test_a_ca_of_our_own_must_be_published() -> None:
    bundle = Bundle((CA.certificate,), CA)
    published = (OTHER.certificate, CA.certificate)
    assert servingcert.own(data(bundle), published, "pullsecret-webhook-ca").result == "right"
    found = servingcert.own(data(bundle), (OTHER.certificate,), "pullsecret-webhook-ca")
    assert found.result == "wrong"
    assert found.why.startswith("the caBundle does not have the CA of the Secret pullsecret-webhook-ca")
    assert servingcert.own({}, published, "s").why == "the Secret s has no CA that can be read"
    assert servingcert.own({"tls.crt": "*"}, published, "s").result == "wrong"


def test_the_next_ca_need_not_be_published_yet() -> None:
    """While another one signs; and it counts if there is no other."""
    both = data(Bundle((OTHER.certificate, CA.certificate), CA, OTHER))
    assert servingcert.own(both, (CA.certificate,), "s").result == "right"
    alone = data(Bundle((OTHER.certificate,), None, OTHER))
    assert servingcert.own(alone, (CA.certificate,), "s").result == "wrong"
    assert servingcert.own(alone, (OTHER.certificate,), "s").result == "right"


LEAF = CA.issue([HOST], NOW).chain


@pytest.mark.parametrize(
    ("chain", "trusted", "after", "words"),
    [
        (LEAF, (OTHER.certificate, CA.certificate), timedelta(0), ""),
        ((), (CA.certificate,), timedelta(0), "has no certificate that can be read"),
        (LEAF, (CA.certificate,), LEAF_LIFE, "expired 2030-01-08 00:00"),
        (LEAF, (CA.certificate,), timedelta(hours=-2), "is not valid before 2029-12-31 23:00"),
        (LEAF, (OTHER.certificate,), timedelta(0), "is of no CA in the caBundle"),
        (LEAF, (), timedelta(0), "is of no CA in the caBundle"),
        (CA.issue(["x.example"], NOW).chain, (CA.certificate,), timedelta(0), f"is for x.example, not for {HOST}"),
        ((CA.certificate,), (CA.certificate,), timedelta(0), f"is for no name, not for {HOST}"),
    ],
)
def test_from_files(
    chain: tuple[x509.Certificate, ...], trusted: tuple[x509.Certificate, ...], after: timedelta, words: str
) -> None:
    found = servingcert.served(chain, trusted, HOST, "own-tls", NOW + after)
    assert (found.result == "wrong", words in found.why) == (bool(words), True), found
    assert bool(found.hint) is bool(words)


def test_a_chain_with_an_authority_between() -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    pair = between.issue_cert(HOST)
    chain = readable(b"".join(one.bytes() for one in pair.cert_chain_pems))
    trusted, now = readable(root.cert_pem.bytes()), datetime.now(UTC)
    assert len(chain) == 2
    assert servingcert.served(chain, trusted, HOST, "own-tls", now).result == "right"
    assert servingcert.served(chain[:1], trusted, HOST, "own-tls", now).result == "wrong"
    assert servingcert.served(chain, chain[:1], HOST, "own-tls", now).result == "right"  # it may be trusted itself


class Registered:
    """Answers with a registration whose entries have these bundles."""

    def __init__(self, *bundles: bytes) -> None:
        entries = [
            {"name": str(n), "clientConfig": {"caBundle": base64.b64encode(b).decode()}} for n, b in enumerate(bundles)
        ]
        self.body = json.dumps({"webhooks": entries}).encode()

    async def call(self, _method: str, _path: str, **_: Any) -> bytes:
        return self.body


@pytest.mark.parametrize(
    "others", [[], [OTHER.pem()[0]], [b""], [b"x"]], ids=["alone", "another", "none", "unreadable"]
)
def test_only_what_each_entry_trusts_counts(others: list[bytes]) -> None:
    both = CA.pem()[0] + OTHER.pem()[0]
    view = ClusterView(cast("Cluster", Registered(both, *others)), reading.convert({}))
    found = asyncio.run(servingcert._trusted(view))  # the checks are given its result
    assert found == ((CA.certificate, OTHER.certificate) if not others else tuple(readable(others[0])))
