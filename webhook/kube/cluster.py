"""The Kubernetes API as bytes and Structs. The only module that imports `kubernetes`.

It uses the client's credentials, TLS and connections, but neither its generated API classes, which import thousands of
models (+26 MiB of memory) and make a call cost two to three times the CPU, nor its ApiClient, which imports pydantic
(+11 MiB).
"""

import importlib.util
import json
import os
import re
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
import yaml

from webhook import noanswer
from webhook.core.errors import PullsecretError
from webhook.core.wire import Bytes, Unreadable, cut, decode_at_once
from webhook.fairness import in_steps


def _bare(package: str) -> ModuleType:
    """Registers a package without running its `__init__`, so that an import of a module in it imports only that module.

    `kubernetes` and `kubernetes.aio` import everything they have: a second, synchronous client with requests and OAuth,
    websockets, informers. Without these the start takes a fifth less CPU, and the process 9 MiB less memory.
    """
    spec = importlib.util.find_spec(package)
    if package not in sys.modules and spec is not None:
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return sys.modules[package]


for _package in ("kubernetes", "kubernetes.aio", "kubernetes.aio.utils"):
    _bare(_package)
_client = _bare("kubernetes.aio.client")
from kubernetes.aio.client import rest as _rest  # noqa: E402  # see _bare
from kubernetes.aio.client.configuration import Configuration  # noqa: E402
from kubernetes.aio.client.rest import RESTClientObject  # noqa: E402


class _Json:
    """In the place of the client's `json`: lets bytes through, which are JSON already. msgspec makes them in a fifth of
    the time, which is 2 ms for a megabyte.
    """

    @staticmethod
    def dumps(body: Any) -> str | bytes:
        return body if isinstance(body, bytes) else json.dumps(body)


vars(_rest).update(json=_Json)

# `config` imports both names from there. It makes an ApiClient only in functions that nobody calls here.
vars(_client).update(Configuration=Configuration, ApiClient=None)
from kubernetes.aio import config  # noqa: E402

BROKEN = Exception
"""What a call may raise. Each exception of a library means the same: no answer. Only its type is shown."""
CALL_SECONDS = 10.0
"""Seconds for a call, so that writes also work with a slow API server. A review waits for less."""
CONNECT_SECONDS = 5.0
"""Seconds to connect to one address, including the TLS handshake."""

MAX_ANSWER_BYTES, MAX_REFUSAL_BYTES = 32 * 1024 * 1024, 64 * 1024
"""Bytes of an answer, and of an error. An object has at most about 1.5 MiB: the limit of etcd."""

METADATA_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
"""Accept header for metadata only; `{}` is `List` for lists."""
APPLY_PATCH = "application/apply-patch+yaml; charset=utf-8"
"""With its charset the client sends bytes as they are."""
MERGE_PATCH = "application/merge-patch+json"

T = TypeVar("T")


class Redirected(aiohttp.ClientError):
    """The API server never redirects. A server in its place that does must get no token and no body."""


def _no_redirects() -> aiohttp.TraceConfig:
    """aiohttp follows redirects unless each call forbids it, and the client has no parameter for that."""

    async def refuse(*_: object) -> None:
        raise Redirected

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse)
    return tracing


class ClusterError(PullsecretError):
    """An error of the API server, without body and headers (an ApiException prints both). Status 0: no answer, and
    `reason` is the type of the library's error.
    """

    def __init__(self, status: int, reason: str, message: str = "", retry_after: float = 0.0, words: str = "") -> None:
        """`words`: for people, where there is no answer."""
        who = _forbidden(message) if status == FORBIDDEN else ""  # others may quote what was sent
        super().__init__(f"{status} {reason}{who}" if status else words or reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after
        self.message = message
        """The server's own text: to tell cases apart, never to show (it may quote what was sent)."""


UNAUTHORIZED, FORBIDDEN = 401, 403
_FORBIDDEN = re.compile(
    r'User "(?P<user>[\w.:@/-]{1,253})" cannot (?P<verb>[a-z]{1,40}) resource "(?P<what>[a-z/]{1,80})"'
    r'(?: in API group "(?P<group>[a-z0-9.-]{0,253})")?(?: in the namespace "(?P<place>[a-z0-9-]{1,63})")?',
    re.ASCII,
)
"""What RBAC says, of which only names are shown."""
_IMPERSONATE = re.compile(r'User "(?P<user>[\w.:@/-]{1,253})" cannot impersonate-on:[a-z-]{1,40}:', re.ASCII)
"""The same of Kubernetes 1.36, which asks about each kind of request."""


def _forbidden(message: str) -> str:
    if (other := _IMPERSONATE.search(message)) is not None:
        return f": {other['user']} may not impersonate users"
    if (found := _FORBIDDEN.search(message)) is None:
        return ""
    what = f"{found['what']}.{found['group']}" if found["group"] else found["what"]
    place = f" in the namespace {found['place']}" if found["place"] else ""
    return f": {found['user']} may not {found['verb']} {what}{place}"


class Forbidden(PullsecretError):
    """RBAC does not allow this user to read something."""


class TooLarge(ClusterError):
    """The answer is larger than allowed, and was dropped."""

    def __init__(self) -> None:
        super().__init__(0, "AnswerTooLarge")


_SEGMENT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: str) -> bool:
    """May this text be part of a path? Object names are DNS names (RFC 1123)."""
    return _SEGMENT.fullmatch(text) is not None and ".." not in text


class Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Object(msgspec.Struct):
    """Of any kind; also a PartialObjectMetadata."""

    metadata: Meta


NamespaceObject = Object
"""Of a namespace only the metadata is read."""


class OwnerReference(msgspec.Struct):
    uid: str = ""
    kind: str = ""
    name: str = ""


class SecretMeta(Meta):
    owner_references: list[OwnerReference] | None = None


class SecretObject(Object):
    metadata: SecretMeta
    type: str = ""
    data: dict[str, str] | None = None
    immutable: bool | None = None


class LocalReference(msgspec.Struct):
    name: str = ""


class AccountObject(Object, rename="camel"):
    """Its list may have 75,000 references; `Reader.account` keeps a part of them."""

    image_pull_secrets: list[LocalReference] | None = None


class Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


async def decode(decoder: msgspec.json.Decoder[T], data: Bytes) -> T:
    """In steps that a review can wait for, where it nests too deep for one go. Raises Unreadable."""
    try:
        try:
            return decode_at_once(decoder, data)
        except RecursionError:
            return decoder.decode(await in_steps(cut(data)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        # Not what msgspec says of a value: it may be a tenant's text.
        raise Unreadable(f"it cannot be decoded ({type(e).__name__})") from None


class Cluster:
    """`namespace`: of the kubeconfig's context. `headers`: of each request. `seconds`: for each call, in place of what
    each has by itself.
    """

    def __init__(
        self,
        settings: Configuration,
        rest: RESTClientObject,
        headers: Mapping[str, str],
        namespace: str = "default",
        seconds: float | None = None,
    ) -> None:
        self._settings, self._rest, self._headers = settings, rest, headers
        self.namespace, self._seconds = namespace, seconds
        self._last_date = ("", 0.0)

    def now(self) -> datetime:
        """The API server's time, exact to about two seconds if it has just answered; our own if it has sent none."""
        date, at = self._last_date
        try:
            server_time = parsedate_to_datetime(date)
        except ValueError:
            return datetime.now(UTC)
        return server_time.astimezone(UTC) + timedelta(seconds=time.monotonic() - at)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        kubeconfig: str | None = None,
        *,
        context: str | None = None,
        as_user: str | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator["Cluster"]:
        """`kubeconfig`: a file, or several with `:` between them; None: in a pod. `as_user`: who is impersonated.

        Raises ClusterError with what to do when there is no usable configuration.
        """
        namespace = "default"
        # trust_env, the client's default, doubles the CPU of a call (it looks up netrc and proxies each time) and sends
        # API traffic to HTTPS_PROXY, because Python does not support CIDRs in NO_PROXY.
        settings = Configuration(
            connection_pool_maxsize=64,
            client_session_kwargs={
                "trust_env": False,
                "cookie_jar": aiohttp.DummyCookieJar(),
                "trace_configs": [_no_redirects()],
            },
        )
        try:
            if kubeconfig is None:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]  # re-reads the token once a minute
            else:
                _readable(kubeconfig)
                loader = await config.load_kube_config(kubeconfig, context, client_configuration=settings)  # type: ignore[no-untyped-call]
                namespace = (loader.current_context["context"] or {}).get("namespace") or namespace
            rest = RESTClientObject(settings)  # reads the certificates
        except _NO_CONFIGURATION as e:
            raise ClusterError(0, _no_configuration(kubeconfig, context, e)) from None
        headers = {"User-Agent": "pullsecret-webhook"} | ({"Impersonate-User": as_user} if as_user is not None else {})
        try:
            yield cls(settings, rest, headers, namespace, seconds)
        finally:
            await rest.close()

    @property
    def address(self) -> str:
        """Of the API server."""
        return str(self._settings.host)

    async def open(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp has separate timeouts for connect and read
        query: Mapping[str, str] | None = None,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        """One request; the response is open, its body unread. Raises ClusterError, also for each status but 2xx."""
        try:
            headers = {**self._headers, "Accept": accept, "Content-Type": content_type}
            login = (await self._settings.auth_settings()).get("BearerToken")
            if login is not None and login["value"] is not None:
                headers[login["key"]] = login["value"]
            url = f"{self._settings.host}{path}" + (f"?{urlencode(query)}" if query else "")
            rest = await self._rest.request(method, url, headers=headers, body=body, _request_timeout=timeout)  # type: ignore[no-untyped-call]
        except BROKEN as e:
            raise _no_answer(e) from None
        response: aiohttp.ClientResponse = rest.response
        self._last_date = (response.headers.get("Date", ""), time.monotonic())
        if 200 <= response.status < 300:
            return response
        async with response:
            raise await _refusal(response)

    async def call(
        self, method: str, path: str, *, within: float = CALL_SECONDS, at_most: int = MAX_ANSWER_BYTES, **options: Any
    ) -> bytes:
        """One request and its whole body, in `within` seconds, including the wait for a connection.

        Raises ClusterError; TooLarge beyond `at_most` bytes.
        """
        timeout = aiohttp.ClientTimeout(total=self._seconds or within, sock_connect=CONNECT_SECONDS)
        async with await self.open(method, path, timeout=timeout, **options) as response:
            try:
                return await _body(response, at_most)
            except TooLarge:
                raise
            except BROKEN as e:
                raise _no_answer(e) from None

    async def apply(
        self,
        path: str,
        body: Any,
        *,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
        within: float = CALL_SECONDS,
    ) -> bytes:
        """Server-side apply. JSON is YAML too, but for characters that the client would escape as two surrogates."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        data = msgspec.json.encode(body)
        return await self.call("PATCH", path, within=within, query=query, body=data, content_type=APPLY_PATCH)


async def _body(response: aiohttp.ClientResponse, at_most: int) -> bytes:
    chunks, size = list[bytes](), 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > at_most:
            response.close()
            raise TooLarge
    return b"".join(chunks)


async def _refusal(response: aiohttp.ClientResponse) -> ClusterError:
    try:
        status = msgspec.json.decode(await _body(response, MAX_REFUSAL_BYTES), type=Status)
    except BROKEN:
        status = Status()
    after = response.headers.get("Retry-After", "")
    reason = status.reason or response.reason or ""
    return ClusterError(response.status, reason, status.message, float(after) if after.isdecimal() else 0.0)


def _no_answer(e: Exception) -> ClusterError:
    return ClusterError(0, type(e).__name__, words=noanswer.words(e))


def _readable(kubeconfig: str) -> None:
    """Raises OSError: the client's own error about a missing file says less. Of several files some may be missing."""
    files = [Path(one).expanduser() for one in kubeconfig.split(os.pathsep) if one] or [Path(kubeconfig)]
    if not any(one.exists() for one in files[:-1]):
        files[-1].read_bytes()


_NO_CONFIGURATION = (config.ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError)
"""What the client raises depends on where a kubeconfig has another shape than it should."""


def _no_configuration(kubeconfig: str | None, context: str | None, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):  # its text is OpenSSL's
        where = "the service account" if kubeconfig is None else f"kubeconfig {kubeconfig}"
        return f"{where}: a certificate or a key cannot be read"
    if kubeconfig is None:
        return "not in a pod (no service account is mounted); name a kubeconfig with --kubeconfig FILE"
    if isinstance(error, OSError):
        return f"kubeconfig {kubeconfig}: {error.strerror}"
    if context is not None and f"name {context} in" in str(error):
        return f"the kubeconfig {kubeconfig} has no context {context}; `kubectl config get-contexts` lists them"
    return f"kubeconfig {kubeconfig} is not usable; try it with kubectl --kubeconfig {kubeconfig} get namespaces"
