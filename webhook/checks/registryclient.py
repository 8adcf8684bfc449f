"""Asks one registry about one credential, as a container runtime does, but without an image: `/v2/` without the
credential says how to ask, then its token service is asked for a token without a scope, or `/v2/` with the password.

A user names registries, so requests are guarded (guardedhttp.py). Only the registry, and the token service that it
names over verified TLS, get the credential.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog
from yarl import URL

from webhook.checks.guardedhttp import GuardedHttp, Response, Unanswered, basic, host_of, token_url
from webhook.config.models import Config
from webhook.core.challenge import Challenge, challenge
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.registry import asked_at
from webhook.core.times import retry_after
from webhook.core.tokenkind import told

log = structlog.get_logger()
CHALLENGE_SECONDS = 600.0
"""Seconds for which the way to ask a registry is remembered."""
CHALLENGES = 256
"""Registries whose way to ask is remembered."""
_API = "Docker-Distribution-Api-Version"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What the registry said. `retry_after`: seconds that it asked us to wait. `hint`: what else is known, for people;
    empty if nothing. `of_all`: it was said before a credential was sent, so it is true of all for this registry.
    """

    why: Why
    retry_after: float = 0.0
    hint: str = ""
    of_all: bool = False


class RegistryClient:
    """`now`: the wall clock, for a Retry-After that is a date. `ca_file`: the CA certificates to trust, but for
    registries that the configuration names; None: those of the system.
    """

    def __init__(self, config: Config, now: Callable[[], datetime], ca_file: str | None = None) -> None:
        self._http, self._now = GuardedHttp(config, ca_file), now
        self._challenges: OrderedDict[str, tuple[float, Challenge]] = OrderedDict()

    async def ask(self, c: Credential) -> Said:
        """At most two requests, of which one has the credential."""
        host = asked_at(c.registry)
        if host is None:
            return Said(Why.PATTERN)
        try:
            url = self._http.url(host)
            try:
                known = await self._challenge(url)
            except Unanswered as e:
                return Said(e.why, e.retry_after, of_all=True)
            if known.scheme == "basic":
                return await self._get(url, basic(c), _taken)
            return await self._get(token_url(url, known), basic(c), _has_token, named_by=(url,))
        except Unanswered as e:
            return Said(e.why, e.retry_after)
        except Exception as e:  # noqa: BLE001  # a user chooses who answers, who must find no way to end the process
            return Said(_unhandled(e))

    async def answers(self, host: str) -> Why:
        """Why.NONE: there is a registry, whether it wants a credential or not."""
        try:
            await self._get(self._http.url(asked_at(host) or host), {}, _challenge_of)
        except Unanswered as e:
            return Why.NONE if e.why is Why.NO_CHALLENGE else e.why
        except Exception as e:  # noqa: BLE001  # or who stands at the address of one mirror would end the probes of all
            return _unhandled(e)
        return Why.NONE

    async def close(self) -> None:
        await self._http.close()

    async def _challenge(self, url: URL) -> Challenge:
        clock, host = asyncio.get_running_loop().time, host_of(url)
        until, known = self._challenges.get(host, (0.0, None))
        if known is None or clock() >= until:
            known = await self._get(url, {}, _challenge_of)
            self._challenges[host] = clock() + CHALLENGE_SECONDS, known
            self._challenges.move_to_end(host)
            if len(self._challenges) > CHALLENGES:
                self._challenges.popitem(last=False)
        return known

    async def _get(
        self, url: URL, login: dict[str, str], read: Callable[[Response], T], named_by: Sequence[URL] = ()
    ) -> T:
        """Raises Unanswered."""
        response = await self._http.request(url, login, named_by=named_by)
        if response.status == 429 or response.status >= 500:
            why = Why.BUSY if response.status == 429 else Why.BROKEN
            raise Unanswered(why, retry_after(response.headers.get("Retry-After", ""), self._now()))
        if 300 <= response.status < 400:
            raise Unanswered(Why.REDIRECT)
        return read(response)


def _unhandled(e: Exception) -> Why:
    log.error("a registry's name or answer is not handled", kind=type(e).__name__)  # not its text: no secrets
    return Why.NO_REGISTRY


def _challenge_of(response: Response) -> Challenge:
    if response.status == 200 and (_API in response.headers or response.fields is not None):
        raise Unanswered(Why.NO_CHALLENGE)
    found = challenge(response.challenges) if response.status == 401 else None
    if found is None:
        raise Unanswered(Why.NO_REGISTRY)
    return found


def _taken(response: Response) -> Said:
    return _said(response, works=response.status == 200)


def _has_token(response: Response) -> Said:
    return _said(response, works=response.status == 200 and bool(response.token))


def _said(response: Response, *, works: bool) -> Said:
    return Said(Why.NONE if works else response.refusal, hint="; ".join(told(response.headers)))
