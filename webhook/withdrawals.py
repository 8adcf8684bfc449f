"""Holds back withdrawals of many owners at once. An empty or another database, source Secrets that were pruned, or a
configuration with another source all look as if every owner had lost its credentials.

A withdrawal waits for some seconds, so that those which come with it are seen. Then one owner, or few, lose their pull
secrets. If there are more, they keep them until the credentials are back, an administrator allows it (`maxWithdrawn`),
or the sources have answered the same for a day.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import ExistingSecret
from webhook.kube.views import State

SETTLE_SECONDS = 5.0
"""Seconds from the first sign of a withdrawal to the decision."""
TOGETHER_SECONDS = 600.0
"""Seconds in which withdrawals count together."""
HELD_SECONDS = 86400.0
"""Seconds after which sources are believed, whatever the number of owners."""
FEW = 2
"""Owners that may always lose their credentials together."""


@dataclass
class Withdrawals:
    """`most`: the share of all owners with a pull secret, from 0 to 1. `clock`: in seconds, never set back. `service`:
    our Service, which the notice is about; `namespace`: its namespace. `part`: of all owners, that this replica looks
    at: it judges by these.
    """

    most: float
    state: State
    clock: Callable[[], float]
    record: Record
    namespace: str
    service: str
    part: Callable[[], float] = lambda: 1.0
    _since: dict[str, float] = field(default_factory=dict)
    """By owner without a credential: since when."""
    _begun: set[str] = field(default_factory=set)
    """Owners that lose their pull secrets, or have lost them."""
    _secrets: Counter[str] = field(default_factory=Counter)
    """Pull secrets by owner."""

    def __post_init__(self) -> None:
        """Create it before the first list: it counts pull secrets as they come and go."""
        self.state.pull_secrets.on_change.append(self._count)

    def seconds_left(self, owner: str) -> float:
        """Seconds until the pull secrets of this owner may be deleted."""
        now = self.clock()
        age = now - self._since.setdefault(owner, now)
        if owner in self._begun:
            return 0.0
        if age < SETTLE_SECONDS:
            return SETTLE_SECONDS - age
        for one in [one for one in self._begun if now - self._since[one] > TOGETHER_SECONDS]:
            self.ended(one)
        together, owners = len(self._since), round(len(self._secrets.keys() | self._begun) * self.part())
        if together <= max(FEW, self.most * owners) or age >= HELD_SECONDS:
            self._begun.add(owner)
            return 0.0
        message = (
            f"{together} of {owners} owners have no credential any more; their pull secrets stay for a day. If that is "
            "right, set pullSecret.maxWithdrawn to 1; if not, look at the sources"
        )
        self.record(Notice("WithdrawalsHeld", message, self.namespace, "Service", self.service))
        return HELD_SECONDS - age

    def ended(self, owner: str) -> None:
        """The owner has a credential, or no pull secret that could be deleted."""
        self._since.pop(owner, None)
        self._begun.discard(owner)

    def held(self) -> int:
        """Owners whose withdrawal waits."""
        return len(self._since.keys() - self._begun)

    def _count(self, _key: str, before: ExistingSecret | None, after: ExistingSecret | None) -> None:
        for secret, more in ((after, 1), (before, -1)):
            if secret is not None and secret.ours and secret.owner is not None:
                self._secrets[secret.owner] += more
                if not self._secrets[secret.owner]:
                    del self._secrets[secret.owner]
                    if secret.owner not in self._begun:
                        self.ended(secret.owner)
