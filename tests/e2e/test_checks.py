"""What registries say about credentials: two replicas ask real ones, with passwords and with tokens, all side by side.

The tests follow each other: what a registry has refused twice takes AGAIN_SECONDS, which are the same ones for all.
"""

import base64
import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, names, pod
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.core.names import CHECKS_SECRET, OWNER

pytestmark = pytest.mark.cluster
SECONDS = 10.0
"""What "within seconds" is here, on a busy machine."""
AGAIN_SECONDS = 15.0
"""Half of the webhook's own: long enough to see what stays until then."""
POD = f"""
import runpy, socket
from webhook.core import check
check.AGAIN_SECONDS = {AGAIN_SECONDS}
socket.gethostname = lambda: {{host!r}}
runpy.run_module("webhook", run_name="__main__")
"""
"""Replicas in pods have different host names, by which they know who asks."""
WORKS = {"works-basic", "works-tokens"}
PARTLY = {"partly-basic", "partly-tokens"}

ASKED = {
    "works-basic": {"basic": 1, "tokens": 0},
    "works-tokens": {"basic": 0, "tokens": 1},
    "partly-basic": {"basic": 2, "tokens": 1},
    "partly-tokens": {"basic": 1, "tokens": 2},
    "last": {"basic": 0, "tokens": 2},
}
"""How often each registry gets the credential, from both replicas together: what is refused, twice."""
COUNTS = {"works": 4, "refused": 3, "unknown": 0, "unasked": 0}
"""Of these credentials, in the metric of each replica."""


@dataclass
class World:
    """`began`: when the owners got their first credentials."""

    cluster: ControlPlane
    basic: Registry
    tokens: Registry
    silent: socket.socket
    began: float = 0.0
    running: ExitStack = field(default_factory=ExitStack)

    def start(self, name: str, **settings: Any) -> Webhook:
        hosts = {one.address: str(one.ca) for one in (self.basic, self.tokens)}
        registries = [{"host": host, "caFile": file} for host, file in hosts.items()]
        settings = {"registries": [*registries, {"host": self.silent_host}]} | settings
        program = "-c", POD.format(host=name)
        return self.running.enter_context(deployed.running(self.cluster, settings=settings, name=name, program=program))

    @property
    def silent_host(self) -> str:
        return f"127.0.0.1:{self.silent.getsockname()[1]}"

    def both(self, owner: str) -> dict[str, Registry]:
        """The registry whose password the owner has wrong at first, and the other one."""
        wrong, right = (self.basic, self.tokens) if "basic" in owner else (self.tokens, self.basic)
        return {"wrong": wrong, "right": right}

    def give(self, owner: str, passwords: Mapping[str, str]) -> None:
        """By registry; the user is called as the owner."""
        auths = {host: {"username": owner, "password": password} for host, password in passwords.items()}
        metadata = {"name": owner, "namespace": NAMESPACE, "labels": {OWNER: owner}}
        kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson"}
        data = {"stringData": {".dockerconfigjson": json.dumps({"auths": auths})}}
        self.cluster.api.apply(kind | {"metadata": metadata} | data)

    def entries(self, owner: str) -> set[str] | None:
        """Registries in the pull secret of the namespace that is called as its owner."""
        secret = self.cluster.api.get("Secret", SECRET, owner)
        if secret is None or "deletionTimestamp" in secret["metadata"]:
            return None
        return {*json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]}

    def told(self, namespace: str, name: str) -> dict[str, str]:
        """Events about this Secret: reasons and their words."""
        events = self.cluster.api.list("Event", namespace)
        return {event["reason"]: event["note"] for event in events if event["regarding"]["name"] == name}

    def asked(self, owner: str) -> dict[str, int]:
        """How often each registry was sent the owner's credential."""
        logs = {"basic": self.basic.log(), "tokens": self.tokens.log()}
        return {kind: sum(entry.user == owner for entry in log) for kind, log in logs.items()}


def results(replica: Webhook) -> dict[str, int]:
    prefix = "pullsecret_webhook_credentials{"
    lines = [line for line in replica.metrics().splitlines() if line.startswith(prefix)]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, node_binaries: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("checks")
    users = {name: planted.token() for name in (*WORKS, *PARTLY, "last", "later", "unasked")}
    with (
        ControlPlane.start(folder / "cluster") as cluster,
        Registry.start(folder / "basic", users, name="basic.example") as basic,
        Registry.start(folder / "tokens", users, name="tokens.example", tokens=True) as tokens,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        deployed.install(cluster)
        made = World(cluster, basic, tokens, silent)
        with made.running:
            yield made


@pytest.fixture(scope="module")
def replicas(world: World) -> list[Webhook]:
    """Both there from the start; then all get their credentials."""
    both = [world.start("first"), world.start("other")]
    deployed.register(world.cluster, both[0].port)
    world.began = time.monotonic()
    for owner in WORKS:
        registry = world.both(owner)["wrong"]
        world.give(owner, {registry.address: registry.users[owner]})
    for owner in PARTLY:
        registries = world.both(owner)
        right = registries["right"]
        world.give(owner, {registries["wrong"].address: planted.token(), right.address: right.users[owner]})
    world.give("last", {world.tokens.address: planted.token()})
    for owner in (*WORKS, *PARTLY, "last"):
        world.cluster.namespace(owner, labels={OWNER: owner})
    return both


def test_what_works_is_said(world: World, replicas: list[Webhook]) -> None:
    for owner in WORKS:
        until(lambda owner=owner: "CredentialWorks" in world.told(NAMESPACE, owner), "an Event", within=SECONDS)  # type: ignore[misc]
        assert "CredentialRefused" not in world.told(NAMESPACE, owner)
        assert world.entries(owner) == {world.both(owner)["wrong"].address}
    for replica in replicas:
        until(lambda replica=replica: results(replica)["works"] == 4, "both replicas know it", within=SECONDS)  # type: ignore[misc]


def test_what_is_refused_is_said_and_stays_for_now(world: World, replicas: list[Webhook]) -> None:
    for owner in (*PARTLY, "last"):

        def said(where: str, name: str) -> str:
            return world.told(where, name).get("CredentialRefused", "")

        until(lambda owner=owner: said(NAMESPACE, owner), "an Event on the source Secret", within=SECONDS)  # type: ignore[misc]
        until(lambda owner=owner: said(owner, SECRET), "an Event in its namespace", within=SECONDS)  # type: ignore[misc]
        assert "HTTP 401" in said(NAMESPACE, owner)
        assert world.both(owner)["wrong"].address in said(owner, SECRET)
        if time.monotonic() - world.began < AGAIN_SECONDS:
            hosts = {one.address for one in world.both(owner).values()}
            assert world.entries(owner) == (hosts if owner in PARTLY else {world.tokens.address})


def test_refused_twice_it_is_left_out_and_the_others_stay(world: World, replicas: list[Webhook]) -> None:
    for owner in PARTLY:
        right = {world.both(owner)["right"].address}
        until(lambda owner=owner, right=right: world.entries(owner) == right, "it is left out", within=60)  # type: ignore[misc]
    assert time.monotonic() - world.began > AGAIN_SECONDS
    until(lambda: world.entries("last") is None, "nothing is left, so there is no pull secret", within=SECONDS)
    assert world.cluster.api.get("Secret", SECRET, "last") is None
    for owner in WORKS:
        assert world.entries(owner) is not None
    for replica in replicas:
        until(lambda replica=replica: results(replica) == COUNTS, "both replicas know it", within=SECONDS)  # type: ignore[misc]


def asked_in_all(world: World) -> dict[str, dict[str, int]]:
    return {owner: world.asked(owner) for owner in (*WORKS, *PARTLY, "last")}


def test_no_credential_is_sent_more_than_twice(world: World, replicas: list[Webhook]) -> None:
    assert asked_in_all(world) == ASKED
    entries = [entry for registry in (world.basic, world.tokens) for entry in registry.log() if entry.user in ASKED]
    assert {entry.agent for entry in entries} == {"pullsecret-webhook"}


def test_what_is_kept_holds_no_password(world: World, replicas: list[Webhook]) -> None:
    kept = world.cluster.api.get("Secret", CHECKS_SECRET, NAMESPACE)
    assert kept
    data = {key: base64.b64decode(value) for key, value in kept["data"].items()}
    assert {*data} == {"key", "checks"}
    assert not planted.leaks(json.dumps(kept))
    for text in data.values():
        assert not planted.leaks(text.decode("latin-1"))
        assert not any(owner.encode() in text for owner in ASKED)
    for replica in replicas:
        assert not planted.leaks(replica.log)


def test_a_restart_and_another_replica_ask_nothing_again(world: World, replicas: list[Webhook]) -> None:
    before = kept(world)
    third = world.start("third")
    until(lambda: results(third) == COUNTS, "it knows what the others were told", within=SECONDS)
    world.running.close()
    replicas[:] = [world.start("first")]
    deployed.register(world.cluster, replicas[0].port)
    until(lambda: results(replicas[0]) == COUNTS, "it knows what was said before", within=SECONDS)
    time.sleep(3)  # it would have asked by now
    assert asked_in_all(world) == ASKED
    assert kept(world) == before
    for owner in PARTLY:
        assert world.entries(owner) == {world.both(owner)["right"].address}
    assert world.entries("last") is None


def kept(world: World) -> Object:
    found = world.cluster.api.get("Secret", CHECKS_SECRET, NAMESPACE)
    assert found
    data: Object = found["data"]
    return data


def test_what_has_changed_is_back_within_seconds(world: World, replicas: list[Webhook]) -> None:
    for owner in (*PARTLY, "last"):
        registries = world.both(owner).values() if owner in PARTLY else [world.tokens]
        passwords = {one.address: one.users[owner] for one in registries}
        world.give(owner, passwords)
        until(lambda owner=owner, hosts={*passwords}: world.entries(owner) == hosts, "it is back", within=SECONDS)  # type: ignore[misc]
    works = {"works": 7, "refused": 0, "unknown": 0, "unasked": 0}
    until(lambda: results(replicas[0]) == works, "and found to work", within=SECONDS)
    more = {("partly-basic", "basic"), ("partly-tokens", "tokens"), ("last", "tokens")}
    expected = {
        owner: {kind: number + ((owner, kind) in more) for kind, number in counts.items()}
        for owner, counts in ASKED.items()
    }
    assert asked_in_all(world) == expected


def test_a_review_does_not_wait_for_a_registry(world: World, replicas: list[Webhook]) -> None:
    deployed.wait_called(world.cluster.api, replicas[0].port, "works-basic")
    world.give("later", {world.silent_host: planted.token()})
    world.cluster.namespace("later", labels={OWNER: "later"})
    assert select.select([world.silent], [], [], SECONDS)[0]  # it is being asked, for ten seconds
    began = time.monotonic()
    for number in range(5):
        assert names(world.cluster.api.create(pod("later", f"p{number}"))) == [SECRET]
    until(lambda: world.entries("later") == {world.silent_host}, "its pull secret stands", within=5)
    assert time.monotonic() - began < 5
    assert results(replicas[0])["unasked"] == 1


def test_without_check_nothing_is_asked(world: World, replicas: list[Webhook]) -> None:
    world.running.close()
    replicas[:] = [world.start("unasking", check=False)]
    deployed.register(world.cluster, replicas[0].port)
    before = kept(world)
    hosts = {one.address: planted.token() for one in (world.basic, world.tokens)}
    world.give("unasked", hosts)
    world.cluster.namespace("unasked", labels={OWNER: "unasked"})
    until(lambda: world.entries("unasked") == {*hosts}, "its pull secret stands", within=SECONDS)
    time.sleep(3)  # it would have asked by now
    assert world.asked("unasked") == {"basic": 0, "tokens": 0}
    assert kept(world) == before
    assert results(replicas[0]) == {}
