"""What a probe has seen, as it leaves its pod: in the message with which its container ends.

That message stands in the pod's status. So nobody needs the right to read logs, and the API server need not reach the
kubelet. The kubelet keeps 4096 bytes of it; compressed, hosts with few certificates take 1000. A node may send
anything: what comes in is bounded, and must be about what was asked.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from webhook.commands.doctor.certificate import MAX_NAME_CHARS, MAX_NAMES
from webhook.commands.doctor.endpoint import MAX_AHEAD_SECONDS, is_host
from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, Endpoint, HostSeen, Probed, Request
from webhook.commands.doctor.probe import MAX_HOSTS, MAX_TRIED
from webhook.commands.doctor.resolving import MAX_SERVERS, is_address
from webhook.core import hostport
from webhook.core.errors import PullsecretError

MAX_BYTES = 4096
"""Of a termination message."""
_MAX_JSON_BYTES = 256 * 1024
_MAX_GIVERS = MAX_SERVERS + 4
"""Resolvers, the stub, the hosts file, the cluster's DNS, and whoever asks."""
_YEARS = range(1900, 2200)
"""Of a node's clock, however wrong: it can be put right by MAX_AHEAD_SECONDS."""
_DECODER = msgspec.json.Decoder(Probed)


class UnreadableError(PullsecretError):
    """It is not what a probe writes."""


def packed(seen: Probed) -> str:
    """In at most MAX_BYTES. What does not fit is left out: names of certificates, then addresses that were tried, and
    hosts in the end.
    """
    for one in _shorter(seen):
        text = base64.b85encode(zlib.compress(msgspec.json.encode(one), 9)).decode()
        if len(text) <= MAX_BYTES:
            return text
    raise AssertionError  # pragma: no cover  # the last one has no hosts


def _shorter(seen: Probed) -> Iterator[Probed]:
    yield seen
    for names, endpoints, hosts in ((3, 8, 8), (1, 8, 8), (1, 4, 8), (1, 2, 8), (1, 2, 2), (0, 0, 0)):
        kept = (
            msgspec.structs.replace(
                host,
                endpoints=tuple(
                    msgspec.structs.replace(one, names=one.names[:names]) for one in host.endpoints[:endpoints]
                ),
            )
            for host in seen.hosts[:hosts]
        )
        yield msgspec.structs.replace(seen, hosts=tuple(kept), cut=True)


def unpacked(text: str, request: Request) -> Probed:
    """Raises UnreadableError: it is no answer to the request."""
    try:
        opened = zlib.decompressobj()
        seen = _DECODER.decode(opened.decompress(base64.b85decode(text[:MAX_BYTES]), _MAX_JSON_BYTES))
    except (ValueError, zlib.error, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise UnreadableError("it is not what a probe writes") from None
    if not opened.eof or not _answers(seen, request):
        raise UnreadableError("it is no answer to what was asked")
    return seen


def _answers(seen: Probed, request: Request) -> bool:
    """Also realms, which nobody has asked about, are hosts."""
    hosts = [(one.host, one.port) for one in seen.hosts]
    asked = {(one.host, one.port): one.role for one in request.targets}
    return (
        len(hosts) <= MAX_HOSTS
        and len(set(hosts)) == len(hosts)
        and _is_time(seen.at)
        and seen.at.year in _YEARS
        and all(_is_host_seen(one) for one in seen.hosts)
        and all(asked.get((one.host, one.port), "realm") == one.role for one in seen.hosts)
    )


def _is_host_seen(one: HostSeen) -> bool:
    return (
        is_host(one.host)
        and 0 < one.port < 65536
        and len(one.answers) <= _MAX_GIVERS
        and all(_is_answer(answer) for answer in (*one.answers, *([one.cluster_dns] if one.cluster_dns else [])))
        and len(one.endpoints) <= MAX_TRIED
        and all(_is_endpoint(endpoint) for endpoint in one.endpoints)
    )


def _is_answer(one: Answer) -> bool:
    return _is_giver(one.server) and _are_addresses(one.addresses)


def _is_giver(text: str) -> bool:
    if text in (HERE, HOSTS_FILE):
        return True
    address, port = hostport.split(text)
    return bool(port) and is_address(address)


def _are_addresses(texts: tuple[str, ...]) -> bool:
    return len(texts) <= MAX_TRIED and all(map(is_address, texts))


def _is_endpoint(one: Endpoint) -> bool:
    return (
        _are_addresses((one.address,))
        and len(one.given_by) <= _MAX_GIVERS
        and all(map(_is_giver, one.given_by))
        and len(one.faults) <= MAX_NAMES
        and len(one.names) <= MAX_NAMES
        and all(_is_text(text) for text in (*one.names, one.issuer))
        and all(time is None or _is_time(time) for time in (one.begins, one.ends))
        and 0 <= one.status < 600
        and (one.ahead_seconds is None or _is_number(one.ahead_seconds))
        and _is_number(one.milliseconds)
    )


def _is_text(text: str) -> bool:
    """As a probe writes it: `...` stands for what is cut off."""
    return len(text) <= MAX_NAME_CHARS + 3 and text.isprintable()


def _is_time(time: datetime) -> bool:
    """As a probe writes it: the first and the last hours of the calendar are not there in other time zones."""
    return time.utcoffset() == timedelta(0)


def _is_number(number: float) -> bool:
    return abs(number) < MAX_AHEAD_SECONDS
