"""The process of `pullsecret registry-auth serve`: it needs no cluster, but the keys and a port."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import structlog

from certs.errors import Unusable
from certs.files import Files
from certs.serving import Serving
from webhook.config.issuers.registry import TokenService
from webhook.core.errors import PullsecretError
from webhook.registryauth.endpoint import token_app
from webhook.registryauth.tokens import Tokens
from webhook.serving.server import LINGER_SECONDS, listen, server
from webhook.tasks import for_ever

log = structlog.get_logger()
MAX_CLIENTS = 1024
"""Connections: all nodes may come at once, and there is none that must not be closed for the sake of another one. One
costs 0.1 MiB.
"""
LOOK_SECONDS = 5.0
"""Between two looks at the files, so that the log says what is wrong with them before somebody needs them."""


async def serve(
    services: Mapping[str, TokenService], address: str, port: int, certificate: tuple[Path, Path] | None
) -> None:
    """Until SIGTERM or SIGINT. `services`: by the registry. `certificate`: its file, and that of its key; None: HTTP,
    for behind what speaks TLS. Raises PullsecretError for what an administrator must fix.
    """
    registries = [Tokens(registry, one, services.values()) for registry, one in services.items()]
    _check(registries)
    watched = Watched(registries)
    serving = Serving()
    files = _files(certificate, serving)
    if files is not None:
        try:
            await files.start()
        except Unusable as e:
            raise PullsecretError(str(e)) from None
    with listen(address, port) as bound:
        stop: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.put_nowait, number)
        draining = asyncio.Event()

        def missing() -> str:
            return "draining" if draining.is_set() else watched.look()

        context = serving.listening if files is not None else None
        web = server(token_app(registries, missing), context=context, most=MAX_CLIENTS)
        async with asyncio.TaskGroup() as group:
            group.create_task(web.serve([bound]))
            background = [group.create_task(for_ever("files", watched.run))]
            if files is not None:
                background.append(group.create_task(for_ever("certificate", files.run)))
            log.info(
                "listening",
                version=metadata.version("pullsecret-webhook"),
                registries=[one.registry for one in registries],
                address=address,
                port=port,
            )
            if await stop.get() == signal.SIGTERM:  # Ctrl-C is a person who does not want to wait
                draining.set()
                await asyncio.sleep(LINGER_SECONDS)  # endpoints lag
            for task in background:
                task.cancel()
            web.should_exit = True
    log.info("stopped")


def _files(certificate: tuple[Path, Path] | None, serving: Serving) -> Files | None:
    if certificate is None:
        return None
    return Files(
        *certificate,
        serving,
        now=lambda: datetime.now(UTC),
        report=lambda text: log.info(text, about="certificate"),
    )


def _check(registries: Sequence[Tokens]) -> None:
    """Raises PullsecretError if nobody could get a token."""
    found = [one.condition() for one in registries]
    if not any(one.works for one in found):
        raise PullsecretError("; ".join(dict.fromkeys(fault.why for one in found for fault in one.faults)))


class Watched:
    """The files of these registries. All replicas have the same ones, so one that cannot be used must not stop what
    does without it: it is logged when that begins, and when it is over.
    """

    def __init__(self, registries: Sequence[Tokens]) -> None:
        self._registries = registries
        self._known: Mapping[tuple[str, str], str] = {}
        """Why, by registry and what does not work."""

    def look(self) -> str:
        """Why nobody gets a token; empty: somebody does."""
        found = {one.registry: one.condition() for one in self._registries}
        faults = {(registry, fault.so): fault.why for registry, one in found.items() for fault in one.faults}
        for (registry, so), why in faults.items():
            if self._known.get((registry, so)) != why:
                log.error("a file cannot be used; mend it, and it is read again", registry=registry, about=why, so=so)
        for registry, so in self._known.keys() - faults.keys():
            log.info("a file can be used again", registry=registry, over=so)
        self._known = faults
        return "" if any(one.works for one in found.values()) else "a file cannot be used; see the log"

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)
