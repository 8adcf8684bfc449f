"""The installation, after `helm install`: what the API server knows of it, and what two dry runs show."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from webhook.commands import health, status
from webhook.commands.cluster_view import USE_FLAG, ClusterView, SourceSecrets, broken, config_of, readable_config
from webhook.commands.health import ADMISSION, Finding
from webhook.commands.installation import apiserver, issuers, nodeclocks, replicas, servingcert, tokenservice, way
from webhook.commands.installation.checklist import Check
from webhook.commands.status import Report
from webhook.config.models import Config, Tls
from webhook.config.reading import ConfigError
from webhook.config.sourceconfig import SecretsSource
from webhook.core.errors import PullsecretError
from webhook.core.names import ISSUER_ACCOUNT, WRITE_POLICY
from webhook.core.shown import counted, few, some
from webhook.kube import writepolicy
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.recent_events import AboutMirrors, about_mirrors, recent_warnings

As = Callable[[str], AbstractAsyncContextManager[Cluster]]
"""The cluster as another user, who is impersonated."""
WEBHOOK, SOURCES, MIRRORS, NAMESPACES = "Webhook", "Sources", "Mirrors", "Namespaces"
TRIED, ISSUER_TRIED = "write policy, tried", "issuer policy, tried"
NOT_AS = "it is not tried with --as, which takes another user"
_NAMES = {"certificate": "CA", "replicas": "endpoints"}


@dataclass(frozen=True)
class Asked:
    """`namespace`: the webhook's own, if it is not where the registration leads. `try_in`: an owned namespace in which
    a pod must get the reference within `within` seconds; else one of those that there are will do, at once.
    """

    config: Config | None = None
    namespace: str | None = None
    try_in: str | None = None
    within: float = 0.0


async def checks(cluster: Cluster, as_user: As | None, asked: Asked, now: datetime) -> AsyncIterator[Check]:
    """Each when it is known. Raises PullsecretError if the API server does not answer."""
    for one in await apiserver.checks(cluster):
        yield one
    config, found = await _config(cluster, asked)
    if found.result == "wrong" and await _nothing_there(cluster, config):
        why = "the webhook is not installed: there is neither its registration nor its Deployment"
        yield Check(WEBHOOK, "installation", "wrong", why, "see pullsecret doctor cluster --pre, then helm install")
        return
    yield found
    view = ClusterView(cluster, config)
    webhook, new_pod = await health.findings(view, now), None
    service = any(one.part == "replicas" for one in webhook)  # it is called, not an address
    if asked.within:
        new_pod = await _new_pod(view, asked, service=service)
        webhook = await health.findings(view, now)  # replicas may have started meanwhile
    for finding in webhook:
        yield known(finding)
    async for one in _replicas(view, now, service=service):
        yield one
    yield await _policy(cluster, as_user, config)
    if config.issuers:
        yield await _issuer_policy(as_user, config)
    yield new_pod or await _new_pod(view, asked, service=service)
    yield await nodeclocks.check(cluster)
    async for one in _sources(view, now):
        yield one
    async for one in _mirrors(view, now):
        yield one
    if config.issuers:
        async for one in issuers.checks(view, now):
            yield one
    async for one in tokenservice.checks(view):
        yield one
    try:
        yield summed_up(await status.run(view, None, now, webhook))
    except PullsecretError as e:
        why, _, _ = str(e).partition("; ")  # what follows is for `status`
        yield Check(NAMESPACES, "pull secrets", "unknown", why)


async def _config(cluster: Cluster, asked: Asked) -> tuple[Config, Check]:
    """Of the running webhook; without it the default values, so that the rest can be looked at."""
    name, default = "configuration", msgspec.structs.replace(Config(), namespace=asked.namespace or Config().namespace)
    if asked.config is not None:
        return asked.config, Check(WEBHOOK, name, "absent", "not looked at: the one of the file counts")
    try:
        if asked.namespace is not None:
            config, found = await config_of(cluster, Tls().service, asked.namespace), True
        else:
            config, found = await readable_config(cluster)
    except ConfigError as e:
        why = str(e).removesuffix(f" {USE_FLAG}").removesuffix(";")
        return default, Check(WEBHOOK, name, "wrong", why, f"upgrade the release, or {USE_FLAG}")
    if not found:
        return default, Check(WEBHOOK, name, "unknown", "you may not read it, so the default values count", USE_FLAG)
    return config, Check(WEBHOOK, name, "right", f"of the ConfigMap {config.tls.service} in {config.namespace}")


async def _nothing_there(cluster: Cluster, config: Config) -> bool:
    registered = await _there(cluster, f"mutatingwebhookconfigurations/{config.tls.webhook_configuration}")
    return not registered and await replicas.deployment(cluster, config) is None


async def _there(cluster: Cluster, what: str) -> bool:
    """True also where it is not known."""
    try:
        await cluster.call("GET", f"{ADMISSION}/{what}")
    except ClusterError as e:
        return e.status != 404
    return True


def known(finding: Finding) -> Check:
    """What `status` knows too. There the last part of the sentence is what to do."""
    why, _, hint = finding.why.rpartition("; ") if finding.result == "wrong" else (finding.why, "", "")
    return Check(WEBHOOK, _NAMES.get(finding.part, finding.part), finding.result, why or hint, hint if why else "")


async def _replicas(view: ClusterView, now: datetime, *, service: bool) -> AsyncIterator[Check]:
    deployment = None
    try:
        deployment = await replicas.deployment(view.cluster, view.config)
        for one in await replicas.checks(view.cluster, view.config, deployment) if service else ():
            yield one
    except PullsecretError as e:
        yield Check(WEBHOOK, "replicas", "unknown", str(e))
    yield await servingcert.check(view, deployment, now)


async def _policy(cluster: Cluster, as_user: As | None, config: Config) -> Check:
    if as_user is None:
        return Check(WEBHOOK, TRIED, "unknown", NOT_AS)
    try:
        async with as_user(f"system:serviceaccount:{config.namespace}:{config.tls.service}") as webhook:
            tried = await writepolicy.tried(webhook, config.pull_secret.name, config.namespace)
        there = tried is True or await _there(cluster, f"validatingadmissionpolicies/{WRITE_POLICY}")
        return policy(tried, there=there)
    except ClusterError as e:
        return policy(e, there=True)


def policy(tried: bool | ClusterError, *, there: bool) -> Check:
    """A write that the write policy must refuse, by dry run as the webhook's account. `there`: is there the policy?"""
    name, on = TRIED, "set writePolicy.enabled and upgrade the release"
    if tried is True:
        return Check(WEBHOOK, name, "right", "it refuses a pull secret in the webhook's own namespace")
    if tried is False:
        why = "a pull secret in the webhook's own namespace is not refused, so nothing limits a stolen account"
        if not there:  # its administrator has chosen so
            return Check(WEBHOOK, name, "warning", f"there is none: {why}", on)
        return Check(WEBHOOK, name, "wrong", why, f"{on}; it takes some seconds to act")
    return Check(WEBHOOK, name, "unknown", f"it could not be tried as the webhook's account ({tried})")


async def _issuer_policy(as_user: As | None, config: Config) -> Check:
    if as_user is None:
        return Check(WEBHOOK, ISSUER_TRIED, "unknown", NOT_AS)
    try:
        async with as_user(f"system:serviceaccount:{config.namespace}:{ISSUER_ACCOUNT}") as issuer:
            return issuer_policy(await writepolicy.tried_to_issue(issuer, config.namespace))
    except ClusterError as e:
        return issuer_policy(e)


def issuer_policy(tried: bool | ClusterError) -> Check:
    """The same of the issuer's account. No value of the chart leaves this policy out."""
    if tried is True:
        return Check(WEBHOOK, ISSUER_TRIED, "right", "it refuses a Secret that is not the issuer's")
    if tried is False:
        why = "a Secret that is not the issuer's is not refused, so nothing limits a stolen account of the issuer"
        return Check(WEBHOOK, ISSUER_TRIED, "wrong", why, "upgrade the release; it takes some seconds to act")
    return Check(WEBHOOK, ISSUER_TRIED, "unknown", f"it could not be tried as the issuer's account ({tried})")


async def _new_pod(view: ClusterView, asked: Asked, *, service: bool) -> Check:
    if asked.try_in is not None:
        if view.config.excluded(asked.try_in):
            why = f"{asked.try_in} is not a namespace that the webhook serves"
            return Check(way.SECTION, way.NAME, "wrong", why, way.NAME_ONE)
        found = await way.check(view, [asked.try_in], asked.within, service=service)
        return replace(found, result="wrong") if found.result == "unknown" else found  # it was asked for
    try:
        served, _, _ = await view.served()
    except PullsecretError as e:
        return Check(way.SECTION, way.NAME, "unknown", f"not tried: {e}", way.NAME_ONE)
    if not served:
        return Check(way.SECTION, way.NAME, "unknown", "not tried: no namespace has an owner", way.NAME_ONE)
    return await way.check(view, [*served], service=service)


async def _sources(view: ClusterView, now: datetime) -> AsyncIterator[Check]:
    config = view.config
    if any(isinstance(source, SecretsSource) for source in config.sources):
        try:
            yield source_secrets(await view.source_secrets())
        except PullsecretError as e:
            yield Check(SOURCES, "source Secrets", "unknown", str(e))
    others = [name for name, source in zip(config.source_names, config.sources, strict=True) if not _secrets(source)]
    if not others:
        return
    name, hidden = some(others), list[str]()
    try:
        warnings = await recent_warnings(view.cluster, config, config.namespace, now, hidden.append)
    except PullsecretError as e:
        yield Check(SOURCES, name, "unknown", str(e))
        return
    said = few([str(one) for one in warnings.of_source.values()])
    owners = few([str(one) for one in warnings.of_owner.values()])
    if said:
        yield Check(SOURCES, name, "wrong", "; ".join(said), "see docs/troubleshooting.md for the reason of the Event")
    elif hidden:
        yield Check(SOURCES, name, "unknown", f"{hidden[0]} cannot be listed")
    elif owners:
        yield Check(SOURCES, name, "warning", "; ".join(owners), "correct that at the source")
    else:
        yield Check(SOURCES, name, "right", "no Event of late says otherwise")


async def _mirrors(view: ClusterView, now: datetime) -> AsyncIterator[Check]:
    """Those that the replicas ask whether they answer."""
    hosts, hidden = [*dict.fromkeys(rule.host for rule in view.config.rewrite_rules)], list[str]()
    if not hosts:
        return
    try:
        found = await about_mirrors(view.cluster, view.config, None, now, hidden.append)
    except PullsecretError as e:
        for host in hosts:
            yield Check(MIRRORS, host, "unknown", str(e))
        return
    for host in hosts:
        yield mirror(host, found, hidden)


def mirror(host: str, found: AboutMirrors, hidden: Sequence[str]) -> Check:
    """`hidden`: Events that may not be read."""
    if host in found.silent:
        hint = "look at the mirror, and whether the webhook's pods reach it; new pods pull from the registry meanwhile"
        return Check(MIRRORS, host, "wrong", str(found.silent[host]), hint)
    if hidden:
        return Check(MIRRORS, host, "unknown", f"{hidden[0]} cannot be listed")
    return Check(MIRRORS, host, "right", "no Event of late says that it does not answer")


def _secrets(source: object) -> bool:
    return isinstance(source, SecretsSource)


def source_secrets(found: SourceSecrets) -> Check:
    """A broken one stands in the way of one owner, not of the webhook."""
    number = counted(sum(map(len, found.values())), "Secret")
    bad = [words for owner in sorted(found) if (words := broken(found[owner]))]
    if bad:
        hint = "correct them; they are read again at once"
        return Check(SOURCES, "source Secrets", "warning", "; ".join(few(bad)), hint)
    if not found:
        hint = "see pullsecret credential add --help"
        return Check(SOURCES, "source Secrets", "absent", "there are none, so nobody has a credential", hint)
    return Check(SOURCES, "source Secrets", "right", f"{number} of {counted(len(found), 'owner')}")


def summed_up(report: Report) -> Check:
    """A namespace that needs attention is no fault of the installation."""
    attention = any(line.needs_a_human for line in report.lines)
    hint = "see pullsecret status --problems" if attention else ""
    return Check(NAMESPACES, "pull secrets", "warning" if attention else "right", status.summary(report.lines), hint)
