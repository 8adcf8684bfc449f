"""`issue: registry`: the platform's own registry."""

from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, Host, IssuerModel, check_registry, check_repositories


class RegistryIssuer(IssuerModel, tag="registry", tag_field="issue", frozen=True, kw_only=True):
    """The platform's own registry with token authentication: passwords are signed here, and nobody is asked."""

    registry: Host
    repositories: Annotated[
        str,
        msgspec.Meta(max_length=200),
        doc("what the names of an owner's repositories begin with, such as {owner} or project-{owner}"),
    ] = OWNER_HERE
    key_files: Annotated[
        tuple[str, ...],
        msgspec.Meta(min_length=1, max_length=5),
        doc("files with private keys, PEM, Ed25519 or P-256: the first one signs, and what any of them signed is good"),
    ]
    pushers_file: Annotated[
        str | None, doc("for pullsecret registry-auth: a file with those who may push, a line for each")
    ] = None
    hours: Annotated[Annotated[float, msgspec.Meta(ge=0.01, le=8760.0)], doc("hours for which a password is good")] = (
        24.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_identity("repositories", self.repositories)
        check_registry(self.registry)
        check_repositories(
            (self.repositories,), good=f"{OWNER_HERE} or project-{OWNER_HERE}, without a slash at the end"
        )
        are_paths(pushersFile=self.pushers_file)
        for file in self.key_files:
            are_paths(keyFiles=file)

    @property
    def in_short(self) -> str:
        return f"passwords for {self.registry}/{self.repositories}/, good for {self.hours:g} h"
