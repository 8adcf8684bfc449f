"""Which addresses may be asked: a user names registries, and must not make the webhook call services of the platform or
of a cloud, which have private addresses.
"""

import asyncio
import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUPS = 2
"""Names that are resolved at the same time. The event loop has four threads for that; sources need some too."""
_NAT64, _GLOBAL = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2000::/3")
"""Outside of _GLOBAL no IPv6 address is given to anybody; `is_global` knows only some of what is reserved."""


class PrivateError(OSError):
    """All addresses of a name are private."""


def is_public(address: str) -> bool:
    """Also of addresses that only wrap another one (NAT64, 6to4, IPv4 in IPv6), the inner one counts."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        packed = ip.packed
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(packed[12:])
        elif ip.sixtofour is not None:
            ip = ip.sixtofour
        elif ip not in _GLOBAL:
            return False
    return ip.is_global and not ip.is_multicast


class Resolver(AbstractResolver):
    """`lookups`: shared by all that resolve. `seconds`: how long one waits for its turn. `public`: leaves out addresses
    that are not public.
    """

    def __init__(self, lookups: asyncio.Semaphore, seconds: float, *, public: bool) -> None:
        self._inner, self._lookups = aiohttp.ThreadedResolver(), lookups
        self._seconds, self._public = seconds, public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._seconds):  # nobody waits for the answer any longer, and aiohttp goes on
            await self._lookups.acquire()
        try:
            found = await self._inner.resolve(host, port, family)
        finally:
            self._lookups.release()
        usable = [one for one in found if not self._public or is_public(one["host"])]
        if not usable:
            raise PrivateError
        return usable

    async def close(self) -> None:
        await self._inner.close()


def is_private(host: str) -> bool:
    """Of an address, about which no resolver is asked. Raises ValueError: it only looks like one, such as 127.1."""
    return (":" in host or host.replace(".", "").isdigit()) and not is_public(host)
