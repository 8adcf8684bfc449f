"""`issue: artifact-registry`: Google's, also under the names of gcr.io."""

import re
from typing import Annotated

import msgspec

from webhook.config.base import are_paths, doc
from webhook.config.issuers.base import OWNER_HERE, CaFile, Host, IssuerModel, Repositories, check_repositories
from webhook.config.messages import value_shown

_ACCOUNT = re.compile(
    r"[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9](\.[a-z0-9-]+)*\.iam\.gserviceaccount\.com"
)
_HOST = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io")
_SIX = "owners"
"""In the place of an owner: the least that may stand alone."""


class ArtifactRegistryIssuer(IssuerModel, tag="artifact-registry", tag_field="issue", frozen=True, kw_only=True):
    """Google Artifact Registry: each owner has a service account, and gets tokens of it."""

    registry: Host
    repositories: Annotated[
        Repositories,
        doc("what the names of images begin with for which an owner's token is sent, such as my-project/{owner}"),
    ]
    service_account: Annotated[
        str,
        msgspec.Meta(max_length=200),
        doc(f"an owner's service account, such as pull-{OWNER_HERE}@my-project.iam.gserviceaccount.com"),
    ]
    credentials_file: Annotated[
        str | None,
        doc("how to log in: a file for workload identity federation, or a key; without it by the metadata server"),
    ] = None
    ca_file: CaFile = None
    hours: Annotated[
        Annotated[float, msgspec.Meta(ge=0.25, le=12.0)],
        doc("hours for which a token is good; more than 1 needs a policy of the organization"),
    ] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _HOST.fullmatch(self.registry):
            raise ValueError(
                f"registry {value_shown(self.registry)}: Artifact Registry has none there; write its host as images "
                "name it, with its location, such as europe-docker.pkg.dev, gcr.io or eu.gcr.io"
            )
        self.check_identity("serviceAccount", self.service_account)
        if not is_service_account(self.service_account.replace(OWNER_HERE, _SIX)):
            raise ValueError(
                f"serviceAccount {value_shown(self.service_account)} is none; write "
                f"pull-{OWNER_HERE}@my-project.iam.gserviceaccount.com"
            )
        check_repositories(self.repositories)
        are_paths(credentialsFile=self.credentials_file, caFile=self.ca_file)

    @property
    def in_short(self) -> str:
        return f"tokens of {self.service_account} for {self.registry}, good for {self.hours:g} h"


def is_service_account(email: str) -> bool:
    """The first part has 6 to 30 characters, and so has the project's name."""
    return _ACCOUNT.fullmatch(email) is not None
