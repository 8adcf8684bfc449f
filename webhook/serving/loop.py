"""The event loop of the webhook: uvloop, with one thing mended."""

import socket
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    async def create_connection(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Any:
        """aiohttp hands in a socket. When it is reset while TLS begins, both libuv and Python close its descriptor, the
        second time perhaps another connection's that got the same number: calls then fail with RuntimeError, or libuv
        aborts the process (MagicStack/uvloop#645 is one of these cases). From here on the descriptor is libuv's alone.
        """
        try:
            return await super().create_connection(*args, sock=sock, **options)
        finally:
            if sock is not None:
                sock.detach()
