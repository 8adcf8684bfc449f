"""What all faults share: the control plane in a network of its own, the Service, proxies, and a place for replicas."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError
from controlplane.cluster import ControlPlane
from controlplane.kubeconfig import Access
from controlplane.network import Network
from controlplane.process import Child
from faults.kubelet import SERVICE, Kubelet
from faults.proxy import Proxies, Proxy, Tls
from faults.replica import Replica, Spec
from faults.sources import Sources
from faults.tenants import patiently

_CREATOR = "system:kube-controller-manager"
"""Whose pods the net knows that a controller made."""


class Arena:
    """What all faults share."""

    def __init__(self, folder: Path, cluster: ControlPlane, network: Network, proxies: Proxies, *, net: bool) -> None:
        self.folder, self.cluster, self.net = folder, cluster, net
        self.sources = Sources(folder / "sources", cluster.api)
        self._network, self._proxies = network, proxies
        self.creator = cluster.user(_CREATOR, ("system:masters",))
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
        for obj in deployed.objects():
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
            with suppress(ApiError, httpx.TransportError):
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
def arena(folder: Path, *, net: bool = True) -> Iterator[Arena]:
    """`net`: with the chart's policy that adds the reference when no replica did."""
    with (
        Network.start(folder / "network") as network,
        ControlPlane.start(folder / "cluster", network=network) as cluster,
        Proxies.start() as proxies,
    ):
        deployed.install(cluster, net=net)
        cluster.api.apply(deployed.registration())
        ports = [{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}]
        metadata = {"name": SERVICE, "namespace": deployed.NAMESPACE}
        cluster.api.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}})
        made = Arena(folder, cluster, network, proxies, net=net)
        with made.sources:
            yield made
