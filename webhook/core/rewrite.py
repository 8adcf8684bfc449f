"""Whether the images of a new pod get their names at a mirror, where nodes cannot be told about mirrors. Pure.

An image is named anew only if the pod will start with it: the pull secret that stands has an entry for the mirror, and
the mirror has answered lately. Else it keeps its name, and the reason is told. What was admitted stays as it is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import msgspec

from webhook.core.imagename import MAX_CHARS, image_name
from webhook.core.podimages import PodImage
from webhook.core.registry import matching, repository

MAX_IMAGE_CHARS = 1024
"""Characters of a name with tag and digest, which have no more. A longer text is no image's name."""
MAX_ORIGINALS_BYTES = 32 * 1024
"""Bytes of the annotation with the names as they were. All annotations of an object together may have 256 KiB."""


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

    def covers(self, image: str) -> bool:
        name = repository(image)
        return name == self.of or name.startswith(f"{self.of}/")

    def name(self, image: str) -> str | None:
        """At the mirror, with the same tag and digest. None: it would be too long."""
        found = repository(image)
        version = image[len(_without_version(image)) :]
        new = f"{self.to}{found[len(self.of) :]}"
        return f"{new}{version}" if len(new) <= MAX_CHARS and image_name(f"{new}{version}") else None


def _without_version(image: str) -> str:
    name = image.partition("@")[0]
    before, slash, last = name.rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"


@dataclass(frozen=True, slots=True)
class Kept:
    """An image keeps its name. `rule`: by which it would have another one; None: what it has was not looked at."""

    why: Why
    rule: RewriteRule | None = None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`names`: JSON pointer and new name of each image that gets one. `originals`: its container (as PodImage has it)
    and the name that it had.
    """

    names: tuple[tuple[str, str], ...] = ()
    originals: tuple[tuple[str, str], ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, eq=False)
class Rewriter:
    """`rules`: in the order in which they are tried."""

    rules: tuple[RewriteRule, ...]

    def __call__(
        self,
        images: Iterable[PodImage],
        region: str,
        places: frozenset[str],
        problem: Callable[[RewriteRule, str], Why | None],
        *,
        applied: bool = False,
    ) -> Rewritten:
        """`region`: what the namespace says, `places`: where the pod must run. `problem`: why an image of this name
        cannot be pulled from the mirror now. `applied`: the pod, and it may be applied again.
        """
        order = _order(self, region, places)
        found, kept = list[tuple[PodImage, str]](), dict[Kept, None]()
        for one in images:
            names = _names(self, one.image) if len(one.image) <= MAX_IMAGE_CHARS else {}
            for at in order:
                if at not in names:
                    continue
                new, rule = names[at], self.rules[at]
                why = Why.LONG if new is None else _lasting(one, applied=applied) or problem(rule, new)
                if new is not None and why is None:
                    found.append((one, new))
                    break
                if why is not None:
                    kept[Kept(why, rule)] = None
        return Rewritten(
            tuple((one.path, new) for one, new in found), tuple((one.of, one.image) for one, _ in found), tuple(kept)
        )


def _lasting(image: PodImage, *, applied: bool) -> Why | None:
    return Why.NEVER if image.policy == "Never" else Why.APPLIED if applied else None


@lru_cache(maxsize=4096)
def _names(rewriter: Rewriter, image: str) -> Mapping[int, str | None]:
    """By the place of a rule: the name at its mirror; None: it would be too long. Kept: reviews need it."""
    if image_name(image) is None:
        return {}
    return {at: rule.name(image) for at, rule in enumerate(rewriter.rules) if rule.covers(image)}


@lru_cache(maxsize=1024)
def _order(rewriter: Rewriter, region: str, places: frozenset[str]) -> Sequence[int]:
    """The places of the rules that may be taken. Those of the region come first, then those without one. If no region
    is named, the order of the list is all that is known; if several are, it decides between them.
    """
    stated = places | ({region} if region else frozenset())
    at = range(len(rewriter.rules))
    if not stated:
        return tuple(at)
    regions = [rule.region for rule in rewriter.rules]
    return tuple(one for one in at if regions[one] in stated) + tuple(one for one in at if not regions[one])


@lru_cache(maxsize=4096)
def has_entry(registries: tuple[str, ...], image: str) -> bool:
    """Has a pull secret with these keys one for this image?"""
    return bool(matching(registries, image))


def annotation(
    originals: Iterable[tuple[str, str]], before: str | None = None, containers: Collection[str] = ()
) -> str:
    """The names that images had, by container, as JSON. `before`: what the annotation says already, of which only what
    is about these `containers` stays.
    """
    kept = {key: text for key, text in read_annotation(before).items() if key in containers}
    return _ENCODE(kept | dict(originals)).decode()


def read_annotation(text: str | None) -> dict[str, str]:
    """Empty if it is none of ours. Whoever makes a pod may write anything into it."""
    if not text or len(text) > MAX_ORIGINALS_BYTES:
        return {}
    try:
        return _ORIGINALS.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return {}


_ENCODE = msgspec.json.Encoder().encode
_ORIGINALS = msgspec.json.Decoder(dict[str, str])
