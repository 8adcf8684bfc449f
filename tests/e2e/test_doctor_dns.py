"""`pullsecret doctor dns`: the real CoreDNS answers as a key says, and would not start with what is refused.

tests/install/test_helm.py has it asked from the real node."""

import asyncio
import re
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.coredns import coredns
from controlplane.ports import free_port
from controlplane.waiting import until
from support import anylogin
from support.corednspod import CLUSTER, COREDNS, CUSTOM, IN_CLUSTER, InCluster, World, config_map, k3s
from webhook.commands.clusterdns import coredns as reading
from webhook.commands.clusterdns import dns
from webhook.commands.clusterdns.dns import Asker, Wanted
from webhook.commands.clusterdns.key import Host, Key, NoPlace, Refused, Resolver, cluster_domains, fits, place
from webhook.commands.doctor import probe
from webhook.commands.doctor.evidence import Probed, Request
from webhook.commands.doctor.probe import Machine
from webhook.core.errors import PullsecretError
from webhook.kube.cluster import Cluster

pytestmark = pytest.mark.cluster
T = TypeVar("T")
REGISTRY, BLOBS = "registry.test", "blobs.test"
ADDRESS, OTHER = "203.0.113.7", "203.0.113.8"
KEY = f"pullsecret-{REGISTRY}.server"


@pytest.fixture
def world(tmp_path: Path, coredns_binary: None) -> World:
    return World(tmp_path / "coredns", free_port())


def key(world: World, *addresses: str) -> Key:
    hosts = (Host(REGISTRY, addresses or (ADDRESS,)), Host(BLOBS, (OTHER,)))
    return Key(hosts, None, str(world.port))


def added(world: World, one: Key) -> None:
    where = place(world.dns, one.registry)
    world.has(existing(world) | {where.key: fits(world.dns, where, one).text})


def existing(world: World) -> dict[str, str]:
    return {file.name: file.read_text() for file in (world.folder / "custom").iterdir()}


# -- CoreDNS and files -------------------------------------------------------------------------------------------------


def test_a_key_makes_coredns_answer_and_leaves_all_else(world: World) -> None:
    one = key(world, ADDRESS, "2001:db8::7")
    other = f"other.test:{world.port} {{\nhosts {{\n192.0.2.9 other.test\n}}\n}}\n"
    world.has({"a.override": "log", "other.server": other})
    added(world, one)
    with coredns(world.folder, world.text):
        names = REGISTRY, BLOBS, one.marker, "node-9", "other.test", CLUSTER
        found = world.answers(*names)
    others = ("192.0.2.1",), ("10.0.0.9",), ("192.0.2.9",), ("10.43.0.1",)
    assert (set(found[0]), *found[1:]) == ({ADDRESS, "2001:db8::7"}, (OTHER,), *others)


def test_a_key_with_a_resolver_asks_that_by_tls(world: World, tmp_path: Path) -> None:
    """At the port and with the CA of this test."""
    ca, port = trustme.CA(), free_port()
    certificate = ca.issue_cert("dns.test")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    answer = f"tls://.:{port} {{\ntls {tmp_path}/cert.pem {tmp_path}/key.pem\nhosts {{\n{ADDRESS} {REGISTRY}\n}}\n}}\n"
    one = replace(key(world), resolver=Resolver(("127.0.0.1",), "dns.test"), hosts=(Host(REGISTRY),))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    text = one.text.replace("tls://127.0.0.1 {", f"tls://127.0.0.1:{port} {{\n        tls {tmp_path}/ca.pem")
    assert text != one.text
    with coredns(tmp_path / "resolver", answer):
        world.has({KEY: text})
        with coredns(world.folder, world.text):
            assert world.answers(REGISTRY, one.marker, CLUSTER) == [(ADDRESS,), ("192.0.2.1",), ("10.43.0.1",)]
        world.has({KEY: text.replace("dns.test", "other.test")})
        with coredns(world.folder, world.text):
            assert world.answers(REGISTRY) == [()]


BREAKS = {
    "a second hosts": ({"a.override": "hosts {\n1.2.3.4 a.test\n}"}, "the plugin hosts twice"),
    "a second cache": ({"a.override": "cache 5"}, "the plugin cache twice"),
    "the zone in another key": ({"a.server": "REGISTRY {\nlog\n}"}, "stands in the key a.server already"),
    "the zone, otherwise written": ({"a.server": "dns://Registry.Test.:PORT {\n}"}, "stands in the key a.server"),
    "one zone in two other keys": ({"a.server": "a.test {\n}", "b.server": "a.test {\n}"}, "two server blocks"),
    "a lost brace": ({"a.server": "a.test {\nlog\n"}, "the key a.server, line 2: a } is missing"),
    "a brace too much": ({"a.override": "log\n}"}, "the key a.override, line 2: there is a } without a {"),
    "a server block without braces": ({"a.server": "a.test:PORT\nlog\n"}, "because one before it has no braces"),
    "no such plugin": ({"a.server": "a.test {\nresolve\n}"}, "no plugin resolve, in the key a.server, line 2"),
    "no such file": ({"a.server": "a.test {\nimport nowhere\n}"}, "there is no such file"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_what_is_refused_would_keep_coredns_from_starting(world: World, case: str) -> None:
    keys, words = BREAKS[case]
    filled = {
        name: text.replace("REGISTRY", f"{REGISTRY}:{world.port}").replace("PORT", str(world.port))
        for name, text in keys.items()
    }
    world.has(filled)
    with pytest.raises(Refused, match=r"would (?:not )?start again") as caught:
        added(world, key(world))
    assert words in str(caught.value)
    world.has(filled | {KEY: key(world).text})
    assert not world.starts()


def test_a_host_that_the_corefile_serves_already_is_left_out(world: World) -> None:
    world.has({"a.server": f"{BLOBS}:{world.port} {{\n}}"})
    assert [one.name for one in fits(world.dns, place(world.dns, REGISTRY), key(world)).hosts] == [REGISTRY]
    added(world, key(world))
    assert world.starts()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("import custom/*.server\n", ""), "imports no *.server"),
        ((IN_CLUSTER, "whoami"), "no server block with the plugin kubernetes"),
        (("hosts ", "hosts {$HOSTS}"), ""),
        (("cache 30", "{$CACHE} 30"), "taken from the environment"),
    ],
)
def test_what_the_corefile_must_have(world: World, change: tuple[str, str], words: str) -> None:
    assert change[0] in world.corefile
    world.corefile = world.corefile.replace(*change)
    if not words:
        return added(world, key(world))
    with pytest.raises(Refused) as caught:
        added(world, key(world))
    assert words in str(caught.value)
    assert isinstance(caught.value, NoPlace) == (words == "imports no *.server")
    return None


@pytest.mark.parametrize("name", ["registry.default.svc.cluster.local", "cluster.local", "k8s.test"])
def test_the_clusters_own_names_are_not_hidden(world: World, name: str) -> None:
    """A registry could name such a token service."""
    world.corefile = world.corefile.replace(
        "kubernetes cluster.local", "kubernetes ip6.arpa Cluster.Local. in.k8s.test"
    )
    assert cluster_domains(world.dns) == ("cluster.local", "in.k8s.test", "ip6.arpa", "in-addr.arpa")
    for host in (REGISTRY, name):
        one = Key((Host(host, (ADDRESS,)), Host(name, (OTHER,))), None, str(world.port))
        if host == REGISTRY:
            assert [each.name for each in fits(world.dns, place(world.dns, REGISTRY), one).hosts] == [REGISTRY]
        else:
            with pytest.raises(Refused, match="is in the cluster's own domain or above it"):
                place(world.dns, name)


def test_another_suffix(world: World) -> None:
    world.corefile = world.corefile.replace("*.server", "*.include")
    assert place(world.dns, REGISTRY).key == f"pullsecret-{REGISTRY}.include"
    added(world, key(world))
    assert world.starts()


LINES = (
    "errors", "log", "cache 30", "hosts", "hosts {\n 1.2.3.4 a.b\n}", "import s", "import custom/*.override",
    "bind 127.0.0.1", "bind 127.0.0.2", "forward . 127.0.0.1:9", "# a { b", "log#x y", "template IN A x.y {\n}",
)  # fmt: skip
ODD_LINES = ("{", "}", "bogus", "import", "import nowhere", '"log', "log {", "errors{", ",")
ZONES = (
    "a.test:P",
    "A.test.:P",
    "b.test:P",
    "10.0.0.0/23:P",
    "1.0.10.in-addr.arpa:P",
    "registry.test:P",
    "b.test:P, c.test",
)
ODD_ZONES = ("a.test:P,", "c..test", ":P", "(s)", "import s", "tls://a.test:P", '"a.test:P"')


def blocks(zones: tuple[str, ...], lines: tuple[str, ...], form: str) -> st.SearchStrategy[str]:
    inside = st.lists(st.sampled_from(lines), max_size=3).map("\n".join)
    return st.builds(form.format, st.sampled_from(zones), inside)


whole = blocks(ZONES, LINES, "{} {{\n{}\n}}\n")
odd = whole | blocks(ZONES + ODD_ZONES, LINES + ODD_LINES, "{} {{\n{}\n}}\n") | blocks(ZONES, LINES, "{}\n{}\n")
texts = st.lists(whole, max_size=2).map("".join) | st.lists(odd, max_size=2).map("".join)
overrides = st.lists(st.sampled_from(LINES[1:2] + LINES[6:]), max_size=2).map("\n".join)


@example(main="a.test:P {\nlog {\nerrors\n}\n", keys={}, override="")
@example(main="a.test:P {\nbogus\n}\n", keys={}, override="")
@example(main="", keys={"a.server": "a.test:P {\nbogus\n}\n"}, override="")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(main=texts, keys=st.dictionaries(st.sampled_from(["a.server", "z.server"]), texts), override=overrides)
def test_what_is_not_refused_starts(coredns_binary: None, main: str, keys: dict[str, str], override: str) -> None:
    """Whatever else stands in the Corefile and beside the key, unless CoreDNS would not start without the key either:
    a plugin reads its own arguments, and in the Corefile of a distribution there may be plugins of its own; neither is
    judged.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "coredns", free_port())
        world.corefile = "(s) {\nerrors\nlog\n}\n" + world.corefile + main.replace(":P", f":{world.port}")
        filled = {name: text.replace(":P", f":{world.port}") for name, text in keys.items()}
        others = filled | ({"a.override": override} if override else {})
        world.has(others)
        try:
            added(world, key(world))
        except Refused:
            return
        if not world.starts():
            world.has(others)
            assert not world.starts(), "the key is what keeps CoreDNS from starting"
            assert re.search(r"unknown property|/Corefile:\d+ - .*Unknown directive 'bogus'", world.said), world.said


# -- what is right -----------------------------------------------------------------------------------------------------


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("198.51.100.1", 9))  # sends nothing
        return str(asked.getsockname()[0])


@contextmanager
def registry(ca: trustme.CA, *names: str) -> Iterator[tuple[str, int]]:
    """At an address that is not loopback, for which alone a key is made."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    with anylogin.serving(tls=context, address=own_address()) as server:
        yield server.name, server.port


def test_only_addresses_with_the_right_certificate_count() -> None:
    ca = trustme.CA()
    pem = ca.cert_pem.bytes().decode()
    with registry(ca, REGISTRY) as (address, port):
        wanted = Wanted(REGISTRY, port, {REGISTRY: ("127.0.0.9", address)}, None, pem)
        assert asyncio.run(dns.tried(wanted, probe.look)) == dns.Tried((Host(REGISTRY, (address,), port),))
        there = Request(dns._targets(wanted), pem)  # what is right as seen from elsewhere is tried from here too
        found = asyncio.run(dns.tried(replace(wanted, addresses={}), probe.look, lambda _: probe.look(there)))
        assert found.hosts == (Host(REGISTRY, (address,), port),)
        with pytest.raises(Refused, match=r"^no address that is known for other\.test has a certificate"):
            asyncio.run(dns.tried(Wanted("other.test", port, {"other.test": (address,)}, None, pem), probe.look))


def test_only_a_resolver_with_the_right_certificate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    with registry(ca, "dns.test") as (address, port):
        monkeypatch.setattr(dns, "RESOLVER_PORT", port)
        wanted = Wanted("ghcr.test", resolver=Resolver((address,), "dns.test"), ca_pem=ca.cert_pem.bytes().decode())
        assert asyncio.run(dns.tried(wanted, probe.look)).hosts == (Host("ghcr.test"),)
        for resolver in (Resolver((address,), "other.test"), Resolver((address, "127.0.0.9"), "dns.test")):
            with pytest.raises(Refused, match=f"does not answer on port {port} with a certificate for {resolver.name}"):
                asyncio.run(dns.tried(replace(wanted, resolver=resolver), probe.look))


# -- the API server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def running(cluster: ControlPlane, world: World) -> Iterator["Running"]:
    started = Running(cluster, world)
    started.begin("127.0.0.1")
    yield started
    started.end()


class Running(InCluster):
    """`asked`: hosts that were asked about."""

    def __init__(self, cluster: ControlPlane, world: World) -> None:
        super().__init__(cluster, world)
        self.asked = list[str]()

    async def look(self, request: Request) -> Probed:
        """From within the cluster."""
        self.asked += [one.host for one in request.targets]
        return await probe.look(request, Machine(Path("/dev/null"), Path("/dev/null"), "127.0.0.1", self.world.port))

    def asker(self, wait: float = 15.0) -> Asker:
        return Asker(self.look, lambda _: None, wait=wait, again=0.3)

    def applied(self, one: Key, wait: float = 15.0) -> str:
        async def run(cluster: Cluster) -> str:
            found = await reading.read(cluster)
            where = place(found, one.registry)
            return await dns.apply(cluster, found, where, fits(found, where, one), self.asker(wait))

        return self.connected(run)

    def removed(self, host: str = REGISTRY) -> str:
        return self.connected(lambda cluster: dns.remove(cluster, host))

    def connected(self, run: Callable[[Cluster], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with Cluster.connect(str(self.cluster.kubeconfig)) as cluster:
                return await run(cluster)

        return asyncio.run(connected())

    def command(self, *arguments: str) -> Ran:
        return command(self.cluster, "doctor", "dns", *arguments)


def test_a_key_is_written_seen_in_force_and_removed(running: Running) -> None:
    one, yours = key(running.world), Key((Host("quay.test", (OTHER,)),), None, str(running.world.port))
    running.api.apply(config_map(CUSTOM, {"a.override": "log"}), manager="somebody")
    with running.served():
        assert running.applied(one) == (
            f"the key {KEY} of the ConfigMap {CUSTOM} is written, and each pod of CoreDNS answers as it says"
        )
        assert running.custom() == {KEY: one.text, "a.override": "log"}
        assert running.world.answers(REGISTRY, BLOBS, CLUSTER) == [(ADDRESS,), (OTHER,), ("10.43.0.1",)]
        assert {one.marker, REGISTRY, BLOBS, CLUSTER} == {*running.asked}
        assert "is there already" in running.applied(one)
        running.applied(yours)
        changed = key(running.world, OTHER)
        running.applied(changed)
        assert running.world.answers(REGISTRY, "quay.test", one.marker) == [(OTHER,), (OTHER,), ()]
        running.pod("192.0.2.77")
        with pytest.raises(PullsecretError, match=r"^the pod 192\.0\.2\.77 of CoreDNS has not read the key; its log"):
            running.applied(changed, wait=0)  # it stays: it was right before
    assert running.removed() == f"the key {KEY} of the ConfigMap {CUSTOM} is removed"
    assert running.custom() == {"a.override": "log", "pullsecret-quay.test.server": yours.text}
    running.removed("quay.test")
    assert running.custom() == {"a.override": "log"}
    assert running.removed() == f"there is no key for {REGISTRY}"


@pytest.mark.parametrize("before", [None, pytest.param("other", marks=pytest.mark.slow)])
def test_what_coredns_does_not_take_is_taken_away_again(running: Running, before: str | None) -> None:
    """It reads a plugin's arguments, which are not judged before."""
    old = key(running.world, OTHER)
    with running.served():
        if before:
            running.applied(old)
        running.api.apply(config_map(CUSTOM, {"a.override": "template"}), manager="somebody")
        with pytest.raises(PullsecretError, match=r"has not read the key; its log says why; so the key .* again$") as e:
            running.applied(key(running.world), wait=4)
    assert ("as before" if before else "taken away") in str(e.value)
    assert running.custom() == {"a.override": "template"} | ({KEY: old.text} if before else {})


def test_an_interrupt_takes_it_away_too(running: Running) -> None:
    async def run(cluster: Cluster) -> None:
        found = await reading.read(cluster)
        one = key(running.world)
        task = asyncio.create_task(dns.apply(cluster, found, place(found, REGISTRY), one, running.asker(60)))
        await asyncio.to_thread(until, lambda: running.asked, "it waits")
        assert running.custom() == {KEY: one.text}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    running.connected(run)
    assert running.custom() is None


def test_without_reload_it_would_not_be_seen_in_force(running: Running) -> None:
    running.api.apply(config_map(COREDNS, {"Corefile": running.world.corefile.replace("reload 2s 1s", "")}))
    with pytest.raises(Refused, match=r"^the Corefile has no plugin reload, .* and restart it$"):
        running.applied(key(running.world))
    assert running.custom() is None


def test_what_is_somebody_elses_is_not_touched(running: Running) -> None:
    running.api.apply(config_map(CUSTOM, {KEY: "# mine"}), manager="kubectl edit")
    with pytest.raises(Refused, match=r'is also of "kubectl edit", or of them alone; it is not overwritten$'):
        running.applied(key(running.world))
    with pytest.raises(Refused, match=r"it is not overwritten$"):
        running.removed()
    assert running.custom() == {KEY: "# mine"}


def test_print(running: Running, tmp_path: Path) -> None:
    """What is printed can be applied as it says, and belongs to this command then."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with registry(ca, REGISTRY) as (address, port):
        given = (f"{REGISTRY}:{port}", "--ca-file", str(tmp_path / "ca.pem"), "--address", address)
        ran = running.command(*given)
        assert ran.code == 0
        assert "pulls do not change" in ran.err
        assert (
            f"{REGISTRY}: {address}, with the right certificate as seen from this machine, not from within" in ran.err
        )
        (call,) = [line for line in ran.out.splitlines() if "kubectl" in line]
        running.cluster.kubectl(*call.split()[2:-1], "-", input=ran.out)
        assert running.custom() == yaml.safe_load(ran.out)["data"]
        assert running.command(REGISTRY, "--remove").out == f"the key {KEY} of the ConfigMap {CUSTOM} is removed\n"
        running.api.patch(
            "ConfigMap",
            COREDNS,
            {"data": {"Corefile": k3s(running.world.port, running.world.folder)[:-23]}},
            "kube-system",
        )
        by_hand = running.command(*given)
        assert by_hand.code == 1
        assert "imports no *.server" in by_hand.err
        assert by_hand.out.startswith("# Of `pullsecret doctor dns registry.test`.")
        assert "\nregistry.test:53 {\n" in by_hand.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["10.0.0.1"], "is no name with a dot"),
        (["localhost:5000"], "is no name with a dot"),
        (["*.example.com"], "is a pattern"),
        (["ghcr.io", "--address", "127.0.0.1"], "is no address that pods could connect to"),
        (["ghcr.io", "--address", "a b.test=1.2.3.4"], "is no name with a dot"),
        (["ghcr.io", "--address", "1.2.3.4 ghcr.io"], "is no address"),
        (["ghcr.io", "--resolver", "1.1.1.1"], "go together"),
        (["ghcr.io", "--resolver", "1.1.1.1", "--resolver-name", "x}.test"], "is no name with a dot"),
        (["ghcr.io", "--apply"], "name a node for that with --node"),
        (["ghcr.io", "--ca-file", "/nowhere"], "there is no file"),
    ],
)
def test_wrong_arguments(cluster: ControlPlane, arguments: list[str], words: str) -> None:
    ran = command(cluster, "doctor", "dns", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_cluster_whose_dns_is_another(cluster: ControlPlane) -> None:
    ran = command(cluster, "doctor", "dns", "ghcr.io")
    assert (ran.code, ran.out) == (3, "")
    assert "no Deployment runs CoreDNS with a Corefile (-conf) and the label k8s-app=kube-dns in kube-system" in ran.err


def test_node_local_dns(running: Running) -> None:
    labels = {"k8s-app": "node-local-dns"}
    pod = {"containers": [{"name": "c", "image": "c"}], "nodeSelector": {"no": "node"}}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    metadata = {"name": "node-local-dns", "namespace": "kube-system"}
    running.api.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
    try:
        ran = running.command("ghcr.io")
    finally:
        running.api.delete("DaemonSet", "node-local-dns", "kube-system")
    assert ran.code == 3
    assert "pods ask NodeLocal DNSCache" in ran.err
