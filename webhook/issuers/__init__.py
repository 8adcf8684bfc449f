"""Issuers mint credentials, one identity for each owner, where a registry or a cloud does not let people store them.

An issuer is asked in the background by one process, never by a review. What it minted is stored as a source Secret
(core/issued.py), and everything else works as with any other source Secret.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from webhook.core.credential import Credential
from webhook.core.errors import PullsecretError

Fence = Callable[[], Awaitable[None]]
"""Raises NotLeading if another replica may have taken over meanwhile, and WriteConflict if what this one is doing is
done already, by another one or by a write that had no answer.
"""


class IssuerUnavailable(PullsecretError):
    """The issuer gave no usable answer: it is asked again, at the earliest after `retry_after` seconds. What stands
    stays as it is.
    """

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class IssueRefused(PullsecretError):
    """The issuer mints nothing for this owner, until somebody changes something: the message says what. It quotes at
    most a few words of the issuer's answer, and never a secret. `everybody`: for no owner. `right`: we lack one, here
    at least. Who may take it from us for what is one owner's must not speak for others, so that alone is not everybody.
    """

    def __init__(self, why: str, *, everybody: bool = False, right: bool = False) -> None:
        super().__init__(why)
        self.everybody, self.right = everybody, right


class DoesNotFit(IssueRefused):
    """The owner's name does not fit, which is known here: nobody was asked."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


class NotChecked(PullsecretError):
    """A check was not able to ask for anything that would say whether the issuer works."""


class NotLeading(PullsecretError):
    """Another replica issues. What was begun is left to it."""


@dataclass(frozen=True, slots=True)
class Minted:
    """`life`: from the moment of the answer to the earliest of all ends that it names, both by the issuer's clock
    (the header `Date`). `handle`: names the credential to `end`; empty: it ends by itself and leaves nothing behind.
    """

    credentials: tuple[Credential, ...]
    life: timedelta
    handle: str = ""


class Issuer(Protocol):
    """tests/support/issuercontract.py has the rules that all of them keep."""

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        """A new credential, beside the one that stands: that one goes on working.

        The same owner and generation may be asked for again, after a crash: then nobody has what was minted before.
        If it has a name at the issuer, it is taken away first, and before that `fence` is asked. Raises
        IssuerUnavailable, IssueRefused, and what `fence` raises.
        """
        ...

    async def end(self, handle: str) -> None:
        """Takes a credential away that has ended. One that is gone already is no error. Raises IssuerUnavailable."""
        ...

    async def check(self, owner: str | None) -> None:
        """Is it reached, does it take our login, and does a read say that we lack a right? It mints, makes and changes
        nothing. A login that is kept says nothing about now: so it is for one that was just made, and is closed then.

        `owner`: what is asked for is of this one; None: none is known. Raises IssuerUnavailable, IssueRefused (without
        `everybody` it is about this owner; DoesNotFit, before anybody is asked) and NotChecked.
        """
        ...

    async def close(self) -> None: ...
