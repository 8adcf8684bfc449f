"""Owner rules. A tenant's text is only ever matched against a pattern, never used as one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.owner import MAX_OWNER_CHARS, by_annotation, by_label, by_name, find_owner

LABEL, ANNOTATION = by_label("example.com/owner"), by_annotation("example.com/tenant")
NAME = by_name(re.compile("project-(?P<owner>[0-9]+)-(development|staging|production)"))


@pytest.mark.parametrize(
    ("name", "labels", "annotations", "owner"),
    [
        ("a", {"example.com/owner": "alice"}, {}, "alice"),
        ("a", {"example.com/owner": ""}, {}, None),
        ("a", {"other": "alice"}, {}, None),
        ("a", {}, {"example.com/tenant": "alice@example.com"}, "alice@example.com"),
        ("a", {}, {"example.com/tenant": "c-m-abc:p-xyz"}, "c-m-abc:p-xyz"),
        ("project-42-production", {}, {}, "42"),
        ("project-42-production", {"example.com/owner": "alice"}, {}, "alice"),
        ("project-42-productions", {}, {}, None),
        ("a-project-42-staging", {}, {}, None),
        ("project-42-staging\nx", {}, {}, None),
        ("a", {}, {"example.com/tenant": "x" * MAX_OWNER_CHARS}, "x" * MAX_OWNER_CHARS),
        ("a", {}, {"example.com/tenant": "x" * (MAX_OWNER_CHARS + 1)}, None),
        ("a", {}, {"example.com/tenant": "a\nb"}, None),
        ("a", {}, {"example.com/tenant": "a\x1bb"}, None),
    ],
)
def test_first_rule_that_says_something_wins(
    name: str, labels: dict[str, str], annotations: dict[str, str], owner: str | None
) -> None:
    assert find_owner([LABEL, ANNOTATION, NAME], name, labels, annotations) == owner


def test_the_whole_text_must_match_a_pattern() -> None:
    rule = by_label("o", re.compile("team-(?P<owner>[a-z]+)"))
    assert rule.owner("n", {"o": "team-red"}, {}) == "red"
    assert rule.owner("n", {"o": "team-red-2"}, {}) is None
    assert rule.owner("n", {"o": "my-team-red"}, {}) is None


def test_an_empty_group_is_no_owner() -> None:
    assert by_name(re.compile("x(?P<owner>a*)")).owner("x", {}, {}) is None
    assert by_name(re.compile("x|(?P<owner>y)")).owner("x", {}, {}) is None


@given(st.text(), st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_an_owner_is_short_and_printable(name: str, labels: dict[str, str], annotations: dict[str, str]) -> None:
    owner = find_owner([LABEL, ANNOTATION, by_name(re.compile("(?s)(?P<owner>.*)"))], name, labels, annotations)
    assert owner is None or (0 < len(owner) <= MAX_OWNER_CHARS and owner.isprintable())
