"""How the pull secrets of served namespaces stand: counted for a metric, and told to their tenants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from webhook.core import standing
from webhook.core.notice import Record
from webhook.core.pullsecret import STANDINGS, ExistingSecret, Namespace, Plan, Standing
from webhook.core.tally import Tally

WITHDRAWAL_TOLD = timedelta(hours=1)
"""For so long the Event about a withdrawal says why there is no pull secret."""


@dataclass
class Standings:
    """`secret`: the pull secret's name. `mine`: does this replica count the namespace, or another one?"""

    secret: str
    now: Callable[[], datetime]
    record: Record
    mine: Callable[[str], bool] = lambda _namespace: True
    _tally: Tally = field(init=False, default_factory=lambda: Tally(STANDINGS))
    _troubled: set[str] = field(init=False, default_factory=set)
    """Namespaces whose tenants were told of trouble that is not over."""
    _withdrawn: dict[str, datetime] = field(init=False, default_factory=dict)
    """By namespace: when this replica found last that all credentials were withdrawn. One replica deletes the Secret,
    and tells why."""

    def counts(self) -> Mapping[str, int]:
        return self._tally.counts()

    def gone(self, name: str) -> None:
        """It is deleted, or not served any more."""
        self._tally.put(name, None)
        self._troubled.discard(name)
        self._withdrawn.pop(name, None)

    def failed(self, name: str) -> None:
        """refresh.py tells why."""
        self._count(name, "failed")
        self._troubled.add(name)

    def withdrawn(self, name: str) -> None:
        self._count(name, "no_credential")
        self._troubled.add(name)
        self._withdrawn[name] = self.now()

    def left(self, namespace: Namespace, plan: Plan, existing: ExistingSecret | None) -> None:
        """The plan leaves the Secret as it is."""
        name = namespace.name
        if not namespace.served or namespace.terminating:
            self.gone(name)
            return
        self._count(name, plan.standing)
        trouble = standing.trouble(namespace, plan, existing, self.secret)
        if trouble is not None or plan.refused:
            self._troubled.add(name)
        elif name in self._troubled and plan.standing == "right":
            self._troubled.discard(name)
            self._withdrawn.pop(name, None)
            self.record(standing.right(namespace, self.secret))
        if trouble is not None and not (trouble.reason == standing.NONE and self._is_told(name)):
            self.record(trouble)

    def _count(self, name: str, state: Standing | None) -> None:
        """Of another replica's, which a review asked for, this one would not see the end."""
        self._tally.put(name, state if self.mine(name) else None)

    def _is_told(self, name: str) -> bool:
        at = self._withdrawn.get(name)
        return at is not None and timedelta(0) <= self.now() - at < WITHDRAWAL_TOLD
