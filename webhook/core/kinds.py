"""The kinds of objects that get the reference: one table for reviews, `pullsecret inject` and the chart's rules.

One more kind with a pod template is a row here, the same row in the chart (`kinds` in _helpers.tpl), and golden cases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

POD_SPEC, TEMPLATE_SPEC = ("spec",), ("spec", "template", "spec")


@dataclass(frozen=True)
class PatchedKind:
    """`at`: the keys that lead to the pod's spec, one of the two above, which are what is read of a review.
    `operations`: those on which the webhook acts. The version is v1.
    """

    group: str
    name: str
    at: tuple[str, ...]
    operations: tuple[str, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @cached_property
    def has_template(self) -> bool:
        return self.at != POD_SPEC


KINDS: Mapping[tuple[str, str], PatchedKind] = {
    (kind.group, kind.name): kind
    for kind in (
        PatchedKind("", "Pod", POD_SPEC, ("CREATE",)),
        PatchedKind("apps", "Deployment", TEMPLATE_SPEC, ("CREATE", "UPDATE")),
    )
}
"""By group and kind, as a review names them."""
