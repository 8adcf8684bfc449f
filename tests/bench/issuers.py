"""`make bench-issuers`: how large `pullsecret issue` gets, and how fast many owners get their first credential.

Against a real API server, under the issuer's own rights. Harbor is the server that speaks its protocol
(tests/support/harborserver.py), in this process: it has its part of the two cores.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519

from bench.figures import Figure, Goal
from bench.measure import peak_mib, rss_mib
from bench.session import Tick, ended, stepped
from certs.pem import encode_key
from controlplane import plain
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.waiting import until
from support import anylogin, harborserver, vendorserver
from support.harborserver import ISSUER_RIGHTS, Harbor
from webhook.core.names import ISSUER, ISSUER_ACCOUNT, OWNER
from webhook.issue import BURST

OWNERS_OF_HARBOR, OWNERS = 1000, 10_000
RATE = 40.0
"""Robots a second that are asked for, at most."""
FIRST_SECONDS, IDLE_MIB, PEAK_MIB = 60, 110, 200
"""The goals."""
NOBODY = "nobody"
TRIED_SECONDS = 10.0
"""In which each kind has asked in vain."""
WRITERS = 16
"""Threads that make namespaces."""


@dataclass(frozen=True)
class Found:
    """MiB of memory when all kinds have asked for one owner, in vain, and at most with OWNERS; seconds of the first
    credentials of OWNERS_OF_HARBOR by Harbor, and of the others by a signature.
    """

    idle: float
    peak: float
    harbor_seconds: float
    signed_seconds: float

    def figures(self) -> list[Figure]:
        others = OWNERS - OWNERS_OF_HARBOR
        return [
            Figure("all kinds have asked, in vain", rss_mib=self.idle),
            Figure(f"{OWNERS:,} owners", rss_mib=self.peak),
            Figure(f"harbor, {OWNERS_OF_HARBOR:,} owners", rps=OWNERS_OF_HARBOR / self.harbor_seconds),
            Figure(f"registry, {others:,} owners", rps=others / self.signed_seconds),
        ]

    def goals(self) -> list[Goal]:
        return [
            Goal(f"seconds until {OWNERS_OF_HARBOR:,} owners have a robot", self.harbor_seconds, FIRST_SECONDS),
            Goal("robots a second, but for the first ones", (OWNERS_OF_HARBOR - BURST) / self.harbor_seconds, RATE),
            Goal("MiB when all kinds have asked, in vain", self.idle, IDLE_MIB),
            Goal(f"MiB with {OWNERS:,} owners, at most", self.peak, PEAK_MIB),
        ]


def of_all_kinds(folder: Path) -> list[Object]:
    """One issuer of each kind but Harbor and `registry`. There is one owner for each, and nobody who mints for it."""
    secret = folder / "secret"
    secret.write_text("none")
    files: Object = {"usernameFile": str(secret), "passwordFile": str(secret)}
    kinds: dict[str, Object] = {
        "aliyun": {
            "registry": "acme-registry.cn-hangzhou.cr.aliyuncs.com",
            "instance": "cri-0123456789abcdef",
            "region": "cn-hangzhou",
            "ramRole": "acs:ram::1234567890123456:role/pull-{owner}",
        },
        "artifact-registry": {
            "registry": "europe-docker.pkg.dev",
            "repositories": ["my-project/{owner}"],
            "serviceAccount": "pull-{owner}@my-project.iam.gserviceaccount.com",
        },
        "azure": {
            "registry": "acmecorp.azurecr.io",
            "resourceId": "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/platform/providers"
            "/Microsoft.ContainerRegistry/registries/acmecorp",
            "token": "pull-{owner}",
            "tenantId": "55555555-6666-7777-8888-999999999999",
            "clientId": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "tokenFile": str(secret),
        },
        "ecr": {
            "registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "role": "arn:aws:iam::123456789012:role/pull/{owner}",
        },
        "gitea": {"registry": "gitea.example.com", **files},
        "gitlab": {
            "registry": "registry.example.com",
            "endpoint": "https://gitlab.example.com",
            "group": "tenants/{owner}",
            "tokenFile": str(secret),
        },
        "tcr": {
            "registry": "acme.tencentcloudcr.com",
            "instance": "tcr-01234567",
            "region": "ap-guangzhou",
        },
    }
    return [{"issue": kind, "owners": NOBODY} | keys for kind, keys in kinds.items()]


class Place:
    """A cluster, and what issuers in it ask."""

    def __init__(self, cluster: ControlPlane, folder: Path, harbor: Harbor, authority: trustme.CA, host: str) -> None:
        self.cluster, self._folder = cluster, folder
        ca, key, user, password = (folder / name for name in ("ca.pem", "key.pem", "user", "password"))
        authority.cert_pem.write_to_path(str(ca))
        key.write_bytes(encode_key(ed25519.Ed25519PrivateKey.generate()))
        username, secret = harbor.login(harbor.robot("issuer", ISSUER_RIGHTS))
        user.write_text(username)
        password.write_text(secret)
        self._issuers: list[Object] = [
            {
                "issue": "harbor",
                "registry": harbor.host,
                "owners": "robot-.*",
                "createProject": True,
                "rate": RATE,
                "usernameFile": str(user),
                "passwordFile": str(password),
            },
            {"issue": "registry", "registry": host, "owners": "signed-.*", "keyFile": str(key), "rate": 1000},
            *of_all_kinds(folder),
        ]
        self._registries = [{"host": harbor.host, "caFile": str(ca)}, {"host": host, "plain": True}]

    @contextmanager
    def issuing(self) -> Iterator[Child]:
        port, file = free_port(), self._folder / "issuers.yaml"
        server = {"address": "127.0.0.1", "metricsPort": port}
        config: Object = {"issuers": self._issuers, "registries": self._registries, "server": server}
        file.write_text(yaml.safe_dump(config))
        account = self.cluster.service_account(deployed.NAMESPACE, ISSUER_ACCOUNT)
        command: list[str | Path] = [sys.executable, "-m", "webhook", "issue", "--config", file]
        command += ["--kubeconfig", account]
        with Child("issuer", command, log=self._folder / "issuer.log") as child:
            until(lambda: _leads(port), "the issuer leads", within=30)
            yield child

    def fill(self, prefix: str, number: int, tick: Tick) -> None:
        with ThreadPoolExecutor(WRITERS) as workers:
            for _ in workers.map(self.namespace, (f"{prefix}-{at}" for at in range(number))):
                tick()

    def namespace(self, name: str) -> None:
        """Of an owner of this name."""
        metadata = {"name": name, "labels": {OWNER: name}}
        self.cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def issued(self, kind: str, number: int, tick: Tick) -> None:
        """Waits until so many have a credential."""

        def all_there() -> bool:
            tick()
            return len(self.cluster.api.list("Secret", deployed.NAMESPACE, labels=f"{ISSUER}={kind}")) >= number

        until(all_there, f"{number:,} owners have a credential by {kind}", within=300, every=1)


def _leads(port: int) -> bool:
    try:
        return "pullsecret_webhook_issuer_leads 1.0" in plain.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return False


def measured(place: Place) -> Found:
    place.namespace(NOBODY)
    with place.issuing() as child:
        time.sleep(TRIED_SECONDS)
        idle = rss_mib(child.pid)
    stepped(f"{OWNERS_OF_HARBOR:,} namespaces", lambda tick: place.fill("robot", OWNERS_OF_HARBOR, tick))
    with place.issuing() as child:
        began = time.monotonic()
        stepped("robots in Harbor for all of them", lambda tick: place.issued("harbor", OWNERS_OF_HARBOR, tick))
        harbor = time.monotonic() - began
        others = OWNERS - OWNERS_OF_HARBOR
        began = time.monotonic()
        stepped(f"{others:,} namespaces more", lambda tick: place.fill("signed", others, tick))
        stepped("signatures for all of them", lambda tick: place.issued("registry", others, tick))
        return Found(idle, peak_mib(child.pid), harbor, time.monotonic() - began)


def run(folder: Path) -> Found:
    authority = trustme.CA()
    with (
        ControlPlane.start(folder / "cluster") as cluster,
        harborserver.threaded(vendorserver.tls(authority)) as harbor,
        anylogin.serving() as registry,
    ):
        deployed.install(cluster)
        return measured(Place(cluster, folder, harbor, authority, registry.host))


if __name__ == "__main__":
    sys.exit(ended(run))
