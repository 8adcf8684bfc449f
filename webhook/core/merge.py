"""Which of an owner's credentials are written into one namespace at one time, and in which order. Pure.

The kubelet tries every credential whose key matches the image (registry.py), until one works. So all are kept: of
different keys (`ghcr.io` and `ghcr.io/alice`), and up to MAX_SAME_KEY different ones of the same key, from whichever
sources. Those for some namespaces only come before the others of their key; then `Credentials` has the order. What is
there for a mirror (mirror.py) comes last.

An expired credential counts only if its key has no other one. If all have expired, the last to expire counts.
"""

from dataclasses import dataclass
from datetime import datetime

from webhook.core.credential import Credential, Credentials
from webhook.core.registry import MAX_SAME_KEY, also_known_as


@dataclass(frozen=True, slots=True)
class Merged:
    """`items`: of each registry the preferred one first. `left_out`: those that are too many for one registry. `until`:
    the next expiry, when another one may take its place. `expired`: those without a replacement; one for a mirror is
    none.
    """

    items: tuple[Credential, ...]
    left_out: tuple[Credential, ...]
    until: datetime | None
    expired: tuple[Credential, ...] = ()


def merged(known: Credentials, namespace: str, now: datetime) -> Merged:
    usable = known.usable_in(namespace)
    kept: dict[str, list[Credential]] = {}
    left_out: list[Credential] = []
    for one in sorted(usable.items, key=lambda c: _rank(c, now)):
        same_key = kept.setdefault(one.registry, [])
        replaced = one.expired(now) and any(other.copy_of == one.copy_of for other in same_key)
        if replaced or any(other.login == one.login for other in same_key):
            continue
        (same_key if len(same_key) < MAX_SAME_KEY else left_out).append(one)
    items = [one for ones in kept.values() for one in ones]
    others = {also_known_as(one.registry) for one in items if not one.copy_of and not one.expired(now)}
    items = [one for one in items if not (one.expired(now) and one.registry in others)]
    expired = tuple(one for one in items if one.expired(now))
    if expired:
        alive = {one.registry for one in items if not one.expired(now)}
        items = [one for one in items if not (one.expired(now) and one.registry in alive)]
    own = tuple(one for one in expired if not one.copy_of)
    return Merged(tuple(items), tuple(left_out), usable.next_expiry(now), own)


def _rank(c: Credential, now: datetime) -> tuple[bool, bool, bool, float]:
    """The lowest comes first."""
    expired = c.expired(now)
    ended = -c.expiry.timestamp() if expired and c.expiry is not None else 0.0
    return expired, bool(c.copy_of), not c.namespaces, ended
