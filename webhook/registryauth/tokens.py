"""Who a client is by its password, and the registry's token for what it may do of what it asks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from webhook.config.issuers.registry import TokenService
from webhook.core.errors import PullsecretError
from webhook.core.registryscope import PULL, REPOSITORY, Right, Scope
from webhook.issuers.registry.pullpassword import NotGood, NotSigned, read, signed
from webhook.issuers.registry.signingkeys import KeyUnusable, PublicKey, SigningKey, public_keys, signing_key
from webhook.registryauth.pushers import Pushers, PushersUnusable

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that cannot be used. `why`: and what to do; `so`: what does not work meanwhile."""

    why: str
    so: str


@dataclass(frozen=True, slots=True)
class Condition:
    """`works`: somebody can get a token. One of the two kinds of logins does not stop the other one."""

    works: bool
    faults: Sequence[Fault]


class Tokens:
    """Of one registry. `others`: of all that this process serves."""

    def __init__(self, registry: str, config: TokenService, others: Iterable[TokenService] = ()) -> None:
        self.registry = registry
        self._config = config
        self._key, self._password_keys = signing_key(config.key_file), public_keys(config.password_keys_file)
        self._here = {one.key_file: signing_key(one.key_file) for one in (config, *others)}
        """By file: the keys that whoever takes this process has. None of them may sign passwords."""
        self._pushers = Pushers(config.pushers_file)

    def condition(self) -> Condition:
        key, keys, pushers = _tried(self._key), _tried(self._password_keys), _tried(self._pushers.known)
        faults = [
            Fault(str(found), so)
            for found, so in (
                (key, "nobody gets a token"),
                (keys, "owners get no token"),
                (pushers, "those who push get no token"),
            )
            if isinstance(found, PullsecretError)
        ]
        if isinstance(keys, Mapping):
            keys, mistaken = self._good(keys)
            if mistaken:
                faults.append(Fault(self._for_both(mistaken), "passwords that it has signed are refused"))
        logins = [found for found in (keys, pushers) if isinstance(found, Mapping)]
        return Condition(isinstance(key, SigningKey) and any(logins), faults)

    def login(self, name: str, password: str) -> Login:
        """Raises LoginRefused, KeyUnusable, PushersUnusable."""
        try:
            found = read(password, self._keys_for_passwords, self.registry)
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

    def _keys_for_passwords(self) -> Mapping[str, PublicKey]:
        """Raises KeyUnusable."""
        good, mistaken = self._good(self._password_keys())
        if mistaken and not good:
            raise KeyUnusable(self._for_both(mistaken))
        return good

    def _good(self, keys: Mapping[str, PublicKey]) -> tuple[Mapping[str, PublicKey], str]:
        """Without those that sign tokens, which are there by mistake; and the file of one of these. With what is in a
        file that cannot be used, no token is signed.
        """
        found = {file: _tried(key) for file, key in self._here.items()}
        files = {key.public.id: file for file, key in found.items() if isinstance(key, SigningKey)}
        mistaken = next((files[key_id] for key_id in keys if key_id in files), "")
        return {key_id: key for key_id, key in keys.items() if key_id not in files}, mistaken

    def _for_both(self, file: str) -> str:
        return (
            f"{file} has a key that is in {self._config.password_keys_file}, too: it could sign passwords; make "
            "another key for tokens"
        )

    def _pusher(self, name: str, password: str) -> Login:
        right = self._pushers.right(name, password)
        if right is None:
            raise LoginRefused("the user name or the password is wrong")
        return Login(name, right)


def _tried(look: Callable[[], T]) -> T | KeyUnusable | PushersUnusable:
    try:
        return look()
    except (KeyUnusable, PushersUnusable) as e:
        return e
