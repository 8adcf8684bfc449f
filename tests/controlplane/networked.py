"""A cluster in which pods have addresses, speak to each other and to the API server, and are called by it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from controlplane.cluster import ControlPlane
from controlplane.network import Network
from controlplane.node import Node
from controlplane.registry import Registry


@dataclass(frozen=True)
class Networked:
    network: Network
    cluster: ControlPlane
    registry: Registry
    node: Node

    @classmethod
    @contextmanager
    def start(cls, folder: Path, users: Mapping[str, str]) -> Iterator[Self]:
        """`users` are the registry's names and passwords."""
        with (
            Network.start(folder / "network") as network,
            Registry.start(folder / "registry", users, network=network) as registry,
            ControlPlane.start(folder / "cluster", network=network) as cluster,
            Node.start(folder / "node", cluster, [registry], etc=_as_here("hosts", "resolv.conf")) as node,
        ):
            yield cls(network, cluster, registry, node)


def _as_here(*files: str) -> dict[str, str]:
    """What this machine has, until a test writes something else."""
    return {file: Path("/etc", file).read_text() for file in files}
