"""A real Gitea with users, and the images that they push. Built without its web pages: what is asked is its API and
its registry.
"""

import getpass
import json
import os
import re
import secrets
import shutil
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.image import MANIFEST, Stored, push
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.progress import step

ADMIN = "root1"
_SERVICE = {"service": "container_registry"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "server": {"PROTOCOL": "https", "HTTP_ADDR": "127.0.0.1", "DISABLE_SSH": True, "OFFLINE_MODE": True},
    "database": {"DB_TYPE": "sqlite3"},
    # A password is checked in a moment, for the sake of time; else it takes a twentieth of a second.
    "security": {"INSTALL_LOCK": True, "PASSWORD_HASH_ALGO": "pbkdf2$10$50"},
    "service": {"DISABLE_REGISTRATION": True},
    "log": {"MODE": "console", "LEVEL": "warn"},
    "indexer": {"ISSUE_INDEXER_TYPE": "db"},
    "queue": {"TYPE": "channel"},
    "session": {"PROVIDER": "memory"},
    "actions": {"ENABLED": False},
    "cron": {"ENABLED": False},
}
_ON_A_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
_TASKS = """
    archive_cleanup cancel_abandoned_jobs check_repo_stats cleanup_actions cleanup_hook_task_table
    cleanup_packages delete_generated_repository_avatars delete_inactive_accounts delete_missing_repos
    delete_old_actions delete_old_system_notices delete_repo_archives deleted_branches_cleanup gc_lfs
    git_gc_repos rebuild_issue_indexer reinit_missing_repos repo_health_check resync_all_hooks
    resync_all_sshkeys resync_all_sshprincipals start_schedule_tasks stop_endless_tasks stop_zombie_tasks
    sync_external_users sync_repo_licenses update_checker update_migration_poster_id update_mirrors
"""
"""Each must be called something in English, or Gitea does not start."""


class Gitea:
    """`password`: of its administrator."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.password = ""
        self.users: dict[str, str] = {}
        self._folder, self._data, self.ca = folder, folder / "data", pki.ca
        self._context = ssl.create_default_context(cafile=self.ca)
        self._pair = pki.server("gitea", "127.0.0.1", "localhost")

    @classmethod
    @contextmanager
    def start(cls, folder: Path, pki: Pki | None = None, *, disk_bytes: int = 0) -> Iterator[Self]:
        """`disk_bytes`: its data have a disk of their own, of this size, that only its process sees."""
        if shutil.which("git") is None:
            raise HarnessError("git is missing, which Gitea wants to see: install git")
        gitea = cls(folder, pki or Pki(folder / "pki"))
        program = need("gitea")["gitea"]
        gitea._configure()
        gitea._data.mkdir()
        disk: list[str | Path] = ["unshare", "--mount", "sh", "-c", _ON_A_DISK, "sh", str(disk_bytes), gitea._data]
        command = [*(disk if disk_bytes else []), *gitea._command(program, "web")]
        with Child("gitea", command, log=folder / "gitea.log", env=gitea._env) as child:
            with step("Gitea"):
                child.until(gitea._answers, "Gitea answers", within=60)
                gitea._make_administrator(
                    program, ["nsenter", "--mount", f"--target={child.pid}"] if disk_bytes else []
                )
            if disk_bytes:
                gitea._data = Path(f"/proc/{child.pid}/root{gitea._data}")
            yield gitea

    @property
    def tls(self) -> ssl.SSLContext:
        """For a server that stands before it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pair.certificate, self._pair.key)
        return context

    def client(self, login: tuple[str, str] | None = None, *, bearer: str = "") -> httpx.Client:
        """By default its administrator's. `bearer`: what the registry gave for a login."""
        return httpx.Client(
            base_url=f"https://{self.address}",
            auth=None if bearer else login or (ADMIN, self.password),
            headers={"Authorization": f"Bearer {bearer}", "Accept": MANIFEST} if bearer else None,
            verify=self._context,
            timeout=20,
            trust_env=False,
        )

    def user(self, name: str, **more: Any) -> int:
        """Private: nobody else may pull what it pushes. The answer's status, since not all names may be."""
        password = secrets.token_urlsafe(12)
        mail = f"{secrets.token_hex(8)}@example.com"
        about = {"username": name, "email": mail, "password": password, "must_change_password": False}
        with self.client() as client:
            made = client.post("/api/v1/admin/users", json=about | {"visibility": "private"} | more)
        if made.status_code == 201:
            self.users[name] = password
        return made.status_code

    def bearer(self, login: tuple[str, str]) -> httpx.Response:
        """What a node asks for before it pulls."""
        with self.client(login) as client:
            return client.get("/v2/token", params=_SERVICE)

    def push(self, user: str, repository: str, image: Stored, tag: str = "1") -> None:
        with self.client(bearer=self.bearer((user, self.users[user])).json()["token"]) as client:
            push(client, repository, tag, image)

    def pulls(self, login: tuple[str, str], name: str, tag: str = "1") -> int:
        """As a node does. The status of the answer that decides."""
        with self.client(login) as client:
            given = client.get("/v2/token", params=_SERVICE)
            if given.status_code != 200:
                return given.status_code
            headers = {"Authorization": f"Bearer {given.json()['token']}", "Accept": MANIFEST}
            return client.get(f"/v2/{name}/manifests/{tag}", headers=headers, auth=None).status_code

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """If it has one of its own."""
        ballast = self._data / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield
        ballast.unlink()

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """For what only time and chance bring about."""
        connection = sqlite3.connect(self._data / "gitea.db", timeout=20)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def _configure(self) -> None:
        pair = self._pair
        static = self._folder / "static"
        for directory in ("options/locale", "templates", "public"):
            (static / directory).mkdir(parents=True)
        words = {f"admin.dashboard.{task}": task.replace("_", " ") for task in _TASKS.split()}
        (static / "options/locale/locale_en-US.json").write_text(json.dumps(words))
        here = {
            "server": {
                "HTTP_PORT": self.address.rpartition(":")[2],
                "ROOT_URL": f"https://{self.address}/",
                "CERT_FILE": pair.certificate,
                "KEY_FILE": pair.key,
                "STATIC_ROOT_PATH": static,
            }
        }
        lines = [f"RUN_USER = {getpass.getuser()}", "RUN_MODE = prod", f"WORK_PATH = {self._folder}"]
        for section, keys in _SETTINGS.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in (keys | here.get(section, {})).items())]
        self._file.write_text("\n".join(lines) + "\n")

    @property
    def _file(self) -> Path:
        return self._folder / "app.ini"

    @property
    def _env(self) -> dict[str, str]:
        return {"HOME": str(self._folder), "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true"}

    def _command(self, program: Path, *words: str) -> list[str | Path]:
        return [program, "--config", self._file, *words]

    def _make_administrator(self, program: Path, enter: list[str]) -> None:
        about = ["--username", ADMIN, "--email", f"{ADMIN}@example.com", "--must-change-password=false"]
        words = self._command(program, "admin", "user", "create", "--admin", "--random-password", *about)
        env = os.environ | self._env
        done = subprocess.run(
            [*enter, *map(str, words)], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        told = re.search(r"generated random password is '(.+)'", done.stdout)
        if done.returncode or not told:
            raise HarnessError(f"Gitea gets no administrator: {(done.stderr or done.stdout).strip()[-1000:]}")
        self.password = self.users[ADMIN] = told[1]

    def _answers(self) -> bool:
        try:
            with self.client(("", "")) as client:
                return client.get("/api/healthz").status_code == 200
        except httpx.TransportError:
            return False
