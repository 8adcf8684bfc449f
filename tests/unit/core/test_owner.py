"""Owner rules. A tenant's text is only ever matched against a pattern, never used as one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.owner import MAX_OWNER_CHARS, OwnerRule, Pattern, find_owner

LABEL, ANNOTATION = OwnerRule("label", "example.com/owner"), OwnerRule("annotation", "example.com/tenant")


def pattern(prefix: str = "", owner: str = ".+", suffix: str = "") -> Pattern:
    return Pattern(re.compile(prefix), re.compile(owner), re.compile(rf"(?:{suffix})\Z"))


NAME = OwnerRule("name", "", pattern("project-", "[0-9]+", "-(development|staging|production)"))


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
    rule = OwnerRule("label", "o", pattern("team-", "[a-z]+"))
    assert rule.owner("n", {"o": "team-red"}, {}) == "red"
    assert rule.owner("n", {"o": "team-red-2"}, {}) is None
    assert rule.owner("n", {"o": "my-team-red"}, {}) is None


@pytest.mark.parametrize(
    ("parts", "text", "owner"),
    [
        (pattern(suffix="-dev"), "a-dev-dev", "a-dev"),
        (pattern(suffix="-(dev|prod)"), "a-dev", "a"),
        (pattern(suffix="-.+"), "a-b-c", "a"),  # as much as the suffix can take
        (pattern(suffix="(-dev)?"), "a-dev", "a"),
        (pattern(prefix=".+-"), "a-b-c", "c"),  # and as much as the prefix takes
        (pattern(prefix=".+?-"), "a-b-c", "b-c"),
        (pattern(prefix="a|ab"), "abc", "bc"),  # the first alternative
        (pattern(suffix="b|ab"), "cab", "c"),  # the longest
        (pattern("", "a[0-9]+", ".*"), "a1-x", None),  # nothing is left, and no other split is tried
        (pattern("team-", "a*"), "team-", None),  # nothing is no owner
    ],
)
def test_a_text_has_one_owner(parts: Pattern, text: str, owner: str | None) -> None:
    assert OwnerRule("name", "", parts).owner(text, {}, {}) == owner


def test_what_is_not_printable_has_no_owner() -> None:
    assert OwnerRule("annotation", "a", pattern(suffix="[^x]*")).owner("n", {}, {"a": "b\n"}) is None


@given(st.text(), st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_an_owner_is_short_and_printable(name: str, labels: dict[str, str], annotations: dict[str, str]) -> None:
    owner = find_owner([LABEL, ANNOTATION, OwnerRule("name", "", pattern(owner="(?s:.*)"))], name, labels, annotations)
    assert owner is None or (0 < len(owner) <= MAX_OWNER_CHARS and owner.isprintable())
