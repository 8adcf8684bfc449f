"""A small synchronous client of the API server for tests: dicts in, dicts out, every refusal an ApiError."""

import re
import ssl
import threading
from collections.abc import Mapping
from typing import Any, Literal

import httpx

from controlplane.kinds import resource
from controlplane.kubeconfig import Access
from controlplane.waiting import until

Object = dict[str, Any]
Objects = list[Object]
Texts = list[str]  # within Api, `list` is its method
_NO_BODY: Object = {}

_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_APPLY = "application/apply-patch+yaml"  # YAML by name only: JSON is YAML
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')


class ApiError(Exception):
    """The API server said no: HTTP status, the reason in its own word (NotFound, Forbidden, ...), its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """One user's access. May be used by several threads at once; `warnings` then mixes what all of them caused."""

    def __init__(self, access: Access) -> None:
        self.warnings: Texts = []
        self._lock = threading.Lock()
        token = access.token_file.read_text().strip() if access.token_file else None
        self._client = httpx.Client(
            base_url=access.server,
            verify=_tls(access),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=60,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None if there is none of that name."""
        try:
            return self._json("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str | None = None, fields: str | None = None
    ) -> Objects:
        """Of one namespace, or of all of them; the selectors are the API's own."""
        params = {"labelSelector": labels, "fieldSelector": fields}
        found = resource(kind)
        answer = self._json("GET", found.path(namespace), params=_given(params))
        items: Objects = answer["items"]
        return [{"apiVersion": found.version, "kind": kind} | item for item in items]  # a list leaves these two out

    def create(self, obj: Object, *, dry_run: bool = False, manager: str | None = None) -> Object:
        params = _given({"fieldManager": manager, "dryRun": "All" if dry_run else None})
        return self._json("POST", resource(obj["kind"]).path(_namespace(obj)), json=obj, params=params)

    def apply(self, obj: Object, *, manager: str = "tests", force: bool = True, dry_run: bool = False) -> Object:
        """Server-side apply; without `force` a field of another manager is a 409."""
        params = _given(
            {"fieldManager": manager, "force": "true" if force else None, "dryRun": "All" if dry_run else None}
        )
        path = _path(obj["kind"], _namespace(obj), obj["metadata"]["name"])
        return self._json("PATCH", path, json=obj, params=params, headers={"Content-Type": _APPLY})

    def patch(
        self,
        kind: str,
        name: str,
        body: Object | Objects,
        namespace: str | None = None,
        *,
        how: Literal["merge", "strategic", "json"] = "merge",
        sub: str | None = None,
    ) -> Object:
        """`body` is a list of operations when `how` is "json"; `sub` a subresource such as "status"."""
        path = _path(kind, namespace, name, sub)
        return self._json("PATCH", path, json=body, headers={"Content-Type": _PATCHES[how]})

    def replace(self, obj: Object, *, sub: str | None = None) -> Object:
        return self._json("PUT", _path(obj["kind"], _namespace(obj), obj["metadata"]["name"], sub), json=obj)

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        wait: bool = False,
        within: float = 60.0,
        options: Object = _NO_BODY,
    ) -> None:
        """`options` are the API's DeleteOptions; `wait` returns when that object is gone (another may have come)."""
        path = _path(kind, namespace, name)
        uid = (self.get(kind, name, namespace) or {}).get("metadata", {}).get("uid") if wait else None
        self.raw("DELETE", path, json=dict(options))  # what it answers may be nested too deep for Python's json
        if wait:
            until(lambda: self._gone(kind, name, namespace, uid), f"{kind} {name} deleted", within=within)

    def raw(
        self,
        method: str,
        path: str,
        *,
        json: Object | Objects | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Any request; an answer from 400 up is an ApiError."""
        answer = self._client.request(method, path, json=json, content=content, params=params, headers=headers)
        warnings = [text for line in answer.headers.get_list("warning") for text in _WARNING.findall(line)]
        with self._lock:
            self.warnings += [re.sub(r"\\(.)", r"\1", text) for text in warnings]
        if answer.is_error:
            raise _error(answer)
        return answer

    def take_warnings(self) -> Texts:
        """What the API server warned of since the last call."""
        with self._lock:
            taken, self.warnings = self.warnings, []
        return taken

    def close(self) -> None:
        self._client.close()

    def _json(self, method: str, path: str, **rest: Any) -> Object:
        answer: Object = self.raw(method, path, **rest).json()
        return answer

    def _gone(self, kind: str, name: str, namespace: str | None, uid: str | None) -> bool:
        found = self.get(kind, name, namespace)
        return found is None or found["metadata"]["uid"] != uid


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=access.ca)
    if access.pair is not None:
        context.load_cert_chain(access.pair.certificate, access.pair.key)
    return context


def _path(kind: str, namespace: str | None, name: str, sub: str | None = None) -> str:
    found = resource(kind)
    return found.path((namespace or "default") if found.namespaced else None, name, sub)


def _namespace(obj: Object) -> str | None:
    return obj["metadata"].get("namespace", "default") if resource(obj["kind"]).namespaced else None


def _given(params: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value is not None}


def _error(answer: httpx.Response) -> ApiError:
    try:
        status = answer.json()
        return ApiError(answer.status_code, status.get("reason", ""), status.get("message", ""))
    except ValueError:  # a proxy's or the server's plain text
        return ApiError(answer.status_code, answer.reason_phrase, answer.text[:500])
