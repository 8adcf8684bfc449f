"""A Kubernetes control plane of our own: started in a folder, ended without a trace outside of it."""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar

import httpx

from controlplane import plain
from controlplane.api import Api, ApiError, Object
from controlplane.binaries import need
from controlplane.components import Components
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.network import LOOPBACK, Network
from controlplane.process import Child, Command
from controlplane.progress import step
from controlplane.waiting import until

T = TypeVar("T")

_MASTERS = ("system:masters",)
_COLLECTED = {"GOGC": "400"}
"""Go collects garbage less often: a tenth of what a start costs, for 100 MiB."""


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager, with kube-scheduler on demand."""

    def __init__(self, folder: Path, parts: Components, stack: ExitStack) -> None:
        self.folder = folder
        self.server = parts.server
        self.pki = parts.pki
        self.ca = parts.pki.ca
        self.network = parts.network
        self.children: list[Child] = []
        self._parts = parts
        self._stack = stack
        admin = parts.access("admin", "admin", _MASTERS)
        self.kubeconfig = admin.write(folder / "admin.kubeconfig")
        self.api = self._client(admin)

    @classmethod
    @contextmanager
    def start(
        cls,
        folder: Path,
        *,
        scheduler: bool = False,
        extra_flags: tuple[str, ...] = (),
        network: Network = LOOPBACK,
    ) -> Iterator[Self]:
        """Ready when yielded: the API answers and the controllers have made the default service account.

        `extra_flags` go to kube-apiserver. All that is written lies in `folder`, which is the caller's."""
        programs = need("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder / "etcd", ignore_errors=True)  # large; the logs stay
            cluster = cls(folder, Components.prepare(programs, folder, network), stack)
            with step("etcd, kube-apiserver, kube-controller-manager"):
                cluster._start(extra_flags)
            if scheduler:
                cluster.start_scheduler()
            yield cluster

    def start_scheduler(self) -> None:
        """Once; a second call finds it running."""
        if "kube-scheduler" not in {child.name for child in self.children}:
            self._parts.programs.update(need("kube-scheduler"))
            self._run("kube-scheduler", self._parts.scheduler())

    def part(self, name: str) -> Child:
        """One of the processes, such as etcd."""
        (found,) = (child for child in self.children if child.name == name)
        return found

    def user(self, name: str, groups: tuple[str, ...] = ()) -> Api:
        """The API as this user; RBAC gives it what the test grants, by name or by group."""
        return self._client(self._parts.access(_file_name(name, groups), name, groups))

    def user_kubeconfig(self, name: str, groups: tuple[str, ...] = ()) -> Path:
        file = _file_name(name, groups)
        return self._parts.access(file, name, groups).write(self.folder / f"{file}.kubeconfig")

    def service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token, of one hour, for a service account that exists."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        token = self.api.raw("POST", path, json=request).json()["status"]["token"]
        file = self.folder / f"{namespace}.{name}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        return Access(self.server, self.ca, token_file=file).write(file.with_suffix(".kubeconfig"))

    def access(self, kubeconfig: Path) -> Api:
        """The API by one of the kubeconfig files made here."""
        return self._client(Access.read(kubeconfig))

    def namespace(self, name: str, **metadata: dict[str, str]) -> Object:
        """A new namespace (labels=, annotations=), in which pods can be made: its default account is there."""
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name} | metadata}
        created = self.api.create(obj)
        self.wait(lambda: self.api.get("ServiceAccount", "default", name), f"default service account in {name}")
        return created

    def kubectl(
        self,
        *args: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
        fine: tuple[int, ...] = (0,),
        kubeconfig: Path | None = None,
    ) -> str:
        """What kubectl prints; with `check=False` a failure is no error and what it says is in the result.

        `fine`: statuses that are no failure, such as 1 of a diff that found something."""
        done = subprocess.run(
            [self._parts.programs["kubectl"], *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ
            | self.network.env
            | {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self.folder)},
        )
        if check and done.returncode not in fine:
            raise HarnessError(f"kubectl {' '.join(map(str, args))}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def wait(self, predicate: Callable[[], T | None], what: str, within: float = 30.0) -> T:
        """The first true value of `predicate`; ends early, with its log, if a part of the control plane has died."""

        def asked() -> T | None:
            for child in self.children:
                child.check()
            return predicate()

        return until(asked, what, within=within)

    @contextmanager
    def without_etcd(self) -> Iterator[Path]:
        """etcd and the API server end, and start again afterwards: the folder of etcd's data is given meanwhile."""
        etcd, apiserver = self.part("etcd"), self.part("kube-apiserver")
        for child in (apiserver, etcd):
            child.stop()
        yield self.folder / "etcd"
        etcd.again()
        self._until_etcd_answers(etcd)
        apiserver.again()
        self._until_ready(apiserver)

    def _start(self, extra_flags: tuple[str, ...]) -> None:
        self._until_etcd_answers(self._run("etcd", self._parts.etcd()))
        self._until_ready(self._run("kube-apiserver", self._parts.apiserver(extra_flags)))
        manager = self._run("kube-controller-manager", self._parts.controller_manager())
        account = "the controllers have made the default service account"
        manager.until(lambda: self.api.get("ServiceAccount", "default", "default"), account, within=60)

    def _until_etcd_answers(self, etcd: Child) -> None:
        etcd.until(lambda: _answers(f"{self._parts.etcd_url}/health"), "etcd answers", within=30)

    def _until_ready(self, apiserver: Child) -> None:
        apiserver.until(self._is_ready, "kube-apiserver is ready", within=60)

    def _run(self, name: str, command: Command) -> Child:
        # The stack ends its children last started first: the API server before etcd, without which it hangs.
        command, log = [*self.network.enter, *command], self.folder / f"{name}.log"
        # By SIGTERM the API server would wait a second for those that watch; only what is in etcd counts.
        end = signal.SIGKILL if name == "kube-apiserver" else signal.SIGTERM
        env = _COLLECTED | self.network.env
        child = self._stack.enter_context(Child(name, command, log=log, env=env, stop_signal=end))
        self.children.append(child)
        return child

    def _client(self, access: Access) -> Api:
        api = Api(access)
        self._stack.callback(api.close)
        return api

    def _is_ready(self) -> bool:
        try:
            return self.api.raw("GET", "/readyz").is_success
        except (ApiError, httpx.TransportError):  # not listening yet, or not ready
            return False


def _answers(url: str) -> bool:
    try:
        return plain.get(url).is_success
    except httpx.TransportError:
        return False


def _file_name(user: str, groups: tuple[str, ...]) -> str:
    """User names hold colons and slashes, and one user may come with different groups."""
    readable = "".join(letter if letter.isalnum() else "-" for letter in user)
    return f"user-{readable}-{hashlib.sha256(repr((user, groups)).encode()).hexdigest()[:8]}"
