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


async def serve(
    services: Mapping[str, TokenService], address: str, port: int, certificate: tuple[Path, Path] | None
) -> None:
    """Until SIGTERM or SIGINT. `services`: by the registry. `certificate`: its file, and that of its key; None: HTTP,
    for behind what speaks TLS. Raises PullsecretError for what an administrator must fix.
    """
    registries = [Tokens(registry, one) for registry, one in services.items()]
    for one in registries:
        one.check()
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
            return "draining" if draining.is_set() else _missing(registries)

        context = serving.listening if files is not None else None
        web = server(token_app(registries, missing), context=context, most=MAX_CLIENTS)
        async with asyncio.TaskGroup() as group:
            group.create_task(web.serve([bound]))
            renewing = group.create_task(for_ever("certificate", files.run)) if files is not None else None
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
            if renewing is not None:
                renewing.cancel()
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


def _missing(registries: Sequence[Tokens]) -> str:
    for one in registries:
        try:
            one.check()
        except PullsecretError as e:
            log.error("no token can be given out", about=str(e))  # noqa: TRY400  # what an administrator must mend
            return "a file cannot be read; see the log"
    return ""
