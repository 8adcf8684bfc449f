"""Mirrors that nodes ask before a registry, and the entries of a pull secret by which they log in there. Pure.

An image keeps the name of its registry, and the kubelet looks for credentials by this name; containerd hands what it is
given to whichever host it asks. So a credential for a mirror is also written under the name of the registry, with the
same path: `ghcr.io/alice` beside `ghcr.io`. The kubelet tries the longer one first, and the other one if that fails.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from webhook.core.credential import Credential, Credentials
from webhook.core.errors import CredentialError
from webhook.core.registry import DOCKER_HUB, also_known_as, canonical_registry, host_matches, why_unmatched

OWNER_HERE = "{owner}"
HUB = "docker.io"
"""Docker Hub in the names of images."""


@dataclass(frozen=True, slots=True)
class MirrorRule:
    """`of`: the registry, as images name it. `to`: host[:port][/path] of the mirror. `path`: what the names of
    repositories begin with for which a credential without a path counts, with OWNER_HERE for the owner; empty: all.
    """

    of: str
    to: str
    path: str = ""

    def covers(self, registry: str) -> bool:
        """Is a credential for `registry` one for this mirror, or for a part of it?"""
        return self.rest(registry) is not None

    def key(self, registry: str, owner: str) -> str | None:
        """Under which the credential for `registry` is written, too. None: it is not for this mirror, or the owner
        cannot be part of a name.
        """
        return _key(self, registry, owner)

    def rest(self, registry: str) -> str | None:
        """The path of a credential behind that of the mirror; empty: it is for the whole mirror. None: it is for
        another registry, or another part of this one.
        """
        host, _, path = registry.partition("/")
        own, _, prefix = self.to.partition("/")
        if not host_matches(host, own):
            return None
        if not prefix:
            return path
        if prefix.startswith(path):
            return ""
        return path.removeprefix(f"{prefix}/") if path.startswith(f"{prefix}/") else None


@lru_cache(maxsize=4096)
def _key(rule: MirrorRule, registry: str, owner: str) -> str | None:
    """Kept: reviews need it."""
    rest = rule.rest(registry)
    if rest is None:
        return None
    path = rest or rule.path.replace(OWNER_HERE, owner)
    key = f"{rule.of}/{path}" if path else rule.of
    return key if rest or not path or _is_name(key) else None


def _is_name(key: str) -> bool:
    try:
        return canonical_registry(key) == key and not why_unmatched(key)
    except CredentialError:
        return False


def mirrored(known: Credentials, rules: Sequence[MirrorRule], owner: str) -> Credentials:
    """With what is written for mirrors."""
    if not rules:
        return known
    more = [
        replace(c, registry=key, copy_of=c.registry)
        for rule in rules
        for c in known.items
        if (key := rule.key(c.registry, owner)) is not None
    ]
    if any(c.registry.partition("/")[0] == HUB for c in more):
        # The kubelet takes what Docker Hub has under its usual key only if no other key matches.
        own = (c for c in known.items if c.registry != HUB and _of_hub(c.registry))
        more = [*(replace(c, registry=HUB, copy_of=c.registry) for c in own), *more]
    return Credentials((*known.items, *more))


def nameless(known: Credentials, rules: Sequence[MirrorRule], owner: str) -> tuple[tuple[MirrorRule, Credential], ...]:
    """Those for a mirror that are not written for it, because the owner cannot be part of a name."""
    return tuple(
        (rule, c)
        for rule in rules
        for c in known.items
        if rule.covers(c.registry) and rule.key(c.registry, owner) is None
    )


def of_mirrors(written: Iterable[Credential], rules: Sequence[MirrorRule], owner: str) -> frozenset[Credential]:
    """Those of a pull secret that have the password of a mirror under the name of a registry."""
    items = tuple(written)
    found = mirrored(Credentials(items), rules, owner).items[len(items) :]
    return frozenset(c for c in found if not _of_hub(c.copy_of)) & frozenset(items)


def _of_hub(registry: str) -> bool:
    return DOCKER_HUB in {registry, also_known_as(registry)}
