"""A DNS server for tests: `python -m support.nameserver ADDRESS PORT NAME=IP[,IP]...`, or in a test's own loop."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Say = Callable[[dns.message.Message], bytes | None]
"""What is answered to a question; None: nothing."""


def table(names: Mapping[str, Sequence[str]]) -> Say:
    """Answers with these addresses, and that there are no other names."""

    def say(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        question = query.question[0]
        addresses = names.get(question.name.to_text(omit_final_dot=True))
        if addresses is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        kind = question.rdtype.name
        if found := [one for one in addresses or () if (":" in one) == (kind == "AAAA")]:
            reply.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, found))
        return reply.to_wire()

    return say


def refusing(rcode: dns.rcode.Rcode) -> Say:
    def say(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        reply.set_rcode(rcode)
        return reply.to_wire()

    return say


def too_long(inner: Say) -> Say:
    """By UDP only that the answer is too long for it."""

    def say(query: dns.message.Message) -> bytes:
        reply = dns.message.from_wire(inner(query) or b"")
        reply.answer.clear()
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    return say


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, say: Say) -> None:
        self._say = say

    def connection_made(self, transport: Any) -> None:  # asyncio's own is no DatagramTransport before 3.12
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if (answer := self._say(dns.message.from_wire(data))) is not None:
            self._transport.sendto(answer, address)


@asynccontextmanager
async def serving(say: Say, address: str, port: int, *, by_tcp: Say | None = None) -> AsyncIterator[None]:
    """`by_tcp`: what is said there, if something else."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = (by_tcp or say)(dns.message.from_wire(await reader.readexactly(size)))
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(say), local_addr=(address, port))
    try:
        async with await asyncio.start_server(connected, address, port):
            yield
    finally:
        transport.close()


async def _main(address: str, port: str, *names: str) -> None:
    found = {name: addresses.split(",") for name, _, addresses in (one.partition("=") for one in names)}
    async with serving(table(found), address, int(port)):
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
