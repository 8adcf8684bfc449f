"""`issuers` in the configuration: what mints credentials, one model a kind, told apart by `issue` (docs/issuers.md).

A new kind is a model here, in `Issuer`, and a line in webhook/issuers/configured.py.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import msgspec

from webhook.config.base import Expression, Label, Model, are_paths, doc, labelled, matching, whole
from webhook.config.messages import value_shown
from webhook.core.errors import CredentialError
from webhook.core.imagename import is_repository
from webhook.core.registry import canonical_registry, why_unmatched
from webhook.core.shown import counted

OWNER_HERE = "{owner}"
MAX_NAME_CHARS = 30
"""Characters. It is part of the names of Secrets."""
Host = Annotated[
    str,
    whole(r"[a-z0-9][a-z0-9.\-]*(:[0-9]{1,5})?"),
    msgspec.Meta(max_length=260),
    doc("its host as images name it, and its port if they are written with it, such as registry.example.com"),
]
_HARBOR_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


class _Issuer(Model, frozen=True, kw_only=True):
    """What all kinds have."""

    name: Annotated[
        Annotated[Label, msgspec.Meta(max_length=MAX_NAME_CHARS)] | None,
        labelled("what its Secrets, Events and metrics call it; the default is its kind"),
    ] = None
    owners: Annotated[Expression, matching("the owners that it is for; others get nothing from it")] = ".+"
    rate: Annotated[
        Annotated[float, msgspec.Meta(ge=0.1, le=1000.0)], doc("credentials a second that it is asked for, at most")
    ] = 5.0

    def __post_init__(self) -> None:
        try:
            _compiled(self.owners)
        except (re.error, RecursionError) as e:
            raise ValueError(f"owners {value_shown(self.owners)} is no regular expression: {e}") from None

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def called(self) -> str:
        return self.name or self.kind

    def is_for(self, owner: str) -> bool:
        return _compiled(self.owners).fullmatch(owner) is not None


class RegistryIssuer(_Issuer, tag="registry", tag_field="issue", frozen=True, kw_only=True):
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
        _has_the_owner("repositories", self.repositories)
        _is_registry(self.registry)
        if not is_repository(self.repositories.replace(OWNER_HERE, "owner")):
            raise ValueError(
                f"repositories {value_shown(self.repositories)}: no repository's name begins so; write {OWNER_HERE} or "
                f"project-{OWNER_HERE}, without a slash at the end"
            )
        are_paths(pushersFile=self.pushers_file)
        for file in self.key_files:
            are_paths(keyFiles=file)

    @property
    def in_short(self) -> str:
        return f"passwords for {self.registry}/{self.repositories}/, good for {self.hours:g} h"


class HarborIssuer(_Issuer, tag="harbor", tag_field="issue", frozen=True, kw_only=True):
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
        _has_the_owner("project", self.project)
        _is_registry(self.registry)
        if not is_harbor_name(self.project.replace(OWNER_HERE, "owner")):
            raise ValueError(f"project {value_shown(self.project)}: Harbor has no such names; write team-{OWNER_HERE}")
        are_paths(usernameFile=self.username_file, passwordFile=self.password_file)

    @property
    def in_short(self) -> str:
        made = ", made where there is none" if self.create_project else ""
        return f"robots that pull from {self.registry}/{self.project}/{made}; good for {counted(self.days, 'day')}"


Issuer = RegistryIssuer | HarborIssuer


def is_harbor_name(text: str) -> bool:
    """Can a project be called so? What names of robots have behind that of their project is as this, too."""
    return _HARBOR_NAME.fullmatch(text) is not None


def _has_the_owner(key: str, template: str) -> None:
    if template.count(OWNER_HERE) != 1:
        raise ValueError(f"{key} must have {OWNER_HERE} once; without it all owners would have one identity")


def _is_registry(host: str) -> None:
    try:
        wrong = why_unmatched(canonical_registry(f"{host}/name"))
    except CredentialError as e:
        wrong = str(e)
    if wrong:
        raise ValueError(f"registry {value_shown(host)}: {wrong}")


def check_together(issuers: Sequence[Issuer]) -> None:
    """Raises ValueError."""
    names = [one.called for one in issuers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"issuers has {name} twice; give each a name of its own")
    registries = [one.registry for one in issuers]
    for registry in registries:
        if registries.count(registry) > 1:
            raise ValueError(
                f"issuers has {registry} twice; one owner's repositories might begin like another's, so use one issuer "
                "for a registry"
            )


@lru_cache(maxsize=64)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII)
