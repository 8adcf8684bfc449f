"""Names to addresses, as a node finds them: its hosts file, and each of its resolvers by itself.

Each name is asked as it stands. Container runtimes do that first with names that have a dot; they go through the
`search` list of resolv.conf only if it fails, which is not done here.
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from webhook.commands.doctor.evidence import HERE, Answer, Resolved
from webhook.core.hostport import joined

TRY_SECONDS = (1.5, 2.0)
"""How long a resolver is waited for, the first and the second time: a datagram may get lost."""
MAX_SERVERS = 3
"""glibc and the kubelet read no more of a resolv.conf."""
MAX_ADDRESSES = 8
"""Of one answer."""
_PAYLOAD = 1232
"""Bytes of a datagram, as Go and current resolvers have it."""
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:%[\w.-]{1,15})?", re.ASCII)
_WORST: tuple[Resolved, ...] = ("silent", "nothing listens", "fails", "refused", "no such name")


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """As glibc and Go read it: without any, this machine is asked."""
    found = list[str]()
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and is_address(words[1]):
            found.append(words[1])
    return tuple(dict.fromkeys(found[:MAX_SERVERS])) or ("127.0.0.1",)


def in_hosts(hosts: str, host: str) -> tuple[str, ...]:
    """The addresses that a hosts file has for a host."""
    wanted, found = host.lower(), list[str]()
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if is_address(address) and any(name.lower().removesuffix(".") == wanted for name in names):
            found.append(address)
    return _few(found)


def is_address(text: str) -> bool:
    """Behind `%` of an IPv6 address may be the name of a network interface."""
    if _ADDRESS.fullmatch(text) is None:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def asked(server: str, host: str, port: int) -> Answer:
    """What one resolver says."""
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    results = await asyncio.gather(*(_asked(server, host, kind, port) for kind in kinds))
    addresses = _few(address for _, found in results for address in found)
    where = joined(server, port)
    if addresses:
        return Answer(where, "addresses", addresses)
    return Answer(where, min((result for result, _ in results), key=_WORST.index))


async def _asked(server: str, host: str, kind: dns.rdatatype.RdataType, port: int) -> tuple[Resolved, list[str]]:
    query = dns.message.make_query(f"{host}.", kind, use_edns=0, payload=_PAYLOAD)
    try:
        answer = await _exchanged(query, server, port)
    except ConnectionRefusedError:
        return "nothing listens", []
    except (dns.exception.Timeout, TimeoutError):
        return "silent", []
    except OSError:  # no way there
        return "silent", []
    except (dns.exception.DNSException, EOFError, ValueError):
        return "fails", []
    rcode = answer.rcode()
    if rcode == dns.rcode.REFUSED:
        return "refused", []
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return "fails", []
    found = [str(each.address) for one in answer.answer if one.rdtype == kind for each in one]
    return ("addresses" if found else "no such name"), found


async def _exchanged(query: dns.message.Message, server: str, port: int) -> dns.message.Message:
    """By UDP, and by TCP if the answer is too long for that."""
    backend, family = dns.asyncbackend.get_backend("asyncio"), socket.AF_INET6 if ":" in server else socket.AF_INET
    for last, seconds in enumerate(TRY_SECONDS, 1 - len(TRY_SECONDS)):
        # Connected: otherwise nobody hears that nothing listens there.
        sock = await backend.make_socket(family, socket.SOCK_DGRAM, 0, None, (server, port))  # type: ignore[no-untyped-call]
        try:
            async with sock:
                return await dns.asyncquery.udp(
                    query, server, seconds, port, sock=sock, raise_on_truncation=True, ignore_errors=True
                )
        except dns.message.Truncated:
            return await dns.asyncquery.tcp(query, server, seconds, port)
        except dns.exception.Timeout:
            if not last:
                raise
    raise AssertionError  # pragma: no cover  # the last try returns or raises


async def by_the_system(host: str, port: int) -> Answer:
    """What this machine's own resolver says, whatever that is."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()

    def look() -> None:
        answer = _system(host, port)

        def tell() -> None:
            if not done.done():
                done.set_result(answer)

        with suppress(RuntimeError):  # nobody waits any longer
            loop.call_soon_threadsafe(tell)

    # Not a thread of the loop: that waits for it in the end, and a resolver that is silent takes half a minute.
    threading.Thread(target=look, daemon=True).start()
    try:
        async with asyncio.timeout(sum(TRY_SECONDS)):
            return await done
    except TimeoutError:
        return Answer(HERE, "silent")


def _system(host: str, port: int) -> Answer:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as e:
        nothing = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
        return Answer(HERE, "no such name" if e.errno in nothing else "fails")
    except (OSError, UnicodeError):
        return Answer(HERE, "fails")
    return Answer(HERE, "addresses", _few(str(one[4][0]) for one in found))


def _few(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]
