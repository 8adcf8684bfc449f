"""A real PostgreSQL of our own, with TLS and passwords, and PgBouncer before it where a test wants a pooler.

Debian's packages, unpacked if the machine does not have them. The server refuses to be root, so it runs as nobody."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from controlplane import debian
from controlplane.errors import HarnessError
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.progress import step

_NOBODY = 65534
_BIN = Path("/usr/lib/postgresql/15/bin")


class Postgres:
    """`admin` may do everything; roles that tests make log in by password."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.pki = Pki(folder / "pki")
        self._child: Child | None = None
        self._before = [] if _BIN.exists() else debian.within("postgresql-15")

    @classmethod
    @contextmanager
    def start(cls, **settings: str) -> Iterator["Postgres"]:
        """In a folder of its own under /tmp: the server's user must be able to reach it. `settings`: more than those
        of all tests, for postgresql.conf."""
        with tempfile.TemporaryDirectory(prefix="pullsecret-pg-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            folder.chmod(0o755)
            server = cls(folder)
            with step("PostgreSQL"):
                server._initialise(settings)
                server.up()
            try:
                yield server
            finally:
                server.down()

    def up(self) -> None:
        command: list[str | Path] = [_BIN / "postgres", "-D", self.folder / "data"]
        self._child = Child("postgres", self._as_nobody(*command), log=self.folder / "log", stop_signal=signal.SIGINT)
        self._child.until(self._answers, "PostgreSQL answers", within=20)

    def down(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def admin(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)

    def url(self, user: str, password: str, database: str, *, port: int | None = None, more: str = "") -> str:
        tls = f"sslmode=verify-full&sslrootcert={self.pki.ca}"
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}?{tls}{more}"

    @contextmanager
    def pooler(self, user: str, password: str) -> Iterator[int]:
        """PgBouncer, pooling sessions, at the port that it yields; for this user."""
        port, folder = free_port(), self.folder / "pooler"
        folder.mkdir()
        pair = self.pki.server("pooler", "127.0.0.1")
        (folder / "users").write_text(f'"{user}" "{password}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = session\ndefault_pool_size = 10\n"
            f"client_tls_sslmode = require\nclient_tls_cert_file = {pair.certificate}\n"
            f"client_tls_key_file = {pair.key}\nserver_tls_sslmode = require\n"
        )
        self._hand_over()
        before = [] if shutil.which("pgbouncer") else debian.within("pgbouncer")
        command = [*before, *_as_nobody("pgbouncer", folder / "ini")]
        with Child("pgbouncer", command, log=folder / "log") as child:
            child.until(lambda: _connects(self.url(user, password, "postgres", port=port)), "it answers", within=20)
            yield port

    def _initialise(self, more: dict[str, str]) -> None:
        pair = self.pki.server("postgres", "127.0.0.1", "localhost")
        self._hand_over()
        flags = ("--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres", "--no-sync", "-E", "UTF8")
        self._run(_BIN / "initdb", "-D", self.folder / "data", *flags)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "ssl": "on",
            "ssl_cert_file": str(pair.certificate),
            "ssl_key_file": str(pair.key),
            "fsync": "off",
            "max_connections": "30",
            "shared_buffers": "32MB",
        } | more
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        (self.folder / "data" / "pg_hba.conf").write_text(access)

    def _hand_over(self) -> None:
        for file in (self.folder, *self.folder.rglob("*")):
            os.chown(file, _NOBODY, _NOBODY)

    def _as_nobody(self, *command: str | Path) -> list[str | Path]:
        return [*self._before, *_as_nobody(*command)]

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(self._as_nobody(*command), capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode:
            raise HarnessError(f"{Path(command[0]).name}: {done.stderr.strip()[-1000:]}")

    def _answers(self) -> bool:
        try:
            self.admin().close()
        except psycopg.OperationalError:
            return False
        return True


def _as_nobody(*command: str | Path) -> list[str | Path]:
    bound = ["--pdeathsig", "KILL"]  # a change of user clears what `Child` has set
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *bound, "--", *command]


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error as error:
        return error.sqlstate is not None
    return True
