"""Labels and annotations that have no effect: what is said to their author."""

import pytest

from webhook.core.mistakes import MAX_FOUND, near_owner, of_namespace, opting_out, unknown
from webhook.core.names import INJECT, NAMESPACES, OWNER
from webhook.core.owner import OwnerRule

RULES = (OwnerRule("label", OWNER), OwnerRule("annotation", "example.com/tenant"), OwnerRule("name"))


@pytest.mark.parametrize(
    ("labels", "annotations", "mistake"),
    [
        ({}, {}, ""),
        ({OWNER: "alice", INJECT: "disabled", "a": "b"}, {"example.com/tenant": "\U00020bb7\u7530"}, ""),
        ({INJECT: "enabled"}, {}, ""),
        ({INJECT: "false"}, {}, f"the label {INJECT}: false has no effect; write disabled to opt out"),
        ({INJECT: "Disabled"}, {}, f"the label {INJECT}: Disabled has no effect; write disabled to opt out"),
        ({}, {INJECT: "disabled"}, f"the annotation {INJECT} has no effect; write it as a label"),
        (
            {"pullsecret-webhook/onwer": "a"},
            {},
            f"the label pullsecret-webhook/onwer means nothing; did you mean {OWNER}?",
        ),
        ({}, {OWNER: "alice"}, f"the annotation {OWNER} has no effect; write it as a label"),
        ({}, {"example.com/tenant": "alice\n"}, "it has a line break or an invisible character; write alice"),
        ({}, {"example.com/tenant": "\ufeffalice"}, "it has a line break or an invisible character; write alice"),
        ({}, {"example.com/tenant": "alice "}, "begins or ends with a space, so it is another owner than alice"),
        ({}, {"example.com/tenant": "  "}, "has only spaces or invisible characters; write an owner, or remove it"),
        ({}, {"example.com/tenant": "\n"}, "has only spaces or invisible characters; write an owner, or remove it"),
        ({"pullsecrets-webhook/owner": "a"}, {}, f"means nothing; did you mean {OWNER}?"),
        ({"pull-secret-webhook/owner": "a"}, {}, f"means nothing; did you mean {OWNER}?"),
        ({"pulsecret-webhook/owner": "a"}, {}, f"means nothing; did you mean {OWNER}?"),
        ({"pullsecretwebhook/inject": "disabled"}, {}, f"means nothing; did you mean {INJECT}?"),
        ({"pull-secrets.example.com/owner": "a", "pull": "a", "pulumi.com/owner": "a", "pullsecret": "a"}, {}, ""),
        ({}, {"example.com/tenant": "a" * 254}, "is no owner: it has more than 253 characters"),
    ],
)
def test_of_a_namespace(labels: dict[str, str], annotations: dict[str, str], mistake: str) -> None:
    found = of_namespace(RULES, labels, annotations)
    assert len(found) == bool(mistake)
    assert mistake in "".join(found)


def test_what_a_tenant_wrote_is_bounded_and_on_one_line() -> None:
    many = {f"pullsecret-webhook/x{number}": "" for number in range(1_000)}
    odd = {"pullsecret-webhook/" + "\n" * 300: ""}
    found = unknown(many | odd, [], [OWNER], []) + opting_out("\n" * 1_000)
    assert len(found) == MAX_FOUND + 1
    assert all(one.isprintable() and len(one) < 400 for one in found)


@pytest.mark.parametrize(
    ("label", "annotation", "told"),
    [
        (
            "",
            "pullsecret-webhook/namespace",
            f"the annotation pullsecret-webhook/namespace means nothing; did you mean {NAMESPACES}?",
        ),
        (
            "",
            "pullsecret-webook/namespaces",
            f"the annotation pullsecret-webook/namespaces means nothing; did you mean {NAMESPACES}?",
        ),
        ("", "pullsecret-webhook-namespaces", "the annotation pullsecret-webhook-namespaces means nothing"),
        (NAMESPACES, "", f"the label {NAMESPACES} has no effect; write it as an annotation"),
        ("pullsecret-webhook/note", "", "the label pullsecret-webhook/note means nothing"),
    ],
)
def test_the_nearest_word_or_the_right_place_is_told(label: str, annotation: str, told: str) -> None:
    (found,) = unknown([label], [annotation], [OWNER], [OWNER, NAMESPACES])
    assert found.startswith(told)


@pytest.mark.parametrize(
    ("owner", "known", "near"),
    [
        ("alcie", ["bob", "alice"], "alice"),
        ("alic", ["alice"], "alice"),
        ("alicee", ["alice"], "alice"),
        ("Alice", ["alice"], "alice"),
        ("alixe", ["alice"], "alice"),
        ("aalice-team", ["alice"], ""),
        ("ecila", ["alice"], ""),
        ("project-42", ["project-43", "project-4"], ""),
        ("bob", ["rob"], ""),
        ("alice", ["alice"], ""),
        ("alice", [], ""),
    ],
)
def test_an_owner_that_is_nearly_another_one(owner: str, known: list[str], near: str) -> None:
    assert near_owner(owner, known) == near
