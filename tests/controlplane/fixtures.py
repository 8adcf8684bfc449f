"""The parts as pytest fixtures, one of each in a session: load with `pytest_plugins = ["controlplane.fixtures"]`."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from controlplane import webhook as deployed
from controlplane import webhookimage
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.gitea import Gitea
from controlplane.image import Layout
from controlplane.network import Network
from controlplane.networked import Networked
from controlplane.node import Node
from controlplane.postgres import Postgres
from controlplane.registry import Registry

T = TypeVar("T")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with _shown(request, ControlPlane.start(tmp_path_factory.mktemp("cluster"))) as started:
        yield started


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> None:
    """For tests that start parts by themselves: a first build takes minutes, which are not the test's."""
    with _shown(request, _built("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")):
        pass


@pytest.fixture(scope="session")
def node_binaries(request: pytest.FixtureRequest, binaries: None) -> None:
    with _shown(request, _built("kube-scheduler", "registry", "app", "peer", *Network.programs, *Node.programs)):
        pass


@pytest.fixture(scope="session")
def coredns_binary(request: pytest.FixtureRequest) -> None:
    with _shown(request, _built("coredns")):
        pass


@pytest.fixture(scope="session")
def installed(cluster: ControlPlane) -> ControlPlane:
    """The cluster with the webhook's namespace, RBAC and policies."""
    deployed.install(cluster)
    return cluster


@pytest.fixture(scope="session")
def webhook(installed: ControlPlane) -> Iterator[deployed.Webhook]:
    """One replica with the default configuration, called by the API server."""
    with deployed.running(installed) as replica:
        deployed.register(installed, replica.port)
        installed.namespace("called", labels={"pullsecret-webhook/owner": "nobody"})
        deployed.wait_called(installed.api, replica.port, "called")
        yield replica


@pytest.fixture(scope="session")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Called ghcr.io; knows alice and bob."""
    users = {name: secrets.token_urlsafe() for name in ("alice", "bob")}
    with _shown(request, Registry.start(tmp_path_factory.mktemp("registry"), users)) as started:
        yield started


@pytest.fixture(scope="session")
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cluster: ControlPlane, registry: Registry
) -> Iterator[Node]:
    """In `cluster`, pulling from `registry`."""
    with _shown(request, Node.start(tmp_path_factory.mktemp("node"), cluster, [registry])) as started:
        yield started


@pytest.fixture(scope="session")
def networked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networked]:
    """A cluster apart from `cluster`, with node, registry (alice and bob) and pods that have addresses."""
    users = {name: secrets.token_urlsafe() for name in ("alice", "bob")}
    with _shown(request, Networked.start(tmp_path_factory.mktemp("networked"), users)) as started:
        yield started


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    with _shown(request, Postgres.start()) as started:
        yield started


@pytest.fixture(scope="session")
def gitea(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    with _shown(request, Gitea.start(tmp_path_factory.mktemp("gitea"))) as started:
        yield started


@pytest.fixture(scope="session")
def image_layout(request: pytest.FixtureRequest) -> Layout:
    """The webhook's image on disk."""
    with _shown(request, _made(webhookimage.layout)) as layout:
        return layout


@pytest.fixture(scope="session")
def webhook_image(image_layout: Layout, registry: Registry) -> webhookimage.Pushed:
    """The webhook's image in `registry`."""
    return webhookimage.pushed(registry, secrets.token_urlsafe())


@contextmanager
def _made(make: Callable[[], T]) -> Iterator[T]:
    yield make()


@contextmanager
def _built(*names: str) -> Iterator[None]:
    need(*names)
    yield


@contextmanager
def _shown(request: pytest.FixtureRequest, part: AbstractContextManager[T]) -> Iterator[T]:
    """`part`, with what it says while it starts let through: a first build takes minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture
    with ExitStack() as stack:
        with capture.global_and_fixture_disabled():
            started = stack.enter_context(part)
        yield started
