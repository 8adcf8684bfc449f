"""Which names the images of pods have by mirrors, and why others keep their names; for `explain` and `doctor`.

What decides about a name is what decides in a review (core/rewrite.py), by what is known here and now. A pod's images
have got their names when it was created.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.commands.status import PULL_SECRETS, SOURCE_SECRETS
from webhook.config.mirrorconfig import Mirror
from webhook.config.models import Config
from webhook.config.sourceconfig import SecretsSource
from webhook.core.credential import Credentials
from webhook.core.names import IMAGES, REGION
from webhook.core.podimages import Container, PodImage, each, hard_places, of_debugged_pod, of_new_pod
from webhook.core.pullsecret import Namespace
from webhook.core.review import Object, Spec
from webhook.core.rewrite import Facts, Kept, Rewriter, Why, read_annotation, split
from webhook.core.shown import few, quoted, some
from webhook.kube.events import CURRENT_FOR
from webhook.kube.recent_events import AboutMirrors, about_mirrors
from webhook.rewriting import Rewriting
from webhook.sources.secret import credentials_of

SOON = timedelta(minutes=1)
"""After a pod was created, until the Event about it is there."""
OF_MIRROR = "a mirror runs in this namespace, so its images keep their names"
_EPHEMERAL = "/spec/ephemeralContainers/"


@dataclass(frozen=True, slots=True)
class Naming:
    """Of an image of a pod. `was`: the name that it had, as the pod's annotation says; `mirror`: by which it has the
    other one; empty: by none that is known here. `why`: why it keeps its name, a sentence each.
    """

    was: str = ""
    mirror: str = ""
    why: tuple[str, ...] = ()

    @property
    def text(self) -> Sequence[str]:
        """Safe to print."""
        if self.mirror:
            return [f"it was {quoted(self.was)}; the webhook gave it its name at the mirror {self.mirror}"]
        if self.was:
            return [f"it was {quoted(self.was)}, says the pod's annotation {IMAGES}"]
        return self.why


NO_NAMING = Naming()


@dataclass(frozen=True)
class ImageNames:
    """Of one namespace. `entries` and `working`: as in Facts. `blind`: the pull secret may not be read."""

    config: Config
    namespace: Namespace
    entries: tuple[str, ...]
    working: tuple[str, ...]
    events: AboutMirrors
    blind: bool = False

    @property
    def rows(self) -> list[str]:
        """Which mirrors its owner can use."""
        if not self.namespace.served:
            return []
        region = self.namespace.region
        found = (
            [f"those for the region {quoted(region)} come first, by the namespace's label {REGION}"] if region else []
        )
        found += [f"{one.to} of {one.prefix}: {self._use(one)}" for one in self.config.mirrors]
        return [*found, *few([*dict.fromkeys(map(str, self.events.kept))])]

    def _use(self, mirror: Mirror) -> str:
        of_rewrite, keys = mirror.how == "rewrite", [key for key in self.entries if mirror.rule.covers(key)]
        if of_rewrite and self.namespace.name in self.config.namespaces_of_mirrors:
            return OF_MIRROR
        if not mirror.is_for(self.namespace.region):
            return (
                f"not used: it is for the region {mirror.region}, and the namespace for {some([self.namespace.region])}"
            )
        if of_rewrite and mirror.host in self.events.silent:
            return f"not used: {Why.SILENT}"
        if self.blind:
            return "the pull secret cannot be read with these rights"
        if not keys:
            return f"not used: {Why.NO_ENTRY}"
        if of_rewrite and self.working is not self.entries and not any(map(mirror.rule.covers, self.working)):
            return f"not used: {Why.DEAD}"
        return f"{'new pods get its names' if of_rewrite else 'nodes may ask it'}, with the entry for {some(keys)}"

    def of_pod(self, pod: Object, created: datetime | None, alone: str) -> dict[str, Naming]:
        """By image. `alone`: why the webhook leaves the pod alone; empty: it does not."""
        if not isinstance(pod.spec, Spec):
            return {}
        annotations = pod.metadata.annotations if pod.metadata is not None else None
        originals = read_annotation((annotations.images if annotations is not None else None) or "")
        added = of_debugged_pod(pod.spec, None) or ()
        images = [*each(of_new_pod(pod.spec) or ()), *each(added)]
        rewriter = Rewriter(self.config.rewrite_rules)
        facts = Facts(
            self.namespace.region,
            hard_places(pod.spec),
            self.entries,
            self.working,
            frozenset(self.events.silent),
            pod.metadata.made if pod.metadata is not None else "",
        )
        found: dict[str, Naming] = {}
        for one in images:
            naming = _renamed(rewriter, one, originals.get(one.of, "")) or Naming(
                why=tuple(self._why(rewriter, one, facts, created, alone))
            )
            before = found.get(one.image)
            if before is None or (naming.was and not before.was):
                found[one.image] = naming
        return found

    def _why(
        self, rewriter: Rewriter, image: PodImage, facts: Facts, created: datetime | None, alone: str
    ) -> Iterator[str]:
        parts = split(image.image)
        if parts is None or not any(rule.covers(parts[0]) for rule in rewriter.rules) or not self.namespace.served:
            return
        if alone:
            yield alone
            return
        if self.namespace.name in self.config.namespaces_of_mirrors:
            yield OF_MIRROR
            return
        by_itself = (("containers", (Container(image.of, image.image, image.policy),)),)
        if image.path.startswith(_EPHEMERAL):
            facts = msgspec.structs.replace(facts, made="")
        found = rewriter(by_itself, facts)
        yield from (self._kept(one) for one in found.kept)
        for _, name in found.names:
            yield f"one that is created now gets {name}; names are decided when a pod is created"
            yield from self._then(created)
        if not found.names and not found.kept:
            yield f"its mirrors are for other regions ({some(sorted(self.config.regions))})"

    def _kept(self, kept: Kept) -> str:
        blind = self.blind and kept.why in {Why.NO_ENTRY, Why.DEAD}
        why = "the pull secret cannot be read with these rights" if blind else kept.why
        return f"it is not pulled from {kept.rule.to if kept.rule else 'a mirror'}: {why}"

    def _then(self, created: datetime | None) -> Iterator[str]:
        """What was said when the pod was created. The same is said once an hour."""
        if created is not None:
            then = (one for one in self.events.kept if created - CURRENT_FOR <= one.at <= created + SOON)
            yield from (str(one) for one in [*then][:1])


def _renamed(rewriter: Rewriter, image: PodImage, was: str) -> Naming | None:
    """`was`: what the pod's annotation says, into which its maker may write anything. None: nothing."""
    if not was or was == image.image:
        return None
    parts = split(was)
    rules = (rule for rule in rewriter.rules if parts and rule.covers(parts[0]) and rule.name(*parts) == image.image)
    return Naming(was, next((rule.to for rule in rules), ""))


async def read(view: ClusterView, namespace: Namespace, now: datetime) -> ImageNames:
    config, events = view.config, AboutMirrors()
    if not config.mirrors or not namespace.served:
        return ImageNames(config, namespace, (), (), events)
    if config.rewrite_rules:
        events = await about_mirrors(view.cluster, config, namespace.name, now, view.cannot_read)
    secret = await view.may(PULL_SECRETS, view.pull_secret(namespace.name), None)
    known = await _known(view, namespace.owner or "")
    existing = None if secret is None else view.reader.existing(secret)
    rewriting = Rewriting(config, lambda: frozenset(events.silent), lambda _owner: known, lambda: now)
    entries, working = rewriting.entries(namespace, existing)
    return ImageNames(config, namespace, entries, working, events, blind=PULL_SECRETS in view.unread)


async def _known(view: ClusterView, owner: str) -> Credentials | None:
    """The owner's credentials with what registries said of them. None: they are not known here."""
    if not all(isinstance(source, SecretsSource) for source in view.config.sources):
        return None
    sources, checks = await view.may(SOURCE_SECRETS, view.source_secrets(), {}), await view.checks()
    found = credentials_of(sources.get(owner, {}))
    if SOURCE_SECRETS in view.unread or not isinstance(found, Credentials):
        return None
    return found if checks is None else checks.marked(found)
