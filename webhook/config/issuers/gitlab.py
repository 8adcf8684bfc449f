"""`issue: gitlab`."""

from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, CaFile, Host, IssuerModel, Url, check_registry
from webhook.config.messages import value_shown
from webhook.core.imagename import is_repository
from webhook.core.shown import counted


class GitlabIssuer(IssuerModel, tag="gitlab", tag_field="issue", frozen=True, kw_only=True):
    """GitLab: each owner has a group there, and deploy tokens of that group that may read its registry and nothing
    else.
    """

    registry: Host
    endpoint: Annotated[Url, doc("where GitLab is asked, such as https://gitlab.com")]
    group: Annotated[
        str, msgspec.Meta(max_length=200), doc("the path of an owner's group, such as tenants/{owner}")
    ] = OWNER_HERE
    token_file: Annotated[str, doc("a file with the access token as which it asks")]
    days: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=3650)],
        doc("days for which a token is good; it ends at the midnight after them"),
    ] = 30
    ca_file: CaFile = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_identity("group", self.group)
        check_registry(self.registry)
        if not is_gitlab_group(self.group.replace(OWNER_HERE, "owner")):
            raise ValueError(f"group {value_shown(self.group)} is no path; write tenants/{OWNER_HERE}")
        are_paths(tokenFile=self.token_file, caFile=self.ca_file)

    @property
    def in_short(self) -> str:
        return f"deploy tokens for {self.registry}/{self.group}/; good for {counted(self.days, 'day')}"


def is_gitlab_group(text: str) -> bool:
    """As images have it. GitLab takes a number for the ID of a group, which is another one."""
    return is_repository(text) and not text.isdigit()
