"""`issue: ecr`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import (
    OWNER_HERE,
    CaFile,
    Host,
    IssuerModel,
    Repositories,
    Url,
    below,
    check_repositories,
    check_together,
)
from webhook.config.messages import value_shown

SECONDS_AN_HOUR = 3600
_REGISTRY = re.compile(
    r"(?P<account>[0-9]{12})\.dkr(?P<between>[.-])ecr(?P<fips>-fips)?\.(?P<region>[a-z]{2,4}(?:-[a-z]{2,12})+-[0-9]{1,2})"
    r"\.(?P<domain>[a-z.]+)"
)
_DOMAINS: Mapping[str, tuple[str, str, str]] = {
    "cn-": ("aws-cn", "amazonaws.com.cn", "amazonwebservices.com.cn"),
    "eusc-": ("aws-eusc", "amazonaws.eu", "amazonwebservices.eu"),
    "us-gov-": ("aws-us-gov", "amazonaws.com", "aws"),
    "": ("aws", "amazonaws.com", "aws"),
}
"""By what the name of the region begins with: its partition, its domain with IPv4 alone, and the end of the other."""
_ROLE = re.compile(
    r"arn:(aws(?:-[a-z-]+)?):iam::[0-9]{12}:role/(?=.{1,576}\Z)(?:[\w+=,.@-]+/)*[\w+=,.@-]{1,64}", re.ASCII
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
MAX_REPOSITORY_CHARS = 254
"""Of what the name of a repository begins with: it may have 256, and has a slash and more behind it."""


@dataclass(frozen=True, slots=True)
class EcrHost:
    """What the name of a registry says: whose it is, where, and whom to ask about it."""

    account: str
    region: str
    partition: str
    sts: str
    ecr: str


class EcrIssuer(IssuerModel, tag="ecr", tag_field="issue", frozen=True, kw_only=True):
    """Amazon ECR: tokens of sessions of a role that may pull the owner's repositories and nothing else."""

    registry: Host
    role: Annotated[
        str,
        msgspec.Meta(max_length=700),
        doc("the role whose sessions pull: one for each owner, with {owner} in its name, or one for all"),
    ]
    repositories: Annotated[
        Repositories,
        doc(
            "what the names of repositories begin with that an owner pulls: one with {owner}, and others that every "
            "owner pulls, such as base"
        ),
    ] = (OWNER_HERE,)
    access_key_id_file: Annotated[str | None, doc("a file with the ID of a user's access key")] = None
    secret_key_file: Annotated[str | None, doc("a file with the secret of that access key")] = None
    chain: Annotated[
        bool, doc("with a web identity, be the role of AWS_ROLE_ARN first, and the owner's role from there")
    ] = False
    external_id: Annotated[str | None, doc("the external ID that the trust policies of the roles ask for")] = None
    hours: Annotated[
        Annotated[float, msgspec.Meta(ge=0.25, le=12.0)],
        doc("hours for which a session is good; more than 1 only if the role allows it"),
    ] = 1.0
    endpoint: Annotated[Url | None, doc("where ECR is asked; the default follows from registry")] = None
    sts_endpoint: Annotated[Url | None, doc("where STS is asked; the default follows from registry")] = None
    ca_file: CaFile = None

    def __post_init__(self) -> None:
        super().__post_init__()
        place = ecr_host(self.registry)
        if place is None:
            raise ValueError(
                f"registry {value_shown(self.registry)} is none of Amazon ECR; write it as images have it, such as "
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
            )
        self._check_role(place.partition)
        self._check_repositories()
        are_paths(accessKeyIdFile=self.access_key_id_file, secretKeyFile=self.secret_key_file, caFile=self.ca_file)
        check_together(accessKeyIdFile=self.access_key_id_file, secretKeyFile=self.secret_key_file)
        if self.chain and self.access_key_id_file is not None:
            raise ValueError("chain is for a web identity, and not for an access key; leave it out")
        if self.chain and self.hours > 1:
            raise ValueError("hours is more than 1, and AWS ends a session that another role has begun after one hour")
        if self.external_id is not None and not _EXTERNAL_ID.fullmatch(self.external_id):
            raise ValueError("externalId: write 2 to 1224 letters, digits and + = , . @ : / -")

    def _check_role(self, partition: str) -> None:
        found = _ROLE.fullmatch(self.role.replace(OWNER_HERE, "owner"))
        if found is None or self.role.count(OWNER_HERE) > 1:
            raise ValueError(
                f"role {value_shown(self.role)} is none; write arn:{partition}:iam::123456789012:role/pull/{OWNER_HERE}"
            )
        if found[1] != partition:
            raise ValueError(f"role {value_shown(self.role)} is not in the partition of the registry, {partition}")

    def _check_repositories(self) -> None:
        check_repositories(
            self.repositories,
            is_ecr_name,
            "the beginning of it, with lower-case letters, digits, single . _ - between them, and no slash at the end",
        )
        with_owner = [one for one in self.repositories if OWNER_HERE in one]
        if len(with_owner) > 1:
            raise ValueError(
                f"repositories has {OWNER_HERE} in {len(with_owner)} of its names, and one owner's might begin like "
                "another's; leave all out but one"
            )
        self.check_one_identity("repositories", self.repositories)

    @property
    def place(self) -> EcrHost:
        found = ecr_host(self.registry)
        assert found is not None
        return found

    @property
    def seconds(self) -> int:
        return int(self.hours * SECONDS_AN_HOUR)

    @property
    def in_short(self) -> str:
        where = below(self.registry, self.repositories)
        return f"tokens for {where} of the role {self.role}; good for {self.hours:g} h"


def ecr_host(registry: str) -> EcrHost | None:
    """None: it is no registry of ECR. Where it answers by IPv6, too, so do those who are asked about it."""
    found = _REGISTRY.fullmatch(registry)
    if found is None:
        return None
    region, fips = found["region"], found["fips"] or ""
    partition, domain, dual = next(names for begins, names in _DOMAINS.items() if region.startswith(begins))
    if found["between"] == ".":
        if found["domain"] != domain:
            return None
        # In its regions the government's STS is a FIPS one by its usual name.
        sts = f"sts{'' if partition == 'aws-us-gov' else fips}.{region}.{domain}"
        ecr = f"ecr-fips.{region}.{domain}" if fips else f"api.ecr.{region}.{domain}"
    else:
        if found["domain"] != f"on.{dual}":
            return None
        sts, ecr = f"sts{fips}.{region}.api.{dual}", f"ecr{fips}.{region}.api.{dual}"
    return EcrHost(found["account"], region, partition, sts, ecr)


def is_role(text: str) -> bool:
    return _ROLE.fullmatch(text) is not None


def is_ecr_name(text: str) -> bool:
    """Can the name of a repository begin so, up to a slash? ECR takes less than other registries do."""
    return len(text) <= MAX_REPOSITORY_CHARS and _REPOSITORY.fullmatch(text) is not None
