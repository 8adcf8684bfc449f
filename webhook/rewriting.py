"""Whether the images of a pod in a review get their names at a mirror (core/rewrite.py), by what is known at that time.

Nothing is asked for it: the pull secret is in the view, and whether a mirror answers is found out beforehand
(checks/mirrorhealth.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from webhook.config.models import Config
from webhook.core import rewrite
from webhook.core.credential import Credentials
from webhook.core.notice import Notice, Reason
from webhook.core.podimages import hard_places, of_debugged_pod, of_new_pod
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.core.review import Object, Request
from webhook.core.rewrite import Kept, Rewriter, RewriteRule, Rewritten, Why, has_entry

REASON: Reason = "ImageNotRewritten"
MAX_PODS_BYTES = 128 * 1024
"""Bytes of a review. With the annotation that is added, a larger pod might have more than the API server takes."""
NOTHING = Rewritten()
_LASTING = frozenset({Why.NEVER, Why.APPLIED, Why.LONG, Why.LARGE})
"""What no administrator mends."""


@dataclass(frozen=True, eq=False)
class Rewriting:
    """`answers`: has the mirror at this host answered lately? `known`: an owner's credentials, if that needs no
    waiting.
    """

    config: Config
    answers: Callable[[str], bool]
    known: Callable[[str], Credentials | None]
    now: Callable[[], datetime]
    rewriter: Rewriter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewriter", Rewriter(self.config.rewrite_rules))

    def __call__(
        self, request: Request, namespace: Namespace, existing: ExistingSecret | None, *, debugged: bool
    ) -> Rewritten:
        """Of a pod that has the reference, or gets it. `debugged`: it runs, and only new containers count."""
        whole = request.object
        if whole is None or whole.spec is None or namespace.name in self.config.namespaces_of_mirrors:
            return NOTHING
        if request.size > MAX_PODS_BYTES:
            return Rewritten(kept=(Kept(Why.LARGE),))
        old = request.old_object.spec if request.old_object is not None else None
        images = of_debugged_pod(whole.spec, old) if debugged else of_new_pod(whole.spec)
        if images is None:
            return Rewritten(kept=(Kept(Why.LARGE),))
        places = hard_places(whole.spec) if self.config.regions else frozenset[str]()

        entries, alive = self._entries(namespace, existing)

        def problem(rule: RewriteRule, image: str) -> Why | None:
            if not self.answers(rule.host):
                return Why.SILENT
            if not has_entry(entries, image):
                return Why.NO_ENTRY
            return None if alive is entries or has_entry(alive, image) else Why.DEAD

        return self.rewriter(images, namespace.region, places, problem, applied=not debugged and _applied(whole))

    def _entries(
        self, namespace: Namespace, existing: ExistingSecret | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The registries of the pull secret that stands, and those whose credentials work as far as is known."""
        owner = namespace.owner or ""
        if existing is None or not existing.ours or existing.terminating or existing.owner != owner:
            return (), ()
        known, now = self.known(owner), self.now()
        some_ended = bool(existing.expiries) and existing.expiries[0] <= now
        if known is None:
            return existing.registries, () if some_ended else existing.registries
        if not some_ended and all(c.refusal is None for c in known.items):
            return existing.registries, existing.registries
        working = [c for c in known.usable_in(namespace.name).items if c.refusal is None and not c.expired(now)]
        return existing.registries, tuple(c.registry for c in working)


def _applied(pod: Object) -> bool:
    return pod.metadata is not None and pod.metadata.applied


def annotation(request: Request, found: Rewritten) -> tuple[str, bool]:
    """With the names of this time and of an earlier review of the same pod. And: has the pod annotations?"""
    pod = request.object
    annotations = pod.metadata.annotations if pod is not None and pod.metadata is not None else None
    if pod is None or pod.spec is None or annotations is None or annotations.images is None:
        return rewrite.annotation(found.originals), annotations is not None
    names = {one.of for one in of_new_pod(pod.spec) or ()}
    return rewrite.annotation(found.originals, annotations.images, names), True


def notice(kept: Kept, namespace: Namespace) -> Notice:
    """For the tenant."""
    what = f"images of {kept.rule.of} are not pulled from {kept.rule.to}" if kept.rule else "images keep their names"
    kind: Literal["Normal", "Warning"] = "Normal" if kept.why in _LASTING else "Warning"
    return Notice(REASON, f"{what}: {kept.why}", namespace.name, "Namespace", namespace.name, kind, quiet=True)
