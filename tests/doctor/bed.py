"""A cluster and its node, the registries that fail, and a DNS server that lies to the node."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.coredns import coredns
from controlplane.image import Stored
from controlplane.node import Node
from controlplane.pki import Pki
from controlplane.ports import free_address
from controlplane.progress import step
from doctor.cases import CASES, ELSEWHERE, PAGES, Case
from doctor.pods import Pods, replica
from doctor.registries import PORT, Content, Place, Serve, https, nothing, registry

DNS_PORT = 53
OWN = "own.test"
"""The registry that has the webhook's image, if it is given."""
IN_HOSTS_FILE = {"hosts file", "wrong line", "no route"}
MULTICAST = "224.0.0.1"
"""TCP has no route there, whatever the machine's routes are."""
PROXY = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "localhost,ghcr.io,.test"}
"""There is none at that address."""


@dataclass(frozen=True)
class Hosts:
    """Where the registries are. `pages`: the server to which the node is misled; `dns`: the node's DNS server."""

    addresses: Mapping[str, str]
    pages: str
    dns: str

    @classmethod
    def chosen(cls) -> Self:
        names = [case.host for case in CASES if case.serves] + list(ELSEWHERE)
        addresses = {name: free_address(PORT) for name in names}
        return cls(addresses, free_address(PORT), free_address(DNS_PORT))

    def of_node(self) -> str:
        """Its hosts file."""
        told = {case.host: case.resolves for case in CASES if case.serves} | dict.fromkeys(ELSEWHERE, "hosts file")
        lines = [f"{self._in_file(name, how)} {name}" for name, how in told.items() if how in IN_HOSTS_FILE]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])

    def _in_file(self, name: str, how: str) -> str:
        return {"wrong line": self.pages, "no route": MULTICAST}.get(how, self.addresses[name])

    def of_here(self) -> dict[str, str]:
        """What this machine would say, which is not misled: all that exists."""
        unknown = {case.host for case in CASES if case.resolves == "NXDOMAIN" and case.serve is nothing}
        return {name: address for name, address in self.addresses.items() if name not in unknown}

    def resolv_conf(self) -> str:
        return f"nameserver {self.dns}\noptions timeout:1 attempts:1\n"

    def corefile(self) -> str:
        zones = [self._zone(case) for case in CASES if case.serves and case.resolves not in IN_HOSTS_FILE]
        return "\n".join([*zones, self._block(".", "template IN ANY . {\nrcode NXDOMAIN\n}")])

    def _zone(self, case: Case) -> str:
        if case.resolves == "silent":
            return self._block(case.host, "acl {\ndrop\n}")
        if case.resolves != "poisoned":
            return self._block(case.host, f"template IN ANY . {{\nrcode {case.resolves}\n}}")
        wrong = f'template IN A . {{\nanswer "{{{{ .Name }}}} 60 IN A {self.pages}"\n}}'
        return self._block(case.host, f"{wrong}\ntemplate IN ANY . {{\nrcode NOERROR\n}}")

    def _block(self, zone: str, rules: str) -> str:
        return f"{zone}:{DNS_PORT} {{\nbind {self.dns}\n{rules}\n}}\n"


@dataclass(frozen=True)
class Bed:
    """`ca`: the authority that the node trusts for all of its registries, and that verifies them from here. `config`: a
    configuration of the webhook's in which all of them are named, since they have private addresses.
    """

    cluster: ControlPlane
    node: Node
    hosts: Hosts
    pods: Pods
    ca: Path
    config: Path

    @classmethod
    @contextmanager
    def start(cls, folder: Path, cases: Sequence[Case], image: Stored | None = None) -> Iterator[Self]:
        """With a pod for each of the cases, and the webhook. All registries stand, also those of other cases. `image`:
        the webhook's; one of its pods seems to run on the node then, so that there can be probes.
        """
        folder, hosts = folder.resolve(), Hosts.chosen()
        trusted, strange = Pki(folder / "pki"), Pki(folder / "strange")
        with ExitStack() as stack:
            with step("registries that fail, and a DNS server"):
                stack.enter_context(_serving(_places(hosts, image, trusted, strange)))
                stack.enter_context(coredns(folder / "coredns", hosts.corefile()))
            cluster = stack.enter_context(ControlPlane.start(folder / "cluster"))
            etc = {"hosts": hosts.of_node(), "resolv.conf": hosts.resolv_conf()}
            node = stack.enter_context(Node.start(folder / "node", cluster, etc=etc, env=PROXY))
            for host, toml in _hosts_toml(hosts, trusted.ca).items():
                node.configures(host, toml)
            deployed.install(cluster)
            if image is not None:
                cluster.api.create(replica(deployed.NAMESPACE, f"{OWN}/webhook:1"))
            pods = Pods.of(cluster, cases)
            pods.prepare()
            webhook = stack.enter_context(deployed.running(cluster, verbose=False))
            deployed.register(cluster, webhook.port)
            pods.create(webhook)
            config = folder / "webhook.yaml"
            named = [{"host": host, "caFile": str(trusted.ca)} for host in hosts.addresses]
            config.write_text(json.dumps({"registries": named}))
            yield cls(cluster, node, hosts, pods, trusted.ca, config)

    @contextmanager
    def here(self) -> Iterator[None]:
        """This process finds the registries, as a machine does that is not misled."""
        names, ask = self.hosts.of_here(), socket.getaddrinfo

        def getaddrinfo(host: str | bytes | None, *args: Any, **kw: Any) -> Any:
            return ask(names.get(host, host) if isinstance(host, str) else host, *args, **kw)

        with patch("socket.getaddrinfo", getaddrinfo):
            yield

    def doctor(self, *words: str) -> tuple[int, Object]:
        """Its exit code, and what it says as JSON."""
        if "--node" in words:
            self.pods.probes()
        given = ("--config", str(self.config), "--ca-file", str(self.ca), "-o", "json")
        with self.here():
            ran = command(self.cluster, "doctor", *words, *given)
        assert ran.err == ""
        return ran.code, json.loads(ran.out)


def _places(hosts: Hosts, image: Stored | None, trusted: Pki, strange: Pki) -> list[tuple[Place, Serve]]:
    found: dict[str, Serve] = {case.host: case.serve for case in CASES if case.serves} | dict(ELSEWHERE)
    if image is not None:
        content = Content.of(image)
        found[OWN] = https(registry(content=lambda _: content))
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


def _hosts_toml(hosts: Hosts, ca: Path) -> dict[str, str]:
    """By name of a registry."""
    plain = {host: f'server = "https://{host}"\nca = "{ca}"\n' for host in hosts.addresses}
    mirror = '[host."https://{}.test"]\ncapabilities = ["pull", "resolve"]\nca = "{}"\n'
    mirrored = {case.host: plain[case.host] + mirror.format(case.mirror, ca) for case in CASES if case.mirror}
    return plain | mirrored | {case.host: case.toml for case in CASES if case.toml is not None}
