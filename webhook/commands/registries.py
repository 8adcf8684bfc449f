"""Which registries may be asked from here, and whom to trust: a webhook's configuration, read on another machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from webhook.checks.guardedhttp import GuardedHttp
from webhook.checks.registryclient import RegistryClient
from webhook.config.models import Config, Registry
from webhook.core.registry import asked_at

CLOSING_SECONDS = 0.25
"""Seconds until connections are closed: TLS says goodbye in the background, and the loop ends with the command."""
Client = TypeVar("Client", GuardedHttp, RegistryClient)


@asynccontextmanager
async def closing(client: Client) -> AsyncIterator[Client]:
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(CLOSING_SECONDS)


def from_here(config: Config, registry: str | None, ca_file: str | None) -> Config:
    """`registry`: which the administrator has named just now, so that it may have a private address. `ca_file`: the CA
    certificates to trust. Files that the configuration names are in the webhook's pods, and perhaps not here.
    """
    named = dict(config.named_registries)
    host = asked_at(registry) if registry is not None else None
    if host is not None:
        named.setdefault(host, Registry(host=host))
    return msgspec.structs.replace(config, registries=tuple(_here(one, ca_file) for one in named.values()))


def _here(one: Registry, ca_file: str | None) -> Registry:
    if one.plain:
        return one
    own = one.ca_file if one.ca_file is not None and Path(one.ca_file).is_file() else None
    return msgspec.structs.replace(one, ca_file=ca_file or own)
