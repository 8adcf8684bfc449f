"""The webhook as a process of its own, under the roles and policies of the chart, as `make chart` rendered them.

It is called by the API server at https://127.0.0.1:PORT; everything else is as in a cluster."""

import json
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane import plain
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.waiting import until

PAGE_LASTS = 0.1
"""Seconds for which the webhook shows the same page of metrics (`webhook.serving.server`)."""
NAMESPACE = "pullsecret-webhook"
ACCOUNT = "pullsecret-webhook"
ENTRY = "mutate.pullsecret-webhook.io"
TEMPLATES_ENTRY = "templates.pullsecret-webhook.io"
_UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNVERIFIED.check_hostname, _UNVERIFIED.verify_mode = False, ssl.CERT_NONE
TRUSTS_NOBODY = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""What tests make up for ghcr.io and others is not sent there: the real ones are not trusted. Tests name the CA files
of their own servers.
"""
INSTALLED = Path(__file__).with_name("installed.yaml")
REWRITING = Path(__file__).with_name("rewriting.yaml")
"""The registration where images get their names at a mirror."""
SAFETY_NET = "pullsecret-webhook-safety-net"
_REGISTRATION = "MutatingWebhookConfiguration"


def install(cluster: ControlPlane, *, net: bool = False) -> None:
    """RBAC and the policies; the webhook itself is registered by `register`. Without the safety net, as on Kubernetes
    before 1.36, unless `net`: it hides what the webhook does not do."""
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for obj in objects():
        if obj["kind"] != _REGISTRATION and (net or not _of_the_net(obj)):
            cluster.api.apply(obj)


def _of_the_net(obj: Object) -> bool:
    return str(obj["kind"]).startswith("MutatingAdmissionPolicy") or bool(obj["metadata"]["name"] == SAFETY_NET)


def registration(file: Path = INSTALLED) -> Object:
    (found,) = (obj for obj in objects(file) if obj["kind"] == _REGISTRATION)
    return found


def objects(file: Path = INSTALLED) -> list[Object]:
    return [obj for obj in yaml.load_all(file.read_text(), yaml.CSafeLoader) if obj]


def register(cluster: ControlPlane, port: int, file: Path = INSTALLED, **changes: Any) -> None:
    """`changes`: fields of all entries, such as failurePolicy."""
    configuration = registration(file)
    own = {"clientConfig": {"url": f"https://127.0.0.1:{port}/mutate"}} | changes
    cluster.api.apply(configuration | {"webhooks": [entry | own for entry in configuration["webhooks"]]})


def patch_entries(api: Api, *names: str, **changes: Any) -> Object:
    """By strategic merge. `names`: only of these entries."""
    entries = [{"name": name} | changes for name in names or (ENTRY, TEMPLATES_ENTRY)]
    return api.patch(_REGISTRATION, "pullsecret-webhook", {"webhooks": entries}, how="strategic")


def ca_bundle(api: Api) -> str:
    """As all entries have it, in base64. Empty: not all have the same, or there is none."""
    found = api.get(_REGISTRATION, "pullsecret-webhook") or {"webhooks": []}
    bundles = {str(entry["clientConfig"].get("caBundle", "")) for entry in found["webhooks"]}
    return bundles.pop() if len(bundles) == 1 else ""


def not_excluded() -> Object:
    """The condition of the chart that excludes left-out-*: the same in the safety net and in each entry."""
    (net, *_) = (obj["spec"] for obj in objects() if obj["kind"] == "MutatingAdmissionPolicy")
    (found,) = (dict(one) for one in net["matchConditions"] if one["name"] == "not-excluded")
    return found


def unregister(cluster: ControlPlane) -> None:
    cluster.api.delete(_REGISTRATION, "pullsecret-webhook")


def give(api: Api, owner: str, token: str, **annotations: str) -> None:
    """(Re)write the owner's source Secret, as the platform does it."""
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": owner,
                "namespace": NAMESPACE,
                "labels": {"pullsecret-webhook/owner": owner},
                "annotations": {f"pullsecret-webhook/{key}": value for key, value in annotations.items()},
            },
            "type": "kubernetes.io/basic-auth",
            "stringData": {"username": owner, "password": token},
        }
    )


def give_logins(api: Api, owner: str, logins: Mapping[str, tuple[str, str]]) -> None:
    """(Re)write the owner's source Secret. `logins`: user and password by registry."""
    auths = {registry: {"username": user, "password": password} for registry, (user, password) in logins.items()}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": owner, "namespace": NAMESPACE, "labels": {"pullsecret-webhook/owner": owner}},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps({"auths": auths})},
        }
    )


class Webhook:
    """A running replica. `child` is its process, `log` what it said so far."""

    def __init__(self, child: Child, port: int, metrics_port: int) -> None:
        self.child, self.port, self.metrics_port = child, port, metrics_port
        self._page_ends = 0.0

    @property
    def log(self) -> str:
        return self.child.log.read_text()

    def readiness(self) -> str:
        """What /readyz says; the certificate is the API server's to check, by the published caBundle."""
        try:
            return httpx.get(f"https://127.0.0.1:{self.port}/readyz", verify=_UNVERIFIED, trust_env=False).text.strip()
        except httpx.TransportError as e:
            return type(e).__name__

    def metrics(self) -> str:
        """A new page: the one of the last call may be from before what a test has just done. Only tests read any."""
        time.sleep(max(0.0, self._page_ends - time.monotonic()))
        page = plain.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        self._page_ends = time.monotonic() + PAGE_LASTS
        return page

    def answered(self) -> int:
        """Reviews so far."""
        lines = self.metrics().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if "_reviews_total{" in line)

    def known(self, resource: str) -> int:
        """Objects in one of its views."""
        (line,) = (line for line in self.metrics().splitlines() if f'known_objects{{resource="{resource}"}}' in line)
        return int(float(line.split()[-1]))

    def share(self) -> float:
        """The part of the background's work that it does."""
        return float(re.findall(r"^pullsecret_webhook_share (\S+)$", self.metrics(), re.MULTILINE)[0])

    def is_ready(self) -> bool:
        return self.readiness() == "ok"


@contextmanager
def running(
    cluster: ControlPlane,
    *,
    port: int | None = None,
    settings: Object | None = None,
    account: str = ACCOUNT,
    name: str = "webhook",
    program: tuple[str, ...] = ("-m", "webhook"),
    python: str | Path = sys.executable,
    env: Mapping[str, str] | None = None,
    enter: tuple[str, ...] = (),
    verbose: bool = True,
    within: float = 30.0,
) -> Iterator[Webhook]:
    """Ready when yielded. `settings` go into its configuration file; `program`: what `python` is to run, with `env`
    besides our own; `enter`: the command that runs Python somewhere, such as in a cgroup; `verbose`: also log each
    review, which costs time; `within`: seconds until it must be ready.
    """
    port, metrics_port = port or free_port(), free_port()
    config = cluster.folder / f"{name}.yaml"
    own = {"address": "127.0.0.1", "port": port, "metricsPort": metrics_port}
    config.write_text(json.dumps({"server": own, "tls": {"hosts": ["127.0.0.1"]}} | (settings or {})))
    kubeconfig = cluster.service_account(NAMESPACE, account)
    serve: list[str | Path] = [*enter, python, *program, "serve", "--config", config]
    log = cluster.folder / f"{name}.log"
    serve += ["--kubeconfig", kubeconfig, *(["--verbose"] if verbose else [])]
    with Child(name, serve, log=log, stop_signal=signal.SIGINT, env=TRUSTS_NOBODY | dict(env or {})) as child:
        replica = Webhook(child, port, metrics_port)
        child.until(replica.is_ready, "the webhook is ready", within=within)
        yield replica


def wait_called(api: Api, port: int, namespace: str, within: float = 10.0) -> None:
    """A registration reaches the API server's own cache within a second or so; a dry run tells when."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "probe",
            "namespace": namespace,
            "labels": {"pullsecret-webhook/safety-net": "disabled"},
        },
        "spec": {"containers": [{"name": "c", "image": "example.invalid/probe"}]},
    }

    def called() -> bool:
        try:
            return bool(api.create(pod, dry_run=True)["spec"].get("imagePullSecrets"))
        except ApiError as e:
            if "failed calling webhook" not in e.message:
                raise
            return False  # an earlier registration counts still: its failurePolicy is Fail, and nobody listens there

    until(called, f"port {port} is called", within=within)
