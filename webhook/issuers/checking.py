"""Do the issuers work? Asked when a process begins to issue and about once an hour from then on, so that a login that
has ended is known before the next credential is due. Nothing is minted, and no minting waits for it: each check is made
by an issuer of its own, with connections and a login of its own.
"""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime

import structlog

from webhook.config.issuers import Issuer as Model
from webhook.config.models import Config
from webhook.core.backoff import jittered
from webhook.core.errors import PullsecretError
from webhook.core.issuerchecks import EVERY, WHILE_FAILING, Checked
from webhook.issuers import DoesNotFit, Issuer, IssueRefused, NotChecked
from webhook.issuers.configured import configured

log = structlog.get_logger()
SECONDS = 60.0
"""Of a check. It is a few requests."""
JITTER = 0.1
OWNERS, CANDIDATES = 3, 1000
"""For so many it is asked at most, of which some have no project yet; and so many names are looked at, of which some do
not fit.
"""
BUG = "an error in pullsecret-webhook itself; see its log"


class Checking:
    """Of one issuer. `make`: another one like it. `owners`: for whom it may be asked, the likeliest first, at most
    CANDIDATES. `told`: called after each check.
    """

    def __init__(
        self,
        called: str,
        make: Callable[[], Issuer],
        owners: Callable[[], Iterable[str]],
        now: Callable[[], datetime],
        told: Callable[[], None],
    ) -> None:
        self._called, self._make, self._owners, self._now, self._told = called, make, owners, now, told
        self.last: Checked | None = None
        """None: another replica leads, or it is not known yet."""
        self._failing = False
        """Since a check failed, and until one says that it works: that nothing can be said is no good news."""

    @property
    def up(self) -> bool | None:
        """None: nothing can be said."""
        if self._failing:
            return False
        return True if self.last is not None and self.last.result == "works" else None

    async def run(self) -> None:
        """Until it is cancelled, because another replica leads."""
        try:
            while True:
                self.last = await self._checked()
                self._judge(self.last)
                self._told()
                pause = WHILE_FAILING if self._failing else EVERY
                await asyncio.sleep(jittered(pause.total_seconds(), JITTER))
        finally:
            self.last, self._failing = None, False

    async def _checked(self) -> Checked:
        return await checked(self._make, functools.partial(_for_one_of, self._owners()), self._now)

    def _judge(self, now: Checked) -> None:
        if now.result == "fails" and not self._failing:
            self._failing = True
            log.warning("an issuer fails its check", issuer=self._called, why=now.why)
        elif now.result == "works" and self._failing:
            self._failing = False
            log.info("an issuer passes its check again", issuer=self._called)


async def checked(
    make: Callable[[], Issuer], ask: Callable[[Issuer], Awaitable[None]], now: Callable[[], datetime]
) -> Checked:
    """Raises nothing."""
    at = now()
    try:
        async with asyncio.timeout(SECONDS):
            issuer = make()
            try:
                await ask(issuer)
            finally:
                await issuer.close()
    except TimeoutError:
        return Checked(at, "fails", f"it was not done within {SECONDS:g} s")
    except NotChecked as e:
        return Checked(at, "unknown", str(e))
    except PullsecretError as e:
        return Checked(at, "fails", str(e))
    except Exception:
        log.exception("our own bug: an issuer could not be checked")
        return Checked(at, "fails", BUG)
    return Checked(at, "works")


def likeliest(owners: Iterable[str], has_credential: Callable[[str], bool]) -> list[str]:
    """Who has a credential comes first: that one's identity was there. Among these it is by chance: in an order that is
    known, a tenant could have an owner who always comes first.
    """
    found = [*owners]
    random.shuffle(found)
    return sorted(found, key=has_credential, reverse=True)[:CANDIDATES]


async def _for_one_of(owners: Iterable[str], issuer: Issuer) -> None:
    """An owner who is refused is told so elsewhere, and says nothing about the issuer: then it is another one's turn,
    and at last nobody's. If we lack a right for all of them, that is more than what one of them can have done.
    """
    misfit, refused = "", list[IssueRefused]()
    for owner in owners:
        try:
            return await issuer.check(owner)
        except DoesNotFit as e:
            misfit = str(e)
        except IssueRefused as e:
            if e.everybody:
                raise
            refused.append(e)
            if len(refused) == OWNERS:
                break
    if refused and all(one.right for one in refused):
        raise refused[-1]
    try:
        await issuer.check(None)
    except NotChecked:
        if refused:
            raise NotChecked(f"all owners for whom it was asked are refused: {refused[-1]}") from None
        if misfit:
            raise NotChecked(f"there is no owner for whom it can be asked: {misfit}") from None
        raise


async def check_all(config: Config, owner: str | None, now: Callable[[], datetime]) -> Mapping[str, Checked]:
    """All issuers of the configuration, once. `owner`: for whom they are asked; None: for nobody."""

    async def one(model: Model) -> Checked:
        if owner is not None and not model.is_for(owner):
            return Checked(now(), "unknown", "it is for other owners")
        return await checked(lambda: made(model, config), lambda issuer: issuer.check(owner), now)

    found = await asyncio.gather(*map(one, config.issuers))
    return {model.called: result for model, result in zip(config.issuers, found, strict=True)}


def made(model: Model, config: Config) -> Issuer:
    """For a check, which gives nothing a name: so it is nothing to it which cluster this is."""
    return configured(model, config, str)
