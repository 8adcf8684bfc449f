"""An API server in memory in place of kube-apiserver and etcd: for more namespaces than the real one can have here.

It knows the kinds that the webhook asks for, and no RBAC. Tests hold its answers to those of the real one.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Self

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.components import Components
from controlplane.objects import SECRET
from controlplane.progress import step
from controlplane.webhook import ACCOUNT, NAMESPACE

PROGRAM = "simulated-apiserver"
SEEDED_TOGETHER = 2000


class Simulated(ControlPlane):
    """As a ControlPlane, but for what starts processes. The namespace and the account of the webhook are there."""

    @classmethod
    @contextmanager
    def begin(
        cls, folder: Path, *, write_seconds: float = 0.0, at_once: int = 1000, audit: Path | None = None
    ) -> Iterator[Self]:
        """`write_seconds`: how long a write takes, `at_once` of them at a time. `audit`: what the webhook's account
        asks is logged there, as by the real one at the level Metadata.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        parts = Components.prepare(need(PROGRAM), folder)
        with ExitStack() as stack:
            cluster = cls(folder, parts, stack)
            serving = parts.pki.server("apiserver", "localhost", parts.network.address)
            command: list[str | Path] = [
                parts.programs[PROGRAM],
                f"--address={parts.network.address}:{parts.port}",
                f"--tls-cert-file={serving.certificate}",
                f"--tls-private-key-file={serving.key}",
                f"--client-ca-file={parts.pki.ca}",
                f"--secret={SECRET}",
                f"--write-takes={write_seconds}s",
                f"--writes-at-once={at_once}",
                *([f"--audit-log-path={audit}"] if audit is not None else []),
            ]
            with step("an API server in memory"):
                cluster._until_ready(cluster._run("kube-apiserver", command))
            cluster.install()
            yield cluster

    def install(self) -> None:
        """RBAC and the policies are not simulated, but for the policy on writes, which it has by itself."""
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for obj in deployed.objects():
            if obj["kind"] == "ServiceAccount" and obj["metadata"]["name"] == ACCOUNT:
                self.api.apply(obj)

    def seed(self, owners: int, each: int) -> None:
        """Namespaces of so many owners, at once."""
        self.api.raw("POST", "/seed", params={"owners": str(owners), "each": str(each)})

    def seed_secrets(self, bodies: Iterable[Object]) -> None:
        """As if the webhook had applied them. Each has a `path` and a `body`."""
        for some in batched(bodies, SEEDED_TOGETHER):
            self.api.raw("POST", "/seed/secrets", content=b"".join(json.dumps(one).encode() for one in some))


def batched(items: Iterable[Object], size: int) -> Iterator[list[Object]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
