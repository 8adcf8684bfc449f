"""Of any owner rule and any text: the policies find the owner that the webhook finds."""

import random
from collections.abc import Iterator
from functools import partial

import pytest

from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.helm import Helm, one
from controlplane.waiting import until
from webhook.config import reading
from webhook.core.owner import find_owner

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
NAME, KEY, BETWEEN = "what-cel-finds", "a.example/owner", "|"
RULES = 40
CLASSES = (
    "[a-b]",
    "[^-]",
    r"\d",
    r"\w",
    r"\W",
    r"\D",
    r"\s",
    r"\S",
    "[]a]",
    "[^]a]",
    r"[\w-]",
    r"\.",
    r"[^\W1]",
    "[^日]",
)
REPETITIONS = ("", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{1,2}?")


def expression(draw: random.Random, depth: int = 2) -> str:
    return "|".join(sequence(draw, depth) for _ in range(draw.choice((1, 1, 1, 2))))


def sequence(draw: random.Random, depth: int) -> str:
    return "".join(piece(draw, depth) for _ in range(draw.choice((0, 1, 1, 2, 3))))


def piece(draw: random.Random, depth: int) -> str:
    if depth and draw.random() < 0.3:
        return f"{draw.choice(('(', '(?:'))}{expression(draw, depth - 1)}){draw.choice(('', '?', '??'))}"
    return f"{draw.choice((*'ab-1.é', *CLASSES))}{draw.choice(REPETITIONS)}"


def rules(draw: random.Random) -> list[Object]:
    return [
        {"from": "annotation", "key": KEY}
        | {part: expression(draw) or "a*" for part in ("prefix", "owner", "suffix") if draw.random() < 0.7}
        for _ in range(RULES)
    ]


def text(draw: random.Random) -> str:
    return "".join(draw.choices("aab--1é日 .x", k=draw.randrange(1, 9)))


@pytest.fixture(scope="module", params=[24, pytest.param(240, marks=pytest.mark.slow)])
def texts(request: pytest.FixtureRequest) -> list[str]:
    draw = random.Random(request.param)
    odd = ["a" * 253, "a" * 254, "a\nb", "a\u00a0b", "", '"', "\\E", "it's"]
    return [*odd, *(text(draw) for _ in range(request.param))]


@pytest.fixture(scope="module")
def drawn() -> list[Object]:
    return rules(random.Random(RULES))


@pytest.fixture(scope="module")
def telling(installed: ControlPlane, helm: Helm, drawn: list[Object]) -> Iterator[ControlPlane]:
    """A policy that refuses ConfigMaps of a name and says which owner each rule finds in their namespace."""
    objects = helm.render({"config": {"ownerRules": drawn}})
    policy = one(objects, POLICY, "pullsecret-webhook-writes")
    binding = one(objects, BINDING, "pullsecret-webhook-writes")
    policy["metadata"] = binding["metadata"] = {"name": NAME}
    binding["spec"]["policyName"] = NAME
    spec = policy["spec"]
    spec["matchConstraints"]["resourceRules"][0]["resources"] = ["configmaps"]
    spec["matchConditions"] = [{"name": "named", "expression": f"request.name == '{NAME}'"}]
    spec["variables"] = [
        v for v in spec["variables"] if v["name"].rstrip("0123456789") in ("text", "rest", "middle", "found")
    ]
    said = f" + '{BETWEEN}' + ".join(f"variables.found{number}" for number in range(RULES))
    spec["validations"] = [{"expression": "false", "messageExpression": f"'{BETWEEN}' + {said} + '{BETWEEN}'"}]
    for obj in (policy, binding):
        installed.api.create(obj)
    until(partial(found, installed, "default"), "the policy is in force", within=20)
    yield installed
    for kind in (BINDING, POLICY):
        installed.api.delete(kind, NAME)


def found(cluster: ControlPlane, namespace: str) -> list[str]:
    """What each rule finds there; nothing while the policy is not in force."""
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": namespace}}
    try:
        cluster.api.create(probe, dry_run=True)
    except ApiError as error:
        assert error.message.count(BETWEEN) == RULES + 1, error.message
        return error.message.split(BETWEEN)[1:-1]
    return []


def test_the_policies_find_the_owner_that_the_webhook_finds(
    telling: ControlPlane, drawn: list[Object], texts: list[str]
) -> None:
    ours = [reading.convert({"ownerRules": [rule]}).rules for rule in drawn]
    wrong, owners = [], 0
    for number, text in enumerate(texts):
        name = f"text-{len(texts)}-{number}"
        telling.namespace(name, annotations={KEY: text})
        for rule, mine, theirs in zip(drawn, ours, found(telling, name), strict=True):
            owner = find_owner(mine, name, {}, {KEY: text}) or ""
            owners += owner != ""
            if owner != theirs:
                wrong.append((rule, text, owner, theirs))
    assert wrong == []
    assert owners > len(texts)  # the draw says something
