"""`issue: aliyun`: Aliyun Container Registry, Enterprise Edition."""

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
from webhook.config.messages import value_shown
from webhook.core.imagename import is_repository

_ROLE = re.compile(r"acs:ram::[0-9]{6,20}:role/[A-Za-z0-9._-]{1,64}")
_NAMESPACE_CHARS = range(2, 121)


class AliyunIssuer(IssuerModel, tag="aliyun", tag_field="issue", frozen=True, kw_only=True):
    """Aliyun Container Registry, Enterprise Edition: each owner has a RAM role, or a part of what one role may."""

    registry: Host
    instance: Annotated[str, whole(r"cri-[a-z0-9]{1,60}"), doc("the ID of the instance, such as cri-0123456789abcdef")]
    region: Annotated[str, whole(r"[a-z]{2,5}(-[a-z0-9]{1,20}){1,3}"), doc("its region, such as cn-hangzhou")]
    repositories: Annotated[
        Repositories, doc("the namespaces of an owner's repositories, such as {owner} or team-{owner}")
    ] = (OWNER_HERE,)
    ram_role: Annotated[
        str,
        msgspec.Meta(max_length=200),
        doc(
            "the ARN of the role that pulls, such as acs:ram::1234567890123456:role/pull-{owner}; without {owner} a "
            "session policy limits it to the owner's namespaces"
        ),
    ]
    access_key_id_file: Annotated[
        str | None, doc("a file with the ID of the key as which it asks; without it, as the service account of its pod")
    ] = None
    access_key_secret_file: Annotated[str | None, doc("a file with the secret of that key")] = None
    hours: Annotated[
        Annotated[float, msgspec.Meta(ge=0.25, le=12.0)],
        doc("hours for which a credential is good; the role's longest session must be as long"),
    ] = 1.0
    endpoint: Annotated[Url | None, doc("where it is asked; the default is https://cr.REGION.aliyuncs.com")] = None
    sts_endpoint: Annotated[
        Url | None, doc("where it asks for sessions; the default is https://sts.REGION.aliyuncs.com")
    ] = None
    ca_file: CaFile = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_registry(self.registry)
        if OWNER_HERE in self.ram_role or not any(OWNER_HERE in one for one in self.repositories):
            self.check_identity("ramRole", self.ram_role)
        check_repositories(self.repositories, is_aliyun_namespace, f"a namespace of Aliyun, such as team-{OWNER_HERE}")
        if OWNER_HERE not in self.ram_role:
            check_apart(self.repositories)
        if not is_ram_role(self.ram_role.replace(OWNER_HERE, "owner")):
            raise ValueError(
                f"ramRole {value_shown(self.ram_role)} is no role; write one such as "
                f"acs:ram::1234567890123456:role/pull-{OWNER_HERE}"
            )
        are_paths(
            accessKeyIdFile=self.access_key_id_file,
            accessKeySecretFile=self.access_key_secret_file,
            caFile=self.ca_file,
        )
        check_together(accessKeyIdFile=self.access_key_id_file, accessKeySecretFile=self.access_key_secret_file)

    @property
    def asked_at(self) -> str:
        return self.endpoint or f"https://cr.{self.region}.aliyuncs.com"

    @property
    def sts_asked_at(self) -> str:
        return self.sts_endpoint or f"https://sts.{self.region}.aliyuncs.com"

    @property
    def in_short(self) -> str:
        where = below(self.registry, self.repositories)
        return f"passwords of {self.ram_role} for {where}; good for {self.hours:g} h"


def is_aliyun_namespace(text: str) -> bool:
    return "/" not in text and len(text) in _NAMESPACE_CHARS and is_repository(text)


def is_ram_role(text: str) -> bool:
    return _ROLE.fullmatch(text) is not None
