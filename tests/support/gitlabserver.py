"""A server that speaks the protocol of GitLab's deploy tokens, as far as the issuer asks for them: a stand-in, from its
public reference and its source (lib/api/deploy_tokens.rb, app/models/deploy_token.rb). Nothing more of GitLab is true
of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from support import planted
from support.vendorserver import Said, VendorServer

RIGHTS = ("read", "create", "delete")
"""What the role Owner in a group, with the scope api, is about deploy tokens."""
SCOPES = {
    "read_repository",
    "read_registry",
    "write_registry",
    "read_package_registry",
    "write_package_registry",
    "read_virtual_registry",
    "write_virtual_registry",
}
_PATH = re.compile(r"/api/v4/groups/([^/]+)/deploy_tokens(?:/(\d+))?")
_USERNAME = re.compile(r"[a-zA-Z0-9.+_-]{1,255}")
_BASE = "read_registry"


@dataclass
class Token:
    """`expires_at`: years away if it never ends."""

    id: int
    group: int
    name: str
    username: str
    token: str
    scopes: list[str]
    expires_at: datetime


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"message": message}


@dataclass
class Gitlab(VendorServer):
    """`access`: the rights of who has an access token; `scopes`: of all of these; empty: it does not
    say. `groups`: numbers by path. `lowered`: numbers of those in which nobody of `access` has a role that may do
    something. `bodies`: what was asked for.
    """

    access: dict[str, set[str]] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=lambda: ["api"])
    groups: dict[str, int] = field(default_factory=dict)
    lowered: set[int] = field(default_factory=set)
    tokens: list[Token] = field(default_factory=list)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    ids: int = 100

    def group(self, path: str) -> int:
        self.ids += 1
        return self.groups.setdefault(path, self.ids)

    def token(self, path: str, name: str, username: str, expires_at: datetime) -> Token:
        self.ids += 1
        made = Token(self.ids, self.groups[path], name, username, planted.token(), [_BASE], expires_at)
        self.tokens.append(made)
        return made

    def of(self, path: str) -> list[Token]:
        return [one for one in self.tokens if one.group == self.groups.get(path)]

    def opens(self, username: str, token: str, repository: str) -> bool:
        found = next((one for one in self.tokens if one.token == token), None)
        if found is None or found.username != username or not self._active(found) or _BASE not in found.scopes:
            return False
        path = next(path for path, number in self.groups.items() if number == found.group)
        return repository.startswith(f"{path}/")

    def _active(self, token: Token) -> bool:
        return token.expires_at >= self.now()

    async def answer(self, request: web.BaseRequest) -> Said:
        content = await request.read()
        try:
            return self._said(request, json.loads(content) if content else None)
        except Refused as e:
            return e.status, e.body

    def _said(self, request: web.BaseRequest, body: Any) -> Said:
        rights = self.access.get(request.headers.get("PRIVATE-TOKEN", ""))
        if rights is None:
            raise Refused(401, "401 Unauthorized")
        if (request.method, request.path) == ("GET", "/api/v4/personal_access_tokens/self"):
            if not self.scopes:
                raise Refused(404, "404 Not Found")
            return 200, {"id": 1, "name": "issuer", "revoked": False, "active": True, "scopes": self.scopes}
        if (request.method, request.path) == ("GET", "/api/v4/version"):
            return 200, {"version": "15.4.0", "revision": "abc"}
        found = _PATH.fullmatch(request.raw_path.partition("?")[0])
        if found is None:
            raise Refused(404, "404 Not Found")
        group = self._group(unquote(found[1]))
        needed = {"GET": "read", "POST": "create", "DELETE": "delete"}[request.method]
        if needed not in rights or group in self.lowered:
            raise Refused(403, "403 Forbidden")
        if found[2]:
            return self._one(request.method, group, int(found[2]))
        return self._create(request, group, body) if request.method == "POST" else self._list(request.query, group)

    def _group(self, text: str) -> int:
        """A number is the number of a group. Paths are the same in capitals."""
        number = int(text) if text.isdigit() else self.groups.get(text.lower())
        if number not in self.groups.values():
            raise Refused(404, "404 Group Not Found")
        assert number is not None
        return number

    def _one(self, method: str, group: int, number: int) -> Said:
        found = next((one for one in self.tokens if one.id == number and one.group == group), None)
        if found is None:
            raise Refused(404, "404 Not found")
        if method == "GET":
            return 200, self._shown(found)
        self.tokens.remove(found)
        return 204, None

    def _list(self, query: Mapping[str, str], group: int) -> Said:
        assert set(query) <= {"active", "per_page", "page"}
        size, page = min(int(query.get("per_page", "20")), 100), int(query.get("page", "1"))
        found = [one for one in self.tokens if one.group == group]
        if query.get("active") == "true":
            found = [one for one in found if self._active(one)]
        return 200, [self._shown(one) for one in found[size * (page - 1) : size * page]]

    def _create(self, request: web.BaseRequest, group: int, body: Any) -> Said:
        assert request.headers["Content-Type"] == "application/json"
        assert set(body) <= {"name", "username", "scopes", "expires_at"}
        self.bodies.append(body)
        if not body.get("name") or not body.get("scopes"):
            raise Refused(400, "name is missing, scopes is missing")
        if not {*body["scopes"]} <= SCOPES:
            raise Refused(400, "scopes does not have a valid value")
        if len(body["name"]) > 255 or not _USERNAME.fullmatch(body["username"]):
            raise Refused(400, "Username can contain only letters, digits, '_', '-', '+', and '.'")
        expires_at = datetime.fromisoformat(body["expires_at"])
        assert expires_at.tzinfo == UTC
        self.ids += 1
        made = Token(self.ids, group, body["name"], body["username"], planted.token(), body["scopes"], expires_at)
        self.tokens.append(made)
        return 201, self._shown(made) | {"token": made.token}

    def _shown(self, token: Token) -> dict[str, Any]:
        return {
            "id": token.id,
            "name": token.name,
            "username": token.username,
            "expires_at": f"{token.expires_at:%Y-%m-%dT%H:%M:%S.000Z}",
            "scopes": token.scopes,
            "revoked": False,
            "expired": not self._active(token),
        }
