"""Harbor: each owner has a project, and in it a robot that may pull and nothing else.

A robot cannot be renewed by another robot, so the next one is made beside it, and the one before ends by itself. Its
name follows from cluster, generation, issuer and owner, and its description is our mark. After a crash the name is
taken: if the mark is ours, nobody has that robot's secret, and it goes; what others made is never touched. Projects are
made, if the configuration says so, and never deleted.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import structlog

from webhook.config.issuers import harbor as model
from webhook.config.issuers.base import OWNER_HERE
from webhook.config.models import Registry
from webhook.core.issued import MAX_LIFE
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.client import Answer
from webhook.issuers.harbor.api import HarborApi
from webhook.issuers.names import CHECK_NAME, credentials, minted_name

log = structlog.get_logger()
MAX_NAME_CHARS = 255
"""Of a robot: its project, a plus sign, and what we call it."""
_RIGHTS = "the robot of usernameFile needs the rights that docs/harbor.md lists"
_HANDLE = re.compile(r"(\d{1,19})/([a-z0-9-]{1,100})", re.ASCII)
_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Project(msgspec.Struct, frozen=True):
    project_id: _Id


class _Robot(msgspec.Struct, frozen=True):
    """Harbor leaves out a description that is empty."""

    id: _Id
    name: str
    description: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: str


class _Errors(msgspec.Struct, frozen=True):
    """Which others that answer in the place of Harbor do not have."""

    errors: list[_Error]


class _Created(msgspec.Struct, frozen=True):
    """`expires_at`: in seconds since 1970; -1: never."""

    id: _Id
    name: str
    secret: str
    expires_at: int


class HarborIssuer:
    """`cluster`: eight characters that no other cluster of this Harbor has; raises IssuerUnavailable."""

    def __init__(self, config: model.HarborIssuer, registry: Registry, cluster: Callable[[], str]) -> None:
        self._config, self._cluster = config, cluster
        self._api = HarborApi(registry, config.username_file, config.password_file)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        name = minted_name(self._cluster(), self._config.called, owner, generation)
        project = self._project(owner, name)
        robot = {
            "name": name,
            "description": f"{self._mark}owner {owner}, generation {generation}",
            "level": "project",
            "duration": self._config.days,
            "disable": False,
            "permissions": [
                {"kind": "project", "namespace": project, "access": [{"resource": "repository", "action": "pull"}]}
            ],
        }
        made = await self._made(project, robot)
        if made.status == 409:
            await self._clear(project, robot, fence)
            made = await self._api.call("POST", "/robots", body=robot)
            if made.status == 409:
                raise IssuerUnavailable(f"another one makes the same robot in project {project} at the same time")
        if made.status != 201:
            raise IssueRefused(f"Harbor makes no robot in project {project} ({made.said})")
        return self._minted(project, name, made)

    async def end(self, handle: str) -> None:
        """Numbers are not used again, but a Harbor that was restored from a backup does. So its name and mark count."""
        parts = _HANDLE.fullmatch(handle)
        if parts is None:
            return
        path, name = f"/robots/{parts[1]}", parts[2]
        found = await self._api.call("GET", path)
        if found.status == 404:
            return
        if found.status != 200:
            raise IssuerUnavailable(f"Harbor does not show a robot that has ended ({found.said}); {_RIGHTS}")
        robot = found.read(_Robot)
        if robot.name.endswith(f"+{name}") and robot.description.startswith(self._mark):
            await self._delete(path)
        else:
            log.info("a robot is left as it is: it is another one than was minted", id=parts[1])

    async def check(self, owner: str | None) -> None:
        """Nothing says what a robot may make. What it may read was given to it together with that."""
        if owner is None:
            # Whether it may is nothing to us: who may not is known all the same, and others are answered with 401.
            found = await self._api.call("GET", "/robots", query={"page_size": "1"})
            found.read(_Errors if found.status == 403 else list[_Robot])
            return
        project = self._project(owner, "")
        seen = await self._api.call("GET", f"/projects/{project}")
        if seen.status in (403, 404):
            seen.read(_Errors)
            raise IssueRefused(f"Harbor shows no project {project} ({seen.said}); is it there? If so, {_RIGHTS}")
        listed = await self._list(seen, f"name=~{CHECK_NAME}")
        if listed.status == 403:
            listed.read(_Errors)
            raise IssueRefused(f"Harbor lists no robots of project {project} ({listed.said}); {_RIGHTS}", right=True)
        if listed.status != 200:
            raise listed.odd()
        listed.read(list[_Robot])

    async def close(self) -> None:
        await self._api.close()

    # -- names --

    @property
    def _mark(self) -> str:
        """What the description of each of ours begins with."""
        return f"pullsecret-webhook: cluster {self._cluster()}, issuer {self._config.called}, "

    def _project(self, owner: str, name: str) -> str:
        """Raises IssueRefused. An owner that does not fit is never changed until it does: it might be another one's."""
        project = self._config.project.replace(OWNER_HERE, owner)
        if not model.is_harbor_name(project):
            raise DoesNotFit(
                f"no project can have the owner {quoted(owner)} in its name: Harbor takes lower-case letters, digits, "
                "and single . _ - between them; give the owner such a name, or leave it out of the issuer's owners"
            )
        if len(f"{project}+{name}") > MAX_NAME_CHARS:
            raise DoesNotFit(f"project {quoted(project, 60)} has so long a name that its robots have no room for one")
        return project

    # -- calls --

    async def _made(self, project: str, robot: dict[str, Any]) -> Answer:
        """The robot, in a project that is there. Raises IssueRefused."""
        made = await self._api.call("POST", "/robots", body=robot)
        if made.status not in (403, 404):
            return made
        # To a robot, some versions of Harbor answer alike whether it may not, or there is no such project.
        if (await self._api.call("GET", f"/projects/{project}")).status != 200:
            await self._make_project(project)
        made = await self._api.call("POST", "/robots", body=robot)  # it may also have been made in between
        if made.status in (403, 404):
            raise IssueRefused(
                f"Harbor lets us make no robot in project {project} ({made.said}); {_RIGHTS}", right=True
            )
        return made

    async def _make_project(self, project: str) -> None:
        if not self._config.create_project:
            raise IssueRefused(f"Harbor has no project {project} that we may see; create it, or set createProject")
        made = await self._api.call(
            "POST", "/projects", body={"project_name": project, "metadata": {"public": "false"}}
        )
        if made.status == 403:
            raise IssueRefused(f"Harbor lets us make no project {project} ({made.said}); {_RIGHTS}", everybody=True)
        if made.status not in (201, 409):
            raise IssueRefused(f"Harbor makes no project {project} ({made.said})")

    async def _clear(self, project: str, robot: dict[str, Any], fence: Fence) -> None:
        """Takes away what has the name of this robot, if it is ours: nobody has its secret. Raises IssueRefused."""
        found = await self._named(project, robot["name"])
        if found is None:
            raise IssuerUnavailable(f"the robot that we make in project {project} is there, and it is not; once more")
        if found.description != robot["description"]:
            raise IssueRefused(
                f"project {project} has a robot {robot['name']} that is not ours: its description is another one; "
                "delete it, if nobody needs it"
            )
        await fence()
        await self._delete(f"/robots/{found.id}")

    async def _named(self, project: str, name: str) -> _Robot | None:
        seen = await self._api.call("GET", f"/projects/{project}")
        if seen.status != 200:
            raise IssuerUnavailable(f"Harbor does not show project {project} ({seen.said}); {_RIGHTS}")
        # Not the whole name: versions of Harbor differ in how often the plus sign in it has to be escaped.
        listed = await self._list(seen, f"name=~{name}")
        if listed.status != 200:
            raise IssuerUnavailable(f"Harbor does not list the robots of project {project} ({listed.said}); {_RIGHTS}")
        return next((one for one in listed.read(list[_Robot]) if one.name.endswith(f"{project}+{name}")), None)

    async def _list(self, project: Answer, which: str) -> Answer:
        """Robots of a project, of which this is Harbor's answer."""
        query = {"q": f"Level=project,ProjectID={project.read(_Project).project_id},{which}", "page_size": "10"}
        return await self._api.call("GET", "/robots", query=query)

    async def _delete(self, path: str) -> None:
        gone = await self._api.call("DELETE", path)
        if gone.status not in (200, 404):
            raise IssuerUnavailable(f"Harbor does not take away a robot of ours ({gone.said}); {_RIGHTS}")

    def _minted(self, project: str, name: str, made: Answer) -> Minted:
        """With the name as it is in the answer: what stands before the project is Harbor's to choose."""
        robot = made.read(_Created)
        if not robot.name.endswith(f"{project}+{name}"):
            raise IssuerUnavailable("Harbor's answer is about another robot than we wanted")
        if made.date is None or robot.expires_at <= 0:
            raise IssuerUnavailable("Harbor's answer does not say until when the robot is good")
        seconds = robot.expires_at - int(made.date.timestamp())
        found = credentials("Harbor", self._config.registry, [project], robot.name, robot.secret)
        life = timedelta(seconds=min(seconds, MAX_LIFE.total_seconds()))
        return Minted(found, life, f"{robot.id}/{name}")
