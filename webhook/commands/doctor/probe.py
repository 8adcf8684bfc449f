"""What this machine sees on the way to registries: its resolvers, and each address that anybody gives for them.

It has no credential and sends none. It runs on a node, in a pod of the webhook's own image (nodepod.py), and on the
machine of whoever asks. The CAs that it trusts are those of the image or of that machine, and those that it is given:
a pod does not see what the container runtime of its node trusts.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path

from webhook.commands.doctor import resolving
from webhook.commands.doctor.endpoint import is_host, tried
from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, HostSeen, Probed, Request, Target
from webhook.commands.doctor.resolving import is_address
from webhook.commands.doctor.trust import Trust
from webhook.core.errors import PullsecretError

LOOK_SECONDS, HOST_SECONDS = 19.0, 6.0
"""For all, and for the addresses of one host."""
MAX_HOSTS, MAX_TRIED = 8, 8
"""Hosts, and addresses of each that are tried."""
_FILE_CHARS = 256 * 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a node has what it resolves names with. `stub`: of systemd-resolved: there container runtimes ask it, and
    the resolv.conf of pods has the resolvers behind it.
    """

    hosts: Path = Path("/etc/hosts")
    resolv_conf: Path = Path("/etc/resolv.conf")
    stub: str = "127.0.0.53"
    port: int = 53

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*resolving.nameservers(_text(self.resolv_conf)), self.stub)))


def _text(file: Path) -> str:
    try:
        with file.open(errors="replace") as opened:
            return opened.read(_FILE_CHARS)
    except OSError:
        return ""


async def look(
    request: Request,
    machine: Machine | None = None,
    usable: Callable[[Target, str], bool] = lambda _target, _address: True,
) -> Probed:
    """`machine`: the node on which this runs; None: names are looked up as this system does it, whatever it is.
    `usable`: may this address of a host be tried? Raises PullsecretError if the request cannot be one.
    """
    for one in request.targets:
        if not is_target(one) or not all(map(is_address, one.addresses)):
            raise PullsecretError("a host, a port or an address of the request is not valid")
    if request.cluster_dns and not is_address(request.cluster_dns):
        raise PullsecretError("the address of the cluster's DNS is not valid")
    try:
        trust = Trust(request.ca_pem)
    except ValueError as e:
        raise PullsecretError(str(e)) from None
    return await _Look(request, machine, trust, usable).all()


def is_target(one: Target) -> bool:
    """May be asked about: those who make pods, and registries, choose names of hosts."""
    return is_host(one.host) and 0 < one.port < 65536


class _Look:
    def __init__(
        self, request: Request, machine: Machine | None, trust: Trust, usable: Callable[[Target, str], bool]
    ) -> None:
        self._request, self._machine, self._trust, self._usable = request, machine, trust, usable
        self._ends = asyncio.get_running_loop().time() + LOOK_SECONDS

    async def all(self) -> Probed:
        at, seen, named = datetime.now(UTC), dict[tuple[str, int], HostSeen](), list(self._request.targets)
        while wanted := self._new(named, seen):
            for host, realms in await asyncio.gather(*map(self._host, wanted)):
                seen[host.host, host.port] = host
                named += realms
        return Probed(at, tuple(seen.values()), self._trust.public)

    def _new(self, named: Iterable[Target], seen: Mapping[tuple[str, int], HostSeen]) -> list[Target]:
        """Those not looked at yet; none if they are too many, or the time is up."""
        if asyncio.get_running_loop().time() > self._ends - 1:
            return []
        new = dict[tuple[str, int], Target]()
        for one in named:
            if (one.host, one.port) not in seen:
                new.setdefault((one.host, one.port), one)
        return [*new.values()][: MAX_HOSTS - len(seen)]

    async def _host(self, target: Target) -> tuple[HostSeen, list[Target]]:
        answers, cluster_dns = await self._answers(target)
        given = {one.server: one.addresses for one in (*answers, *([cluster_dns] if cluster_dns else []))}
        given[HERE] = given.get(HERE, ()) + target.addresses
        if is_address(target.host):
            given = {HERE: (target.host,)}
        ends = min(asyncio.get_running_loop().time() + HOST_SECONDS, self._ends)
        found = await asyncio.gather(
            *(
                tried(target, address, by, self._trust, ends)
                for address, by in by_address(given).items()
                if self._usable(target, address)
            )
        )
        endpoints = tuple(one.endpoint for one in found)
        seen = HostSeen(target.host, target.port, target.role, answers, endpoints, cluster_dns)
        return seen, [one.realm for one in found if one.realm is not None and target.role == "registry"]

    async def _answers(self, target: Target) -> tuple[tuple[Answer, ...], Answer | None]:
        host, machine, dns = target.host, self._machine, self._request.cluster_dns
        if is_address(host):
            return (), None
        if machine is None:
            return (await resolving.by_the_system(host, target.port),), None
        servers = machine.servers
        asked = await asyncio.gather(
            *(resolving.asked(one, host, machine.port) for one in (*servers, *([dns] if dns else [])))
        )
        answers = asked[: len(servers)]
        if addresses := resolving.in_hosts(_text(machine.hosts), host):
            answers = [Answer(HOSTS_FILE, "addresses", addresses), *answers]
        return tuple(answers), asked[-1] if dns else None


def by_address(given: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The addresses that are tried, and who gave each: the first of each, then the second ones."""
    order = dict.fromkeys(filter(None, chain.from_iterable(zip_longest(*given.values()))))
    return {
        address: tuple(who for who, addresses in given.items() if address in addresses)
        for address in [*order][:MAX_TRIED]
    }
