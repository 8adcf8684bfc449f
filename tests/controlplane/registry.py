"""A private registry that stands in for ghcr.io: the distribution registry behind TLS and passwords, where each user
reaches only the repositories of one owner (go/registry)."""

import json
import os
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import bcrypt
import httpx

from controlplane.binaries import need
from controlplane.image import MANIFEST, Image, Stored, push
from controlplane.network import LOOPBACK, Network
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child, Command
from controlplane.progress import step


@dataclass(frozen=True)
class LogEntry:
    """One request as the registry saw it."""

    time: str
    method: str
    path: str
    status: int  # 401: no or wrong credentials, 403: not this user's repository
    user: str  # as claimed; empty without credentials
    agent: str


class Registry:
    """`name` is what images call it; `url` where it really listens, with a certificate of `ca` for both. With `tokens`,
    passwords are for its token service at `/token` only; `push` cannot do that.
    """

    def __init__(self, folder: Path, name: str, app: Path, network: Network, *, tokens: bool) -> None:
        self.name = name
        self.users: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.address = f"{network.address}:{free_port()}"
        self.url = f"https://{self.address}"
        self._app = app
        self._network = network
        self._tokens = [f"{self.url}/token"] if tokens else []
        self._htpasswd = folder / "htpasswd"
        self._owners = folder / "owners.json"
        self._log = folder / "registry.log"
        self._pki = Pki(folder / "pki")
        self._child: Child | None = None
        self.ca = self._pki.ca

    @classmethod
    @contextmanager
    def start(
        cls,
        folder: Path,
        users: Mapping[str, str],
        *,
        name: str = "ghcr.io",
        network: Network = LOOPBACK,
        tokens: bool = False,
        mirrors: tuple["Registry", str] | None = None,
    ) -> Iterator[Self]:
        """`users` are names and passwords. `mirrors`: the registry that it is a pull-through mirror of, and the user as
        whom it asks that one.
        """
        programs = need("registry", "app")
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        registry = cls(folder, name, programs["app"], network, tokens=tokens)
        registry._write_users(users)
        registry._write_owners({})
        with ExitStack() as stack:
            with step(f"registry ({name})"):
                env = {} if mirrors is None else mirrors[0]._asked_by_a_mirror(mirrors[1])
                stack.enter_context(registry._serve(programs["registry"], folder / "storage", env))
            yield registry

    def set_password(self, user: str, password: str, *, owner: str | None = None) -> None:
        """Also adds a user, of repositories under its own name or under `owner`. The next request is measured by it."""
        if owner is not None:
            self._write_owners(self.owners | {user: owner})
        self._write_users(self.users | {user: password})

    def remove_user(self, user: str) -> None:
        self._write_users({name: password for name, password in self.users.items() if name != user})

    def push(self, repository: str, tag: str, image: Stored | None = None) -> str:
        """Stores an image as the user whose repositories these are, and returns its full name.

        Without `image` it is the test app with content of its own, so that no node can have it already."""
        owner = repository.partition("/")[0]
        user = next((user for user, other in self.owners.items() if other == owner), owner)
        with self.client(user, self.users[user]) as client:
            push(client, repository, tag, image or Image.of(self._app, f"{repository}:{tag} {secrets.token_hex(8)}"))
        return f"{self.name}/{repository}:{tag}"

    def client(self, user: str, password: str) -> httpx.Client:
        """For requests of any kind; asks for manifests in the format in which `push` stores them."""
        return httpx.Client(
            base_url=self.url,
            auth=(user, password),
            headers={"Accept": MANIFEST},
            verify=ssl.create_default_context(cafile=self.ca),
            timeout=30,
            trust_env=False,
        )

    def dockerconfigjson(self, user: str) -> str:
        """What a pull secret with the user's present password holds."""
        return json.dumps({"auths": {self.name: {"username": user, "password": self.users[user]}}})

    def log(self) -> list[LogEntry]:
        """All requests so far. An answer that has arrived is in it."""
        lines = self._log.read_text().splitlines()
        return [LogEntry(**json.loads(line)) for line in lines if line.startswith("{")]  # the rest: refused handshakes

    def pulls(self, image: str) -> set[tuple[str, int]]:
        """As whom nodes have asked for an image, such as alice/app:1, and what was answered."""
        path = f"/v2/{image.replace(':', '/manifests/')}"
        return {(one.user, one.status) for one in self.log() if one.path == path and "containerd" in one.agent}

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens there meanwhile."""
        assert self._child is not None
        self._child.stop()
        yield
        self._child.again()
        self._child.until(self._answers, "the registry answers", within=20)

    def _asked_by_a_mirror(self, user: str) -> dict[str, str]:
        """The environment of a mirror."""
        login = {"UPSTREAM_USER": user, "UPSTREAM_PASSWORD": self.users[user]}
        return {"UPSTREAM": self.url, "SSL_CERT_FILE": str(self.ca)} | login

    @contextmanager
    def _serve(self, program: Path, storage: Path, env: Mapping[str, str]) -> Iterator[None]:
        pair = self._pki.server("registry", self.name, "localhost", self._network.address)
        files = [pair.certificate, pair.key, self._htpasswd, self._owners, storage]
        command: Command = [program, self.address, *files, *self._tokens]
        with Child("registry", [*self._network.enter, *command], log=self._log, env=env) as child:
            self._child = child
            child.until(self._answers, "the registry answers", within=20)
            yield

    def _answers(self) -> bool:
        try:
            with self.client("nobody", "") as client:
                return client.get("/v2/").status_code == 401
        except httpx.TransportError:
            return False

    def _write_users(self, users: Mapping[str, str]) -> None:
        self.users = dict(users)
        draft = self._htpasswd.with_suffix(".new")
        draft.write_text("".join(f"{user}:{_hashed(password)}\n" for user, password in users.items()))
        # The registry reads the file again when its time differs; the file system's own clock ticks in milliseconds.
        now = time.time_ns()
        os.utime(draft, ns=(now, now))
        draft.rename(self._htpasswd)

    def _write_owners(self, owners: Mapping[str, str]) -> None:
        self.owners = dict(owners)
        draft = self._owners.with_suffix(".new")
        draft.write_text(json.dumps(self.owners))
        draft.rename(self._owners)


def _hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
