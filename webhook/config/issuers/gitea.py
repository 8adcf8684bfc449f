"""`issue: gitea`."""

import re
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, Host, IssuerModel, below, check_registry, check_repositories
from webhook.config.messages import value_shown

_USER = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


class GiteaIssuer(IssuerModel, tag="gitea", tag_field="issue", frozen=True, kw_only=True):
    """Gitea: each owner has a user there, and access tokens of that user that may read packages and nothing else."""

    registry: Host
    user: Annotated[str, msgspec.Meta(max_length=200), doc("the user of an owner, such as {owner} or pull-{owner}")] = (
        OWNER_HERE
    )
    repositories: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=200)], ...],
        msgspec.Meta(max_length=20),
        doc("what the names of an owner's repositories begin with, such as organisations; the default is the user"),
    ] = ()
    username_file: Annotated[str, doc("a file with the name of an administrator of Gitea")]
    password_file: Annotated[str, doc("a file with the password of that administrator")]
    hours: Annotated[
        Annotated[float, msgspec.Meta(ge=0.01, le=8760.0)], doc("hours after which a token is taken away")
    ] = 168.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_identity("user", self.user)
        check_registry(self.registry)
        if not is_gitea_user(self.user.replace(OWNER_HERE, "owner")):
            raise ValueError(f"user {value_shown(self.user)}: Gitea has no such names; write pull-{OWNER_HERE}")
        check_repositories(
            self.beginnings, good=f"{OWNER_HERE} or the name of an organisation, without a slash at the end"
        )
        are_paths(usernameFile=self.username_file, passwordFile=self.password_file)

    @property
    def beginnings(self) -> tuple[str, ...]:
        """What the names of an owner's repositories begin with."""
        return self.repositories or (self.user,)

    @property
    def in_short(self) -> str:
        where = below(self.registry, self.beginnings)
        return f"tokens of {self.user} that pull from {where}, taken away after {self.hours:g} h"


def is_gitea_user(text: str) -> bool:
    """Can a user be called so? Without capitals: Gitea takes Alice and alice for the same user."""
    return _USER.fullmatch(text) is not None
