"""Labels and annotations under our prefix that mean nothing, and what their author may have meant."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

from webhook.core.names import INJECT, PREFIX
from webhook.core.owner import OwnerRule
from webhook.core.shown import quoted

DISABLED = "disabled"
"""The value of the label `inject` that opts out."""
CHOICES = frozenset({DISABLED, "enabled"})


def of_namespace(rules: Sequence[OwnerRule], labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[str]:
    keys = {place: [rule.key for rule in rules if rule.place == place] for place in ("label", "annotation")}
    found = [mistake for rule in rules if (mistake := rule.mistake(labels, annotations))]
    found += unknown("label", labels, [INJECT, *keys["label"]])
    found += unknown("annotation", annotations, [INJECT, *keys["annotation"]])
    return found + opting_out(labels.get(INJECT), annotated=INJECT in annotations)


def opting_out(value: str | None, *, annotated: bool = False) -> list[str]:
    """`value`: of the label `inject`. `annotated`: there is an annotation of that name."""
    found = [f"its annotation {INJECT} has no effect; write a label"] if annotated else []
    if value is not None and value not in CHOICES:
        found.append(f"its label {INJECT}: {quoted(value)} has no effect; write {DISABLED} to opt out")
    return found


def unknown(what: str, present: Iterable[str], known: Collection[str]) -> list[str]:
    """`what`: label or annotation."""
    keys = sorted(key for key in present if key.startswith(PREFIX) and key not in known)
    nearest = {key: get_close_matches(key, known, 1) for key in keys[:5]}
    return [
        f"its {what} {quoted(key)} means nothing" + (f"; did you mean {near[0]}?" if near else "")
        for key, near in nearest.items()
    ]
