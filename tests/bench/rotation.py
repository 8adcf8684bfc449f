"""One rotation: how long it takes, what it writes, and how reviews fare meanwhile."""

import base64
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import REVIEW, published_ca
from bench.figures import Chunk
from bench.measure import ASKING, Steady, Target, cpu_seconds, peak_mib, steadily
from bench.platform import (
    CONTENT,
    FIRST_TOKEN,
    OWNERS,
    REVIEWED,
    Platform,
    everybody,
    namespace,
    of_owner,
    owner,
    spaces,
)
from bench.session import Tick
from controlplane import webhook as deployed
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.objects import SECRET
from controlplane.waiting import until
from controlplane.webhook import Webhook
from webhook.core.credential import Credential
from webhook.core.dockerconfig import render
from webhook.core.names import DOCKERCONFIG_TYPE, MANAGED_BY, MANAGER, NAMESPACE_UID, OWNER
from webhook.refresh import WORKERS

REPLICAS = 2
SERVER, CLIENT = 0, 1
"""Cores: the control plane has one for itself, as it has machines for itself; all else shares the other one. There the
replica that is asked comes first, and who asks it before that: the rest would be elsewhere."""
FIRST = ASKING - 1
"""Real-time priority of the replica that is asked. Niceness -20 is not enough where others share its core: see
this folder's README.
"""
QUIET = 3.0
"""Seconds in which what is written once too often would be written."""
CALM = 10.0
"""Seconds of reviews while nothing else happens."""
CONNECTIONS, EVERY = 2, 0.02
"""Of the reviews: 100 a second."""
EVERYBODY = everybody()


@dataclass(frozen=True)
class Writes:
    """Requests of the webhook's account. `again`: of a Secret that another one had just written. `refused`: conflicts,
    mostly. `changes`: of what stands; an apply of what stands already is none.
    """

    again: int
    refused: int
    changes: int

    @classmethod
    def of(cls, requests: Sequence[tuple[str, int]], changes: int) -> "Writes":
        taken = Counter(space for space, status in requests if status < 300)
        return cls(taken.total() - len(taken), len(requests) - taken.total(), changes)


@dataclass(frozen=True)
class Spread:
    """`seconds`: until it was everywhere. CPU in seconds: of the replicas, of the API server."""

    seconds: float
    reviews: Chunk
    writes: Writes
    replicas: float
    apiserver: float


@dataclass(frozen=True)
class Restart:
    """`writes`: requests of all replicas that are no reads. `peak`: MiB, of the largest."""

    writes: int
    reviews: Chunk
    peak: float


class Rotations:
    """The replicas, `up` and down again, and what is done to them."""

    def __init__(self, made: Platform) -> None:
        self._made, self._starts = made, 0
        self.replicas: list[Webhook] = []
        self._pods: set[tuple[str, int]] = set()
        for child in made.cluster.children:
            pin(child.pid, SERVER)
        pin(os.getpid(), CLIENT)  # and what we start from here on
        for pid in (made.nodes.child.pid, made.database.pid):
            pin(pid, CLIENT)  # before it has children
        (self._apiserver,) = (child.pid for child in made.cluster.children if child.name == "kube-apiserver")

    @contextmanager
    def up(self) -> Iterator[None]:
        self._starts += 1
        with ExitStack() as stack:
            names = [f"replica-{number}-start-{self._starts}" for number in range(REPLICAS)]
            self.replicas = [stack.enter_context(self._made.replica(name)) for name in names]
            first(self.replicas[0].child.pid)
            yield

    def fill(self, tick: Tick) -> None:
        namespace(self._made.cluster, REVIEWED)
        self._made.fill(tick)
        self._made.onlooker.arrived([REVIEWED, *EVERYBODY], FIRST_TOKEN, 300, tick)
        self._made.populate(self.replicas[0].port, tick)
        self._pods = self._made.pods()

    def disturbed(self) -> int:
        """Pods that are not what they were when they were made."""
        return len(self._pods ^ self._made.pods())

    def calm(self, tick: Tick) -> Chunk:
        pause(QUIET, tick)  # after a start each owner is asked for once
        with self._reviews() as asked:
            pause(CALM, tick)
        return asked.chunk

    def one(self, number: int, tick: Tick) -> Spread:
        return self._spread(spaces(number), owner(number), 0.5, tick)

    def all(self, tick: Tick) -> Spread:
        return self._spread(EVERYBODY, None, QUIET, tick)

    def plain(self, tick: Tick) -> tuple[float, float]:
        """A client that knows what to write, with the webhook's account and the concurrency of all replicas together:
        seconds, and the API server's CPU. It writes what the database then says.
        """
        token = self._made.database.rotate()
        before = cpu_seconds(self._apiserver)
        took = plain_applies(self._made.cluster, token)
        used = cpu_seconds(self._apiserver) - before
        self._made.onlooker.arrived(EVERYBODY, token, 60, tick)
        return took, used

    def restart(self, tick: Tick) -> "Restart":
        """Of all replicas when all is right, and of one while another one is asked."""
        self._made.audit.writes()
        with self.up():
            self._looked(self.replicas, tick)
            with self._reviews() as asked, self._made.replica(f"again-{self._starts}") as again:
                self._looked([again], tick)
                self.replicas.append(again)  # for the memory
                peak = self.peak()
            return Restart(len(self._made.audit.writes()), asked.chunk, peak)

    def _looked(self, replicas: Sequence[Webhook], tick: Tick) -> None:
        """Each owner was asked for, so each namespace was looked at; and then what would be written is."""

        def asked(replica: Webhook) -> int:
            lines = replica.metrics().splitlines()
            return sum(int(float(line.split()[-1])) for line in lines if "source_questions_total{" in line)

        def all_asked() -> bool:
            tick()
            return all(asked(one) >= OWNERS for one in replicas)

        until(all_asked, "all is looked at", within=120)
        pause(QUIET, tick)

    def peak(self) -> float:
        return max(peak_mib(replica.child.pid) for replica in self.replicas)

    def _spread(self, where: list[str], of: str | None, quiet: float, tick: Tick) -> Spread:
        self._made.audit.writes()
        changes, mine, theirs = self._made.onlooker.changes, self._cpu(), cpu_seconds(self._apiserver)
        with self._reviews() as asked:
            began = time.monotonic()
            token = self._made.database.rotate(of)
            took = self._made.onlooker.arrived(where, token, 300, tick) - began
        mine, theirs = self._cpu() - mine, cpu_seconds(self._apiserver) - theirs
        pause(quiet, tick)
        writes = Writes.of(self._made.audit.writes(), self._made.onlooker.changes - changes)
        return Spread(took, asked.chunk, writes, mine, theirs)

    @contextmanager
    def _reviews(self) -> Iterator[Steady]:
        with reviews(self._made.cluster, self.replicas[0]) as asked:
            yield asked

    def _cpu(self) -> float:
        return sum(cpu_seconds(replica.child.pid) for replica in self.replicas)


@contextmanager
def reviews(cluster: ControlPlane, replica: Webhook) -> Iterator[Steady]:
    """While it lasts, 100 a second."""
    ca = published_ca(cluster, cluster.folder / "published.crt")
    asked = Target(f"https://127.0.0.1:{replica.port}/mutate?timeout=3s", REVIEW, ca)
    with steadily(asked, CONNECTIONS, EVERY) as steady:
        yield steady


def plain_applies(cluster: ControlPlane, token: str) -> float:
    """Seconds in which a client writes this token into each pull secret but that of the reviews."""
    access = Access.read(cluster.service_account(deployed.NAMESPACE, deployed.ACCOUNT))
    file = cluster.folder / "applies"
    with file.open("w") as lines:
        lines.writelines(json.dumps(one) + "\n" for one in _applies(cluster, token))
    command: list[str | Path] = [need("bench-apply")["bench-apply"], "-in", file, "-manager", MANAGER]
    command += ["-server", access.server, "-ca", access.ca]
    command += ["-token-file", str(access.token_file), "-workers", str(REPLICAS * WORKERS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode:
        raise HarnessError(f"the plain client failed: {done.stderr.strip()[-1000:]}")
    return float(json.loads(done.stdout)["seconds"])


def right_secrets(cluster: ControlPlane, token: str) -> Iterator[dict[str, object]]:
    """What the webhook writes into each namespace that has an owner, as `_applies` gives it."""
    for space in cluster.api.list("Namespace"):
        name, uid = space["metadata"]["name"], space["metadata"]["uid"]
        if (owner := space["metadata"].get("labels", {}).get(OWNER)) is None:
            continue
        metadata = {
            "name": SECRET,
            "namespace": name,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {OWNER: owner, NAMESPACE_UID: uid},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid}],
        }
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG_TYPE}
        yield {
            "path": f"/api/v1/namespaces/{name}/secrets/{SECRET}",
            "body": body | {"data": {CONTENT: content(token, owner)}},
        }


def content(token: str, owner: str) -> str:
    return base64.b64encode(render([Credential("ghcr.io", "u", of_owner(token, owner))])).decode()


def _applies(cluster: ControlPlane, token: str) -> Iterator[dict[str, object]]:
    for secret in cluster.api.list("Secret", fields=f"metadata.name={SECRET}"):
        found = secret["metadata"]
        kept = ("name", "namespace", "uid", "labels", "annotations", "ownerReferences")
        metadata = {key: found[key] for key in kept}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret["type"]}
        if found["namespace"] != REVIEWED:
            path = f"/api/v1/namespaces/{found['namespace']}/secrets/{SECRET}"
            yield {"path": path, "body": body | {"data": {CONTENT: content(token, found["annotations"][OWNER])}}}


def pause(seconds: float, tick: Tick) -> None:
    for _ in range(round(seconds * 10)):
        time.sleep(0.1)
        tick()


def pin(pid: int, core: int) -> None:
    for task in _threads(pid):
        with suppress(ProcessLookupError):  # it may have ended
            os.sched_setaffinity(task, {core})


def first(pid: int) -> None:
    for task in _threads(pid):
        with suppress(ProcessLookupError):
            os.sched_setscheduler(task, os.SCHED_FIFO, os.sched_param(FIRST))


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
