"""Where the replicas' credentials come from, each kind made when a fault needs it first."""

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from controlplane import webhook as deployed
from controlplane.api import Api
from controlplane.postgres import Postgres
from support import tokenservice
from webhook.core.credential import Credential

_DATABASE = "faults"
_CHANNEL = "pullsecret_owner_changed"
_TABLE = f"""
CREATE TABLE credentials (owner text PRIMARY KEY, password text NOT NULL);
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('{_CHANNEL}', NEW.owner); RETURN NULL; END $$;
CREATE TRIGGER told AFTER INSERT OR UPDATE ON credentials FOR EACH ROW EXECUTE FUNCTION told();
"""
_QUERY = "SELECT 'ghcr.io' AS registry, 'u' AS username, password FROM credentials WHERE owner = %(owner)s"
_SET = "INSERT INTO credentials VALUES (%s, %s) ON CONFLICT (owner) DO UPDATE SET password = EXCLUDED.password"
NAME = "tokens.test"
"""The service's, where it has one that may not be resolvable."""
_PRIVATE = 'mount --bind "$1" /etc/hosts; mount --bind "$2" /etc/resolv.conf; shift 2; exec "$@"'


@dataclass(frozen=True)
class Source:
    """`settings` and `before` are for the replicas; `give` takes an owner and the token."""

    give: Callable[[str, str], None]
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()


class Sources:
    def __init__(self, folder: Path, api: Api) -> None:
        self._folder, self._api = folder, api
        self._stack = ExitStack()
        self._made: dict[str, Source] = {}
        self.service: tokenservice.TokenService
        self.postgres: Postgres

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def use(self, kind: str) -> Source:
        makes = {"secrets": self._secrets, "http": self._http, "name": self._name, "sql": self._sql}
        if kind not in self._made:
            self._made[kind] = makes[kind]()
        return self._made[kind]

    def _secrets(self) -> Source:
        return Source(lambda owner, token: deployed.give(self._api, owner, token))

    def _served(self) -> tokenservice.TokenService:
        if not hasattr(self, "service"):
            self.service = self._stack.enter_context(tokenservice.serving(self._folder / "http", names=(NAME,)))
            self.service.headers = {"Cache-Control": "max-age=1"}
        return self.service

    def _http(self) -> Source:
        return self._asking(self._served().url)

    def _asking(self, url: str, before: tuple[str, ...] = ()) -> Source:
        service = self._served()

        def give(owner: str, token: str) -> None:
            service.give(owner, Credential("ghcr.io", "u", token))

        settings = {"from": "http", "url": url, "answer": "auths", "caFile": service.ca_file}
        return Source(give, {"sources": [settings]}, before)

    def _name(self) -> Source:
        """The replicas have an /etc/hosts of their own, and a name server that is not there."""
        (self._folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.resolve(found=True)
        files = (str(self._folder / "hosts"), str(self._folder / "resolv.conf"))
        before = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", _PRIVATE, "sh", *files)
        return self._asking(self._served().url.replace("localhost", NAME), before)

    def resolve(self, *, found: bool) -> None:
        """In place: the file is mounted."""
        (self._folder / "hosts").write_text("127.0.0.1 localhost\n" + (f"127.0.0.1 {NAME}\n" if found else ""))

    def _sql(self) -> Source:
        self.postgres = postgres = self._stack.enter_context(Postgres.start())
        password, file = secrets.token_urlsafe(), self._folder / "url"
        with postgres.admin() as admin:
            admin.execute(f"CREATE DATABASE {_DATABASE}".encode())
        with postgres.admin(_DATABASE) as admin:
            admin.execute(_TABLE.encode())
            admin.execute(f"CREATE ROLE reader LOGIN PASSWORD '{password}'".encode())
            admin.execute(b"GRANT SELECT ON credentials TO reader")
        file.write_text(postgres.url("reader", password, _DATABASE))
        source = {"from": "sql", "urlFile": str(file), "query": _QUERY, "listen": _CHANNEL, "maxAge": 86400}
        return Source(self._set, {"sources": [source]})

    def _set(self, owner: str, token: str) -> None:
        while True:
            try:
                with self.postgres.admin(_DATABASE) as admin:
                    admin.execute(_SET, (owner, token))
            except psycopg.OperationalError:  # it is down: the platform writes when it is back
                time.sleep(0.2)
            else:
                return
