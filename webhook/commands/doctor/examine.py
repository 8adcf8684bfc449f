"""Looks in three tiers, each only if it is wanted: at what the API server has, at the registry from here, and from the
node.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from webhook.checks.addresses import is_public
from webhook.checks.guardedhttp import GuardedHttp
from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor import asking, nodefacts, nodepod, probe, reading
from webhook.commands.doctor.asking import Asked
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.evidence import Request, Role, Target
from webhook.commands.doctor.looked import OWN_CA, THE_NODE, THE_REGISTRY, Evidence, Looked
from webhook.commands.doctor.nodefacts import NodeFacts
from webhook.commands.doctor.nodepod import NoProbeError
from webhook.commands.doctor.reach import is_right
from webhook.commands.doctor.trust import certificates
from webhook.commands.doctor.verdict import RUNTIME, Verdict, idle, judge, judge_registry
from webhook.commands.podsecrets import PodSecret
from webhook.commands.registries import closing, from_here
from webhook.config.models import Config
from webhook.core import hostport
from webhook.core.credential import Credential
from webhook.core.errors import PullsecretError
from webhook.core.imagename import image_name
from webhook.core.mirror import MirrorRule, of_mirrors
from webhook.core.registry import asked_at, blob_hosts, repository
from webhook.core.shown import quoted
from webhook.core.wire import Unreadable
from webhook.kube.cluster import ClusterError, decode

Say = Callable[[str], None]
MAX_LOOKED = 5
"""Images of a pod that are looked at from here and from the node. Whoever makes a pod may name thousands."""
_DNS = "/api/v1/namespaces/kube-system/services/kube-dns"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`ask`: the registry, from here. `node`: look from this node; empty: from the pod's; None: from none. `ca_file`:
    certificates to trust beside the public ones. `probe_namespace`: of the probe's pod; None: the release's.
    """

    ask: bool = False
    node: str | None = None
    ca_file: Path | None = None
    probe_namespace: str | None = None
    progress: Say = lambda _: None


class _Spec(msgspec.Struct, frozen=True):
    cluster_ip: str = msgspec.field(name="clusterIP", default="")


class _Service(msgspec.Struct):
    spec: _Spec = _Spec()


_SERVICE = msgspec.json.Decoder(_Service)


async def pod(view: ClusterView, name: str, within: str, wanted: Wanted) -> tuple[Verdict, ...]:
    """A verdict for each image that the pod waits for; one without a cause if it waits for none. Raises PullsecretError
    if the pod cannot be read.
    """
    seen, secrets, cases = await reading.of_pod(view, name, within, view.cluster.now())
    if not cases:
        return (idle(seen),)
    await _is_there(view, wanted)
    node = wanted.node or seen.spec.node_name or None
    if wanted.node is not None and node is None:
        raise PullsecretError(f"pod {name} has no node yet; name one with --node NODE")
    wanted = replace(wanted, node=None if wanted.node is None else node)
    config, facts = from_here(view.config, None, _ca(wanted)), await _facts(view, seen.spec.node_name or "")
    cases = tuple(_on_node(facts, one) for one in cases)
    first = [await _examined(view, one, secrets, wanted, config) for one in cases[:MAX_LOOKED]]
    only_read = replace(wanted, ask=False, node=None)
    others = [await _examined(view, one, secrets, only_read, config) for one in cases[MAX_LOOKED:]]
    if wanted.ask or wanted.node:
        not_looked = (f"the registry and the node, which are for the first {MAX_LOOKED} images of a pod", RUNTIME)
        others = [replace(one, not_looked=not_looked) for one in others]
    return (*first, *others)


async def image(view: ClusterView, name: str, within: str, wanted: Wanted) -> Verdict:
    """Whoever names an image may also ask a registry at a private address."""
    await _is_there(view, wanted)
    secrets, case = await reading.of_image(view, name, within, view.cluster.now())
    case = _on_node(await _facts(view, wanted.node or ""), replace(case, node=wanted.node or ""))
    config = from_here(view.config, repository(name).partition("/")[0], _ca(wanted))
    return await _examined(view, case, secrets, wanted, config)


async def registry(view: ClusterView | None, host: str, wanted: Wanted) -> Verdict:
    """`host`: and perhaps a port. `view` None: nobody asks about a node, and the cluster plays no part."""
    if view is not None:
        await _is_there(view, wanted)
    config = view.config if view is not None else Config()
    target = _target(host, config)
    here, node, not_looked = await _looked(view, (target, *_blobs(target)), wanted, None)
    return judge_registry(host, wanted.node or "", Evidence(node, here, None, not_looked, _missed(wanted, node)))


async def _is_there(view: ClusterView, wanted: Wanted) -> None:
    """The node that somebody names. Raises PullsecretError: a verdict without it would be about something else."""
    if wanted.node:
        await nodefacts.read(view, wanted.node)


async def _examined(
    view: ClusterView, case: Case, secrets: Sequence[PodSecret], wanted: Wanted, config: Config
) -> Verdict:
    """`config`: which registries may be asked from here."""
    asked = await _asked(case, secrets, wanted, config) if wanted.ask else None
    here: Looked | None = None
    node: Looked | None = None
    not_looked: tuple[str, ...] = (THE_NODE,)
    if wanted.node:
        targets = _targets(case, asked, config)
        not_looked = ("the node: the name of the image has no host that could be looked at",)
        if targets:
            here, node, not_looked = await _looked(view, targets, wanted, config)
    not_looked = (*(() if wanted.ask else (THE_REGISTRY,)), *not_looked)
    not_looked += tuple(f"{what} (no right to read it)" for what in view.unread)
    if view.unconfigured:
        not_looked += (f"the webhook ({view.unconfigured})",)
    return judge(case, Evidence(node, here, asked, not_looked, _missed(wanted, node)))


def _missed(wanted: Wanted, node: Looked | None) -> bool:
    return wanted.node is not None and node is None


async def _facts(view: ClusterView, node: str) -> NodeFacts | None:
    """What the API server knows of the node. None: nothing, or there is no node."""
    if not node:
        return None
    try:
        return await nodefacts.read(view, node)
    except PullsecretError:
        return None


def _on_node(facts: NodeFacts | None, case: Case) -> Case:
    if facts is None:
        return case
    platform = f"{facts.os}/{facts.architecture}" if facts.os and facts.architecture else ""
    name = image_name(case.image)
    return replace(case, platform=platform, there=name is not None and str(name) in facts.images)


async def _asked(case: Case, secrets: Sequence[PodSecret], wanted: Wanted, config: Config) -> Asked:
    """With the credential that the kubelet tries first, of those that are for this registry."""
    wanted.progress("asking the registry")
    blob = next((one.blob for one in case.words if one.blob), "")
    credential = credential_for(case, secrets, config.mirror_rules)
    async with closing(GuardedHttp(config, _ca(wanted), public=wanted.ca_file is not None)) as http:
        return await asking.ask(http, case.image, credential, case.platform, blob)


def credential_for(case: Case, secrets: Sequence[PodSecret], mirrors: Sequence[MirrorRule]) -> Credential | None:
    """A mirror's password is nothing that doctor sends to the registry."""
    for key, name in case.entries:
        for secret in (one for one in secrets if one.name == name):
            theirs = of_mirrors(secret.credentials, mirrors, case.owner) if name == case.ours else frozenset()
            if found := [c for c in secret.credentials if c.registry == key and c not in theirs]:
                return found[0]
    return None


async def _looked(
    view: ClusterView | None, targets: Sequence[Target], wanted: Wanted, config: Config | None
) -> tuple[Looked | None, Looked | None, tuple[str, ...]]:
    """From here, and with `view` from the node. What this machine finds right is tried there too. `config`: which
    registries may have private addresses as seen from here, as in guardedhttp.py; None: all, of whoever has named them.
    """

    def usable(target: Target, address: str) -> bool:
        return config is None or is_public(address) or bool(_spellings(target) & config.named_registries.keys())

    ca_pem = certificates(wanted.ca_file) if wanted.ca_file else ""
    here = Looked("this machine", await probe.look(Request(tuple(targets), ca_pem), usable=usable))
    if view is None or wanted.node is None:
        return here, None, (THE_NODE, *_own_ca(wanted, here))
    known = {
        (seen.host, seen.port): tuple(one.address for one in seen.endpoints if is_right(one))
        for seen in here.probed.hosts
    }
    wanted.progress(f"looking from node {quoted(wanted.node)}")
    asked = tuple(msgspec.structs.replace(one, addresses=known.get((one.host, one.port), ())) for one in targets)
    request = Request(asked, ca_pem, await _cluster_dns(view))
    try:
        seen = await nodepod.from_node(
            view, wanted.node, request, namespace=wanted.probe_namespace, voice=wanted.progress
        )
    except NoProbeError as e:
        return here, None, (f"the node ({e})", *_own_ca(wanted, here))
    node = Looked(f"node {quoted(wanted.node)}", seen)
    return here, node, _own_ca(wanted, here, node)


def _own_ca(wanted: Wanted, *looked: Looked) -> tuple[str, ...]:
    """Without it no address of a registry with such a certificate counts as right."""
    tried = (end for one in looked for host in one.probed.hosts for end in host.endpoints)
    return (OWN_CA,) if wanted.ca_file is None and any("unknown CA" in one.faults for one in tried) else ()


async def _cluster_dns(view: ClusterView) -> str:
    """Its address. Empty: it is not known."""
    try:
        return (await decode(_SERVICE, await view.cluster.call("GET", _DNS, within=30.0))).spec.cluster_ip
    except (ClusterError, Unreadable):
        return ""


def _targets(case: Case, asked: Asked | None, config: Config) -> tuple[Target, ...]:
    """The registry, and what else a pull needs: first the hosts that the kubelet or the registry names. Without what
    cannot be one.
    """
    host = repository(case.image).partition("/")[0]
    registry = _target(asked_at(host) or host, config)
    said = [_target(one.host, config, one.role) for one in case.words if one.host]
    more = [one for one in (asked.realm, asked.blobs) if one is not None] if asked is not None else []
    return tuple(filter(probe.is_target, _once((registry, *said, *more, *_blobs(registry)))))


def _once(targets: Iterable[Target]) -> tuple[Target, ...]:
    return tuple({(one.host, one.port): one for one in reversed([*targets])}.values())[::-1]


def _blobs(registry: Target) -> tuple[Target, ...]:
    return tuple(Target(one, role="blobs") for one in blob_hosts(registry.host))


def _target(host: str, config: Config, role: Role = "registry") -> Target:
    named = config.named_registries.get(host)
    plain = named is not None and named.plain
    name, port = hostport.split(host)
    return Target(name, int(port or (80 if plain else 443)), plain, role)


def _spellings(target: Target) -> set[str]:
    """As a configuration names it."""
    usual = target.port == (80 if target.plain else 443)
    return {hostport.joined(target.host, target.port)} | ({hostport.bracketed(target.host)} if usual else set())


def _ca(wanted: Wanted) -> str | None:
    return str(wanted.ca_file) if wanted.ca_file else None
