"""Whether the images of a pod in a review get their names at a mirror (core/rewrite.py), by what is known at that time.

Nothing is asked for it: the pull secret is in the view, and which mirrors answer was found out beforehand
(checks/mirrorhealth.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from webhook.config.models import Config
from webhook.core.credential import Credentials
from webhook.core.notice import Notice, Reason
from webhook.core.podimages import MAX_READ_BYTES, hard_places, of_debugged_pod, of_new_pod
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.core.review import Request
from webhook.core.rewrite import (
    NOTHING,
    TOO_LARGE,
    Facts,
    Kept,
    Rewriter,
    Rewritten,
    Why,
    entries_for,
    kept_decision,
    with_earlier,
)

REASON: Reason = "ImageNotRewritten"
MAX_REVIEW_BYTES = MAX_READ_BYTES
"""Bytes of a review, or of its list of debug containers, of which images are looked at: with the annotation that is
added, a larger pod might have more annotations than the API server takes, and to read it takes milliseconds.
"""
SMALL_BYTES = 8 * 1024
"""Bytes of a review up to which its decision and its patch are kept, so that hundreds of them stay small."""
TOLD_FOR = timedelta(minutes=1)
"""The same about the same namespace is not told again within this time."""
MAX_TOLD = 4096
"""Namespaces of which that is remembered."""
ANYWHERE = frozenset[str]()
_LASTING = frozenset({Why.NEVER, Why.APPLIED, Why.OPERATED, Why.LONG, Why.LARGE})
"""What no administrator mends."""


@dataclass(frozen=True, eq=False)
class Rewriting:
    """`silent`: hosts of mirrors that do not answer. `known`: an owner's credentials, if that needs no waiting."""

    config: Config
    silent: Callable[[], frozenset[str]]
    known: Callable[[str], Credentials | None]
    now: Callable[[], datetime]
    _rewriter: Rewriter = field(init=False)
    _not_in: frozenset[str] = field(init=False)
    _with_regions: bool = field(init=False)
    _told: dict[str, tuple[tuple[Kept, ...], datetime]] = field(init=False, default_factory=dict)
    """By namespace."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rewriter", Rewriter(self.config.rewrite_rules))
        object.__setattr__(self, "_not_in", self.config.namespaces_of_mirrors)
        object.__setattr__(self, "_with_regions", bool(self.config.regions))

    def __call__(
        self, request: Request, namespace: Namespace, existing: ExistingSecret | None, *, debugged: bool
    ) -> Rewritten:
        """Of a pod that has the reference, or gets it. `debugged`: it runs, and only new containers count."""
        whole = request.object
        if whole is None or whole.spec is None or whole.metadata is None or namespace.name in self._not_in:
            return NOTHING
        entries, working = self.entries(namespace, existing)
        if self._told and not entries_for(self._rewriter, entries) and self._told_lately(namespace.name):
            return NOTHING  # nothing gets a name, and why is told
        if (len(whole.spec.ephemeral_containers) if debugged else request.size) > MAX_REVIEW_BYTES:
            return TOO_LARGE
        if debugged:
            images = of_debugged_pod(whole.spec, request.old_object.spec if request.old_object is not None else None)
        else:
            images = of_new_pod(whole.spec)
        if images is None:
            return TOO_LARGE
        facts = Facts(
            namespace.region,
            hard_places(whole.spec) if self._with_regions else ANYWHERE,
            entries,
            working,
            self.silent(),
            "" if debugged else whole.metadata.made,
        )
        if request.size > SMALL_BYTES:
            found = self._rewriter(images, facts)
        else:
            found = kept_decision(self._rewriter, images, facts)
        annotations = whole.metadata.annotations
        if found.names and annotations is not None and annotations.images is not None:
            return Rewritten(found.names, with_earlier(found.originals, annotations.images, images), found.kept)
        return found

    def entries(self, namespace: Namespace, existing: ExistingSecret | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The keys of the pull secret that stands, and those whose credentials work as far as is known."""
        owner = namespace.owner or ""
        if existing is None or not existing.ours or existing.terminating or existing.owner != owner:
            return (), ()
        entries, known = existing.registries, self.known(owner)
        ended = bool(existing.expiries) and existing.expiries[0] <= self.now()
        if not ended and (known is None or not known.any_refused):
            return entries, entries
        if known is None:
            return entries, ()
        now = self.now()
        working = [c for c in known.usable_in(namespace.name).items if c.refusal is None and not c.expired(now)]
        return entries, tuple(c.registry for c in working)

    def untold(self, namespace: Namespace, found: Rewritten) -> tuple[Kept, ...]:
        """What is to be told now of the images that keep their names."""
        if self._told_lately(namespace.name, found.kept):
            return ()
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[namespace.name] = found.kept, self.now()
        return found.kept

    def _told_lately(self, namespace: str, kept: tuple[Kept, ...] | None = None) -> bool:
        """Was a reason told, or exactly this?"""
        told = self._told.get(namespace)
        if told is None or (kept is not None and told[0] is not kept):
            return False
        return timedelta(0) <= self.now() - told[1] < TOLD_FOR


def notice(kept: Kept, namespace: Namespace) -> Notice:
    """For the tenant."""
    kind: Literal["Normal", "Warning"] = "Normal" if kept.why in _LASTING else "Warning"
    return Notice(REASON, str(kept), namespace.name, "Namespace", namespace.name, kind, quiet=True)
