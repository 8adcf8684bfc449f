"""What the table says is what was measured."""

import json
from pathlib import Path

import pytest

from bench.figures import Chunk, Figure, Goal, Rounds, goals, middle, table, write


def chunk(p50_ms: float, cpu_us: float = 0.0) -> Chunk:
    return Chunk(p50_ms, p50_ms * 2, 1000 / p50_ms, cpu_us)


def rounds() -> Rounds:
    """The second round ran on a machine that was twice as slow, which a comparison by round does not see."""
    found = Rounds()
    for slower in (1, 2, 1):
        found.add("a", chunk(2.0 * slower, 100.0 * slower))
        found.add("b", chunk(6.0 * slower, 50.0 * slower))
    return found


def test_ratios_are_those_of_rounds() -> None:
    assert rounds().ratio("b", "a", lambda c: c.p50_ms) == 3
    assert rounds().ratio("b", "a", lambda c: c.cpu) == 0.5
    first, second = rounds().figures("what", "a")
    assert first == Figure("what: a", 2.0, 4.0, 0.0, 1.0, 100.0, 500.0)
    assert (second.p50_ms, second.added_ms, second.ratio) == (6.0, 4.0, 3.0)


def test_what_one_adds_to_what_another_adds() -> None:
    found = rounds()
    for slower in (1, 2, 1):
        found.add("bare", chunk(1.0 * slower))
    assert found.added("b", "a", "bare") == 5


def test_what_has_no_process_has_no_cpu() -> None:
    found = Rounds()
    found.add("policy", Chunk(1.0, 1.0, 1.0))
    assert found.figures("what", "policy")[0].cpu_us is None


def test_rounds_that_are_not_whole_are_refused() -> None:
    found = rounds()
    found.add("b", chunk(1.0))
    with pytest.raises(ValueError, match="shorter"):
        found.ratio("b", "a", lambda c: c.p50_ms)


def test_the_table_has_a_line_for_each_and_leaves_out_what_was_not_measured() -> None:
    head, line = table([Figure("start", p50_ms=1234.5, rss_mib=70.0)]).splitlines()
    assert head.split() == ["name", "p50_ms", "p99_ms", "added_ms", "ratio", "cpu_us", "rps", "rss_mib"]
    assert line.split() == ["start", "1234.50", "70.00"]


def test_the_middle_of_several_runs_is_that_of_each_column() -> None:
    runs = [Figure("a", 1.0, cpu_us=30.0), Figure("a", 9.0, cpu_us=10.0), Figure("a", 2.0, cpu_us=20.0)]
    assert middle(runs) == Figure("a", 2.0, cpu_us=20.0)


def test_goals() -> None:
    said = goals([Goal("memory", 84.9, 85), Goal("reviews", 7.9, 8, least=True), Goal("writes", 1, 0)])
    assert [line.split()[0] for line in said.splitlines()] == ["reached", "MISSED", "MISSED"]


def test_json(tmp_path: Path) -> None:
    write([Figure("a", p50_ms=1.23456, rps=10.0)], tmp_path / "out")
    (one,) = json.loads((tmp_path / "out").read_text())
    assert one["p50_ms"] == 1.235
    assert set(one) == {"name", "p50_ms", "p99_ms", "added_ms", "ratio", "cpu_us", "rps", "rss_mib"}
    assert one["rss_mib"] is None
