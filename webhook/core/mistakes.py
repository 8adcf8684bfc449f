"""Labels and annotations that are probably meant for the webhook and mean nothing, and the nearest right ones."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches

from webhook.core.names import DISABLED, INJECT, PREFIX, REGION
from webhook.core.owner import OwnerRule
from webhook.core.shown import quoted, some

_SURE, _PERHAPS = "pullsecret-w", "pul"
"""What a key begins with that is meant for the webhook, and that may be: then its prefix must be nearly ours."""
_NEARLY = 0.9
MAX_FOUND = 5
MIN_NEAR_CHARS = 4
"""Shorter names of owners are often near each other."""
_CHOICES = frozenset({DISABLED, "enabled"})
"""Values of the label `inject`."""


def of_namespace(
    rules: Sequence[OwnerRule],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    regions: Collection[str] = (),
) -> list[str]:
    """`regions`: of mirrors."""
    keys = {place: [rule.key for rule in rules if rule.place == place] for place in ("label", "annotation")}
    found = [mistake for rule in rules if (mistake := rule.mistake(labels, annotations))]
    found += unknown(labels, annotations, [INJECT, REGION, *keys["label"]], keys["annotation"])
    return found + opting_out(labels.get(INJECT)) + _region(labels.get(REGION), regions)


def _region(value: str | None, regions: Collection[str]) -> list[str]:
    if value is None or value in regions:
        return []
    if not regions:
        return [f"the label {REGION} has no effect: no mirror of the configuration has a region"]
    return [f"the label {REGION}: {quoted(value)} is the region of no mirror; there are {some(sorted(regions))}"]


def opting_out(value: str | None, *, annotated: bool = False) -> list[str]:
    """`value`: of the label `inject`. `annotated`: there is an annotation of that name."""
    found = [_misplaced("annotation", INJECT, "label")] if annotated else []
    if value is not None and value not in _CHOICES:
        found.append(f"the label {INJECT}: {quoted(value)} has no effect; write {DISABLED} to opt out")
    return found


def unknown(
    labels: Iterable[str], annotations: Iterable[str], as_label: Collection[str], as_annotation: Collection[str]
) -> list[str]:
    """`as_label`, `as_annotation`: keys that have an effect there."""
    return [
        *_unknown("label", labels, as_label, "annotation", as_annotation),
        *_unknown("annotation", annotations, as_annotation, "label", as_label),
    ]


def _unknown(
    what: str, present: Iterable[str], known: Collection[str], other: str, known_there: Collection[str]
) -> Iterator[str]:
    names = {key.rpartition("/")[2]: key for key in (*known_there, *known)}
    for key in sorted(key for key in present if key not in known and _meant(key))[:MAX_FOUND]:
        near = get_close_matches(key.rpartition("/")[2], names, 1)
        if key in known_there:
            yield _misplaced(what, key, other)
        else:
            yield f"the {what} {quoted(key)} means nothing" + (f"; did you mean {names[near[0]]}?" if near else "")


def _meant(key: str) -> bool:
    if key.startswith(_SURE) or not key.startswith(_PERHAPS):
        return key.startswith(_SURE)
    prefix, slash, _ = key.partition("/")
    near = len(prefix) < 2 * len(PREFIX) and SequenceMatcher(None, f"{prefix}{slash}", PREFIX).ratio() >= _NEARLY
    return bool(slash) and near


def _misplaced(what: str, key: str, other: str) -> str:
    return f"the {what} {key} has no effect; write it as {'an' if other == 'annotation' else 'a'} {other}"


def near_owner(owner: str, owners: Iterable[str]) -> str:
    """One that differs by case, or by one letter or two that changed places. Empty without one. Numbers that differ are
    different owners.
    """
    return next((other for other in sorted(owners) if other != owner and _near(owner, other)), "")


def _near(one: str, other: str) -> bool:
    if one.lower() == other.lower():
        return True
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < MIN_NEAR_CHARS:
        return False
    at = _same(one, other)
    a, b = one[at:], other[at:]
    end = _same(a[::-1], b[::-1])
    a, b = a[: len(a) - end], b[: len(b) - end]
    if any(letter.isdigit() for letter in a + b):
        return False
    return max(len(a), len(b)) <= 1 or (len(a) == len(b) == len("ab") and a == b[::-1])


def _same(one: str, other: str) -> int:
    """Letters with which both begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
