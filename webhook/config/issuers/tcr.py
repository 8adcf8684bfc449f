"""`issue: tcr`: Tencent Container Registry, Enterprise Edition."""

import re
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc, whole
from webhook.config.issuers.base import (
    OWNER_HERE,
    CaFile,
    Host,
    IssuerModel,
    Repositories,
    Url,
    below,
    check_apart,
    check_registry,
    check_repositories,
    check_together,
)

_NAMESPACE = re.compile(r"(?=.{2,30}\Z)[a-z0-9]+(?:[._-][a-z0-9]+)*")


class TcrIssuer(IssuerModel, tag="tcr", tag_field="issue", frozen=True, kw_only=True):
    """Tencent Container Registry, Enterprise Edition: each owner has a namespace, and service accounts that may pull
    from it and nothing else.
    """

    registry: Host
    instance: Annotated[str, whole(r"tcr-[a-z0-9]{1,60}"), doc("the ID of the instance, such as tcr-01234567")]
    region: Annotated[str, whole(r"[a-z]{2,5}(-[a-z0-9]{1,20}){1,3}"), doc("its region, such as ap-guangzhou")]
    repositories: Annotated[
        Repositories, doc("the namespaces of an owner's repositories, such as {owner} or team-{owner}")
    ] = (OWNER_HERE,)
    secret_id_file: Annotated[
        str | None, doc("a file with the ID of the key as which it asks; without it, as the service account of its pod")
    ] = None
    secret_key_file: Annotated[str | None, doc("a file with the secret of that key")] = None
    hours: Annotated[
        Annotated[float, msgspec.Meta(ge=0.1, le=87600.0)], doc("hours for which a service account is good")
    ] = 24.0
    endpoint: Annotated[Url, doc("where it is asked")] = "https://tcr.tencentcloudapi.com"
    sts_endpoint: Annotated[Url, doc("where it asks for sessions")] = "https://sts.tencentcloudapi.com"
    ca_file: CaFile = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_registry(self.registry)
        check_repositories(self.repositories, is_tcr_namespace, f"a namespace of Tencent, such as {OWNER_HERE}")
        self.check_one_identity("repositories", self.repositories)
        check_apart(self.repositories)
        are_paths(secretIdFile=self.secret_id_file, secretKeyFile=self.secret_key_file, caFile=self.ca_file)
        check_together(secretIdFile=self.secret_id_file, secretKeyFile=self.secret_key_file)

    @property
    def in_short(self) -> str:
        where = below(self.registry, self.repositories)
        return f"service accounts that pull from {where}; good for {self.hours:g} h"


def is_tcr_namespace(text: str) -> bool:
    return _NAMESPACE.fullmatch(text) is not None
