"""What the configurations of all issuers share."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import combinations
from typing import Annotated

import msgspec

from webhook.config.base import Expression, Label, Model, doc, labelled, matching, whole
from webhook.config.messages import value_shown
from webhook.core.errors import CredentialError
from webhook.core.imagename import is_repository
from webhook.core.registry import canonical_registry, why_unmatched

OWNER_HERE = "{owner}"
MAX_NAME_CHARS = 30
"""Characters. It is part of the names of Secrets."""
Host = Annotated[
    str,
    whole(r"[a-z0-9][a-z0-9.\-]*(:[0-9]{1,5})?"),
    msgspec.Meta(max_length=260),
    doc("its host as images name it, and its port if they are written with it, such as registry.example.com"),
]
Url = Annotated[
    str,
    whole(r"https://[a-z0-9][a-z0-9.\-]*(:[0-9]{1,5})?"),
    msgspec.Meta(max_length=268),
    doc("an address that begins with https:// and has no path"),
]
CaFile = Annotated[
    str | None,
    doc(
        "a file with the CA certificates to trust where it asks, instead of the system's: those of a proxy that opens "
        "TLS, or of your own CA"
    ),
]
Repositories = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=200)], ...],
    msgspec.Meta(min_length=1, max_length=5),
    doc("what the names of an owner's repositories begin with, such as {owner} or project-{owner}"),
]


class IssuerModel(Model, frozen=True, kw_only=True):
    """What all kinds have."""

    name: Annotated[
        Annotated[Label, msgspec.Meta(max_length=MAX_NAME_CHARS)] | None,
        labelled("what its Secrets, Events and metrics call it; the default is its kind"),
    ] = None
    owners: Annotated[Expression, matching("the owners that it is for; others get nothing from it")] = ".+"
    rate: Annotated[
        Annotated[float, msgspec.Meta(ge=0.1, le=1000.0)], doc("credentials a second that it is asked for, at most")
    ] = 5.0
    shared: Annotated[bool, doc(f"all owners may have one identity: {OWNER_HERE} may be left out")] = False

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

    def check_identity(self, key: str, template: str) -> None:
        """`template`: of what makes one owner's credential another one than those of others. Raises ValueError."""
        found = template.count(OWNER_HERE)
        if found > 1 or (found == 0 and not self.shared):
            raise ValueError(
                f"{key} must have {OWNER_HERE} once; without it all owners would have one identity (if they may: "
                "shared: true)"
            )

    def check_one_identity(self, key: str, templates: tuple[str, ...]) -> None:
        """The same of several, of which one is enough. Raises ValueError."""
        self.check_identity(f"one of {key}", next((one for one in templates if OWNER_HERE in one), ""))


def check_registry(host: str) -> None:
    """Raises ValueError."""
    try:
        wrong = why_unmatched(canonical_registry(f"{host}/name"))
    except CredentialError as e:
        wrong = str(e)
    if wrong:
        raise ValueError(f"registry {value_shown(host)}: {wrong}")


def check_apart(templates: Iterable[str]) -> None:
    """Can no two owners have one name by two of these? That is enough where they alone keep owners apart. Raises
    ValueError.
    """
    for one, other in combinations([one for one in templates if OWNER_HERE in one], 2):
        (before, _, behind), (other_before, _, other_behind) = one.partition(OWNER_HERE), other.partition(OWNER_HERE)
        begin_alike = before.startswith(other_before) or other_before.startswith(before)
        if begin_alike and (behind.endswith(other_behind) or other_behind.endswith(behind)):
            raise ValueError(
                f"repositories {value_shown(one)} and {value_shown(other)}: one owner's name might be another one's; "
                f"let them begin differently, such as team-{OWNER_HERE} and shared-{OWNER_HERE}"
            )


def check_repositories(
    templates: tuple[str, ...],
    fits: Callable[[str], bool] = is_repository,
    good: str = f"the beginning of it, such as teams/{OWNER_HERE}, without the registry before it and a slash behind",
) -> None:
    """`fits`: may a name begin so? `good`: what does. Raises ValueError."""
    for one in templates:
        if one.count(OWNER_HERE) > 1:
            raise ValueError(f"repositories {value_shown(one)} has {OWNER_HERE} more than once; write it once")
        if not fits(one.replace(OWNER_HERE, "owner")):
            raise ValueError(f"repositories {value_shown(one)}: no repository's name begins so; write {good}")
    if len({*templates}) < len(templates):
        raise ValueError("repositories has one twice; leave one out")


def below(registry: str, templates: tuple[str, ...]) -> str:
    """What is below them, for messages."""
    return ", ".join(f"{registry}/{one}/" for one in templates)


def check_together(**files: str | None) -> None:
    """Raises ValueError."""
    if len({one is None for one in files.values()}) > 1:
        raise ValueError(f"{' and '.join(files)} belong together; write both, or none of them")


@lru_cache(maxsize=64)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII)
