"""`issue: registry`: the platform's own registry."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from webhook.config.base import Model, are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, Host, IssuerModel, check_registry, check_repositories

PRIVATE = "a private key, PEM, Ed25519 or P-256"


class TokenService(Model, frozen=True, kw_only=True):
    """What pullsecret registry-auth has for this registry."""

    key_file: Annotated[str, doc(f"a file with {PRIVATE}, that signs the registry's tokens and nothing else")]
    password_keys_file: Annotated[
        str,
        doc(
            "a file with the public parts of the keys that sign passwords, as pullsecret registry-auth jwks prints "
            "them: what any of them signed is good"
        ),
    ]
    pushers_file: Annotated[
        str | None, doc("a file with those who may push, a line for each; without it nobody may")
    ] = None

    def __post_init__(self) -> None:
        are_paths(keyFile=self.key_file, passwordKeysFile=self.password_keys_file, pushersFile=self.pushers_file)


class RegistryIssuer(IssuerModel, tag="registry", tag_field="issue", frozen=True, kw_only=True):
    """The platform's own registry with token authentication: passwords are signed here, and nobody is asked."""

    registry: Host
    repositories: Annotated[
        str,
        msgspec.Meta(max_length=200),
        doc("what the names of an owner's repositories begin with, such as {owner} or project-{owner}"),
    ] = OWNER_HERE
    key_file: Annotated[str, doc(f"a file with {PRIVATE}, that signs passwords and nothing else")]
    token_service: Annotated[
        TokenService | None, doc("for pullsecret registry-auth, which has other files than the issuer")
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
        are_paths(keyFile=self.key_file)

    @property
    def in_short(self) -> str:
        return f"passwords for {self.registry}/{self.repositories}/, good for {self.hours:g} h"


def check_keys(issuers: Sequence[RegistryIssuer]) -> None:
    """A token service has the keys for tokens of all its registries. Raises ValueError."""
    for one in issuers:
        for other in issuers:
            if other.token_service is not None and other.token_service.key_file == one.key_file:
                raise ValueError(
                    f"keyFile of {one.registry} and tokenService.keyFile of {other.registry} are one file; make two "
                    "keys: with one for passwords, whoever takes the token service could sign passwords"
                )
