import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import pytest
from cryptography import x509

from certs.pair import Pair
from certs.serving import Serving
from support import certworld

Connect = Callable[..., Awaitable[x509.Certificate]]


@pytest.fixture(scope="session")
def verifies() -> Callable[[Pair, bytes, str, datetime], bool]:
    return certworld.verifies


@asynccontextmanager
async def _listening(serving: Serving) -> AsyncIterator[Connect]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        writer.close()

    async def connect(bundle: bytes, host: str, version: ssl.TLSVersion | None = None) -> x509.Certificate:
        # As strict as OpenSSL can be: Python's default from 3.13 on.
        client = ssl.create_default_context(cadata=bundle.decode())
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        if version is not None:
            client.minimum_version = client.maximum_version = version
        reader, writer = await asyncio.open_connection(*address, ssl=client, server_hostname=host)
        try:
            writer.write(b"x")
            assert await reader.read() == b"x"
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
            await writer.wait_closed()
        return x509.load_der_x509_certificate(shown)

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving.listening) as server:
        address = server.sockets[0].getsockname()[:2]
        yield connect


@pytest.fixture(scope="session")
def listening() -> Callable[[Serving], AbstractAsyncContextManager[Connect]]:
    """A real server. `connect(bundle, host, version)` is a real client: the certificate that it was shown."""
    return _listening
