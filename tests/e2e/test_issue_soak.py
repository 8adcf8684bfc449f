"""Credentials that live a minute, and something that fails every half minute: no namespace ever has one that has ended.

The faults are those of the processes (killed, told to stop, held up until another one leads), of the API server, and of
the registry that is asked whether a new credential works.
"""

import base64
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.cluster import ControlPlane
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.webhook import NAMESPACE, Webhook
from webhook.core.names import ISSUER_LEASE, OWNER

SOAK_SECONDS = 21 * 60
PAUSE_SECONDS = 30.0
"""From the end of a fault to the next one: what failed has time to be made good."""
LIFE_SECONDS = 60
OWNERS = [f"soaked-{number}" for number in range(5)]


@dataclass
class Registry:
    """What it answers now. A name of a fault, or nothing: asks for a login, and takes each."""

    fault: str = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fault, status, body = registry.fault, 200, b"{}"
                if fault == "hangs":
                    time.sleep(8)
                if fault in {"429", "500"}:
                    status = int(fault)
                elif fault == "refuses" or not self.headers["Authorization"]:
                    status = 401
                elif fault == "garbage":
                    body = os.urandom(1000)
                elif fault == "large":
                    body = b"x" * 5_000_000
                self.send_response(status)
                self.send_header("Retry-After", "5")
                if fault not in {"garbage", "large"}:
                    self.send_header("WWW-Authenticate", 'Basic realm="registry"')
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass
class Soak:
    cluster: ControlPlane
    registry: Registry
    config: Path
    kubeconfig: Path
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
            for owner in OWNERS:
                try:
                    ends = self.ends(owner)
                except Exception:  # noqa: BLE001  # the API server is away
                    continue
                self.looks += 1
                if ends is None or ends <= time.time():
                    self.violations.append(f"{time.strftime('%X')} {owner}: {ends} {self.registry.fault}")


@contextmanager
def soaked(cluster: ControlPlane, folder: Path) -> Iterator[tuple[Soak, ExitStack]]:
    key, registry = folder / "key.pem", Registry()
    private = ed25519.Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with ThreadingHTTPServer(("127.0.0.1", 0), registry.handler()) as server, ExitStack() as stack:
        Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        issuer: dict[str, Any] = {"issue": "registry", "registry": host, "keyFiles": [str(key)], "owners": "soaked-.*"}
        issuer["hours"] = LIFE_SECONDS / 3600
        config = folder / "issuers.yaml"
        config.write_text(yaml.safe_dump({"issuers": [issuer], "registries": [{"host": host, "plain": True}]}))
        account = cluster.service_account(NAMESPACE, "pullsecret-webhook-issuer")
        soak = Soak(cluster, registry, config, account)
        for owner in OWNERS:
            cluster.namespace(owner, labels={OWNER: owner})
        for _ in range(2):
            soak.start(stack)
        for owner in OWNERS:
            cluster.wait(lambda one=owner: soak.ends(one) is not None, f"{owner} has a credential")  # type: ignore[misc]
        yield soak, stack
        server.shutdown()


def of_registry(soak: Soak, kind: str) -> None:
    soak.registry.fault = kind
    time.sleep(8)
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


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_no_namespace_has_a_credential_that_has_ended(
    installed: ControlPlane, webhook: Webhook, tmp_path: Path
) -> None:
    random.seed(1)
    until = time.monotonic() + SOAK_SECONDS
    with soaked(installed, tmp_path) as (soak, stack):
        stop = Event()
        watching = Thread(target=soak.watch, args=(stop,))
        watching.start()
        happened = list[str]()
        try:
            while time.monotonic() < until and not soak.violations:
                choices = faults(soak, stack)
                kind = random.choice([*choices])  # no secret
                happened.append(kind)
                choices[kind]()
                time.sleep(PAUSE_SECONDS)
        finally:
            stop.set()
            watching.join()
        generations = [
            int(one["metadata"]["annotations"]["pullsecret-webhook/generation"])
            for one in installed.api.list("Secret", NAMESPACE)
            if one["metadata"]["name"].startswith("issued-registry-")
        ]
    assert soak.violations == [], happened
    assert soak.looks > SOAK_SECONDS
    assert len(set(happened)) == len(faults(soak, stack))
    assert min(generations) > SOAK_SECONDS / LIFE_SECONDS
    assert max(generations) < 3 * SOAK_SECONDS / LIFE_SECONDS
    assert webhook.child.pid
