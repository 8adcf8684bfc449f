"""Credentials that live a minute, and something that fails every half minute: no namespace ever has one that has ended.

The faults are those of the processes (killed, told to stop, held up until another one leads), of the API server, and of
the registry that is asked whether a new credential works.
"""

import asyncio
import base64
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import anylogin
from support.registryserver import Request, answer, asks, json_answer
from webhook.core.names import GENERATION, ISSUER_LEASE, OWNER

pytestmark = pytest.mark.cluster
SOAK_SECONDS = 21 * 60
PAUSE_SECONDS = 30.0
"""From the end of a fault to the next one: what failed has time to be made good."""
LIFE_SECONDS = 60
FAULT_SECONDS = 8.0
"""Of one of the registry."""
SHORT_LIFE_SECONDS = 90
"""In each run of the tests. Half of it is much longer than an API server takes to start on a busy machine."""
OWNERS = 5


@dataclass
class Registry:
    """What it answers now. A name of a fault, or nothing: asks for a login, and takes each. `refused`: logins."""

    fault: str = ""
    refused: int = 0

    async def act(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if self.fault == "hangs":
            await asyncio.sleep(8)
        writer.write(self._said(request))
        await writer.drain()

    def _said(self, request: Request) -> bytes:
        match self.fault:
            case "429" | "500":
                return json_answer(int(self.fault), {}, "Retry-After: 5")
            case "refuses":
                self.refused += bool(request.login)
                return asks(anylogin.CHALLENGE)
            case "garbage":
                return answer(200, os.urandom(1000))
            case "large":
                return answer(200, b"x" * 5_000_000)
        return anylogin.any_login(request)


@dataclass
class Soak:
    cluster: ControlPlane
    registry: Registry
    config: Path
    kubeconfig: Path
    called: str
    owners: list[str]
    replicas: list[Child] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    looks: int = 0
    number: int = 0

    def start(self, stack: ExitStack) -> None:
        self.number += 1
        name = f"soak-{self.number}"
        config = yaml.safe_load(self.config.read_text())
        config["server"] = {"address": "127.0.0.1", "metricsPort": free_port()}
        file = self.cluster.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config))
        command: list[str | Path] = [sys.executable, "-m", "webhook", "issue", "--config", file]
        command += ["--kubeconfig", self.kubeconfig]
        self.replicas.append(stack.enter_context(Child(name, command, log=self.cluster.folder / f"{name}.log")))

    def leader(self) -> Child | None:
        lease = self.cluster.api.get("Lease", ISSUER_LEASE, NAMESPACE) or {"spec": {}}
        holder = lease["spec"].get("holderIdentity", "")
        return next((one for one in self.replicas if holder and holder in one.log.read_text()), None)

    def ends(self, owner: str) -> float | None:
        """When the password in the pull secret ends. None: there is none yet."""
        found = self.cluster.api.get("Secret", "ghcr-secret", owner)
        if found is None:
            return None
        auths = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"]
        password = next(one["password"] for key, one in auths.items() if key.endswith(f"/{owner}/"))
        claims = json.loads(base64.urlsafe_b64decode(password.split(".")[1] + "=="))
        return float(claims["exp"])

    def watch(self, stop: Event) -> None:
        while not stop.wait(0.5):
            for owner in self.owners:
                try:
                    ends = self.ends(owner)
                except Exception:  # noqa: BLE001  # the API server is away
                    continue
                self.looks += 1
                if ends is None or ends <= time.time():
                    self.violations.append(f"{time.strftime('%X')} {owner}: {ends} {self.registry.fault}")


def issued(soak: Soak) -> list[Object]:
    """The metadata of its Secrets."""
    found = (one["metadata"] for one in soak.cluster.api.list("Secret", NAMESPACE))
    return [one for one in found if one["name"].startswith(f"issued-{soak.called}-")]


@contextmanager
def soaked(cluster: ControlPlane, folder: Path, life: int) -> Iterator[tuple[Soak, ExitStack]]:
    key, registry = folder / "key.pem", Registry()
    private = ed25519.Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with anylogin.serving(registry.act) as server, ExitStack() as stack:
        host, called = server.host, f"soak-{life}"
        issuer: dict[str, Any] = {"issue": "registry", "name": called, "registry": host, "keyFile": str(key)}
        issuer |= {"owners": f"{called}-.*", "hours": life / 3600}
        config = folder / "issuers.yaml"
        config.write_text(yaml.safe_dump({"issuers": [issuer], "registries": [{"host": host, "plain": True}]}))
        account = cluster.service_account(NAMESPACE, "pullsecret-webhook-issuer")
        owners = [f"{called}-{number}" for number in range(OWNERS)]
        soak = Soak(cluster, registry, config, account, called, owners)
        for owner in soak.owners:
            cluster.namespace(owner, labels={OWNER: owner})
        for _ in range(2):
            soak.start(stack)
        for owner in soak.owners:
            cluster.wait(lambda one=owner: soak.ends(one) is not None, f"{owner} has a credential")  # type: ignore[misc]
        yield soak, stack
    # Or the webhook, which others use after us, finds that many owners have lost what they had.
    for owner in soak.owners:
        cluster.api.delete("Namespace", owner)
    cluster.wait(lambda: not [one for one in soak.owners if cluster.api.get("Namespace", one)], "namespaces are gone")
    for one in issued(soak):
        cluster.api.delete("Secret", one["name"], NAMESPACE)


def of_registry(soak: Soak, kind: str) -> None:
    soak.registry.fault = kind
    time.sleep(FAULT_SECONDS)
    soak.registry.fault = ""


def killed(soak: Soak, stack: ExitStack) -> None:
    leader = soak.leader()
    if leader is not None:
        os.kill(leader.pid, signal.SIGKILL)
        soak.replicas.remove(leader)
    soak.start(stack)


def told_to_stop(soak: Soak, stack: ExitStack) -> None:
    leader = soak.leader()
    if leader is not None:
        leader.stop()
        soak.replicas.remove(leader)
    soak.start(stack)


def held_up(soak: Soak) -> None:
    """Until another one leads; then there are two that were told to."""
    leader = soak.leader()
    if leader is not None:
        os.kill(leader.pid, signal.SIGSTOP)
        time.sleep(20)
        os.kill(leader.pid, signal.SIGCONT)


def without_an_api_server(soak: Soak) -> None:
    with soak.cluster.without_etcd():
        time.sleep(5)


def faults(soak: Soak, stack: ExitStack) -> dict[str, Callable[[], None]]:
    kinds = ("429", "500", "refuses", "hangs", "garbage", "large")
    return {kind: partial(of_registry, soak, kind) for kind in kinds} | {
        "killed": lambda: killed(soak, stack),
        "told to stop": lambda: told_to_stop(soak, stack),
        "held up": lambda: held_up(soak),
        "no API server": lambda: without_an_api_server(soak),
    }


@contextmanager
def watched(soak: Soak) -> Iterator[None]:
    stop = Event()
    watching = Thread(target=soak.watch, args=(stop,))
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()


def lived(soak: Soak, stack: ExitStack, kinds: Iterable[str]) -> list[str]:
    """Through these faults, or until a namespace has a credential that has ended: those that happened."""
    happened = list[str]()
    with watched(soak):
        for kind in kinds:
            happened.append(kind)
            faults(soak, stack)[kind]()
            time.sleep(PAUSE_SECONDS)
            if soak.violations:
                break
    return happened


def generations(soak: Soak) -> list[int]:
    return [int(one["annotations"][GENERATION]) for one in issued(soak)]


def test_no_namespace_has_a_credential_that_has_ended_after_a_few_faults(
    installed: ControlPlane, webhook: Webhook, tmp_path: Path
) -> None:
    """No API server, another leader, and then a registry that refuses the first new credential of each owner."""
    with soaked(installed, tmp_path, SHORT_LIFE_SECONDS) as (soak, stack), watched(soak):
        without_an_api_server(soak)
        told_to_stop(soak, stack)
        soak.registry.fault = "refuses"
        until(lambda: soak.registry.refused >= OWNERS, "new ones are refused", within=SHORT_LIFE_SECONDS)
        soak.registry.fault = ""
        until(lambda: min(generations(soak)) > 1, "each owner has a second credential", within=SHORT_LIFE_SECONDS)
    assert soak.violations == []
    assert soak.looks > OWNERS
    assert webhook.child.pid


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_no_namespace_has_a_credential_that_has_ended(
    installed: ControlPlane, webhook: Webhook, tmp_path: Path
) -> None:
    random.seed(1)
    over = time.monotonic() + SOAK_SECONDS
    with soaked(installed, tmp_path, LIFE_SECONDS) as (soak, stack):
        kinds = sorted(faults(soak, stack))
        happened = lived(
            soak,
            stack,
            iter(lambda: random.choice(kinds) if time.monotonic() < over else "", ""),  # no secret
        )
        counted = generations(soak)
    assert soak.violations == [], happened
    assert soak.looks > SOAK_SECONDS
    assert {*happened} == {*kinds}
    assert min(counted) > SOAK_SECONDS / LIFE_SECONDS
    assert max(counted) < 3 * SOAK_SECONDS / LIFE_SECONDS
    assert webhook.child.pid
