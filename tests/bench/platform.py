"""A platform of some size: its database with every user's token, their namespaces in a cluster with a pod in each, and
who looks on."""

import base64
import itertools
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

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


def owner(number: int) -> str:
    return f"user-{number:03d}"


def spaces(number: int) -> list[str]:
    return [f"{owner(number)}-{letter}" for letter in "abcdefgh"[:EACH]]


def everybody() -> list[str]:
    return [space for number in range(OWNERS) for space in spaces(number)]


REVIEWED = "bench"
"""The namespace of the captured review, and its owner, whose token stays: a review that waits for a write is no measure
of how those fare that need not wait."""


class Database:
    """Tokens hold the count of rotations; a rotation is one transaction, and its trigger says NOTIFY at the end."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self._postgres, self._rotations = postgres, 0
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
                    f" VALUES (%s, 'github', 'u', '{FIRST_TOKEN}')",
                    [(REVIEWED,), *((owner(number),) for number in range(OWNERS))],
                )
        self.url_file.write_text(postgres.url("pullsecret", given, DATABASE))

    def rotate(self, of: str | None = None) -> str:
        """Of one owner, or of everybody. The new token."""
        self._rotations += 1
        token = f"token-{self._rotations}"
        with self._postgres.admin(DATABASE) as admin:
            admin.execute(
                "UPDATE git_connections SET access_token = %s WHERE user_id = %s OR %s AND user_id <> %s",
                (token, of, of is None, REVIEWED),
            )
        return token


class Onlooker:
    """Watches the pull secrets, as kubelets do: what stands where, since when, and how often each was written."""

    def __init__(self, access: Access) -> None:
        context = ssl.create_default_context(cafile=access.ca)
        if access.pair is not None:
            context.load_cert_chain(access.pair.certificate, access.pair.key)
        self._client = httpx.Client(base_url=access.server, verify=context, trust_env=False, timeout=None)
        self._seen: dict[str, tuple[str, float]] = {}
        self._version: dict[str, str] = {}
        self.changes = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def arrived(self, where: Collection[str], token: str, within: float, tick: Callable[[], None]) -> float:
        """When the last of these namespaces had this token, as `time.monotonic` counts."""

        def all_there() -> bool:
            tick()
            return all(self._seen.get(space, ("", 0.0))[0] == token for space in where)

        until(all_there, f"the new token is in {len(where)} namespaces", within=within)
        return max(self._seen[space][1] for space in where)

    def _watch(self) -> None:
        """A watch that the API server ends, since we were too slow for it, begins anew with all that there is."""
        query = {"fieldSelector": f"metadata.name={SECRET}", "watch": "1", "resourceVersion": "0"}
        while True:
            with (
                suppress(httpx.TransportError),
                self._client.stream("GET", "/api/v1/secrets", params=query) as answer,
            ):
                for line in answer.iter_lines():
                    self._note(json.loads(line)["object"])
            time.sleep(0.1)

    def _note(self, secret: Object) -> None:
        auths = json.loads(base64.b64decode(secret["data"][CONTENT]))["auths"]
        space, version = secret["metadata"]["namespace"], secret["metadata"]["resourceVersion"]
        if self._version.get(space) != version:
            self._version[space] = version
            self.changes += 1
            self._seen[space] = (auths["ghcr.io"]["password"], time.monotonic())


class Audit:
    """The API server's log of what the webhook's account asked for. Reads on from where it was."""

    def __init__(self, file: Path) -> None:
        self._file, self._at = file, 0

    def writes(self) -> list[tuple[str, int]]:
        """Since the last call, all requests that are no reads and no dry runs: namespace and status."""
        with self._file.open() as file:
            file.seek(self._at)
            lines = file.readlines()
            self._at = file.tell()
        events = (json.loads(line) for line in lines)
        return [
            (event["objectRef"].get("namespace", ""), event["responseStatus"]["code"])
            for event in events
            if event["verb"] not in ("get", "list", "watch") and "dryRun=" not in event["requestURI"]
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
        source: Object = {"from": "sql", "urlFile": str(self.database.url_file), "preset": "git-connections"}
        source |= {"maxAge": 86400, "listen": "pullsecret_owner_changed"}
        with deployed.running(self.cluster, settings={"sources": [source]}, name=name, verbose=False) as started:
            yield started

    def namespace(self, space: str) -> None:
        metadata = {"name": space, "labels": {"pullsecret-webhook/owner": space.rpartition("-")[0] or space}}
        self.cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def fill(self, tick: Callable[[], None]) -> None:
        with ThreadPoolExecutor(WRITERS) as workers:
            for _ in workers.map(self.namespace, everybody()):
                tick()

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


def registered_for_nobody(cluster: ControlPlane) -> None:
    """For the caBundle: what the API server would ask of a replica is asked by the load client."""
    deployed.register(cluster, 1, namespaceSelector={"matchLabels": {"bench": "none"}})


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    audit, policy = folder / "audit.log", folder / "audit-policy.json"
    account = f"system:serviceaccount:{deployed.NAMESPACE}:{deployed.ACCOUNT}"
    rules = [{"level": "Metadata", "users": [account]}, {"level": "None"}]
    stages = ["RequestReceived", "ResponseStarted"]
    policy.write_text(
        json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": stages, "rules": rules})
    )
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={audit}", "--audit-log-mode=blocking")
    with (
        Postgres.start() as postgres,
        ControlPlane.start(folder / "cluster", extra_flags=flags) as cluster,
        nodes(folder / "kwok", cluster, NODES) as made,
    ):
        deployed.install(cluster)
        registered_for_nobody(cluster)
        onlooker = Onlooker(Access.read(cluster.kubeconfig))
        yield Platform(cluster, Database(postgres, folder), onlooker, Audit(audit), made)
