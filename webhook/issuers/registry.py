"""The platform's own registry: passwords are signed here, and nobody is asked.

`pullsecret registry-auth` reads them, which the registry sends its clients to.
"""

from datetime import timedelta

from webhook.config import issuerconfig
from webhook.config.issuerconfig import OWNER_HERE
from webhook.core.credential import Credential
from webhook.core.imagename import is_repository
from webhook.core.shown import quoted
from webhook.issuers import Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.pullpassword import pull_password
from webhook.issuers.signingkeys import KeyUnusable, SigningKeys


class RegistryIssuer:
    """What it mints has no name to be taken away by: it just ends."""

    def __init__(self, config: issuerconfig.RegistryIssuer) -> None:
        self._config, self._keys = config, SigningKeys(config.key_files)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:  # noqa: ARG002  # an issuer's interface
        below, life = begins(self._config.repositories, owner), timedelta(hours=self._config.hours)
        try:
            key = self._keys.first
        except KeyUnusable as e:
            raise IssuerUnavailable(f"it has no key to sign with: {e}") from None
        registry = self._config.registry
        password = pull_password(key, registry, below, life)
        # With the slash: without it the kubelet would send the password for project-alice2/app, too.
        return Minted((Credential(f"{registry}/{below}/", below, password),), life)

    async def end(self, handle: str) -> None: ...

    async def close(self) -> None: ...


def begins(template: str, owner: str) -> str:
    """What the names of an owner's repositories begin with. Raises IssueRefused.

    An owner that does not fit is refused, never changed until it does: changed, it might be another owner's name.
    """
    found = template.replace(OWNER_HERE, owner)
    if "/" in owner or not is_repository(f"{found}/name"):
        raise IssueRefused(
            f"the owner {quoted(owner)} cannot be part of a repository's name, which has lower-case letters, digits, "
            "and single . _ - between them; give the owner such a name, or leave it out of the issuer's owners"
        )
    return found
