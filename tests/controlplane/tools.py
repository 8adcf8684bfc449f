"""Every program that the test cluster runs: which Go module builds it, which version it should be."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_GO = Path(__file__).parent / "go"
_BENCH = Path(__file__).parents[1] / "bench" / "go"
_KUBERNETES = "k8s.io/kubernetes"
_FLUX = ("source", "kustomize", "helm")
_CONTAINERD = "github.com/containerd/containerd/v2"


@dataclass(frozen=True)
class Module:
    """A Go module, pinned by its go.mod and go.sum."""

    name: str
    usual: str  # time to build it on 2 cores with nothing cached
    ldflags: str = "-s -w"
    tags: str = ""
    elsewhere: Path | None = None  # its folder, if that is not go/NAME
    rare: bool = False  # only `make test-all` needs it

    @property
    def folder(self) -> Path:
        return self.elsewhere or _GO / self.name

    def pinned(self, path: str) -> str:
        """The version that go.mod requires of the module at this path, such as "v1.36.3"."""
        found = re.search(rf"^\s*(?:require )?{re.escape(path)} (v\S+)", self._gomod(), re.MULTILINE)
        assert found, f"{self.name}/go.mod does not require {path}"
        return found[1]

    def flags(self) -> list[str]:
        return ["-trimpath", "-ldflags", self.ldflags, *(["-tags", self.tags] if self.tags else [])]

    def digest(self) -> str:
        """Names a build: other sources or other flags are another build."""
        inputs = [*sorted(self.folder.rglob("*.go")), self.folder / "go.mod", self.folder / "go.sum"]
        content = b"".join(file.read_bytes() for file in inputs if file.exists())
        return hashlib.sha256(content + repr(self.flags()).encode()).hexdigest()[:12]

    def _gomod(self) -> str:
        return (self.folder / "go.mod").read_text()


@dataclass(frozen=True)
class Tool:
    name: str
    module: Module | None = None
    package: str = ""  # in the module
    pin: str = ""  # the Go module whose version the program reports; none for programs of our own
    at_least: tuple[int, int] = (0, 0)  # instead of a pin
    ask: tuple[str, ...] = ("--version",)
    debian: str = ""  # the Debian package that has it

    @property
    def ours(self) -> bool:
        """Not to be looked for on PATH: nobody else has it."""
        return self.module is not None and not self.pin

    def fits(self, version: tuple[int, int]) -> bool:
        """Whether a program found on PATH, of this major and minor version, may stand in for the pinned one."""
        if self.module is None:
            return version >= self.at_least
        return version == parse_version(self.module.pinned(self.pin))

    def expected(self) -> str:
        return f"{self.at_least[0]}.{self.at_least[1]}+" if self.module is None else self.module.pinned(self.pin)


def parse_version(text: str) -> tuple[int, int] | None:
    """Major and minor of the first x.y.z in the text."""
    found = re.search(r"(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def _kubernetes() -> Module:
    version = Module("kubernetes", "").pinned(_KUBERNETES)
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}  # else clients see v0.0.0
    defines = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items())
    return Module("kubernetes", "6 to 10 min", f"-s -w {defines}")


def _containerd() -> Module:
    version = Module("containerd", "").pinned(_CONTAINERD)
    stamp = f"-X {_CONTAINERD}/version.Version={version.removeprefix('v')}"
    return Module("containerd", "1 to 2 min", f"-s -w {stamp}", "no_btrfs no_devmapper no_zfs no_aufs netgo osusergo")


def _helm(major: int) -> Tool:
    path = f"helm.sh/helm/v{major}"
    bare = Module(f"helm{major}", "")
    minor = bare.pinned("k8s.io/client-go").split(".")[1]
    stamp = {"internal/version.version": bare.pinned(path)}
    for package in ("chartutil", "lint/rules") if major == 3 else ():  # else it takes the cluster for a v1.20
        stamp |= {f"pkg/{package}.k8sVersionMajor": "1", f"pkg/{package}.k8sVersionMinor": minor}
    defines = " ".join(f"-X {path}/{name}={value}" for name, value in stamp.items())
    module = Module(f"helm{major}", "5 to 10 min", f"-s -w {defines}", rare=major == 3)
    return Tool(f"helm{major}", module, f"{path}/cmd/helm", path, ask=("version",))


def _monitoring() -> list[Tool]:
    """Without a pin: v0.316.0 of the Go module is version 3.16.0 of the program."""
    module = Module("monitoring", "2 to 3 min", tags="remove_all_sd")
    return [
        Tool("promtool", module, "github.com/prometheus/prometheus/cmd/promtool"),
        Tool("dashboard", module, "./dashboard"),
    ]


def _table() -> dict[str, Tool]:
    kubernetes, containerd = _kubernetes(), _containerd()
    images, network = Module("images", "10 s"), Module("network", "10 s")
    flux = Module("flux", "5 to 10 min", rare=True)
    simulated = Module("simulated", "10 s")
    bench = Module("bench", "1 to 2 min", elsewhere=_BENCH)
    plugins = "github.com/containernetworking/plugins/plugins"
    kube = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
    nodes = ("containerd", "containerd-shim-runc-v2", "ctr")
    tools = [
        Tool("etcd", kubernetes, "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
        *(Tool(name, kubernetes, f"{_KUBERNETES}/cmd/{name}", _KUBERNETES) for name in kube),
        Tool("kubectl", kubernetes, f"{_KUBERNETES}/cmd/kubectl", _KUBERNETES, ask=("version", "--client")),
        *(Tool(name, containerd, f"{_CONTAINERD}/cmd/{name}", _CONTAINERD, ask=("-v",)) for name in nodes),
        Tool("runc", at_least=(1, 1), debian="runc"),
        Tool("registry", Module("registry", "1 to 2 min"), "."),
        Tool("app", images, "./app"),
        Tool("peer", images, "./peer"),
        Tool("pause", images, "./pause"),
        Tool("bridge", network, f"{plugins}/main/bridge"),
        Tool("host-local", network, f"{plugins}/ipam/host-local"),
        Tool("loopback", network, f"{plugins}/main/loopback"),
        *(Tool(f"bench-{name}", bench, f"./cmd/{name}") for name in ("usual", "handmade", "load", "apply")),
        *(_helm(major) for major in (3, 4)),
        *(Tool(f"{name}-controller", flux, f"github.com/fluxcd/{name}-controller") for name in _FLUX),
        *_monitoring(),
        Tool("coredns", Module("coredns", "30 s"), "."),
        Tool("gitea", Module("gitea", "4 to 6 min"), "."),
        Tool("keyring", Module("keyring", "1 min"), "."),
        Tool("certmanager", Module("certmanager", "3 to 6 min", rare=True), "."),
        *(Tool(f"simulated-{name}", simulated, f"./{name}") for name in ("apiserver", "credentials")),
        Tool("kwok", Module("kwok", "2 to 4 min", rare=True), "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok"),
    ]
    return {tool.name: tool for tool in tools}


TOOLS = _table()
