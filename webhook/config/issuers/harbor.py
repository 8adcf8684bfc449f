"""`issue: harbor`."""

import re
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, Host, IssuerModel, check_registry
from webhook.config.messages import value_shown
from webhook.core.shown import counted

_HARBOR_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


class HarborIssuer(IssuerModel, tag="harbor", tag_field="issue", frozen=True, kw_only=True):
    """Harbor: each owner has a project there, and a robot of that project that may pull and nothing else."""

    registry: Host
    project: Annotated[
        str, msgspec.Meta(max_length=200), doc("the project of an owner, such as {owner} or team-{owner}")
    ] = OWNER_HERE
    create_project: Annotated[bool, doc("make the project, private, where there is none")] = False
    username_file: Annotated[str, doc("a file with the name of the robot as which it asks, such as robot$issuer")]
    password_file: Annotated[str, doc("a file with the secret of that robot")]
    days: Annotated[Annotated[int, msgspec.Meta(ge=1, le=3650)], doc("days for which a robot is good")] = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_identity("project", self.project)
        check_registry(self.registry)
        if not is_harbor_name(self.project.replace(OWNER_HERE, "owner")):
            raise ValueError(f"project {value_shown(self.project)}: Harbor has no such names; write team-{OWNER_HERE}")
        are_paths(usernameFile=self.username_file, passwordFile=self.password_file)

    @property
    def in_short(self) -> str:
        made = ", made where there is none" if self.create_project else ""
        return f"robots that pull from {self.registry}/{self.project}/{made}; good for {counted(self.days, 'day')}"


def is_harbor_name(text: str) -> bool:
    """Can a project be called so? What names of robots have behind that of their project is as this, too."""
    return _HARBOR_NAME.fullmatch(text) is not None
