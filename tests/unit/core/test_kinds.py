"""The API server asks about the kinds in the table, and its safety net adds the reference at the same place."""

import re
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.kinds import resource
from webhook.core.kinds import KINDS, POD_SPEC, TEMPLATE_SPEC, PatchedKind
from webhook.core.patch import FIELD

Asked = set[tuple[tuple[str, ...], ...]]


def in_the_table(kinds: list[PatchedKind]) -> Asked:
    return {((kind.group,), ("v1",), kind.operations, (resource(kind.name).plural,)) for kind in kinds}


def in_rules(rules: list[dict[str, Any]]) -> Asked:
    fields = ("apiGroups", "apiVersions", "operations", "resources")
    return {tuple(tuple(rule[field]) for field in fields) for rule in rules}


def test_the_webhook_is_asked_about_the_kinds_of_the_table() -> None:
    """Those with a template by an entry of their own."""
    for webhook, templates in zip(deployed.registration()["webhooks"], (False, True), strict=True):
        assert in_rules(webhook["rules"]) == in_the_table([k for k in KINDS.values() if k.has_template is templates])


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_safety_net_does_the_same(kind: PatchedKind) -> None:
    name = f"pullsecret-webhook-net-{resource(kind.name).plural}"
    (policy,) = (obj["spec"] for obj in deployed.objects() if obj["metadata"]["name"] == name)
    assert in_rules(policy["matchConstraints"]["resourceRules"]) == in_the_table([kind])
    (mutation,) = policy["mutations"]
    paths = set(re.findall(r"path: '(/[\w/]+)", mutation["jsonPatch"]["expression"]))
    assert {path.removesuffix("/-").rstrip("/") for path in paths} == {"/".join(("", *kind.at, FIELD))}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_is_one_that_can_be_read(kind: PatchedKind) -> None:
    """`review.Spec` has what is at these two places."""
    assert kind.at in (POD_SPEC, TEMPLATE_SPEC)
    assert kind.api_version == resource(kind.name).version
