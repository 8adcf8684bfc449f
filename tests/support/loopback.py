"""Registries on loopback, with certificates of an authority of their own, and names whose addresses a test chooses."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import ResolveResult

from support.registryserver import Act, Say, Server, serving
from webhook.checks import addresses, guardedhttp
from webhook.checks.addresses import is_public
from webhook.config.models import Config, Registry


class Loopback:
    """Servers, a client that may ask them, and what it said. `trusted`: the CA of the servers."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.folder = trustme.CA(), folder
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    def tls(self, *names: str, authority: trustme.CA | None = None, **validity: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        leaf = (authority or self.authority).issue_cert(*(names or ("localhost", "127.0.0.1", "::1")), **validity)
        leaf.configure_cert(context)
        return context

    def serving(self, act: Act | Say, **options: Any) -> Any:
        return serving(act, self.tls(), **options)

    def named(self, *servers: Server | str, plain: bool = False) -> Config:
        hosts = [one if isinstance(one, str) else one.host for one in servers]
        return Config(registries=tuple(Registry(one, None if plain else self.ca_file, plain) for one in hosts))


@contextmanager
def silent_port() -> Iterator[str]:
    """Host and port at which nobody answers, as behind a firewall that drops what is sent: its queue is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (stack.enter_context(socket.socket()) for _ in range(4)):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"127.0.0.1:{full.getsockname()[1]}"


def names(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """Names and their addresses, of which 127.0.0.1 passes for a public one; the system trusts the servers' CA."""
    known: dict[str, tuple[str, ...]] = {}

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        if host not in known:
            raise OSError("no such name")
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in known[host]
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    monkeypatch.setattr(guardedhttp, "_context", lambda _file, **_: ssl.create_default_context(cafile=here.ca_file))
    return known
