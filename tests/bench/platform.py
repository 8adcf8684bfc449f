"""A platform of some size: its database with every user's token, their namespaces in a cluster with a pod in each, and
who looks on."""

import base64
import itertools
import json
import os
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.kwok import Nodes, nodes
from controlplane.objects import SECRET
from controlplane.postgres import Postgres
from controlplane.waiting import until

OWNERS, EACH = 500, 4
"""Users, and namespaces of each."""
DATABASE = "platform"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "sources" / "git-connections.sql"
TABLE = """
CREATE TABLE git_connections (
  id serial PRIMARY KEY, user_id text NOT NULL, provider text NOT NULL, username text, access_token text,
  expires_at timestamptz, status text NOT NULL DEFAULT 'active', server_url text NOT NULL DEFAULT '')
"""
CONTENT = ".dockerconfigjson"
FIRST_TOKEN = "token-0"
WRITERS = 16
"""Threads that make namespaces."""
NODES = 8
AUDIT_MIB = 100_000
GIVEN, GIVEN_SECONDS = ("serviceaccounts", "configmaps"), 900.0
"""Of each kube-controller-manager makes one in each namespace; how long that may take."""


def owner(number: int) -> str:
    return f"user-{number:03d}"


def of_owner(token: str, name: str) -> str:
    """What is written: each owner has a token of its own."""
    return f"{token}.{name}"


def spaces(number: int) -> list[str]:
    return [f"{owner(number)}-{letter}" for letter in "abcdefgh"[:EACH]]


def everybody(owners: int = OWNERS) -> list[str]:
    return [space for number in range(owners) for space in spaces(number)]


REVIEWED = "bench"
"""The namespace of the captured review, and its owner, whose token stays: a review that waits for a write is no measure
of how those fare that need not wait."""


class Database:
    """Tokens hold the count of rotations; a rotation is one transaction, and its trigger says NOTIFY at the end."""

    def __init__(self, postgres: Postgres, folder: Path, owners: int = OWNERS) -> None:
        self._postgres, self._rotations = postgres, 0
        self.token = FIRST_TOKEN
        """Of the last rotation, of one owner or of everybody."""
        self.url_file = folder / "url"
        self.pid = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
        given = secrets.token_urlsafe()
        with postgres.admin() as admin:
            admin.execute(f"CREATE DATABASE {DATABASE}".encode())
        with postgres.admin(DATABASE) as admin:
            admin.execute(TABLE)
            admin.execute(EXAMPLE.read_bytes())
            admin.execute(f"ALTER ROLE pullsecret PASSWORD '{given}'".encode())
            with admin.cursor() as rows:
                rows.executemany(
                    "INSERT INTO git_connections (user_id, provider, username, access_token)"
                    " VALUES (%s, 'github', 'u', %s)",
                    [(one, of_owner(FIRST_TOKEN, one)) for one in (REVIEWED, *map(owner, range(owners)))],
                )
        self.url_file.write_text(postgres.url("pullsecret", given, DATABASE))

    @property
    def source(self) -> Object:
        """For the webhook's configuration."""
        source: Object = {"from": "sql", "urlFile": str(self.url_file), "preset": "git-connections"}
        return source | {"maxAge": 86400, "listen": "pullsecret_owner_changed"}

    def rotate(self, of: str | None = None) -> str:
        """Of one owner, or of everybody. The new token."""
        self._rotations += 1
        self.token = f"token-{self._rotations}"
        with self._postgres.admin(DATABASE) as admin:
            admin.execute(
                "UPDATE git_connections SET access_token = %s || user_id WHERE user_id = %s OR %s AND user_id <> %s",
                (of_owner(self.token, ""), of, of is None, REVIEWED),
            )
        return self.token


class _Data(msgspec.Struct):
    content: str = msgspec.field(name=CONTENT, default="")


class _SecretMeta(msgspec.Struct, rename="camel"):
    namespace: str = ""
    resource_version: str = ""


class _Secret(msgspec.Struct):
    metadata: _SecretMeta
    data: _Data = msgspec.field(default_factory=_Data)


class _Frame(msgspec.Struct):
    type: str
    object: _Secret


class _Login(msgspec.Struct):
    password: str


class _Content(msgspec.Struct):
    auths: dict[str, _Login]


_FRAME, _CONTENT = msgspec.json.Decoder(_Frame), msgspec.json.Decoder(_Content)


class Onlooker:
    """Watches the pull secrets, as kubelets do: what stands where, since when, and how often each was written."""

    def __init__(self, access: Access) -> None:
        self._context = ssl.create_default_context(cafile=access.ca)
        if access.pair is not None:
            self._context.load_cert_chain(access.pair.certificate, access.pair.key)
        self._host = access.server.removeprefix("https://")
        self._seen: dict[str, tuple[str, float]] = {}
        self._version: dict[str, str] = {}
        self._with: Counter[str] = Counter()
        """How many namespaces have a token."""
        self.changes = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def having(self, token: str) -> int:
        """Namespaces with this token."""
        return self._with[token]

    def arrived(self, where: Collection[str], token: str, within: float, tick: Callable[[], None]) -> float:
        """When the last of these namespaces had this token, as `time.monotonic` counts."""

        def all_there() -> bool:
            tick()
            if self.having(token) < len(where):  # without a look at each of them, of which there may be 100,000
                return False
            return all(self._seen.get(space, ("", 0.0))[0] == token for space in where)

        until(all_there, f"the new token is in {len(where)} namespaces", within=within)
        return max(self._seen[space][1] for space in where)

    def without(self, where: Collection[str], token: str) -> int:
        """How many of these namespaces have another token, or none."""
        return sum(self._seen.get(space, ("", 0.0))[0] != token for space in where)

    def _watch(self) -> None:
        """A watch that the API server ends, since we were too slow for it, begins anew with all that there is."""
        query = urlencode({"fieldSelector": f"metadata.name={SECRET}", "watch": "1", "resourceVersion": "0"})
        while True:
            with (
                suppress(OSError, HTTPException),
                closing(HTTPSConnection(self._host, context=self._context)) as connection,
            ):
                connection.request("GET", f"/api/v1/secrets?{query}")
                for line in connection.getresponse():
                    frame = _FRAME.decode(line)
                    if frame.type in {"ADDED", "MODIFIED"}:
                        self._note(frame.object)
            time.sleep(0.1)

    def _note(self, secret: _Secret) -> None:
        content = _CONTENT.decode(base64.b64decode(secret.data.content))
        space, version = secret.metadata.namespace, secret.metadata.resource_version
        if self._version.get(space) != version:
            self._version[space] = version
            self.changes += 1
            token = content.auths["ghcr.io"].password.partition(".")[0]
            self._with[self._seen.get(space, ("", 0.0))[0]] -= 1
            self._with[token] += 1
            self._seen[space] = (token, time.monotonic())


class Audit:
    """The API server's log of what the webhook's account asked for, in one file. Reads on from where it was."""

    def __init__(self, file: Path) -> None:
        self._file, self._at = file, 0

    def writes(self, resource: str = "") -> list[tuple[str, int]]:
        """Since the last call, requests that are no reads and no dry runs, of one resource or of all: namespace and
        status.
        """
        with self._file.open() as file:
            if file.seek(0, os.SEEK_END) < self._at:
                raise HarnessError(f"{self._file} has become shorter, so requests would not be counted")
            file.seek(self._at)
            lines = file.readlines()
            self._at = file.tell()
        events = (json.loads(line) for line in lines)
        return [
            (event["objectRef"].get("namespace", ""), event["responseStatus"]["code"])
            for event in events
            if event["verb"] not in ("get", "list", "watch")
            and "dryRun=" not in event["requestURI"]
            and resource in ("", event["objectRef"]["resource"])
        ]


@dataclass(frozen=True)
class Platform:
    cluster: ControlPlane
    database: Database
    onlooker: Onlooker
    audit: Audit
    nodes: Nodes

    @contextmanager
    def replica(self, name: str) -> Iterator[deployed.Webhook]:
        settings = {"sources": [self.database.source], "replicas": 2}
        with deployed.running(self.cluster, settings=settings, name=name, verbose=False) as started:
            yield started

    def fill(self, tick: Callable[[], None]) -> None:
        fill(self.cluster, everybody(), tick)

    def populate(self, port: int, tick: Callable[[], None]) -> None:
        """A pod in each namespace, Running on one of the nodes, with the reference from the replica at this port."""
        deployed.register(self.cluster, port)
        deployed.wait_called(self.cluster.api, port, everybody()[0])
        with ThreadPoolExecutor(WRITERS) as workers:
            for created in workers.map(self._pod, everybody(), itertools.cycle(self.nodes.names)):
                if created["spec"]["imagePullSecrets"] != [{"name": SECRET}]:
                    raise HarnessError(f"a pod came without its reference: {created['metadata']['namespace']}")
                tick()
        registered_for_nobody(self.cluster)

        def all_run() -> bool:
            tick()
            return len(self.pods()) == OWNERS * EACH

        until(all_run, "all pods are Running", within=120, every=1)

    def pods(self) -> set[tuple[str, int]]:
        """Those that run: UID, and how often a container was started anew."""
        running = (pod for pod in self.cluster.api.list("Pod") if pod["status"]["phase"] == "Running")
        return {(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in running}

    def _pod(self, space: str, node: str) -> Object:
        spec = {"nodeName": node, "containers": [{"name": "app", "image": "ghcr.io/shop/app"}]}
        metadata = {"name": "app", "namespace": space}
        return self.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def namespace(cluster: ControlPlane, space: str) -> None:
    metadata = {"name": space, "labels": {"pullsecret-webhook/owner": space.rpartition("-")[0] or space}}
    cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def fill(cluster: ControlPlane, names: Collection[str], tick: Callable[[], None]) -> None:
    """Makes these namespaces, and waits until kube-controller-manager has made what each gets. Otherwise it goes on
    for minutes, and slows down what is measured first: with 8,000 namespaces by 67 objects a second.
    """
    before = {plural: _count(cluster, plural) for plural in GIVEN}
    with ThreadPoolExecutor(WRITERS) as workers:
        for _ in workers.map(partial(namespace, cluster), names):
            tick()

    def all_given() -> bool:
        tick()
        return all(_count(cluster, plural) - count >= len(names) for plural, count in before.items())

    until(all_given, "each namespace has its account and CA", within=GIVEN_SECONDS, every=0.5)


def _count(cluster: ControlPlane, plural: str) -> int:
    """How many of these are there? The API server counts them."""
    page = cluster.api.raw("GET", f"/api/v1/{plural}?limit=1").json()
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def audit_flags(policy: Path, audit: Path) -> tuple[str, ...]:
    """Of kube-apiserver, for a log of what the webhook's account asks. Writes the policy."""
    account = f"system:serviceaccount:{deployed.NAMESPACE}:{deployed.ACCOUNT}"
    rules = [{"level": "Metadata", "users": [account]}, {"level": "None"}]
    stages = ["RequestReceived", "ResponseStarted"]
    policy.write_text(
        json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": stages, "rules": rules})
    )
    one_file = f"--audit-log-maxsize={AUDIT_MIB}"  # after 100 MiB, unless told, it would begin another one
    return f"--audit-policy-file={policy}", f"--audit-log-path={audit}", "--audit-log-mode=blocking", one_file


def registered_for_nobody(cluster: ControlPlane) -> None:
    """For the caBundle: what the API server would ask of a replica is asked by the load client."""
    deployed.register(cluster, 1, namespaceSelector={"matchLabels": {"bench": "none"}})


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    audit = folder / "audit.log"
    flags = audit_flags(folder / "audit-policy.json", audit)
    with (
        Postgres.start() as postgres,
        ControlPlane.start(folder / "cluster", extra_flags=flags) as cluster,
        nodes(folder / "kwok", cluster, NODES) as made,
    ):
        deployed.install(cluster)
        registered_for_nobody(cluster)
        onlooker = Onlooker(Access.read(cluster.kubeconfig))
        yield Platform(cluster, Database(postgres, folder), onlooker, Audit(audit), made)
