"""Owners with their tokens and namespaces, and whether what stands in the cluster is right."""

import base64
import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import httpx

from controlplane.api import Api, ApiError, Object
from controlplane.errors import HarnessError
from controlplane.objects import SECRET
from controlplane.waiting import until
from support import planted

T = TypeVar("T")
OWNER = "pullsecret-webhook/owner"
OWNED, UNOWNED = 12, 3
"""Namespaces at the beginning. Each owner has two."""
WATCHED = f"/api/v1/secrets?fieldSelector=metadata.name%3D{SECRET}"
_runs = itertools.count(1)


class Tenants:
    """`give` tells the source of an owner's token. A change that the API server does not take is tried again."""

    def __init__(self, api: Api, give: Callable[[str, str], None]) -> None:
        self._api, self._give = api, give
        self._lock = threading.Lock()
        self._numbers, self._prefix = itertools.count(1), f"t{next(_runs)}"
        self._tokens: dict[str, str] = {}
        self._of: dict[str, str | None] = {}
        self._loaded: list[str] = []
        self._controls: list[str] = []
        self.changed: dict[str, float] = {}
        """When what is right in a namespace has changed last."""

    def populate(self) -> None:
        owners = [self.owner() for _ in range(OWNED // 2)]
        with ThreadPoolExecutor(8) as workers:
            made = list(workers.map(self.namespace, [*owners, *owners, *[None] * UNOWNED]))
        self._controls = made[OWNED:]
        self._loaded = made[:OWNED]

    @property
    def owners(self) -> list[str]:
        return list(self._tokens)

    @property
    def spaces(self) -> list[str]:
        """Those that get pods, which have an owner."""
        return list(self._loaded)

    @property
    def controls(self) -> list[str]:
        """Those that get pods and have none."""
        return list(self._controls)

    def owned(self, owner: str) -> list[str]:
        return [space for space, of in self._of.items() if of == owner]

    # -- changes --

    def owner(self) -> str:
        name = f"{self._prefix}-owner-{next(self._numbers)}"
        self.rotate(name)
        return name

    def rotate(self, owner: str) -> None:
        token = planted.token()
        patiently(lambda: self._give(owner, token))
        self._tokens[owner] = token
        self._touch(*self.owned(owner))

    def namespace(self, owner: str | None, *, ready: bool = True) -> str:
        """`ready`: pods may be made in it."""
        with self._lock:
            name = f"{self._prefix}-ns-{next(self._numbers)}"
        metadata: Object = {"name": name} | ({"labels": {OWNER: owner}} if owner else {})
        patiently(lambda: self._api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        self._of[name] = owner
        self._touch(name)
        if ready:
            self.await_account(name)
        return name

    def await_account(self, space: str) -> None:
        """The controllers have made the default service account: pods may be made."""
        what = f"the default service account in {space}"
        until(lambda: patiently(lambda: self._api.get("ServiceAccount", "default", space)), what, within=60)

    def account(self, space: str) -> str:
        """One that does not wait for the controllers."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": space}}
        patiently(lambda: self._api.apply(account))
        return "own"

    def label(self, space: str, owner: str | None) -> None:
        """It changes hands."""
        labels = {"metadata": {"labels": {OWNER: owner}}}
        patiently(lambda: self._api.patch("Namespace", space, labels))
        self._of[space] = owner
        self._touch(space)

    def remove(self, space: str) -> None:
        self._of.pop(space)
        self._loaded = [one for one in self._loaded if one != space]
        patiently(lambda: self._api.delete("Namespace", space))

    def load(self, space: str) -> None:
        """It gets pods from now on."""
        self._loaded = [*self._loaded, space]

    def taken(self) -> str:
        """One that nobody owns; it gets no more pods."""
        space, *self._controls = self._controls
        return space

    def control(self) -> None:
        """One more that nobody owns."""
        self._controls = [*self._controls, self.namespace(None)]

    def lose(self, space: str) -> None:
        """Somebody deletes its pull secret, unless the webhook has just deleted it to create another one."""
        patiently(lambda: self._deleted(space))
        self._touch(space)

    def _deleted(self, space: str) -> bool:
        try:
            self._api.delete("Secret", SECRET, space)
        except ApiError as e:
            if e.status != 404:
                raise
        return True

    def snapshot(self) -> Callable[[], None]:
        """What is right now; the result makes it right again, for a cluster that goes back."""
        tokens, of, loaded, controls = dict(self._tokens), dict(self._of), self.spaces, self.controls

        def back() -> None:
            self._tokens, self._of, self._loaded, self._controls = tokens, of, loaded, controls
            self._touch(*of)

        return back

    def _touch(self, *spaces: str) -> None:
        now = time.monotonic()
        self.changed |= dict.fromkeys(spaces, now)

    # -- what is right --

    def wrong(self) -> dict[str, str]:
        """What is wrong where: a token of before or none, another owner's, or one that should not be there."""
        items = self._api.raw("GET", WATCHED).json()["items"]
        stands = {item["metadata"]["namespace"]: item for item in items if "deletionTimestamp" not in item["metadata"]}
        owners = {token: owner for owner, token in self._tokens.items()}
        found: dict[str, str] = {}
        for space, owner in [*self._of.items()]:
            token = _token(stands[space]) if space in stands else None
            if token == (self._tokens[owner] if owner else None):
                continue
            other = owners.get(token or "")
            found[space] = f"of {other}" if other else "old" if token else "none"
        return found

    def pods_away(self) -> None:
        for space in (*self._loaded, *self._controls):
            self._api.raw("DELETE", f"/api/v1/namespaces/{space}/pods", params={"gracePeriodSeconds": "0"})

    def away(self) -> None:
        """The controllers remove what is in them, later."""
        for space in self._of:
            with suppress(ApiError, httpx.TransportError):
                self._api.delete("Namespace", space)


def _token(secret: Object) -> str:
    config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    return str(config["auths"].get("ghcr.io", {}).get("password"))


def patiently(change: Callable[[], T], within: float = 90.0) -> T:
    """While the API server is away or not itself, again and again."""
    end = time.monotonic() + within
    while True:
        try:
            return change()
        except ApiError as e:
            if e.status not in (401, 403, 409, 429) and e.status < 500:
                raise
            last: Exception = e
        except httpx.TransportError as e:
            last = e
        if time.monotonic() > end:
            raise HarnessError(f"the API server did not take a change in {within:g} s: {last}")
        time.sleep(0.1)
