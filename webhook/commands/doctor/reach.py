"""Is there a way from a place to a registry? From what a probe saw there, the fault, in the order in which a container
runtime meets it. Pure.

The truth test takes no reference resolver: of all addresses that anybody gives for a host, the one whose certificate is
right is right.

Sources: Go's resolver (the hosts file alone if it has the name; else the servers in order, of which the next one is
asked only if one fails or is silent) and its dialer (the next address only if TCP fails).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, Endpoint, HostSeen, Probed, Resolved, Tcp, Tls
from webhook.commands.doctor.tlserrors import FAULTS
from webhook.core import hostport
from webhook.core.faults import Fault
from webhook.core.registryanswer import turned_away
from webhook.core.shown import quoted, some

STUB = "127.0.0.53:53"
"""Where systemd-resolved answers. Container runtimes ask it, and pods get the resolvers behind it."""
CLOCK_SECONDS = 60.0
"""Seconds by which a clock is wrong."""
_TCP: dict[Tcp, Fault] = {
    "refused": Fault.TCP_REFUSED,
    "silent": Fault.TCP_SILENT,
    "no route": Fault.TCP_NO_ROUTE,
}
_DNS: dict[Resolved, Fault] = {
    "no such name": Fault.DNS_NO_SUCH_NAME,
    "fails": Fault.DNS_FAILS,
    "refused": Fault.DNS_FAILS,
    "silent": Fault.DNS_SILENT,
    "nothing listens": Fault.DNS_SILENT,
}
_RESOLVED: dict[Resolved, str] = {
    "addresses": "no address",
    "no such name": "no such name",
    "fails": "fails",
    "refused": "refuses to answer",
    "silent": "does not answer",
    "nothing listens": "nothing listens",
}
_FAULTS: dict[Tls, str] = {
    "wrong name": "not {host}'s",
    "unknown CA": "by a CA that is not public",
    "expired": "expired at {ends:%Y-%m-%d %H:%M}",
    "not yet valid": "valid only from {begins:%Y-%m-%d %H:%M}",
}
_NO_CERTIFICATE: dict[Tls, str] = {
    "no TLS": "does not speak TLS",
    "silent": "does not answer the TLS handshake",
    "cut": "cuts the TLS handshake off",
    "fails": "fails in the TLS handshake",
}
_CLOSED: dict[Tcp, str] = {"refused": "refuses", "silent": "does not answer", "no route": "has no route"}


@dataclass(frozen=True, slots=True)
class Clock:
    """Of the place that was looked from: its time, and by how many seconds it is behind."""

    at: datetime
    behind_seconds: float = 0.0

    @classmethod
    def of(cls, seen: Probed) -> Self:
        """Held against the registries' clocks: the middle of all, so that one wrong clock counts for nothing."""
        ahead = sorted(
            one.ahead_seconds for host in seen.hosts for one in host.endpoints if one.ahead_seconds is not None
        )
        return cls(seen.at, ahead[len(ahead) // 2] if ahead else 0.0)

    @property
    def wrong(self) -> bool:
        return abs(self.behind_seconds) >= CLOCK_SECONDS

    @property
    def right(self) -> datetime:
        return self.at + timedelta(seconds=self.behind_seconds)

    @property
    def words(self) -> str:
        by = str(timedelta(seconds=round(abs(self.behind_seconds)))).removesuffix(", 0:00:00")
        return f"its clock is {by} {'behind' if self.behind_seconds > 0 else 'ahead'}" if self.wrong else ""


@dataclass(frozen=True, slots=True)
class Reach:
    """`fault` None: a pull gets there. `used`: the address that a runtime there takes; `right`: one whose certificate
    is right, which nobody there gives.
    """

    host: str
    fault: Fault | None = None
    used: Endpoint | None = None
    right: Endpoint | None = None


def reach(seen: HostSeen, clock: Clock, *, knows_cas: bool = True) -> Reach:
    """`knows_cas`: the place has CA certificates, without which each CA is unknown."""
    host = hostport.bracketed(seen.host) if seen.port in (443, 80) else hostport.joined(seen.host, seen.port)
    addresses, fault = _used(seen.answers)
    used = [one for address in addresses for one in seen.endpoints if one.address == address]
    others = [one for one in seen.endpoints if one.address not in addresses]
    right = next((one for one in others if is_right(one) and _is_registry(seen, one)), None)
    if not used:
        if fault is None and seen.endpoints:  # asked about addresses alone
            used = [*seen.endpoints]
        else:
            return Reach(host, fault or Fault.DNS_NO_SUCH_NAME, None, right)
    first = next((one for one in used if one.tcp == "open"), used[0])
    found = _of_endpoint(seen, first, clock)
    if found is Fault.TLS_UNKNOWN_CA and not knows_cas:
        found = None
    if found is not None and right is not None and found is not Fault.CLOCK_WRONG:
        return Reach(host, Fault.DNS_WRONG_ADDRESS, first, right)
    return Reach(host, found, first)


def is_right(one: Endpoint) -> bool:
    return one.tcp == "open" and (one.tls == "right" or (one.tls == "not tried" and one.status > 0))


def _used(answers: Sequence[Answer]) -> tuple[tuple[str, ...], Fault | None]:
    """The addresses that a runtime takes; or why it has none."""
    by_server = {one.server: one for one in answers}
    if (own := by_server.get(HOSTS_FILE)) is not None and own.addresses:
        return own.addresses, None
    if (stub := by_server.get(STUB)) is not None and stub.addresses:
        return stub.addresses, None
    fault: Fault | None = None
    for one in answers:
        if one.server in (HOSTS_FILE, STUB):
            continue
        if one.addresses:
            return one.addresses, None
        if one.result in ("no such name", "addresses"):
            return (), Fault.DNS_NO_SUCH_NAME
        if fault is not Fault.DNS_FAILS:
            fault = _DNS[one.result]
    return (), fault


def _is_registry(seen: HostSeen, one: Endpoint) -> bool:
    return one.registry or seen.role != "registry"


def _of_endpoint(seen: HostSeen, one: Endpoint, clock: Clock) -> Fault | None:
    if one.tcp != "open":
        return _TCP[one.tcp]
    if one.tls not in ("right", "not tried"):
        return _of_clock(one, clock) or FAULTS[one.tls]
    if seen.role != "registry" or one.registry:
        return None
    return of_status(one.status)


def _of_clock(one: Endpoint, clock: Clock) -> Fault | None:
    """Is only the time wrong, and would the certificate be valid if the clock were right?"""
    if {*one.faults} - {"expired", "not yet valid"} or not clock.wrong or one.begins is None or one.ends is None:
        return None
    return Fault.CLOCK_WRONG if one.begins <= clock.right <= one.ends else None


def of_status(status: int) -> Fault | None:
    """Of an answer that is not a registry's."""
    if status == 0:
        return Fault.TCP_CUT
    if (fault := turned_away(status)) is not None:
        return fault
    if status >= 500:
        return Fault.REGISTRY_BROKEN
    return Fault.REGISTRY_BLOCKED if status == 403 else Fault.REGISTRY_NONE


Row = tuple[str, str]


def rows(seen: HostSeen) -> list[Row]:
    """Who gives which address, and what is there: a line for each."""
    found: list[Row] = []
    if not any(one.server == HOSTS_FILE for one in seen.answers):
        found.append((HOSTS_FILE, f"no line for {quoted(seen.host)}"))
    for answer in seen.answers:
        if not answer.addresses:
            found.append((answer.server, _RESOLVED[answer.result]))
            continue
        for address in answer.addresses:
            at = next((one for one in seen.endpoints if one.address == address), None)
            found.append((answer.server, f"{address}   {endpoint(seen, at)}" if at else address))
    given = {address for answer in seen.answers for address in answer.addresses}
    found += [
        ("not given here", f"{one.address}   {endpoint(seen, one)}")
        for one in seen.endpoints
        if one.address not in given and HERE in one.given_by
    ]
    return found


def endpoint(seen: HostSeen, one: Endpoint) -> str:
    """What is at one address, in words."""
    port = f"port {seen.port}"
    if one.tcp != "open":
        return f"{port} {_CLOSED[one.tcp]}"
    if one.tls in _NO_CERTIFICATE:
        return f"{port} is open, but {_NO_CERTIFICATE[one.tls]}"
    took = f", {one.milliseconds} ms" if one.milliseconds else ""
    said = f"HTTP {one.status}" if one.status else "no answer to HTTP"
    if one.registry:
        said += " as it should"
    elif one.status and seen.role == "registry":
        said += ", not as a registry answers"
    if one.tls == "not tried":
        return f"{said}{took}"
    if one.tls == "right":
        return f"certificate right, {said}{took}"
    issuer = f" ({quoted(one.issuer)})" if one.issuer else ""
    fields = {"host": quoted(seen.host), "begins": _time(one.begins), "ends": _time(one.ends)}
    wrong = ", ".join(_FAULTS[fault].format(**fields) for fault in one.faults or (one.tls,) if fault in _FAULTS)
    return f"{port} answers; certificate of {some(one.names) or 'no name'}{issuer}: {wrong}"


def _time(when: datetime | None) -> datetime:
    return (when or datetime.min.replace(tzinfo=UTC)).astimezone(UTC)
