"""`make bench-scale`: how a changed token spreads, with two replicas, PostgreSQL and 2,000 namespaces of 500 owners."""

import base64
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.contenders import REVIEW, published_ca
from bench.figures import Chunk, Figure, Goal, goals, table, write
from bench.measure import Target, cpu_seconds, rss_mib, steadily
from bench.platform import CONTENT, OWNERS, REVIEWED, Platform, everybody, owner, platform, spaces
from controlplane import webhook as deployed
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.objects import SECRET
from controlplane.progress import say, step
from controlplane.webhook import Webhook
from webhook.credential import Credential
from webhook.dockerconfig import render
from webhook.names import MANAGER
from webhook.refresh import WORKERS

T = TypeVar("T")
Tick = Callable[[], None]
REPLICAS = 2
ROUNDS = 3
SINGLE = 20
"""Owners whose rotation is measured alone, one after the other."""
QUIET = 3.0
"""Seconds in which what is written once too often would be written."""
CALM = 10.0
"""Seconds of reviews while nothing else happens."""
EVERYBODY = [REVIEWED, *everybody()]


@dataclass(frozen=True)
class Writes:
    """Of the webhook's account. `again`: applies of a Secret that had just got the same; `changes`: of what stands."""

    applies: int
    again: int
    conflicts: int
    changes: int

    @classmethod
    def of(cls, requests: Iterable[tuple[str, int]], changes: int) -> "Writes":
        good = Counter(space for space, status in requests if status < 300)
        requests = list(requests)
        return cls(len(requests), good.total() - len(good), sum(status >= 400 for _, status in requests), changes)


@dataclass(frozen=True)
class Spread:
    """One rotation. CPU in seconds: of both replicas, of the API server."""

    seconds: float
    reviews: Chunk
    writes: Writes
    cpu: float = 0.0
    apiserver: float = 0.0


class Scale:
    def __init__(self, made: Platform, tick: Tick) -> None:
        self._made, self.tick = made, tick
        self._apiserver = next(child.pid for child in made.cluster.children if child.name == "kube-apiserver")
        self.replicas: list[Webhook] = []
        self._kubeconfig = made.cluster.service_account(deployed.NAMESPACE, deployed.ACCOUNT)
        self._starts = 0

    @contextmanager
    def up(self) -> Iterator[None]:
        with ExitStack() as stack:
            self._starts += 1
            names = [f"replica-{letter}-{self._starts}" for letter in "ab"]
            self.replicas = [stack.enter_context(self._made.replica(name)) for name in names]
            yield

    def calm(self) -> Chunk:
        with self._reviews() as steady:
            self._sleep(CALM)
        return steady.chunk

    def restart(self) -> list[tuple[str, int]]:
        """What is written when all is right."""
        self._made.audit.writes()
        with self.up():
            self._sleep(QUIET)
            return self._made.audit.writes()

    def spread(self, one: int | None, where: list[str]) -> Spread:
        before, versions = self._cpu(), self._made.onlooker.versions.total()
        self._made.audit.writes()
        with self._reviews() as steady:
            began = time.monotonic()
            token = self._made.database.rotate(None if one is None else owner(one))
            took = self._made.onlooker.arrived(where, token, 300, self.tick) - began
        after = self._cpu()
        self._sleep(QUIET if one is None else 0.5)
        changes = self._made.onlooker.versions.total() - versions
        writes = Writes.of(self._made.audit.writes(), changes)
        return Spread(took, steady.chunk, writes, after[0] - before[0], after[1] - before[1])

    def plain(self) -> tuple[float, float]:
        """A client that knows what to write, with the account and the concurrency of all replicas: seconds, and the
        API server's CPU. It writes what the database then says.
        """
        cluster = self._made.cluster
        token, file = self._made.database.rotate(), cluster.folder / "applies"
        content = base64.b64encode(render([Credential("ghcr.io", "u", token)])).decode()
        with file.open("w") as lines:
            for secret in cluster.api.list("Secret", fields=f"metadata.name={SECRET}"):
                kept = {key: secret["metadata"][key] for key in ("name", "namespace", "uid", "labels", "annotations")}
                kept["ownerReferences"] = secret["metadata"]["ownerReferences"]
                body = {"apiVersion": "v1", "kind": "Secret", "metadata": kept, "type": secret["type"]}
                path = f"/api/v1/namespaces/{kept['namespace']}/secrets/{SECRET}"
                lines.write(json.dumps({"path": path, "body": body | {"data": {CONTENT: content}}}) + "\n")
        access, before = Access.read(self._kubeconfig), self._cpu()[1]
        command: list[str | Path] = [need("bench-apply")["bench-apply"], "-server", access.server, "-ca", access.ca]
        command += ["-token-file", str(access.token_file), "-in", file, "-manager", MANAGER]
        command += ["-workers", str(REPLICAS * WORKERS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"the plain client failed: {done.stderr.strip()[-1000:]}")
        after = self._cpu()[1]
        self._made.onlooker.arrived(EVERYBODY, token, 60, self.tick)
        return float(json.loads(done.stdout)["seconds"]), after - before

    def counted(self, result: str) -> int:
        lines = [line for replica in self.replicas for line in replica.metrics().splitlines()]
        return sum(int(float(line.split()[-1])) for line in lines if "secret_writes_total{" in line and result in line)

    @contextmanager
    def _reviews(self) -> Iterator["steadily.Steady"]:
        """At a modest rate, asked of one replica."""
        cluster = self._made.cluster
        ca = published_ca(cluster, cluster.folder / "published.crt")
        url = f"https://127.0.0.1:{self.replicas[0].port}/mutate?timeout=3s"
        with steadily(Target(url, REVIEW, ca), 2, 0.02) as steady:
            yield steady

    def _cpu(self) -> tuple[float, float]:
        return sum(cpu_seconds(replica.child.pid) for replica in self.replicas), cpu_seconds(self._apiserver)

    def _sleep(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            time.sleep(0.1)
            self.tick()
