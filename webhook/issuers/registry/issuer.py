"""The platform's own registry: passwords are signed here, and nobody is asked.

`pullsecret registry-auth` reads them, which the registry sends its clients to.
"""

from datetime import timedelta

from webhook.config.issuers import registry as model
from webhook.core.credential import Credential
from webhook.issuers import Fence, IssuerUnavailable, Minted
from webhook.issuers.names import repositories
from webhook.issuers.registry.pullpassword import pull_password
from webhook.issuers.registry.signingkeys import KeyUnusable, SigningKey, signing_key


class RegistryIssuer:
    """What it mints has no name to be taken away by: it just ends."""

    def __init__(self, config: model.RegistryIssuer) -> None:
        self._config, self._read_key = config, signing_key(config.key_file)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:  # noqa: ARG002  # an issuer's interface
        below, life = repositories(self._config.repositories, owner), timedelta(hours=self._config.hours)
        registry = self._config.registry
        password = pull_password(self._key(), registry, below, life)
        # With the slash: without it the kubelet would send the password for project-alice2/app, too.
        return Minted((Credential(f"{registry}/{below}/", below, password),), life)

    async def end(self, handle: str) -> None: ...

    async def check(self, owner: str | None) -> None:  # noqa: ARG002  # an issuer's interface
        self._key()

    async def close(self) -> None: ...

    def _key(self) -> SigningKey:
        """Raises IssuerUnavailable."""
        try:
            return self._read_key()
        except KeyUnusable as e:
            raise IssuerUnavailable(f"it has no key to sign with: {e}") from None
