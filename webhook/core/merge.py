"""Which of an owner's credentials count in one namespace at one time, and which contradict each other. Pure.

The kubelet tries every entry whose key is a prefix of the image's name, as a plain string, the longest first. So
`ghcr.io` and `ghcr.io/alice` are both kept, from whichever sources; only entries with the same key exclude each other.
Then an unexpired credential comes before an expired one; one that is limited to some namespaces before an unlimited
one; then `Credentials` has the order. The last to expire comes first of the expired ones: the namespace has it already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.shown import some


@dataclass(frozen=True, slots=True)
class Conflict:
    """`loser` has another username or password for `registry` than `winner`, which is used."""

    registry: str
    winner: Origin
    loser: Origin

    def words(self, owner: str, registries: Sequence[str]) -> str:
        """`registries`: of all conflicts of these two."""
        winner, loser = self.winner, self.loser
        if winner == loser and winner.kind == "Secret":
            who, which = f"{winner} has", "the first entry"
        elif winner == loser:
            who, which = f"{winner} has", "the one that expires last"
        elif winner.source == loser.source:
            who, which = f"source Secrets {winner.name} and {loser.name} have", f"that of {winner.name}"
        else:
            who, which = f"sources {winner.source} and {loser.source} have", f"that of {winner.source}"
        return f"{who} different credentials of owner {owner} for {some(registries)}; {which} is used"


@dataclass(frozen=True, slots=True)
class Merged:
    """`items`: one for each registry, expired ones too. `until`: the next expiry, when another may take its place."""

    items: tuple[Credential, ...]
    conflicts: tuple[Conflict, ...]
    until: datetime | None


def merged(known: Credentials, namespace: str, now: datetime) -> Merged:
    usable = known.usable_in(namespace)
    taken: dict[str, Credential] = {}
    conflicts: dict[Conflict, None] = {}
    for one in sorted(usable.items, key=lambda c: _rank(c, now)):
        winner = taken.setdefault(one.registry, one)
        if _contradicts(winner, one):
            conflicts[Conflict(one.registry, winner.origin, one.origin)] = None
    return Merged(tuple(taken.values()), tuple(conflicts), usable.next_expiry(now))


def _rank(c: Credential, now: datetime) -> tuple[bool, bool, float]:
    """The lowest is used."""
    expired = c.expired(now)
    return expired, not c.namespaces, -c.expiry.timestamp() if expired and c.expiry is not None else 0.0


def _contradicts(one: Credential, other: Credential) -> bool:
    """A limited credential does not contradict an unlimited one: that is what limits are for."""
    limited_alike = bool(one.namespaces) == bool(other.namespaces)
    return limited_alike and (one.username, one.password) != (other.username, other.password)
