"""Asks one registry about one image as a container runtime does, from this machine.

At most four requests, each once: the manifest without a credential, a token, the manifest, a blob. The credential goes
to the registry, and to the token service that it names, as guardedhttp.py allows; where they redirect to gets none.
Docker Hub counts the third request as a pull.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import msgspec
from yarl import URL

from webhook import noanswer
from webhook.checks.guardedhttp import (
    MAX_ANSWER_BYTES,
    GuardedHttp,
    Response,
    Unanswered,
    basic,
    host_of,
    parsed,
    token_url,
)
from webhook.commands.doctor.evidence import Role, Target
from webhook.commands.doctor.meaning import (
    What,
    limits,
    media_type,
    of_blob,
    of_content,
    of_error,
    of_manifest,
    of_token,
)
from webhook.core.answer import hiding, words
from webhook.core.challenge import Challenge, challenge
from webhook.core.check import WORDS, Why
from webhook.core.credential import Credential
from webhook.core.faults import Fault
from webhook.core.imagename import ImageName, image_name, is_digest
from webhook.core.manifest import ACCEPT, MAX_BYTES, Manifest, manifest
from webhook.core.registry import asked_at, matching
from webhook.core.tokenkind import hint, told

MAX_REQUESTS = 4
_BAD_NAME = "this is no valid name of an image"
_OF_CREDENTIAL = frozenset({Fault.TOKEN_REFUSED, Fault.CREDENTIAL_REFUSED, Fault.TOKEN_NO_ACCESS})
_READING = re.compile(
    r"[a-z]+(?:\([a-z]+\))?:[\w.:/~-]{1,300}:(?:pull|metadata_read)(?:,(?:pull|metadata_read))*", re.ASCII
)
"""Scopes with which nothing can be changed."""
_MAX_SCOPES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """A request. `status`: 0 without an answer. `words`: of who answered, safe to print; or why nobody did."""

    what: What
    host: str
    status: int = 0
    words: str = ""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """`registry`: the host that was asked first. `fault`: what is wrong. `works`: there is a manifest, and nothing is
    wrong. With neither it is not known, and `not_asked` says why; it may also say what was left out. `platforms`: what
    a list has; empty for a single image. `realm`: the token service; `blobs`: where blobs come from. `hint`: what else
    is known about the credential.
    """

    registry: str
    steps: tuple[Step, ...] = ()
    fault: Fault | None = None
    works: bool = False
    not_asked: str = ""
    platforms: tuple[str, ...] = ()
    realm: Target | None = None
    blobs: Target | None = None
    hint: str = ""


async def ask(
    http: GuardedHttp, image: str, credential: Credential | None, platform: str = "", blob: str = ""
) -> Asked:
    """`credential`: None: there is none, and an anonymous token is asked for. `platform`: of the node, such as
    linux/amd64; empty: it is not known. `blob`: the digest that the kubelet could not fetch.
    """
    name = image_name(image)
    host = asked_at(name.host) if name is not None else None
    if name is None or host is None:
        return Asked("", fault=Fault.IMAGE_NAME_INVALID, not_asked=_BAD_NAME)
    if credential is not None and not matching((credential.registry,), image):
        return Asked(host, not_asked="the credential is for another registry, or for another path there")
    asking = _Asking(http, name, host, credential)
    with suppress(_Stopped):
        await asking.run(platform, blob if is_digest(blob) else "")
    return asking.asked


class _Stopped(Exception):
    """There is nothing more to ask."""


class _Asking:
    def __init__(self, http: GuardedHttp, name: ImageName, host: str, credential: Credential | None) -> None:
        self._http, self._name, self._host, self._credential = http, name, host, credential
        self._login: dict[str, str] = {}
        self._trail: tuple[URL, ...] = ()
        """Who has redirected us."""
        self._steps: list[Step] = []
        self._hints: list[str] = []
        self._platforms: tuple[str, ...] = ()
        self._works, self._not_asked = False, ""
        self._withheld = False
        """The credential, because of a redirect: what is said without it tells nothing about it."""
        self._realm: Target | None = None
        self._blobs: Target | None = None
        self._secrets: list[str] = []
        if credential is not None:
            self._secrets += [credential.password, basic(credential)["Authorization"].removeprefix("Basic ")]

    @property
    def asked(self) -> Asked:
        """Without what others say of the secrets that they were sent: also in the names of hosts."""
        hide = hiding(self._secrets)

        def place(one: Target | None) -> Target | None:
            return None if one is None else msgspec.structs.replace(one, host=hide(one.host))

        fault = next((one.fault for one in self._steps if one.fault is not None), None)
        return Asked(
            self._host,
            tuple(replace(one, host=hide(one.host), words=hide(one.words)) for one in self._steps),
            fault,
            self._works and fault is None,
            self._not_asked,
            tuple(map(hide, self._platforms)),
            place(self._realm),
            place(self._blobs),
            hide("; ".join(dict.fromkeys(self._hints))),
        )

    async def run(self, platform: str, blob: str) -> None:
        """Raises _Stopped."""
        try:
            url = self._http.url(self._host, f"/v2/{self._name.path}/manifests/{self._name.version}")
        except Unanswered:  # a port that is none, for one
            self._not_asked = _BAD_NAME
            self._stop(Step("challenge", self._host, words=_BAD_NAME, fault=Fault.IMAGE_NAME_INVALID))
        url = await self._how_to_ask(url)
        found = await self._manifest(url, self._name.digest)
        if found.entries is not None:
            self._platforms = found.platforms
            digest = found.for_platform(platform) if platform else ""
            if digest is None:
                self._stop(replace(self._steps.pop(), fault=Fault.PLATFORM_MISSING))
            if not blob:
                found = await self._one_of(url, digest)
        await self._content(url, blob or found.config)

    async def _how_to_ask(self, url: URL) -> URL:
        """Where the manifest is: a redirect may say so."""
        found = await self._request("challenge", url, method="HEAD")
        if _redirects(found):
            self._steps.append(_step("challenge", url, found))
            url = self._led_to(url, found)
            found = await self._request("challenge", url, method="HEAD")
        known = challenge(found.challenges) if found.status == 401 else None
        if known is None:
            self._judged(_step("challenge", url, found, of_manifest(found, {}, anonymous=True)), found)
        elif known.scheme == "bearer":
            self._steps.append(_step("challenge", url, found))
            await self._token(url, known)
        else:
            none = Fault.CREDENTIAL_NONE if self._credential is None else None
            self._judged(_step("challenge", url, found, none), found)
            self._login = self._basic
        return url

    async def _token(self, url: URL, known: Challenge) -> None:
        try:
            service = token_url(url, known, _scopes(known, self._name))
        except Unanswered as e:
            plain = e.why == Why.PLAIN_TOKENS
            self._not_asked = WORDS[e.why] if plain else "the registry names no token service that can be asked"
            self._stop(Step("token", host_of(url), words=self._not_asked, fault=None if plain else Fault.TOKEN_FAILS))
        self._realm = _target(service, "realm")
        found = await self._request("token", service, login=self._basic, named_by=url)
        self._secrets.append(found.token)
        self._hints += told(found.headers) if self._credential is not None else []
        fault = of_token(found, anonymous=self._credential is None)
        self._judged(_step("token", service, found, fault), found)
        self._login = {"Authorization": f"Bearer {found.token}"}

    async def _manifest(self, url: URL, digest: str) -> Manifest:
        login = self._login
        found = await self._request("manifest", url, login=login, most=MAX_BYTES)
        if _redirects(found):
            self._steps.append(_step("manifest", url, found))
            url, login = self._led_to(url, found, keeps_login=True), {}
            found = await self._request("manifest", url, most=MAX_BYTES)
        fault = of_manifest(found, login, anonymous=self._credential is None)
        if fault is Fault.IMAGE_NOT_FOUND and self._works:  # a list names it
            fault = Fault.CONTENT_GONE
        if fault is not None or _redirects(found):
            self._judged(_step("manifest", url, found, fault), found)
        self._works = True
        if not found.whole or found.headers.get("Content-Encoding", "identity") != "identity":
            self._not_asked = "what is in the manifest: it is compressed, or larger than 4 MiB"
            self._stop(_step("manifest", url, found))
        read = manifest(found.body, media_type(found))
        fault = of_content(found, read, digest)
        self._judged(_step("manifest", url, found, fault), found)
        assert read is not None  # or else there is a fault
        return read

    async def _one_of(self, url: URL, digest: str) -> Manifest:
        """`digest`: of what a list has for the node. It is asked for only if a blob can be, too."""
        if not digest or len(self._steps) + 2 > MAX_REQUESTS:
            self._not_asked = "where its content comes from: it is a list of platforms"
            raise _Stopped
        return await self._manifest(url.with_path(url.path.rpartition("/")[0] + f"/{digest}"), digest)

    async def _content(self, url: URL, digest: str) -> None:
        before, path, _ = url.path.rpartition("/manifests/")
        if not path or not digest:
            self._not_asked = self._not_asked or "where its content comes from"
            raise _Stopped
        url = url.with_path(f"{before}/blobs/{digest}")
        found = await self._request("blob", url, login=self._login, method="HEAD")
        if _redirects(found):
            with suppress(ValueError):
                self._blobs = _target(_location(url, found), "blobs")
        elif found.status < 300:
            self._blobs = _target(url, "blobs")
        self._steps.append(_step("blob", url, found, of_blob(found)))

    @property
    def _basic(self) -> dict[str, str]:
        return basic(self._credential) if self._credential is not None else {}

    def _led_to(self, url: URL, found: Response, *, keeps_login: bool = False) -> URL:
        """Where a redirect leads, to which no credential goes. `keeps_login`: it stays for the registry itself. Raises
        _Stopped.
        """
        self._trail = (*self._trail, url)
        if self._credential is not None and not keeps_login:
            self._credential, self._withheld = None, True
            self._not_asked = "with the credential: the registry redirects, and credentials are not sent elsewhere"
        with suppress(ValueError):
            to = _location(url, found)
            if to.raw_user is None and to.raw_password is None and to.scheme in ("https", url.scheme):
                return to
        self._not_asked = "the registry redirects to no address that can be asked"
        raise _Stopped

    async def _request(
        self,
        what: What,
        url: URL,
        *,
        login: Mapping[str, str] | None = None,
        method: Literal["GET", "HEAD"] = "GET",
        named_by: URL | None = None,
        most: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """The caller adds the step. Raises _Stopped."""
        if len(self._steps) >= MAX_REQUESTS:
            self._not_asked = f"more than {MAX_REQUESTS} requests"
            raise _Stopped
        accept = {} if what == "token" else {"Accept": ACCEPT}
        trail = self._trail if named_by is None else (*self._trail, named_by)
        try:
            return await self._http.request(url, {**accept, **(login or {})}, method=method, named_by=trail, most=most)
        except Unanswered as e:
            fault = of_error(e, what)
            said = noanswer.words(e.error) if e.error is not None and fault is not None else WORDS[e.why]
            if e.why == Why.PRIVATE_TOKENS and what != "token":
                said = "it redirects to a private address; name both hosts in the configuration's registries"
            if fault is None or e.why == Why.CERTIFICATE:
                self._not_asked = said
            self._stop(Step(what, host_of(url), words=said, fault=fault))

    def _judged(self, step: Step, found: Response) -> None:
        """Raises _Stopped unless what comes next can be asked."""
        if self._withheld and step.fault in (Fault.CREDENTIAL_NONE, Fault.TOKEN_ANONYMOUS):
            self._stop(replace(step, fault=None))
        self._hints += limits(found) if found.status == 429 else []
        if step.fault in _OF_CREDENTIAL and self._credential is not None:
            self._hints += filter(None, [hint(self._credential.registry, self._credential.password)])
        if _redirects(found):
            self._not_asked = self._not_asked or "where it redirects to"
        if step.fault is not None or _redirects(found):
            self._stop(step)
        self._steps.append(step)

    def _stop(self, step: Step) -> NoReturn:
        self._steps.append(step)
        raise _Stopped


def _redirects(found: Response) -> bool:
    return 300 <= found.status < 400


def _scopes(known: Challenge, name: ImageName) -> list[str]:
    """Those that the registry names and that only read, and the one that container runtimes add."""
    named = [one for one in known.scope.split() if _READING.fullmatch(one)][:_MAX_SCOPES]
    return [*dict.fromkeys([*named, f"repository:{name.path}:pull"])]


def _location(url: URL, found: Response) -> URL:
    """Raises ValueError."""
    said = found.headers.get("Location", "")
    to = parsed(str(url.join(URL(said)))) if said else None
    if to is None or to.scheme not in ("https", "http"):
        raise ValueError("no address")
    return to


def _target(url: URL, role: Role) -> Target:
    return Target(url.raw_host or "", url.port or 443, url.scheme == "http", role)


def _step(what: What, url: URL, found: Response, fault: Fault | None = None) -> Step:
    said = words(found.body, media_type(found)) if found.status >= 400 or fault is not None else ""
    return Step(what, host_of(url), found.status, said, fault)
