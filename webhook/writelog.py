"""A log line for each write of a pull secret: where, whose, which registries, and why.

A token that is new for 20,000 namespaces must not make 20,000 lines, and no owner may hide what is written for the
others. So each owner gets some lines a minute, and all together get more; the other writes are counted, and a line at
the end of the minute tells their number.
"""

import asyncio
from collections import Counter

import structlog

from webhook.core.pullsecret import Cause, ExistingSecret
from webhook.core.shown import cut, shown, some

log = structlog.get_logger()
SECONDS = 60.0
MOST_OF_OWNER, MOST = 20, 200
"""Lines in so many seconds."""
WRITTEN, DELETED = "a pull secret was written", "a pull secret was deleted"


class WriteLog:
    def __init__(self) -> None:
        self._end = 0.0
        self._shown: Counter[str | None] = Counter()
        """Lines by owner."""
        self._owners: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        """Writes without a line."""

    def wrote(self, name: str, secret: ExistingSecret, cause: Cause, by: str = "") -> None:
        """`by`: the field managers who changed what is restored."""
        self._line(WRITTEN, name, secret, cause, by)

    def deleted(self, name: str, secret: ExistingSecret, why: str) -> None:
        self._line(DELETED, name, secret, why)

    def _line(self, event: str, name: str, secret: ExistingSecret, why: str, by: str = "") -> None:
        if not self._may(secret.owner):
            self._owners[secret.owner or ""] += 1
            self._causes[why] += 1
            return
        rest = {"by": by} if by else {}
        about = f"Secret {secret.namespace}/{name}"
        log.info(
            event, about=about, owner=shown(secret.owner or ""), registries=some(secret.registries), why=why, **rest
        )

    def _may(self, owner: str | None) -> bool:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._end:
            self.finish()
            self._end = loop.time() + SECONDS
        if self._shown[owner] < MOST_OF_OWNER and self._shown.total() < MOST:
            self._shown[owner] += 1
            return True
        if not self._causes:
            loop.call_at(self._end, self.finish)
        return False

    def finish(self) -> None:
        """Tells what had no line, if there is something."""
        self._shown.clear()
        if self._causes:
            owners = [owner for owner, _ in self._owners.most_common()]
            why = [f"{count:,} {cause}" for cause, count in self._causes.most_common()]
            log.info(
                "more pull secrets were written or deleted",
                writes=self._causes.total(),
                owners=some(owners),
                why=cut(why, len(why)),
            )
        self._owners.clear()
        self._causes.clear()
