"""A server that speaks Harbor's protocol over TLS: as its API description has it (harborapi.py), and as a Harbor 2.16
behaved that was asked once. Nothing more of Harbor is true of it.
"""

import asyncio
import base64
import json
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web

from support import harborapi, planted, vendorserver
from support.vendorserver import Said, VendorServer

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""Of projects and robots."""
LOCK_SECONDS = 1.5
TOKEN_SECONDS = 1800
MAX_DAYS = 2**31 - 1
ADMIN = "admin"
ISSUER_RIGHTS: list[dict[str, Any]] = [
    {"kind": "system", "namespace": "/", "access": [{"resource": "project", "action": "create"}]},
    {
        "kind": "project",
        "namespace": "*",
        "access": [
            {"resource": "robot", "action": "create"},
            {"resource": "robot", "action": "delete"},
            {"resource": "robot", "action": "list"},
            {"resource": "robot", "action": "read"},
            {"resource": "repository", "action": "pull"},
            {"resource": "project", "action": "read"},
        ],
    },
]


@dataclass
class Robot:
    """`name`: without the prefix; that of a project has its project before the `+`."""

    id: int
    name: str
    level: str
    project: int
    permissions: list[dict[str, Any]]
    secret: str
    days: int
    created: int
    description: str = ""
    disabled: bool = False

    @property
    def ends(self) -> int:
        """Counted from when it was made. -1: never."""
        return -1 if self.days == -1 else self.created + self.days * 86400

    def may(self, resource: str, action: str, project: str | None) -> bool:
        """`project` None: in the system."""
        wanted = {"resource": resource, "action": action}
        return any(
            wanted in [{key: one[key] for key in ("resource", "action")} for one in permission["access"]]
            and (
                permission["kind"] == "system"
                if project is None
                else permission["kind"] == "project" and permission["namespace"] in ("*", project)
            )
            for permission in self.permissions
        )


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"errors": [{"code": code, "message": message}]}


NOT_ALLOWED = "FORBIDDEN", "forbidden"


@dataclass
class Harbor(VendorServer):
    """`missing`: what it answers about a project that is not there. `wrong`: what of all requests and answers was not
    as described.
    """

    content_type = "application/json; charset=utf-8"
    prefix: str = "robot$"
    read_only: bool = False
    missing: int = 403
    password: str = field(default_factory=planted.token)
    projects: dict[str, int] = field(default_factory=lambda: {"library": 1})
    public: set[str] = field(default_factory=lambda: {"library"})
    images: set[str] = field(default_factory=set)
    robots: dict[int, Robot] = field(default_factory=dict)
    asked_at: list[tuple[float, str]] = field(default_factory=list)
    """The loop's time, and method and path."""
    wrong: list[str] = field(default_factory=list)
    ids: int = 0
    locked: dict[str, float] = field(default_factory=dict)

    # -- what its administrator does --

    def project(self, name: str) -> None:
        self.ids += 1
        self.projects[name] = self.ids + 1

    def robot(
        self,
        name: str,
        permissions: list[dict[str, Any]],
        *,
        project: str = "",
        days: int = 30,
        description: str = "",
        disabled: bool = False,
    ) -> Robot:
        self.ids += 1
        made = Robot(
            self.ids,
            f"{project}+{name}" if project else name,
            "project" if project else "system",
            self.projects[project] if project else 0,
            permissions,
            planted.token(),
            days,
            int(self.now().timestamp()),
            description,
            disabled,
        )
        self.robots[made.id] = made
        return made

    def login(self, robot: Robot) -> tuple[str, str]:
        return self.prefix + robot.name, robot.secret

    def of(self, project: str) -> list[Robot]:
        return [one for one in self.robots.values() if one.project and one.project == self.projects.get(project)]

    # -- what it answers --

    async def seen(self, request: web.BaseRequest) -> str:
        self.asked_at.append((asyncio.get_running_loop().time(), f"{request.method} {request.path}"))
        return f"{request.method} {request.raw_path}"

    async def answer(self, request: web.BaseRequest) -> Said:
        if not request.path.startswith(harborapi.BASE):
            return self._registry(request)
        method, path = request.method.lower(), request.raw_path.partition("?")[0].removeprefix(harborapi.BASE)
        text = await request.read()
        body = json.loads(text) if text else None
        if text:
            assert request.headers["Content-Type"] == "application/json"
        self.wrong += harborapi.broken(method, path, request.query, request.headers, body)
        try:
            status, said = self._api(request, method, path, body)
        except Refused as e:
            status, said = e.status, e.body
        self.wrong += harborapi.wrong_answer(method, path, status, said)
        return status, said, {"Set-Cookie": "sid=0123456789abcdef; Path=/; HttpOnly", "X-Request-Id": "1"}

    def _api(self, request: web.BaseRequest, method: str, path: str, body: Any) -> tuple[int, Any]:
        if "sid" in request.cookies and method not in ("get", "head"):
            raise Refused(403, "FORBIDDEN", "CSRF token not found in request")
        if self.read_only and method not in ("get", "head"):
            raise Refused(403, "DENIED", "The system is in read only mode. Any modification is prohibited.")
        who = self._who(request)
        if who is None:
            raise Refused(401, "UNAUTHORIZED", "unauthorized")
        first, _, last = path.strip("/").partition("/")
        if first == "projects":
            return (
                self._make_project(who, body)
                if method == "post"
                else self._one_project(who, method, self._called(request))
            )
        if method == "post":
            return self._make_robot(who, body)
        return self._one_robot(who, method, int(last), body) if last else self._robots(who, request.query)

    def _who(self, request: web.BaseRequest) -> Robot | str | None:
        """None: a wrong login, or one of a name that is locked."""
        text = request.headers.get("Authorization", "")
        if not text.startswith("Basic "):
            return None
        name, _, password = base64.b64decode(text.removeprefix("Basic ")).decode().partition(":")
        clock = asyncio.get_running_loop().time()
        if clock < self.locked.get(name, 0.0):
            return None
        robot = next((one for one in self.robots.values() if self.prefix + one.name == name), None)
        if name == ADMIN and password == self.password:
            return ADMIN
        if robot is not None and robot.secret == password:
            ended = robot.ends != -1 and robot.ends <= self.now().timestamp()
            return None if robot.disabled or ended else robot
        self.locked[name] = clock + LOCK_SECONDS
        return None

    @staticmethod
    def _needs(who: Robot | str, resource: str, action: str, project: str | None) -> None:
        if isinstance(who, Robot) and not who.may(resource, action, project):
            raise Refused(403, *NOT_ALLOWED)

    def _called(self, request: web.BaseRequest) -> str:
        """A number is the number of a project, unless a header says that it is a name."""
        text = request.path.rpartition("/")[2]
        if text.isdigit() and request.headers.get("X-Is-Resource-Name") != "true":
            return next((name for name, number in self.projects.items() if number == int(text)), "")
        return text

    def _known(self, name: str, who: Robot | str) -> int:
        if name in self.projects:
            return self.projects[name]
        if isinstance(who, Robot) and self.missing == 403:
            raise Refused(403, *NOT_ALLOWED)
        raise Refused(404, "NOT_FOUND", f"project {name} not found")

    def _name(self, project: int) -> str:
        return next(name for name, number in self.projects.items() if number == project)

    def _make_project(self, who: Robot | str, body: Any) -> tuple[int, Any]:
        self._needs(who, "project", "create", None)
        name = body["project_name"]
        if len(name) > 255:
            raise Refused(422, "UNPROCESSABLE_ENTITY", "project_name in body should be at most 255 chars long")
        if not NAME.fullmatch(name):
            raise Refused(400, "BAD_REQUEST", "project name is not in lower case or contains illegal characters")
        if name in self.projects:
            raise Refused(409, "CONFLICT", f"The project named {name} already exists")
        self.project(name)
        if body.get("metadata", {}).get("public") == "true":
            self.public.add(name)
        return 201, None

    def _one_project(self, who: Robot | str, method: str, name: str) -> tuple[int, Any]:
        project = self._known(name, who)
        self._needs(who, "project", "read" if method == "get" else "delete", name)
        if method == "get":
            return 200, {
                "project_id": project,
                "name": name,
                "repo_count": 0,
                "metadata": {"public": str(name in self.public).lower()},
            }
        if any(image.startswith(f"{name}/") for image in self.images):
            raise Refused(412, "PRECONDITION", "the project contains repositories, can not be deleted")
        self.robots = {number: one for number, one in self.robots.items() if one.project != project}
        del self.projects[name]
        return 200, None

    def _make_robot(self, who: Robot | str, body: Any) -> tuple[int, Any]:
        if not NAME.fullmatch(body["name"]):
            raise Refused(400, "BAD_REQUEST", "robot name is not in lower case or contains illegal characters")
        days = body["duration"]
        if days != -1 and not 0 < days < MAX_DAYS:
            raise Refused(400, "BAD_REQUEST", f"bad request error duration input: {days}")
        permissions = body["permissions"]
        if not permissions or not all(one["access"] for one in permissions):
            raise Refused(400, "BAD_REQUEST", "bad request empty permission")
        project = permissions[0]["namespace"] if body["level"] == "project" else ""
        if project:
            self._known(project, who)
        self._needs(who, "robot", "create", project or None)
        if isinstance(who, Robot):
            for one in permissions:
                within = None if one["kind"] == "system" else one["namespace"]
                if not all(who.may(access["resource"], access["action"], within) for access in one["access"]):
                    raise Refused(403, "DENIED", "permission must be equal to or more restrictive than the creator's")
        full = f"{project}+{body['name']}" if project else body["name"]
        if any(one.name == full for one in self.robots.values()):
            raise Refused(409, "CONFLICT", f"robot account {full} already exists")
        # A secret in the body is ignored.
        made = self.robot(
            body["name"], permissions, project=project, days=days, description=body.get("description", "")
        )
        said = {
            "id": made.id,
            "name": self.prefix + made.name,
            "secret": made.secret,
            "creation_time": self._time(made.created),
            "expires_at": made.ends,
        }
        return 201, said

    def _one_robot(self, who: Robot | str, method: str, number: int, body: Any) -> tuple[int, Any]:
        robot = self.robots.get(number)
        if robot is None:
            raise Refused(404, "NOT_FOUND", f"robot account {number} not found")
        within = self._name(robot.project) if robot.project else None
        self._needs(who, "robot", {"get": "read", "delete": "delete"}.get(method, "update"), within)
        if method == "get":
            return 200, self._said(robot)
        if method == "delete":
            del self.robots[number]
            return 200, None
        if method == "patch":
            robot.secret = body.get("secret") or planted.token()
            return 200, {"secret": robot.secret}
        robot.days, robot.disabled = body["duration"], body["disable"]
        robot.description = body.get("description", "")
        return 200, None

    def _robots(self, who: Robot | str, query: Mapping[str, str]) -> tuple[int, Any]:
        if int(query.get("page_size", "10")) > 100:
            raise Refused(422, "UNPROCESSABLE_ENTITY", "page_size in query should be less than or equal to 100")
        # Once more: in a name, + is %2B also after the query is decoded.
        pairs = [one.partition("=") for one in unquote_plus(query.get("q", "")).split(",") if one]
        wanted = {key: value for key, _, value in pairs}
        project = 0
        if wanted.get("Level") == "project":
            if not wanted.get("ProjectID", "").isdigit():
                raise Refused(400, "BAD_REQUEST", "must with project ID when to query project robots")
            project = int(wanted["ProjectID"])
        self._needs(who, "robot", "list", self._name(project) if project else None)
        name = wanted.get("name", "")
        fits: Callable[[str], bool] = (
            (lambda found: name[1:] in found) if name.startswith("~") else (lambda found: not name or found == name)
        )
        found = [one for one in self.robots.values() if one.project == project and fits(one.name)]
        at, size = int(query.get("page", "1")) - 1, int(query.get("page_size", "10"))
        return 200, [self._said(one) for one in found[at * size : (at + 1) * size]]

    def _said(self, robot: Robot) -> dict[str, Any]:
        said = {
            "id": robot.id,
            "name": self.prefix + robot.name,
            "level": robot.level,
            "duration": robot.days,
            "disable": robot.disabled,
            "editable": True,
            "expires_at": robot.ends,
            "creation_time": self._time(robot.created),
            "permissions": robot.permissions,
        }
        return said | ({"description": robot.description} if robot.description else {})

    @staticmethod
    def _time(seconds: int) -> str:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.000Z}"

    # -- the registry --

    def _registry(self, request: web.BaseRequest) -> tuple[int, Any, Mapping[str, str]]:
        who = self._who(request)
        denied = {"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]}
        if request.path == "/v2/":
            realm = f'Bearer realm="https://{self.host}/service/token",service="harbor-registry"'
            asks = {"WWW-Authenticate": realm, "Docker-Distribution-Api-Version": "registry/2.0"}
            return (200, {}, {}) if who is not None else (401, denied, asks)
        assert request.path == "/service/token"
        scopes = request.query.getall("scope", [])
        # With a scope whoever asks is answered: who is nobody, with nothing.
        if who is None and not scopes:
            return 401, denied, {}
        access = [self._access(scope, who) for scope in scopes]
        return 200, {"token": _bearer(access), "access_token": _bearer(access), "expires_in": TOKEN_SECONDS}, {}

    @staticmethod
    def _access(scope: str, who: Robot | str | None) -> dict[str, Any]:
        kind, name, actions = scope.split(":")
        project = name.partition("/")[0]
        given = [
            action
            for action in actions.split(",")
            if who == ADMIN or (isinstance(who, Robot) and who.may("repository", action, project))
        ]
        return {"type": kind, "name": name, "actions": given}


def _bearer(access: list[dict[str, Any]]) -> str:
    claims = json.dumps({"access": access}).encode()
    return ".".join(("e30", base64.urlsafe_b64encode(claims).decode().rstrip("="), "c2ln"))


def allowed(bearer: str) -> list[str]:
    """What a token of it opens, as REPOSITORY:ACTION."""
    claims = bearer.split(".")[1]
    access = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["access"]
    return [f"{one['name']}:{action}" for one in access for action in one["actions"]]


@asynccontextmanager
async def serving(context: ssl.SSLContext, harbor: Harbor | None = None) -> AsyncIterator[Harbor]:
    """Fails if something was not as Harbor's API description has it."""
    async with vendorserver.serving(harbor or Harbor(), context) as running:
        yield running
    assert not running.wrong, running.wrong[:5]


@contextmanager
def threaded(context: ssl.SSLContext) -> Iterator[Harbor]:
    """The same on a thread of its own, for an issuer in another process."""
    harbor, ready, loop, stop = Harbor(), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    failed: list[BaseException] = []

    async def serve() -> None:
        try:
            async with serving(context, harbor):
                ready.set()
                await stop.wait()
        except BaseException as e:  # noqa: BLE001  # the test's own thread raises it
            failed.append(e)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield harbor
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()
    assert not failed, failed
