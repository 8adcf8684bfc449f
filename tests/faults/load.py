"""Pods that are created for as long as a fault lasts, and what became of each."""

import itertools
import random
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from controlplane.api import Api, ApiError, Object
from controlplane.objects import SECRET
from faults.tenants import Tenants

ALONE = {"pullsecret-webhook/safety-net": "disabled"}
_WORKERS = 96
"""Creations under way: at 25 a second, with a webhook that lets each wait for its 3 s."""
_CONTROL = 10
"""Each of so many goes into a namespace that nobody owns."""
_NEWEST = 3
"""Each second pod goes to one of so many namespaces that came last: what is new is what goes wrong."""
_OURS = ("webhook", "pullsecret")
"""Words in a refusal that is because of us, and not of an API server without its etcd."""


@dataclass(frozen=True)
class Pod:
    """`began`, `ended`: monotonic. `right`: it has the reference, or, where nobody owns the namespace, it has none."""

    space: str
    owned: bool
    began: float
    ended: float
    right: bool
    refused: bool = False


class Load:
    def __init__(self, api: Api, tenants: Tenants, rate: float, chance: random.Random) -> None:
        self._api, self._tenants, self._chance = api, tenants, chance
        self._pause = 1 / rate
        self._end = threading.Event()
        self._numbers = itertools.count(1)
        self.pods: list[Pod] = []

    @property
    def lost(self) -> list[Pod]:
        return [pod for pod in (*self.pods,) if pod.owned and not pod.right and not pod.refused]

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(_WORKERS, "load") as workers:
            pace = threading.Thread(target=self._run, args=(workers,), name="pace")
            pace.start()
            try:
                yield
            finally:
                self._end.set()
                pace.join()

    def one(self, space: str, *, owned: bool = True, account: str = "default", alone: bool = False) -> Pod | None:
        """None: it says nothing, as the API server did not take it for no reason of ours, or it has an owner meanwhile.

        `alone`: only for the webhook.
        """
        began = time.monotonic()
        try:
            created = self._api.create(pod(space, account, ALONE if alone else {}))
        except ApiError as e:
            if not any(word in str(e) for word in _OURS):
                return None
            made = Pod(space, owned, began, time.monotonic(), right=False, refused=True)
        except httpx.TransportError:
            return None
        else:
            listed = [reference["name"] for reference in created["spec"].get("imagePullSecrets") or []]
            made = Pod(space, owned, began, time.monotonic(), right=(listed == [SECRET]) is owned)
        if not owned and space not in self._tenants.controls:
            return None
        self.pods.append(made)
        return made

    def _run(self, workers: ThreadPoolExecutor) -> None:
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due += self._pause
            number = next(self._numbers)
            control = number % _CONTROL == 0
            spaces = self._tenants.controls if control else self._tenants.spaces
            among = spaces[-_NEWEST:] if number % 2 else spaces
            workers.submit(self.one, self._chance.choice(among), owned=not control)


def pod(space: str, account: str, labels: Mapping[str, str]) -> Object:
    """One that no node takes."""
    spec = {"containers": [{"name": "c", "image": "ghcr.io/shop/app"}], "serviceAccountName": account}
    metadata = {"generateName": "p-", "namespace": space, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
