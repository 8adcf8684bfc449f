"""A cluster and its node, the registries that fail, and a DNS server that lies to the node."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from controlplane.cluster import ControlPlane
from controlplane.coredns import coredns
from controlplane.node import Node
from controlplane.pki import Pki
from controlplane.ports import free_address
from controlplane.progress import step
from doctor.cases import CASES, ELSEWHERE, PAGES, Case, Secret
from doctor.objects import pod, secret
from doctor.registries import PORT, Place, Serve, nothing

NAMESPACE = "pulls"
DNS_PORT = 53
OPEN = "open.test/team/app:1"
_STARTING = {None, "ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Heard:
    """What a container waits for, in the kubelet's words."""

    reason: str
    message: str


@dataclass(frozen=True)
class Hosts:
    """Where the registries are. `pages`: the server to which the node is misled; `dns`: the node's DNS server, and
    `mute` one that never answers.
    """

    addresses: Mapping[str, str]
    pages: str
    dns: str
    mute: str

    @classmethod
    def chosen(cls) -> Self:
        names = [case.host for case in CASES if case.serves] + list(ELSEWHERE)
        addresses = {name: free_address(PORT) for name in names}
        return cls(addresses, free_address(PORT), free_address(DNS_PORT), free_address(DNS_PORT))

    def of_node(self) -> str:
        """Its hosts file."""
        lines = {case.host: case.resolves for case in CASES if case.serves} | dict.fromkeys(ELSEWHERE, "hosts file")
        right = [f"{self.addresses[name]} {name}" for name, how in lines.items() if how == "hosts file"]
        wrong = [f"{self.pages} {name}" for name, how in lines.items() if how == "wrong line"]
        return "\n".join(["127.0.0.1 localhost", *right, *wrong, ""])

    def of_here(self) -> dict[str, str]:
        """What this machine would say, which is not misled: all that exists."""
        unknown = {case.host for case in CASES if case.resolves == "NXDOMAIN" and case.serve is nothing}
        return {name: address for name, address in self.addresses.items() if name not in unknown}

    def resolv_conf(self) -> str:
        return f"nameserver {self.dns}\noptions timeout:1 attempts:1\n"

    def corefile(self) -> str:
        zones = [
            self._zone(case) for case in CASES if case.serves and case.resolves not in {"hosts file", "wrong line"}
        ]
        return "\n".join([*zones, self._block(".", "template IN ANY . {\nrcode NXDOMAIN\n}")])

    def _zone(self, case: Case) -> str:
        if case.resolves == "silent":
            return self._block(case.host, f"forward . {self.mute}")
        if case.resolves != "poisoned":
            return self._block(case.host, f"template IN ANY . {{\nrcode {case.resolves}\n}}")
        wrong = f'template IN A . {{\nanswer "{{{{ .Name }}}} 60 IN A {self.pages}"\n}}'
        return self._block(case.host, f"{wrong}\ntemplate IN ANY . {{\nrcode NOERROR\n}}")

    def _block(self, zone: str, rules: str) -> str:
        return f"{zone}:{DNS_PORT} {{\nbind {self.dns}\n{rules}\n}}\n"


@dataclass(frozen=True)
class Bed:
    """`ca`: the authority that the node trusts for all of its registries, and that verifies them from here."""

    cluster: ControlPlane
    node: Node
    hosts: Hosts
    ca: Path

    @classmethod
    @contextmanager
    def start(cls, folder: Path, cases: Sequence[Case] = ()) -> Iterator[Self]:
        """With a pod for each of the cases. All registries stand, also those of other cases."""
        folder, hosts = folder.resolve(), Hosts.chosen()
        trusted, strange = Pki(folder / "pki"), Pki(folder / "strange")
        with ExitStack() as stack:
            with step("registries that fail, and a DNS server"):
                stack.enter_context(_mute(hosts.mute))
                stack.enter_context(_serving(_places(hosts, trusted, strange)))
                stack.enter_context(coredns(folder / "coredns", hosts.corefile()))
            cluster = stack.enter_context(ControlPlane.start(folder / "cluster"))
            etc = {"hosts": hosts.of_node(), "resolv.conf": hosts.resolv_conf()}
            env = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "localhost,ghcr.io,.test"}
            node = stack.enter_context(Node.start(folder / "node", cluster, etc=etc, env=env))
            for case in CASES:
                if case.serves:
                    node.configures(case.host, _hosts_toml(case, trusted.ca))
            node.configures("open.test", f'ca = "{trusted.ca}"\n')
            cluster.namespace(NAMESPACE)
            bed = cls(cluster, node, hosts, trusted.ca)
            bed.create(cases)
            yield bed

    def create(self, cases: Sequence[Case]) -> None:
        """The pods, and their Secrets; those last that need the image of another one on the node."""
        before = {case.after for case in cases}
        cases = [*cases, *(case for case in CASES if case.name in before and case not in cases)]
        for case in cases:
            for name, content in zip(case.secret_names, case.secrets, strict=True):
                self._give(name, case, content)
        for case in sorted(cases, key=lambda case: bool(case.after)):
            if case.after:
                self.runs(case.after)
            self.cluster.api.create(pod(case, NAMESPACE, OPEN))
            if case.where == "ephemeral container":
                self._add(case)

    def heard(self, case: Case) -> Heard:
        """The words of the first failure, or of the back-off that repeats them."""

        def found() -> Heard | None:
            for status in self._statuses(case.name):
                waiting = status["state"].get("waiting", {})
                if waiting.get("reason") not in _STARTING:
                    return Heard(waiting["reason"], waiting.get("message", ""))
            return None

        return self.cluster.wait(found, f"the pod {case.name} cannot be pulled", within=90)

    def runs(self, name: str) -> None:
        self.cluster.wait(
            lambda: any("running" in one["state"] for one in self._statuses(name)), f"the pod {name} runs", within=60
        )

    @contextmanager
    def here(self) -> Iterator[None]:
        """This process finds the registries, as a machine does that is not misled."""
        names, ask = self.hosts.of_here(), socket.getaddrinfo

        def getaddrinfo(host: str | bytes | None, *args: Any, **kw: Any) -> Any:
            return ask(names.get(host, host) if isinstance(host, str) else host, *args, **kw)

        with patch("socket.getaddrinfo", getaddrinfo):
            yield

    def _give(self, name: str, case: Case, content: Secret) -> None:
        if (made := secret(name, NAMESPACE, case.host, content)) is not None:
            self.cluster.api.create(made)

    def _add(self, case: Case) -> None:
        new = {"name": "e", "image": case.pulled, "imagePullPolicy": case.policy}
        change = {"spec": {"ephemeralContainers": [new]}}
        self.cluster.api.patch("Pod", case.name, change, NAMESPACE, how="strategic", sub="ephemeralcontainers")

    def _statuses(self, name: str) -> list[dict[str, Any]]:
        found = self.cluster.api.get("Pod", name, NAMESPACE)
        assert found is not None
        kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        return [one for kind in kinds for one in found["status"].get(kind, ())]


def _places(hosts: Hosts, trusted: Pki, strange: Pki) -> list[tuple[Place, Serve]]:
    found: dict[str, Serve] = {case.host: case.serve for case in CASES if case.serves} | dict(ELSEWHERE)
    named = [(Place(name, hosts.addresses[name], trusted, strange), serve) for name, serve in found.items()]
    return [*named, (Place("pages.test", hosts.pages, trusted, strange), PAGES)]


@contextmanager
def _serving(places: Sequence[tuple[Place, Serve]]) -> Iterator[None]:
    """On a thread of its own: tests and the command under test have their own loops, or none."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()

    async def begin() -> None:
        for place, serve in places:
            await stack.enter_async_context(serve(place))

    async def end() -> None:
        await stack.aclose()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=10)  # they see that their connection has ended

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _mute(address: str) -> Iterator[None]:
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind((address, DNS_PORT))
        yield


def _hosts_toml(case: Case, ca: Path) -> str:
    if case.toml is not None:
        return case.toml
    mirror = f'[host."https://{case.mirror}.test"]\ncapabilities = ["pull", "resolve"]\nca = "{ca}"\n'
    return f'server = "https://{case.host}"\nca = "{ca}"\n' + (mirror if case.mirror else "")
