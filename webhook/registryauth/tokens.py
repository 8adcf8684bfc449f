"""Who a client is by its password, and the registry's token for what it may do of what it asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from webhook.config.issuers.registry import TokenService
from webhook.core.errors import PullsecretError
from webhook.core.registryscope import PULL, REPOSITORY, Right, Scope
from webhook.issuers.registry.pullpassword import NotGood, NotSigned, read, signed
from webhook.issuers.registry.signingkeys import KeyUnusable, public_keys, signing_key
from webhook.registryauth.pushers import Pushers

LIFE, LEAST_LIFE = timedelta(minutes=5), timedelta(minutes=1)
"""Of a token. It ends with the password that it is for, but clients count on the minute that the specification has."""


class LoginRefused(PullsecretError):
    """And why; without the name and the password."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who it is, what that allows, and for how long at most."""

    name: str
    right: Right
    life: timedelta = LIFE


class Tokens:
    """Of one registry."""

    def __init__(self, registry: str, config: TokenService) -> None:
        self.registry = registry
        self._config = config
        self._key, self._password_keys = signing_key(config.key_file), public_keys(config.password_keys_file)
        self._pushers = Pushers(config.pushers_file)

    def check(self) -> None:
        """Can it work? Raises KeyUnusable, PushersUnusable."""
        if self._key().public.id in self._password_keys():
            raise KeyUnusable(
                f"{self._config.key_file} has a key that is in {self._config.password_keys_file}, too: it could sign "
                "passwords; make another key for tokens"
            )
        self._pushers.check()

    def login(self, name: str, password: str) -> Login:
        """Raises LoginRefused, KeyUnusable, PushersUnusable."""
        try:
            found = read(password, self._password_keys, self.registry)
        except NotSigned:
            return self._pusher(name, password)
        except NotGood as e:
            raise LoginRefused(f"the password is not good: {e}") from None
        if name != found.below:
            raise LoginRefused("the password is another user's")
        life = max(LEAST_LIFE, min(LIFE, found.ends - datetime.now(UTC)))
        return Login(name, Right(found.below, frozenset({PULL})), life)

    def token(self, login: Login, asked: Sequence[Scope]) -> str:
        """Raises KeyUnusable."""
        access = [{"type": REPOSITORY, "name": one.name, "actions": list(one.actions)} for one in login.right.of(asked)]
        claims = {"iss": self.registry, "aud": self.registry, "sub": login.name, "access": access}
        return signed(self._key(), claims | {"nbf": datetime.now(UTC)}, login.life)

    def _pusher(self, name: str, password: str) -> Login:
        right = self._pushers.right(name, password)
        if right is None:
            raise LoginRefused("the user name or the password is wrong")
        return Login(name, right)
