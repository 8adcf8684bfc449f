"""alice, who makes pods by dry run at a steady rate while somebody else attacks. failurePolicy is Ignore: a pod that
comes back without the reference is lost, because a real one would never get it."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from controlplane.api import Api, ApiError
from controlplane.objects import SECRET, names, pod

EVERY = 0.1
"""Seconds between two pods."""
AT_ONCE = 32
"""More than a time-out of three seconds lets pile up."""


@dataclass
class Victim:
    api: Api
    namespace: str
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def made(self) -> int:
        return len(self.seconds)

    @property
    def median(self) -> float:
        return sorted(self.seconds)[self.made // 2] if self.seconds else 0.0

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="victim") as pool:
            running: list[Future[None]] = []
            while not self._stop.wait(EVERY):
                running.append(pool.submit(self._make, len(running)))
            for one in running:
                one.result()

    def _make(self, number: int) -> None:
        began = time.monotonic()
        try:
            created = self.api.create(pod(self.namespace, f"victim-{number}"), dry_run=True)
            self.lost += names(created) != [SECRET]
        except ApiError:
            self.lost += 1
        self.seconds.append(time.monotonic() - began)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
