"""What is counted as it changes is what a count at that moment would find."""

from hypothesis import given
from hypothesis import strategies as st

from webhook.core.tally import Tally

KINDS = ("a", "b")


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from((*KINDS, None)))))
def test_counts(changes: list[tuple[str, str | None]]) -> None:
    tally, plain = Tally(KINDS), dict[str, str | None]()
    assert tally.counts() == {"a": 0, "b": 0}
    for key, kind in changes:
        tally.put(key, kind)
        plain[key] = kind
        assert tally.counts() == {kind: [*plain.values()].count(kind) for kind in KINDS}
