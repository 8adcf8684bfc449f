"""`issue: azure`."""

import re
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, CaFile, Host, IssuerModel, Repositories, check_repositories
from webhook.config.messages import value_shown

_HOST = re.compile(r"(?P<name>[a-z0-9]{5,50})(-[a-z0-9]+)?\.azurecr\.(io|cn|us)")
_RESOURCE = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[A-Za-z0-9._()-]{1,90}"
    r"/providers/Microsoft\.ContainerRegistry/registries/(?P<name>[A-Za-z0-9]{5,50})"
)
_TOKEN = re.compile(r"[a-z0-9-]{5,50}")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ONE_EACH = (
    "a token has two passwords, and both are one owner's: with one token for several owners, each owner's renewal "
    "would have to end another owner's password"
)


class AzureIssuer(IssuerModel, tag="azure", tag_field="issue", frozen=True, kw_only=True):
    """Azure Container Registry: each owner has a token there, and gets passwords of it."""

    registry: Host
    resource_id: Annotated[
        str,
        msgspec.Meta(max_length=300),
        doc("the resource ID of the registry, which begins with /subscriptions/"),
    ]
    token: Annotated[str, msgspec.Meta(max_length=100), doc(f"the name of an owner's token, such as pull-{OWNER_HERE}")]
    repositories: Annotated[
        Repositories,
        doc("what the names of repositories begin with for which an owner's password is sent"),
    ] = (OWNER_HERE,)
    shared: Annotated[bool, doc("always false: each owner has a token of its own")] = False
    tenant_id: Annotated[str, doc("the tenant of the identity as which it asks")]
    client_id: Annotated[str, doc("the client ID of that identity")]
    token_file: Annotated[str, doc("a file with a token of the pod's service account, for api://AzureADTokenExchange")]
    ca_file: CaFile = None
    hours: Annotated[Annotated[float, msgspec.Meta(ge=1.0, le=8760.0)], doc("hours for which a password is good")] = (
        24.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_registry()
        if self.shared:
            raise ValueError(
                f"shared: {_ONE_EACH}; leave it out, and write a token for each, such as pull-{OWNER_HERE}"
            )
        if self.token.count(OWNER_HERE) != 1:
            raise ValueError(f"token must have {OWNER_HERE} once, such as pull-{OWNER_HERE}; {_ONE_EACH}")
        if not is_token(self.token.replace(OWNER_HERE, "owner")):
            raise ValueError(f"token {value_shown(self.token)}: Azure has no such names; write pull-{OWNER_HERE}")
        check_repositories(self.repositories)
        for key, value in (("tenantId", self.tenant_id), ("clientId", self.client_id)):
            if not _GUID.fullmatch(value):
                raise ValueError(f"{key} {value_shown(value)} is no ID; write it in lower case, as Azure shows it")
        are_paths(tokenFile=self.token_file, caFile=self.ca_file)

    def _check_registry(self) -> None:
        host, resource = _HOST.fullmatch(self.registry), _RESOURCE.fullmatch(self.resource_id)
        if host is None:
            raise ValueError(
                f"registry {value_shown(self.registry)} is none of Azure; write it as images name it, such as "
                "acmecorp.azurecr.io"
            )
        if resource is None:
            raise ValueError(
                f"resourceId {value_shown(self.resource_id)} is none of a registry; write what "
                "az acr show --query id says"
            )
        if resource["name"].lower() != host["name"]:
            raise ValueError(f"resourceId is of {resource['name']}, registry is {self.registry}; write those of one")

    @property
    def in_short(self) -> str:
        return f"passwords of the tokens {self.token} of {self.registry}, good for {self.hours:g} h"


def is_token(name: str) -> bool:
    """Azure takes capitals for small letters: in capitals, one owner's name might be another one's."""
    return _TOKEN.fullmatch(name) is not None
