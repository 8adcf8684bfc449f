"""Several sources' credentials of one owner as one, and where they contradict each other. Pure.

The kubelet tries every entry whose key is a prefix of the image's name, as a plain string, the longest first. So
`ghcr.io` and `ghcr.io/alice` stand side by side, whichever sources they are from; only entries under the very same key
exclude each other. Of those the one from the source that was configured first is taken, and the other one reported;
but none that has ended hides one that has not. So the result is good until the next of all the ends.
As everywhere, an entry that is limited to some namespaces goes before one that is not, there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from webhook.core.credential import Credential, Credentials


@dataclass(frozen=True, slots=True)
class Conflict:
    """`loser` has another username or password for `registry` than `winner`, which is taken."""

    registry: str
    winner: str
    loser: str


@dataclass(frozen=True, slots=True)
class _Taken:
    source: str
    credential: Credential


def merged(parts: Sequence[tuple[str, Credentials]], now: datetime) -> tuple[Credentials, tuple[Conflict, ...]]:
    """`parts`: sources' names and what they say, in order. In the result limited entries come after unlimited ones."""
    taken: dict[str, list[_Taken]] = {}
    conflicts: list[Conflict] = []
    offered = ((number, source, one) for number, (source, said) in enumerate(parts) for one in said.items)
    for _, source, credential in sorted(offered, key=lambda offer: _rank(offer[0], offer[2], now)):
        others = taken.setdefault(credential.registry, [])
        rivals = [one for one in others if _exclude(one.credential, credential)]
        conflicts += [
            Conflict(credential.registry, one.source, source)
            for one in rivals
            if not _equal(one.credential, credential)
        ]
        if (left := _left(credential, rivals)) is not None:
            others.append(_Taken(source, left))
    items = (one.credential for others in taken.values() for one in others)
    ordered = tuple(sorted(items, key=lambda c: (c.registry, c.namespaces)))
    return Credentials(ordered), tuple(dict.fromkeys(conflicts))


def words(owner: str, conflict: Conflict) -> str:
    winner, loser = conflict.winner, conflict.loser
    who = f"source {winner} has" if winner == loser else f"sources {winner} and {loser} have"
    which = "one that has not ended, and of those the first by username," if winner == loser else f"that of {winner}"
    return f"{who} different credentials of owner {owner} for {conflict.registry}; {which} is used"


def _rank(source: int, credential: Credential, now: datetime) -> tuple[bool, float, int, str, str]:
    """The lowest is taken. Of those that have ended, the one that did so last: it stands in the namespaces already.

    Of one source's the text decides, so that a database which returns rows in any order says the same each time.
    """
    ended = -credential.expires.timestamp() if credential.expires is not None and credential.ended(now) else 0.0
    return credential.ended(now), ended, source, credential.username, credential.password


def _exclude(one: Credential, other: Credential) -> bool:
    """Both for all namespaces, or both limited, with a namespace in common."""
    if not one.namespaces or not other.namespaces:
        return not one.namespaces and not other.namespaces
    return not {*one.namespaces}.isdisjoint(other.namespaces)


def _equal(one: Credential, other: Credential) -> bool:
    return (one.username, one.password) == (other.username, other.password)


def _left(credential: Credential, rivals: Iterable[_Taken]) -> Credential | None:
    """What is left of it when the rivals' namespaces are theirs."""
    gone = {namespace for one in rivals for namespace in one.credential.namespaces}
    if not rivals:
        return credential
    left = tuple(namespace for namespace in credential.namespaces if namespace not in gone)
    return replace(credential, namespaces=left) if left else None
