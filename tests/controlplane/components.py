"""The command lines of the control plane's processes."""

from dataclasses import dataclass
from pathlib import Path

from controlplane.kubeconfig import Access
from controlplane.network import LOOPBACK, Network
from controlplane.pki import Pair, Pki
from controlplane.ports import free_port
from controlplane.process import Command

_SERVING_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_FASTER = ("--kube-api-qps=500", "--kube-api-burst=1000")  # the defaults make 1,000 pods a matter of a minute


@dataclass(frozen=True)
class Components:
    """One cluster's programs, folder, keys and ports."""

    programs: dict[str, Path]
    folder: Path
    pki: Pki
    port: int
    etcd_url: str
    accounts: Pair  # signs the tokens of service accounts
    network: Network

    @classmethod
    def prepare(cls, programs: dict[str, Path], folder: Path, network: Network = LOOPBACK) -> "Components":
        pki = Pki(folder / "pki")
        accounts = pki.server("service-accounts", "localhost")
        # In a network of our own the server itself stands at the address of the Service `kubernetes`, and at its port.
        port = 443 if network.pods else free_port()
        return cls(programs, folder, pki, port, f"http://{network.address}:{free_port()}", accounts, network)

    @property
    def server(self) -> str:
        return f"https://{self.network.address}:{self.port}"

    def access(self, file: str, user: str, groups: tuple[str, ...] = ()) -> Access:
        return Access(self.server, self.pki.ca, pair=self.pki.client(file, user, groups))

    def etcd(self) -> Command:
        peer = f"http://127.0.0.1:{free_port()}"
        return [
            self.programs["etcd"],
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # nothing here outlives the run
            "--log-level=warn",
        ]

    def apiserver(self, extra: tuple[str, ...]) -> Command:
        serving = self.pki.server("apiserver", *_SERVING_NAMES, self.network.address, self.network.kubernetes)
        kubelet = self.pki.client("apiserver-kubelet", "kube-apiserver-kubelet-client", ("system:masters",))
        return [
            self.programs["kube-apiserver"],
            f"--etcd-servers={self.etcd_url}",
            f"--bind-address={self.network.address}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.pki.ca}",
            f"--service-account-issuer={self.server}",
            f"--service-account-key-file={self.accounts.key}",
            f"--service-account-signing-key-file={self.accounts.key}",
            f"--service-cluster-ip-range={self.network.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--kubelet-certificate-authority={self.pki.ca}",
            f"--kubelet-client-certificate={kubelet.certificate}",
            f"--kubelet-client-key={kubelet.key}",
            "--kubelet-preferred-address-types=Hostname",  # the node is called localhost
            *(["--enable-aggregator-routing"] if self.network.pods else []),  # webhooks at their endpoints
            *extra,
        ]

    def controller_manager(self) -> Command:
        kubeconfig = self._kubeconfig("controller-manager", "system:kube-controller-manager")
        return [
            self.programs["kube-controller-manager"],
            f"--kubeconfig={kubeconfig}",
            "--controllers=*",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.accounts.key}",
            f"--root-ca-file={self.pki.ca}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--flex-volume-plugin-dir={self.folder / 'volume-plugins'}",  # it makes this folder
            *_FASTER,
        ]

    def scheduler(self) -> Command:
        kubeconfig = self._kubeconfig("scheduler", "system:kube-scheduler")
        return [
            self.programs["kube-scheduler"],
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            *_FASTER,
        ]

    def _kubeconfig(self, name: str, user: str) -> Path:
        return self.access(name, user).write(self.folder / f"{name}.kubeconfig")
