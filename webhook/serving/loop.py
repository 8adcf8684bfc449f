"""The event loop of the webhook: uvloop, with one bug fixed."""

import socket
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    async def create_connection(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Any:
        """aiohttp passes a socket. If it is reset at the start of TLS, both libuv and Python close its descriptor. The
        second close may hit another connection with the same number: then calls fail with RuntimeError, or libuv aborts
        the process (one case is MagicStack/uvloop#645). So Python gives the descriptor up here.
        """
        try:
            return await super().create_connection(*args, sock=sock, **options)
        finally:
            if sock is not None:
                sock.detach()
