"""Amazon ECR: each owner pulls with a token of a session of a role, which ends with the session.

The session has a policy of its own, so that it pulls the owner's repositories and nothing else even where the role may
do more. There is nothing to be taken away: sessions and tokens just end.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec

from webhook.config.issuers import ecr as model
from webhook.config.issuers.base import OWNER_HERE
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted, NotChecked
from webhook.issuers.aws.api import AwsApi, AwsError, Session
from webhook.issuers.aws.login import Login
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import CHECK_NAME, credentials, minted_name
from webhook.issuers.signing import AccessKey

MAX_ROLE_SHOWN = 150
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
NOTHING = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"]}]}'
_ROLES = "docs/ecr.md has what the roles need"


class EcrIssuer:
    """`environ`: of the process. `cluster`: eight characters that no other one has; raises IssuerUnavailable."""

    def __init__(self, config: model.EcrIssuer, environ: Mapping[str, str], cluster: Callable[[], str]) -> None:
        self._config, self._cluster, self._place = config, cluster, config.place
        self._api = AwsApi(
            self._place.region,
            config.sts_endpoint or f"https://{self._place.sts}",
            config.endpoint or f"https://{self._place.ecr}",
            config.ca_file,
        )
        id_file, secret_file = config.access_key_id_file, config.secret_key_file
        self._login = Login(self._api, environ, (id_file, secret_file) if id_file and secret_file else None)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:  # noqa: ARG002  # an issuer's interface
        role, begins = self._role(owner), self._begins(owner)
        name = minted_name(self._cluster(), self._config.called, owner, generation)
        session = await self._session(role, {"RoleSessionName": f"pullsecret-{name}", "Policy": self._policy(begins)})
        token, life = await self._token(role, session.key)
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:  # its text may have what it says
            raise IssuerUnavailable("the token in the answer of Amazon ECR is none that can be used") from None
        found = credentials("Amazon ECR", self._config.registry, begins, user, password)
        return Minted(found, min(session.life, life))

    async def end(self, handle: str) -> None: ...

    async def check(self, owner: str | None) -> None:
        """A session is how it logs in. This one may do nothing."""
        if owner is None and OWNER_HERE in self._config.role:
            raise NotChecked("each owner has a role of its own, and no owner is known whose role could be taken")
        await self._session(self._role(owner or ""), {"RoleSessionName": CHECK_NAME, "Policy": NOTHING})

    async def close(self) -> None:
        await self._api.close()
        await self._login.close()

    # -- names: an owner that does not fit is refused, never changed until it does --

    def _role(self, owner: str) -> str:
        """Raises IssueRefused. A slash would make it a role in another path, perhaps another owner's."""
        role = self._config.role.replace(OWNER_HERE, owner)
        if OWNER_HERE in self._config.role and ("/" in owner or not model.is_role(role)):
            raise DoesNotFit(
                f"no role can have the owner {quoted(owner)} in its name: it has at most 64 letters, digits, and + = , "
                ". @ _ - ; give the owner such a name, or leave it out of the issuer's owners"
            )
        return role

    def _begins(self, owner: str) -> tuple[str, ...]:
        """What the names of repositories begin with that it pulls. Raises IssueRefused."""
        templates = self._config.repositories
        own = [one.replace(OWNER_HERE, owner) for one in templates if OWNER_HERE in one]
        common = [one for one in templates if OWNER_HERE not in one]
        for one in own:
            if "/" in owner or not model.is_ecr_name(one):
                raise DoesNotFit(
                    f"the owner {quoted(owner)} cannot be part of a repository's name, which in ECR has lower-case "
                    "letters, digits, and single . _ - between them; give the owner such a name, or leave it out of "
                    "the issuer's owners"
                )
            if any(f"{one}/".startswith(f"{other}/") for other in common):
                raise DoesNotFit(
                    f"the repositories of the owner {quoted(owner)} would be among those that every owner pulls; leave "
                    "it out of the issuer's owners, or begin the owners' repositories with something else"
                )
        return (*own, *common)

    def _policy(self, begins: tuple[str, ...]) -> str:
        """Of the session. AWS takes 2,048 characters; the longest that the configuration allows has fewer."""
        place = self._place
        below = f"arn:{place.partition}:ecr:{place.region}:{place.account}:repository"
        statements = [
            {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"]},
            {"Effect": "Allow", "Action": PULL, "Resource": [f"{below}/{one}/*" for one in begins]},
        ]
        return msgspec.json.encode({"Version": "2012-10-17", "Statement": statements}).decode()

    # -- calls --

    async def _session(self, role: str, fields: Mapping[str, str]) -> Session:
        """Raises IssuerUnavailable, IssueRefused."""
        config = self._config
        identity = None if config.chain else self._login.web_identity
        key = await self._login.key() if identity is None else None
        fields = {"RoleArn": role, "DurationSeconds": str(config.seconds), **fields}
        try:
            if identity is not None:
                if config.external_id is not None:
                    raise IssueRefused(
                        "a web identity is sent without an external ID; set chain, or leave out externalId",
                        everybody=True,
                    )
                return await identity.session(self._api, fields)
            if config.external_id is not None:
                fields["ExternalId"] = config.external_id
            return await self._api.session({"Action": "AssumeRole", **fields}, key)
        except AwsError as e:
            if e.is_about_who_asks:
                if key is not None:
                    self._login.refused(key)
                raise IssuerUnavailable(
                    f"AWS refuses the login of the issuer ({e.said}); docs/ecr.md has how it logs in", AGAIN_SECONDS
                ) from None
            shown = quoted(role, MAX_ROLE_SHOWN)
            if e.code.startswith("AccessDenied"):
                raise self._refused(
                    f"AWS lets us have no session of the role {shown} ({e.said}): is it there, does its trust policy "
                    f"name the issuer, and may the issuer assume it? {_ROLES}"
                ) from None
            raise self._refused(f"AWS begins no session of the role {shown} ({e.said}); {_ROLES}") from None

    async def _token(self, role: str, key: AccessKey) -> tuple[str, timedelta]:
        """Raises IssuerUnavailable, IssueRefused."""
        try:
            return await self._api.ecr_token(key)
        except AwsError as e:
            if e.is_about_who_asks:
                raise IssuerUnavailable(f"ECR does not know the session that STS has just begun ({e.said})") from None
            shown = quoted(role, MAX_ROLE_SHOWN)
            raise self._refused(f"ECR gives the role {shown} no token ({e.said}); {_ROLES}") from None

    def _refused(self, why: str) -> IssueRefused:
        """Without an owner in its name, the role is everybody's."""
        return IssueRefused(why, everybody=OWNER_HERE not in self._config.role)
