"""`pullsecret doctor dns`: makes the cluster's DNS answer right for a registry, for programs in pods.

It does not repair pulls: the kubelet's node asks another DNS. What is published has been tried: an address counts if a
host with the right certificate answers there. CoreDNS goes on with what it had if a key is wrong, and does not start
again then. So a key is written only if CoreDNS would start with it, and is taken away again if the pods of CoreDNS do
not answer as it says.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from webhook.commands.clusterdns import coredns
from webhook.commands.clusterdns.coredns import NAMESPACE, ConfigMap, CoreDns
from webhook.commands.clusterdns.key import (
    MARKER_ADDRESS,
    Host,
    Key,
    Place,
    Refused,
    Resolver,
    address,
    cluster_domains,
    dns_name,
    name_of,
    reloads,
)
from webhook.commands.doctor.evidence import HostSeen, Probed, Request, Role, Target
from webhook.core.errors import PullsecretError
from webhook.core.registry import blob_hosts
from webhook.core.shown import quoted, some
from webhook.kube.cluster import Cluster, ClusterError, decode

WAIT_SECONDS, AGAIN_SECONDS = 150.0, 5.0
"""The kubelet brings a ConfigMap to a pod within 90 seconds, and CoreDNS looks at its files every 30 to 45."""
MAX_HOSTS, MAX_ADDRESSES = 5, 8
"""Of a registry with its token service and where its blobs are, and of one host. Two more names are asked about."""
RESOLVER_PORT = 853
USUAL_CONFIG_MAP = "coredns-custom"
_CLUSTER_NAME = "kubernetes.default.svc"
_CONFIG_MAP = msgspec.json.Decoder(ConfigMap)

Look = Callable[[Request], Awaitable[Probed]]
"""From this machine, or from within the cluster."""
Voice = Callable[[str], None]
"""Told what is waited for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`registry`: its host. `addresses`: candidates of hosts. `ca_pem`: trusted beside the public CAs."""

    registry: str
    port: int = 443
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolver: Resolver | None = None
    ca_pem: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """`hosts`: the registry first, with addresses that are right. `left_out`: hosts of the registry without any.
    `doubtful`: hosts that the node alone names.
    """

    hosts: tuple[Host, ...]
    left_out: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


# -- what is right -----------------------------------------------------------------------------------------------------


async def tried(wanted: Wanted, look: Look, before: Look | None = None) -> Tried:
    """`before`: looks from this machine, and what it finds right is tried from the node too. A node that was taken over
    must not choose names for the whole cluster's DNS: only those count that are known here, or are asked for.

    Raises Refused if no address of the registry is right, or the resolver is not.
    """
    if before is not None:
        known = {one.host: _right(one) for one in (await _seen(wanted, before)).values()}
        more = {host: (*wanted.addresses.get(host, ()), *known.get(host, ())) for host in {**wanted.addresses, **known}}
        wanted = replace(wanted, addresses=more)
    seen = await _seen(wanted, look)
    known_here = {one.host for one in _targets(wanted)}
    doubtful = tuple(one for one in seen if before is not None and one not in known_here)
    seen = {name: one for name, one in seen.items() if name not in doubtful}
    if (resolver := wanted.resolver) is not None:
        right = _right(seen.pop(resolver.name)) if resolver.name in seen else ()
        if wrong := [one for one in resolver.addresses if one not in right]:
            raise Refused(
                f"{some(wrong)} does not answer on port {RESOLVER_PORT} with a certificate for {resolver.name}"
            )
        return Tried(tuple(Host(name, (), one.port) for name, one in list(seen.items())[:MAX_HOSTS]), (), doubtful)
    hosts = [Host(name, _right(one)[:MAX_ADDRESSES], one.port) for name, one in seen.items()]
    if not hosts or hosts[0].name != wanted.registry or not hosts[0].addresses:
        raise Refused(
            f"no address that is known for {wanted.registry} has a certificate that is right for it; name another one "
            "with --address"
        )
    kept = [one for one in hosts if one.addresses][:MAX_HOSTS]
    return Tried(tuple(kept), tuple(one.name for one in hosts if one not in kept), doubtful)


async def _seen(wanted: Wanted, look: Look) -> dict[str, HostSeen]:
    """By name. A token service is named by the registry; one that is an address needs no DNS."""
    found = (await look(Request(_targets(wanted), wanted.ca_pem))).hosts
    return {name: one for one in found if (name := dns_name(one.host)) is not None}


def _targets(wanted: Wanted) -> tuple[Target, ...]:
    """The probe finds the token service by itself."""
    roles: dict[str, Role] = {wanted.registry: "registry"}
    roles |= dict.fromkeys(blob_hosts(wanted.registry), "blobs")
    roles |= {one: "realm" for one in wanted.addresses if one not in roles}
    ports = {wanted.registry: wanted.port}
    addresses = dict(wanted.addresses)
    if wanted.resolver is not None:
        roles |= {wanted.resolver.name: "realm"}
        ports |= {wanted.resolver.name: RESOLVER_PORT}
        addresses |= {wanted.resolver.name: wanted.resolver.addresses}
    return tuple(Target(one, ports.get(one, 443), False, role, addresses.get(one, ())) for one, role in roles.items())


def _right(seen: HostSeen) -> tuple[str, ...]:
    return tuple(found for one in seen.endpoints if one.tls == "right" and (found := address(one.address)) is not None)


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks each pod of CoreDNS, from within the cluster. `wait`, `again`: seconds."""

    look: Look
    voice: Voice
    ca_pem: str = ""
    wait: float = WAIT_SECONDS
    again: float = AGAIN_SECONDS


async def apply(cluster: Cluster, dns: CoreDns, where: Place, key: Key, asker: Asker) -> str:
    """What was done. Raises Refused if nothing was written, PullsecretError if it was taken away again."""
    if not reloads(dns):
        raise Refused(
            "the Corefile has no plugin reload, so CoreDNS reads a key at its next start only; apply what --print "
            "prints, and restart it"
        )
    before = _ours(await coredns.config_map(cluster, where.config_map), where)
    if not await coredns.addresses(cluster, dns):
        raise Refused(f"no pod of CoreDNS runs in {NAMESPACE}")
    if before != key.text:
        await _write(cluster, where, key.text)
    try:
        problem = await _in_force(cluster, dns, key, asker)
        if problem:
            raise PullsecretError(problem)
    except BaseException as e:
        if before == key.text:
            raise
        await _undo(cluster, where, before, e)
        if not isinstance(e, PullsecretError):
            raise
        raise PullsecretError(
            f"{e}; so the key {where.key} is {'as before' if before else 'taken away'} again"
        ) from None
    done = "is there already" if before == key.text else "is written"
    return f"the key {where.key} of the ConfigMap {where.config_map} {done}, and each pod of CoreDNS answers as it says"


def _ours(found: ConfigMap | None, where: Place) -> str | None:
    """The key as it stands. Raises Refused if somebody else has written it."""
    text = ((found.data if found else None) or {}).get(where.key)
    if found is None or text is None:
        return None
    if found.managers(where.key) != (where.key,):
        others = coredns.others(found, where.key) or "nobody that is known"
        raise Refused(
            f"the key {where.key} of the ConfigMap {where.config_map} is also of {others}, or of them alone; it is not "
            "overwritten"
        )
    return text


async def _write(cluster: Cluster, where: Place, text: str | None, uid: str = "") -> ConfigMap:
    """None: takes the key away. By server-side apply, so others' keys stay as they are."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": where.config_map, "namespace": NAMESPACE} | ({"uid": uid} if uid else {}),
    }
    if text is not None:
        body["data"] = {where.key: text}
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{where.config_map}"
    try:
        return await decode(_CONFIG_MAP, await cluster.apply(path, body, manager=where.key))
    except ClusterError as e:
        raise Refused(f"the ConfigMap {where.config_map} in {NAMESPACE} cannot be written ({e})") from None


async def _undo(cluster: Cluster, where: Place, before: str | None, because: BaseException) -> None:
    try:
        if before is None:
            await _take_away(cluster, where)
        else:
            await _write(cluster, where, before)
    except PullsecretError as e:
        raise PullsecretError(
            f"{because}; and the key {where.key} could not be taken away again ({e}): remove it from the ConfigMap "
            f"{where.config_map} in {NAMESPACE}"
        ) from None


async def remove(cluster: Cluster, registry: str) -> str:
    """What was done. Leaves what others wrote, and the ConfigMap if it has more than our keys."""
    try:
        names = dict.fromkeys((*(one.name for one in (await coredns.read(cluster)).folders), USUAL_CONFIG_MAP))
    except PullsecretError:  # to take a key away must not depend on how CoreDNS is
        names = dict.fromkeys([USUAL_CONFIG_MAP])
    own = re.compile(rf"{re.escape(name_of(registry, ''))}\.[A-Za-z0-9_-]+")
    gone = []
    for name in names:
        found = await coredns.config_map(cluster, name)
        for key in filter(own.fullmatch, (found.data if found else None) or {}):
            where = Place(name, key, "", "")
            _ours(found, where)
            await _take_away(cluster, where)
            gone.append(f"the key {key} of the ConfigMap {name} is removed")
    return "; ".join(gone) or f"there is no key for {registry}"


async def _take_away(cluster: Cluster, where: Place) -> None:
    found = await coredns.config_map(cluster, where.config_map)
    if found is None or where.key not in (found.data or {}):
        return
    left = await _write(cluster, where, None, found.metadata.uid)
    meta = left.metadata
    if where.key in (left.data or {}):
        raise Refused(f"the key {where.key} stays: {coredns.others(left, where.key)} owns it too")
    if left.data or left.binary_data or meta.labels or meta.annotations or meta.managed_fields:
        return
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{where.config_map}"
    same = {"preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version}}
    try:
        await cluster.call("DELETE", path, body=same, within=30.0)
    except ClusterError as e:
        if e.status not in (404, 409):  # somebody was faster
            raise PullsecretError(f"the ConfigMap {where.config_map} is empty and cannot be deleted ({e})") from None


# -- is it in force? ---------------------------------------------------------------------------------------------------


async def _in_force(cluster: Cluster, dns: CoreDns, key: Key, asker: Asker) -> str:
    """What is wrong. Empty: each pod of CoreDNS answers as the key says."""
    clock, domain = asyncio.get_running_loop().time, next(iter(cluster_domains(dns)), "cluster.local")
    until, right, problem = clock() + asker.wait, set[str](), ""
    while True:
        pods = await coredns.addresses(cluster, dns)
        asker.voice(f"waiting until CoreDNS answers as the key says ({len(right & {*pods})} of {len(pods)} pods)")
        for pod in pods:
            if pod in right:
                continue
            try:
                problem = await _wrong(pod, key, domain, asker)
            except PullsecretError as e:
                problem = f"the pod {pod} of CoreDNS could not be asked: {e}"
            if not problem:
                right.add(pod)
        if pods and right >= {*pods}:
            return ""
        if clock() >= until:
            return problem or f"no pod of CoreDNS runs in {NAMESPACE}"
        await asyncio.sleep(asker.again)


async def _wrong(pod: str, key: Key, domain: str, asker: Asker) -> str:
    """What a pod of CoreDNS answers otherwise than it should. First whether it has read the key, which takes time."""
    seen = (await _asked([Host(key.marker)], pod, asker)).get(key.marker)
    if seen is None or seen.cluster_dns is None or MARKER_ADDRESS not in seen.cluster_dns.addresses:
        return f"the pod {pod} of CoreDNS has not read the key; its log says why"
    hosts = [Host(f"{_CLUSTER_NAME}.{domain}"), *key.hosts]
    answers = await _asked(hosts, pod, asker)
    for host in hosts:
        if host.name not in answers or not (said := answers[host.name].cluster_dns) or said.result != "addresses":
            return f"the pod {pod} of CoreDNS does not resolve {host.name}"
    for host in key.hosts:
        one = answers[host.name]
        given = {*(one.cluster_dns.addresses if one.cluster_dns else ())}
        wanted = host.addresses if key.resolver is None else _right(one)
        if not given & {*wanted} or (key.resolver is None and given - {*wanted}):
            return f"the pod {pod} of CoreDNS answers {some(sorted(given))} for {host.name}, which is not right"
    return ""


async def _asked(hosts: Sequence[Host], pod: str, asker: Asker) -> dict[str, HostSeen]:
    targets = tuple(Target(host.name, host.port, role="blobs") for host in hosts)
    found = await asker.look(Request(targets, asker.ca_pem, pod))
    return {one.host: one for one in found.hosts}


# -- printing ----------------------------------------------------------------------------------------------------------


def manifest(where: Place, key: Key) -> str:
    """Applied by another way than server-side, it would take the other keys away where somebody has applied those."""
    body = "".join(f"    {line}\n" for line in key.text.splitlines())
    return (
        f"# kubectl apply --server-side --field-manager={where.key} -f FILE\n"
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {where.config_map}\n  namespace: {NAMESPACE}\n"
        f"data:\n  {where.key}: |\n{body}"
    )


def told(tried: Tried, from_where: str) -> list[str]:
    """What the key is for, and how its addresses are known."""
    lines = ["for programs in pods that ask the cluster's DNS; pulls do not change: nodes ask another DNS"]
    for host in tried.hosts:
        which = f"{some(host.addresses)}, with the right certificate as seen from {from_where}"
        lines.append(f"{host.name}: {which if host.addresses else 'asked at the resolver'}")
    lines += [f"{quoted(one)}: left out: no address with the right certificate is known" for one in tried.left_out]
    lines += [
        f"{quoted(one)}: left out: only {from_where} names it, and this machine does not; if it is the token service, "
        f"give --address {quoted(one)}=ADDRESS"
        for one in tried.doubtful
    ]
    return lines
