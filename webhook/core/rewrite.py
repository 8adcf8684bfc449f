"""Whether the images of a new pod get their names at a mirror, where nodes cannot be told about mirrors. Pure.

An image is named anew only if the pod will start with it: the pull secret that stands has an entry for the mirror, and
the mirror has answered lately. Else it keeps its name, and the reason is told. What was admitted stays as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Literal

import msgspec

from webhook.core.imagename import MAX_CHARS, image_name
from webhook.core.podimages import Images, PodImage, each
from webhook.core.registry import DOCKER_HUB, host_matches, matching, repository, without_version

MAX_IMAGE_CHARS = 1024
"""Characters of a name with tag and digest, which have no more. A longer text is no image's name."""
MAX_ORIGINALS_BYTES = 32 * 1024
"""Bytes of an earlier annotation with the names as they were that is read. Names are ASCII."""


Made = Literal["", "applied", "operated"]
"""How a pod was made: from a manifest that may be applied again; by a controller that is none of Kubernetes, and may
compare it in a way of its own; else.
"""


class Why(StrEnum):
    """Why an image keeps its name, in words for people."""

    SILENT = "the mirror does not answer"
    NO_ENTRY = "the pull secret has no entry for the mirror; give the owner a credential for it"
    DEAD = "the credential for the mirror has expired, or the mirror refuses it; write a new one at its source"
    LARGE = "the pod has too many containers, or is larger than 128 KiB"
    NEVER = "the pull policy is Never, so it must be on the node under its name"
    LONG = f"its name at the mirror would have more than {MAX_CHARS} characters"
    APPLIED = (
        "the pod is applied from a manifest: to apply it again would give the image its name back and restart the "
        "container; pods of a Deployment, a Job and the like are made once"
    )
    OPERATED = (
        "an operator made the pod, and some delete a pod whose image is not the one that they wrote; tell the operator "
        "the name at the mirror"
    )


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """`of`: a registry, or also what the names of its repositories begin with: ghcr.io, ghcr.io/acme. `to`: what stands
    in its place at the mirror, host[:port][/path]. `region`: for which region or zone it is; empty: for all.
    """

    of: str
    to: str
    region: str = ""

    @property
    def host(self) -> str:
        return self.to.partition("/")[0]

    def covers(self, name: str) -> bool:
        """`name`: of a repository. One that is all of `of` has no name at a mirror that is only a host."""
        return name.startswith(f"{self.of}/") or (name == self.of and "/" in self.to)

    def name(self, name: str, version: str) -> str | None:
        """Of an image at the mirror, with the same tag and digest. None: it would be too long."""
        new = f"{self.to}{name.removeprefix(self.of)}"
        return f"{new}{version}" if len(new) <= MAX_CHARS and image_name(f"{new}{version}") else None


@dataclass(frozen=True, slots=True)
class Kept:
    """An image keeps its name. `rule`: by which it would have another one; None: what it has was not looked at."""

    why: Why
    rule: RewriteRule | None = None

    def __str__(self) -> str:
        rule = self.rule
        what = f"images of {rule.of} are not pulled from {rule.to}" if rule else "images keep their names"
        return f"{what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`names`: JSON pointer and new name of each image that gets one. `originals`: the names that they had, as they are
    annotated.
    """

    names: tuple[tuple[str, str], ...] = ()
    originals: str = ""
    kept: tuple[Kept, ...] = ()


NOTHING = Rewritten()
TOO_LARGE = Rewritten(kept=(Kept(Why.LARGE),))


class Facts(msgspec.Struct, frozen=True):
    """What decides, beside the images. `region`: the one that the namespace names; `places`: where the pod must run.
    `entries`: the keys of the pull secret that stands; `working`: those whose credentials work, as far as is known.
    `silent`: hosts of mirrors that do not answer. `made`: how the pod was.
    """

    region: str
    places: frozenset[str]
    entries: tuple[str, ...]
    working: tuple[str, ...]
    silent: frozenset[str]
    made: Made = ""


@dataclass(frozen=True, eq=False)
class Rewriter:
    """`rules`: in the order in which they are tried."""

    rules: tuple[RewriteRule, ...]

    def __call__(self, images: Images, facts: Facts) -> Rewritten:
        # What is so for all images is found out once: a tenant's pod may have hundreds, and there may be many mirrors.
        ways = [_way(rule, facts) for rule in _order(self.rules, facts.region, facts.places)]
        found, kept = list[tuple[PodImage, str]](), dict[Kept, None]()
        for one in each(images):
            if (parts := split(one.image)) is None:
                continue
            for way in ways:
                if not way.rule.covers(parts[0]):
                    continue
                new = _new_name(way, *parts, one.policy)
                if not isinstance(new, Why):
                    found.append((one, new))
                    break
                kept[Kept(new, way.rule)] = None
        originals = annotation((one.of, one.image) for one, _ in found) if found else ""
        return Rewritten(tuple((one.path, new) for one, new in found), originals, tuple(kept))


@lru_cache(maxsize=256)
def kept_decision(rewriter: Rewriter, images: Images, facts: Facts) -> Rewritten:
    """The same, kept: a Deployment's pods are all alike."""
    return rewriter(images, facts)


def split(image: str) -> tuple[str, str] | None:
    """The name of its repository, and tag and digest as they are written. None: it is not valid."""
    if len(image) > MAX_IMAGE_CHARS or image_name(image) is None:
        return None
    return repository(image), image[len(without_version(image)) :]


class _Way(msgspec.Struct, frozen=True):
    """To a mirror. `unused`: why no image goes there. `entries`, `working`: as in Facts, those for its host."""

    rule: RewriteRule
    unused: Why | None
    entries: tuple[str, ...]
    working: tuple[str, ...]


def _way(rule: RewriteRule, facts: Facts) -> _Way:
    entries = _at(rule.host, facts.entries)
    working = entries if facts.working is facts.entries else _at(rule.host, facts.working)
    return _Way(rule, _why_unused(rule, facts, entries), entries, working)


def _why_unused(rule: RewriteRule, facts: Facts, entries: Sequence[str]) -> Why | None:
    if facts.made:
        return Why.APPLIED if facts.made == "applied" else Why.OPERATED
    if rule.host in facts.silent:
        return Why.SILENT
    return None if entries else Why.NO_ENTRY


def _at(host: str, registries: Iterable[str]) -> tuple[str, ...]:
    """The keys that may match images from there."""
    return tuple(key for key in registries if key == DOCKER_HUB or host_matches(key.partition("/")[0], host))


def _new_name(way: _Way, name: str, version: str, policy: str) -> str | Why:
    if policy == "Never":
        return Why.NEVER
    if way.unused is not None:
        return way.unused
    new = way.rule.name(name, version)
    if new is None:
        return Why.LONG
    if not matching(way.entries, new):
        return Why.NO_ENTRY
    return new if way.working is way.entries or matching(way.working, new) else Why.DEAD


def _order(rules: Sequence[RewriteRule], region: str, places: frozenset[str]) -> Sequence[RewriteRule]:
    """The rules that may be taken. Those of the region come first, then those without one. If no region is named, the
    order of the list is all that is known; if several are, it decides between them.
    """
    stated = places | ({region} if region else frozenset())
    if not stated:
        return rules
    return [rule for rule in rules if rule.region in stated] + [rule for rule in rules if not rule.region]


@lru_cache(maxsize=4096)
def entries_for(rewriter: Rewriter, registries: tuple[str, ...]) -> bool:
    """Has a pull secret with these keys one for any mirror?"""
    return any(_at(rule.host, registries) for rule in rewriter.rules)


def annotation(originals: Iterable[tuple[str, str]]) -> str:
    """The names that images had, by container (as PodImage has it), as JSON."""
    return _ENCODE(dict(originals)).decode()


def with_earlier(originals: str, before: str, images: Images) -> str:
    """`originals`: our own, however long. `before`: what the annotation says since an earlier review of the pod; only
    what is about its images stays.
    """
    containers = {one.of for one in each(images)}
    kept = {key: text for key, text in read_annotation(before).items() if key in containers}
    return annotation((kept | _ORIGINALS.decode(originals)).items())


def read_annotation(text: str) -> dict[str, str]:
    """By container: the name that its image had. Empty if it is none of ours: who makes a pod may write anything."""
    if len(text) > MAX_ORIGINALS_BYTES or not text.isascii():
        return {}
    try:
        return _ORIGINALS.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return {}


_ENCODE = msgspec.json.Encoder().encode
_ORIGINALS = msgspec.json.Decoder(dict[str, str])
