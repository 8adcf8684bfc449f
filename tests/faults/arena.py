"""The control plane in a network of its own, the Service, and for each fault replicas, tenants and load of its own."""

import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.network import Network
from controlplane.process import Child
from controlplane.waiting import until
from faults.kubelet import SERVICE, Kubelet
from faults.load import Load
from faults.news import News
from faults.proxy import Proxies, Proxy, Tls
from faults.replica import Replica, Spec
from faults.sources import Source, Sources
from faults.tenants import Tenants, patiently

NETS = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
RATE = 12.0
_TICK = 0.02


class Arena:
    """What all faults share."""

    def __init__(self, folder: Path, cluster: ControlPlane, network: Network, proxies: Proxies, *, net: bool) -> None:
        self.folder, self.cluster, self.net = folder, cluster, net
        self.sources = Sources(folder / "sources", cluster.api)
        self._network, self._proxies = network, proxies
        self._tls = _contexts(cluster)
        self._numbers = iter(range(1, 10_000))

    @property
    def api(self) -> Api:
        return self.cluster.api

    def answers(self) -> bool:
        """The API server does."""
        try:
            return self.api.raw("GET", "/readyz").is_success
        except (ApiError, httpx.TransportError):
            return False

    def restore(self, *kinds: str) -> None:
        """What the chart installs of these kinds is as it installs it."""
        for obj in deployed._objects():
            if obj["kind"] in kinds:
                patiently(lambda obj=obj: self.api.apply(obj))  # type: ignore[misc]

    def part(self, name: str) -> Child:
        """Of the control plane."""
        return self.cluster.part(name)

    @contextmanager
    def replica(self, spec: Spec) -> Iterator[Kubelet]:
        """With its proxies and its endpoint. Nothing is started yet."""
        proxy = self._proxies.add((self._network.address, 443), tls=self._tls)
        made: list[Proxy] = [proxy]

        def front(port: int) -> Proxy:
            assert self._network.pods
            made.append(self._proxies.add(("127.0.0.1", port), host=str(self._network.pods.subnet[254])))
            return made[-1]

        replica = Replica(f"replica-{next(self._numbers)}", self.folder, spec, proxy, front)
        kubelet = Kubelet(replica, self._hasty(), self._start)
        try:
            yield kubelet
        finally:
            kubelet.end()
            self.api.delete("EndpointSlice", replica.name, deployed.NAMESPACE)
            for one in made:
                self._proxies.remove(one)

    def _start(self, replica: Replica) -> None:
        replica.start(self._access)

    def admit(self) -> None:
        """The account's token is good for an hour."""
        self._access = Access.read(self.cluster.service_account(deployed.NAMESPACE, deployed.ACCOUNT))

    def _hasty(self) -> Api:
        """The kubelet goes on with its work while the API server hangs."""
        api = self.cluster.access(self.cluster.kubeconfig)
        api._client.timeout = httpx.Timeout(5)
        return api


def _contexts(cluster: ControlPlane) -> Tls:
    pair = cluster.pki.server("proxy", "127.0.0.1")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.load_cert_chain(pair.certificate, pair.key)
    return Tls(client, ssl.create_default_context(cafile=cluster.ca))


@contextmanager
def arena(folder: Path, *, net: bool | None = None) -> Iterator[Arena]:
    """`net`: with the chart's policy that adds the reference when no replica did; None: if the chart has one."""
    has = any(obj["kind"] in NETS for obj in deployed._objects())
    if net and not has:
        raise HarnessError("the chart has no policy that adds the reference; leave --net out")
    with (
        Network.start(folder / "network") as network,
        ControlPlane.start(folder / "cluster", network=network) as cluster,
        Proxies.start() as proxies,
    ):
        deployed.install(cluster)
        if net is False:
            for kind in NETS:
                for obj in cluster.api.list(kind):
                    cluster.api.delete(kind, obj["metadata"]["name"])
        cluster.api.apply(deployed.registration())
        ports = [{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}]
        metadata = {"name": SERVICE, "namespace": deployed.NAMESPACE}
        cluster.api.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}})
        made = Arena(folder, cluster, network, proxies, net=has if net is None else net)
        with made.sources:
            yield made


@dataclass
class Downs:
    """When no replica was up, as monotonic times; the last one may be open."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    since: float | None = None

    def note(self, now: float, *, up: bool) -> None:
        if up and self.since is not None:
            self.spans.append((self.since, now))
            self.since = None
        elif not up and self.since is None:
            self.since = now

    def meet(self, began: float, ended: float) -> bool:
        spans = [*self.spans, *([(self.since, float("inf"))] if self.since is not None else [])]
        return any(down < ended and began < up for down, up in spans)


class Scene:
    """What one fault has for itself."""

    def __init__(self, arena: Arena, kubelets: list[Kubelet], spec: Spec, source: Source) -> None:
        self.arena, self.kubelets, self.source = arena, kubelets, source
        self.tenants = Tenants(arena.api, source.give)
        self.anew(RATE)
        self._spec, self._stack, self._end = spec, ExitStack(), threading.Event()

    def anew(self, rate: float) -> None:
        """Nothing has been seen yet. `rate`: pods a second."""
        self.load = Load(self.arena.api, self.tenants, rate, random.Random(1))
        self.news = News(self.tenants, self.load)
        self.downs = Downs()
        self.remarks: list[str] = []
        for kubelet in self.kubelets:
            kubelet.exits.clear()

    def settle(self) -> None:
        """All is as before any fault."""
        until(lambda: all(kubelet.is_up for kubelet in self.kubelets), "the replicas are ready", within=60)
        until(lambda: not self.tenants.wrong(), "all is right before the fault", within=30)

    @property
    def apis(self) -> list[Proxy]:
        """Before the API server, one for each replica."""
        return [kubelet.replica.api for kubelet in self.kubelets]

    @property
    def fronts(self) -> list[Proxy]:
        return [kubelet.replica.front for kubelet in self.kubelets]

    @property
    def replicas(self) -> list[Replica]:
        return [kubelet.replica for kubelet in self.kubelets]

    def add(self) -> Kubelet:
        """A further replica; ready when returned."""
        self.arena.admit()
        kubelet = self._stack.enter_context(self.arena.replica(self._spec))
        kubelet.begin()
        self.kubelets = [*self.kubelets, kubelet]
        until(lambda: kubelet.is_up, f"{kubelet.replica.name} is ready", within=60)
        return kubelet

    def replace(self, old: Kubelet) -> None:
        """As a Deployment does it: the new one is ready before the old one is told to go."""
        self.add()
        old.leave()
        until(old.left, f"{old.replica.name} has gone", within=30)
        self.kubelets = [one for one in self.kubelets if one is not old]

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Meanwhile it is noted when no replica is up."""
        watcher = threading.Thread(target=self._note, name="downs")
        watcher.start()
        try:
            yield
        finally:
            self._end.set()
            watcher.join()
            self._stack.close()

    def note(self) -> None:
        self.downs.note(time.monotonic(), up=any(kubelet.is_up for kubelet in (*self.kubelets,)))

    def _note(self) -> None:
        while not self._end.wait(_TICK):
            self.note()


@contextmanager
def scene(arena: Arena, *, replicas: int, spec: Spec, source: str) -> Iterator[Scene]:
    """Replicas that are ready and called, and tenants for whom all is right."""
    found = arena.sources.use(source)
    whole = Spec({**spec.settings, **found.settings}, spec.before + found.before, spec.piped, spec.memory_mib)
    arena.admit()
    with ExitStack() as stack:
        kubelets = [stack.enter_context(arena.replica(whole)) for _ in range(replicas)]
        for kubelet in kubelets:
            kubelet.begin()
        made = Scene(arena, kubelets, whole, found)
        until(lambda: all(kubelet.is_up for kubelet in kubelets), "the replicas are ready", within=60)
        made.tenants.populate()
        try:
            made.settle()
            _called(made)
            stack.enter_context(made.noted())
            yield made
        finally:
            made.tenants.away()


def _called(made: Scene) -> None:
    """The API server calls the replicas, not the net."""
    spaces = made.tenants.spaces

    def all_right() -> bool:
        found = [made.load.one(space) for space in spaces[:4]]
        return all(pod is not None and pod.right for pod in found)

    until(all_right, "the replicas are called", within=30)
