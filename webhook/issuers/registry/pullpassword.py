"""Pull passwords: documents that say who may pull what until when, signed here. Nothing of them is kept anywhere.

A JSON Web Token: the issuer is the registry, the audience PULL, the subject what the names of the owner's repositories
begin with, which is also the user name. A registry's own tokens have the registry as their audience, so that neither
passes for the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from webhook.core.errors import PullsecretError
from webhook.issuers.registry.signingkeys import PublicKey, SigningKey

PULL = "pull"
LEEWAY = timedelta(seconds=60)
"""By which clocks may differ, as the distribution registry has it."""
MAX_CHARS = 2048
"""Of a password that is looked at; ours have a few hundred."""


class NotSigned(PullsecretError):
    """It is no signed document."""


class NotGood(PullsecretError):
    """It is a signed document that opens nothing here, and why; without anything of its content."""


@dataclass(frozen=True, slots=True)
class PullPassword:
    """What a good one says."""

    below: str
    ends: datetime


def signed(key: SigningKey, claims: Mapping[str, Any], life: timedelta) -> str:
    """A token with these claims, of which our clock says when it begins and ends."""
    now = datetime.now(UTC)
    times = {"iat": now, "exp": now + life}
    public = key.public
    return jwt.encode({**claims, **times}, key.private, algorithm=public.algorithm, headers={"kid": public.id})


def pull_password(key: SigningKey, registry: str, below: str, life: timedelta) -> str:
    return signed(key, {"iss": registry, "aud": PULL, "sub": below}, life)


def read(password: str, keys: Callable[[], Mapping[str, PublicKey]], registry: str) -> PullPassword:
    """`keys`: those that sign passwords, by their id. Raises NotSigned, NotGood, and what `keys` raises."""
    if len(password) > MAX_CHARS:
        raise NotSigned
    try:
        key_id = jwt.get_unverified_header(password).get("kid")
    except jwt.PyJWTError:
        raise NotSigned from None
    key = keys().get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise NotGood("it is signed with no key for passwords of this registry")
    try:
        claims = jwt.decode(
            password,
            key.verifying,
            algorithms=[key.algorithm],
            audience=PULL,
            issuer=registry,
            leeway=LEEWAY,
            options={"require": ["iss", "aud", "sub", "iat", "exp"], "strict_aud": True},
        )
        return PullPassword(claims["sub"], datetime.fromtimestamp(claims["exp"], UTC))
    except jwt.ExpiredSignatureError:
        raise NotGood("it has expired") from None
    except jwt.ImmatureSignatureError:
        raise NotGood("it is from a time to come; the clocks differ") from None
    except jwt.MissingRequiredClaimError:
        raise NotGood("it lacks what a password has, such as an end") from None
    except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
        raise NotGood("it is for another registry, or for another purpose") from None
    except jwt.PyJWTError:
        raise NotGood("its signature is wrong") from None
