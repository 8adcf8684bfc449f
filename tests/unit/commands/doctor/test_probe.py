"""A whole look: the files of a node, DNS servers, and registries at several addresses of loopback."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from controlplane.ports import free_port
from support import nameserver
from support.registryserver import Say, answer, asks, serving
from webhook.commands.doctor import probe, resolving
from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, HostSeen, Probed, Request, Target
from webhook.commands.doctor.packed import unpacked
from webhook.commands.doctor.probe import LOOK_SECONDS, MAX_HOSTS, MAX_TRIED, Machine, by_address, look
from webhook.core.errors import PullsecretError

CA = trustme.CA()
PEM = CA.cert_pem.bytes().decode()


def context(*names: str) -> Any:
    import ssl

    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names).configure_cert(made)
    return made


@dataclass
class World:
    """A node with two resolvers, of which each knows other addresses; servers get one port at many of them."""

    folder: Path
    stack: AsyncExitStack
    port: int
    dns_port: int

    async def server(self, address: str, *names: str, say: Say | None = None) -> None:
        said = say or (lambda _: asks(f'Bearer realm="https://auth.test:{self.port}/token"'))
        await self.stack.enter_async_context(serving(said, context(*names), address=address, port=self.port))

    async def resolver(self, address: str, names: dict[str, list[str]]) -> str:
        await self.stack.enter_async_context(nameserver.serving(nameserver.table(names), address, self.dns_port))
        return f"{address}:{self.dns_port}"

    def machine(self, hosts: str = "", *servers: str) -> Machine:
        (self.folder / "hosts").write_text(hosts)
        (self.folder / "resolv.conf").write_text("".join(f"nameserver {one}\n" for one in servers))
        return Machine(self.folder / "hosts", self.folder / "resolv.conf", "127.0.0.153", self.dns_port)


def run(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def within() -> None:
        async with AsyncExitStack() as stack:
            await scenario(World(folder, stack, free_port(), free_port()))

    asyncio.run(within())


def test_a_node_with_a_wrong_hosts_file(tmp_path: Path) -> None:
    """Its line hides what its resolvers say, and every address is tried, so the right one is known."""

    async def scenario(world: World) -> None:
        await world.server("127.0.0.2", "*.github.test")
        await world.server("127.0.0.3", "ghcr.test")
        await world.server("127.0.0.4", "auth.test", say=lambda _: answer(404))
        first = await world.resolver("127.0.0.9", {"ghcr.test": ["127.0.0.2"], "auth.test": ["127.0.0.4"]})
        second = await world.resolver("127.0.0.10", {"ghcr.test": ["127.0.0.3", "127.0.0.2"]})
        cluster = await world.resolver("127.0.0.11", {"ghcr.test": ["127.0.0.5"]})
        machine = world.machine("127.0.0.2 ghcr.test\n", "127.0.0.9", "127.0.0.10")
        target = Target("ghcr.test", world.port, addresses=("127.0.0.3", "127.0.0.6"))
        seen = await look(Request((target,), PEM, "127.0.0.11"), machine)
        host, realm = seen.hosts
        assert (host.host, host.role, realm.host, realm.role) == ("ghcr.test", "registry", "auth.test", "realm")
        stub = Answer(f"127.0.0.153:{world.dns_port}", "nothing listens")
        assert tuple(msgspec.structs.replace(one, addresses=tuple(sorted(one.addresses))) for one in host.answers) == (
            Answer(HOSTS_FILE, "addresses", ("127.0.0.2",)),
            Answer(first, "addresses", ("127.0.0.2",)),
            Answer(second, "addresses", ("127.0.0.2", "127.0.0.3")),
            stub,
        )
        assert host.cluster_dns == Answer(cluster, "addresses", ("127.0.0.5",))
        assert {one.address: (one.given_by, one.tcp, one.tls) for one in host.endpoints} == {
            "127.0.0.2": ((HOSTS_FILE, first, second), "open", "wrong name"),
            "127.0.0.3": ((second, HERE), "open", "right"),
            "127.0.0.5": ((cluster,), "refused", "not tried"),
            "127.0.0.6": ((HERE,), "refused", "not tried"),
        }
        assert [one.result for one in realm.answers] == ["addresses", "no such name", "nothing listens"]
        assert [(one.address, one.tls, one.status, one.registry) for one in realm.endpoints] == [
            ("127.0.0.4", "right", 404, False)
        ]
        assert abs((datetime.now(UTC) - seen.at).total_seconds()) < 10

    run(tmp_path, scenario)


def test_here_the_systems_own_resolver_is_asked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.server("127.0.0.1", "localhost", "auth.test")
        seen = await look(Request((Target("localhost", world.port), Target("127.0.0.1", world.port)), PEM))
        named, literal, realm = seen.hosts
        (said,) = named.answers
        assert (said.server, said.result) == (HERE, "addresses")
        assert ("127.0.0.1", "right") in [(one.address, one.tls) for one in named.endpoints]
        assert literal.answers == ()
        assert [(one.address, one.given_by, one.tls) for one in literal.endpoints] == [
            ("127.0.0.1", (HERE,), "wrong name")
        ]
        assert realm.host == "auth.test"

    run(tmp_path, scenario)


def test_a_realm_that_is_asked_about_is_looked_at_once_in_its_own_role(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.server("127.0.0.2", "ghcr.test")
        await world.resolver("127.0.0.9", {"ghcr.test": ["127.0.0.2"]})
        targets = (Target("ghcr.test", world.port), Target("auth.test", world.port, role="blobs"))
        seen = await look(Request(targets, PEM), world.machine("", "127.0.0.9"))
        assert [(one.host, one.role) for one in seen.hosts] == [("ghcr.test", "registry"), ("auth.test", "blobs")]

    run(tmp_path, scenario)


def test_no_more_hosts_than_bounded(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.resolver("127.0.0.9", {})
        seen = await look(
            Request(tuple(Target(f"a{number}.test") for number in range(20))), world.machine("", "127.0.0.9")
        )
        assert [one.host for one in seen.hosts] == [f"a{number}.test" for number in range(MAX_HOSTS)]

    run(tmp_path, scenario)


def test_a_node_whose_files_are_missing(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a", tmp_path / "b", port=free_port())
    assert machine.servers == ("127.0.0.1", "127.0.0.53")
    (host,) = asyncio.run(look(Request((Target("ghcr.test"),)), machine)).hosts
    assert [one.result for one in host.answers] == ["nothing listens", "nothing listens"]


def test_everything_silent_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers first, then addresses: as long as it takes at most, but for the token service."""
    monkeypatch.setattr(resolving, "TRY_SECONDS", (0.2, 0.3))
    monkeypatch.setattr(probe, "HOST_SECONDS", 0.5)

    async def scenario(world: World) -> None:
        await world.stack.enter_async_context(nameserver.serving(lambda _: None, "127.0.0.9", world.dns_port))
        with socket.create_server(("127.0.0.2", world.port)):
            began = time.monotonic()
            target = Target("ghcr.test", world.port, addresses=("127.0.0.2",))
            seen = await look(Request((target,)), world.machine("", "127.0.0.9"))
            assert 0.9 < time.monotonic() - began < 3
        assert seen.hosts[0].answers[0].result == "silent"
        assert [(one.tcp, one.tls) for one in seen.hosts[0].endpoints] == [("open", "silent")]

    run(tmp_path, scenario)


def test_the_parts_of_a_look_fit_into_its_time() -> None:
    """Twice, for the registry and its token service."""
    assert 2 * (sum(resolving.TRY_SECONDS) + probe.HOST_SECONDS) <= LOOK_SECONDS


def test_the_addresses_that_are_tried_come_from_all_who_give_some() -> None:
    many = tuple(f"10.0.0.{number}" for number in range(20))
    found = by_address({"a": many, "b": ("10.1.0.1", "10.0.0.0"), "c": (), HERE: ("10.2.0.1",)})
    assert len(found) == MAX_TRIED
    assert [*found][:4] == ["10.0.0.0", "10.1.0.1", "10.2.0.1", "10.0.0.1"]
    assert found["10.0.0.0"] == ("a", "b")


@pytest.mark.parametrize(
    "request_",
    [
        Request((Target("a b"),)),
        Request((Target("ghcr.io", 0),)),
        Request((Target("ghcr.io", 70000),)),
        Request((Target("ghcr.io", addresses=("ghcr.io",)),)),
        Request((Target("ghcr.io"),), cluster_dns="kube-dns"),
        Request((Target("ghcr.io"),), ca_pem="x"),
    ],
)
def test_what_is_no_request(request_: Request) -> None:
    with pytest.raises(PullsecretError, match=r"not valid|no certificate"):
        asyncio.run(look(request_, Machine()))


# -- the command --

NOBODY = '{"targets": [{"host": "ghcr.invalid", "addresses": ["127.0.0.1"], "port": 1}]}'


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "webhook", "probe", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_one_line_of_json() -> None:
    ran = called(NOBODY)
    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = ran.stdout.splitlines()
    (host,) = msgspec.json.decode(line, type=Probed).hosts
    assert isinstance(host, HostSeen)
    assert [(one.address, one.tcp) for one in host.endpoints] == [("127.0.0.1", "refused")]
    assert json.loads(line)["hosts"][0]["host"] == "ghcr.invalid"


def test_the_command_writes_for_the_pods_status(tmp_path: Path) -> None:
    ran = called("--to", str(tmp_path / "message"), NOBODY)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    request = msgspec.json.decode(NOBODY, type=Request)
    assert unpacked((tmp_path / "message").read_text(), request).hosts[0].host == "ghcr.invalid"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"targets": [{"host": 1}]}', '{"targets": [{"host": "a b"}]}'])
def test_another_request_is_refused(text: str) -> None:
    ran = called(text)
    assert (ran.returncode, ran.stdout) == (1 if "a b" in text else 2, "")
    assert ran.stderr.startswith("pullsecret: ")
    assert "Traceback" not in ran.stderr


def test_it_starts_without_what_it_does_not_need() -> None:
    """A pod on a node may be slow as it is."""
    code = (
        "import sys; from webhook.cli import main\n"
        "try: main(['probe', sys.argv[1]])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code, NOBODY], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert "dns" in loaded
    assert loaded.isdisjoint({"kubernetes", "aiohttp", "uvicorn", "starlette", "structlog", "uvloop", "psycopg"})
