"""What the table says, and what counts as missed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faults.fault import Fault
from faults.figures import Row, goals, table, write
from faults.scene import Downs
from faults.trial import Round

GOOD = Round(100, 0, 0, lost_up=0, lost=0, right=0.1, wrong={}, restarts=0, rss=70, lines=9, slowest=0.1, leaks=False)
FAULT = Fault("kill_one", "", lambda _: None)


def row(*rounds: Round, net: bool = False, fault: Fault = FAULT) -> Row:
    return Row(fault, rounds, net)


def test_what_is_right_misses_nothing() -> None:
    assert goals([row(GOOD, GOOD)]) == ""
    assert table([row(GOOD, GOOD)]).splitlines()[-1].split("|")[1:4] == [" kill_one ", " 2      ", " 200  "]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"refused": 1}, "1 pods refused"),
        ({"stray": 2}, "2 references where nobody owns the namespace"),
        ({"lost": 3, "lost_up": 3}, "3 pods without reference"),
        ({"wrong": {"a": "old", "b": "none", "c": "old"}}, "wrong at the end: none, old in 3 namespaces"),
        ({"right": 5.1}, "right after 5.1 s (goal 5 s)"),
        ({"rss": 201}, "a replica had 201 MiB of memory (goal 200 MiB)"),
        ({"restarts": 1}, "1 ends that nobody outside caused"),
        ({"leaks": True}, "a token in a log"),
        ({"remarks": ("memory grew by 9 MiB",)}, "memory grew by 9 MiB"),
    ],
)
def test_what_is_missed_in_one_round_is_said(change: dict[str, Any], words: str) -> None:
    made = row(GOOD, replace(GOOD, **change))
    assert made.missed == [words]
    assert goals([made]) == f"MISSED  kill_one: {words}"
    assert "MISSED" in table([made])


def test_each_round_is_a_line(tmp_path: Path) -> None:
    write(row(GOOD, replace(GOOD, wrong={"a": "old"}, answers={"patched": 3})), tmp_path / "rounds")
    first, second = map(json.loads, (tmp_path / "rounds").read_text().splitlines())
    assert (first["fault"], first["pods"], first["wrong"]) == ("kill_one", 100, {})
    assert (second["wrong"], second["answers"]) == ({"a": "old"}, {"patched": 3})


def test_what_no_replica_can_see_counts_only_with_the_net() -> None:
    lost, uncaught = replace(GOOD, lost=1, lost_up=1), replace(FAULT, uncaught=True)
    assert row(lost, fault=uncaught).missed == []
    assert "n/a" in table([row(lost, fault=uncaught)])
    assert row(lost, net=True, fault=uncaught).missed == ["1 pods without reference"]


def test_when_no_replica_was_up() -> None:
    downs = Downs()
    for now, up in ((0.0, True), (1.0, False), (1.5, False), (2.0, True), (5.0, False)):
        downs.note(now, up=up)
    assert [downs.meet(*span) for span in ((0, 0.9), (0, 1.1), (1.2, 1.3), (1.9, 3), (2.1, 4.9), (4, 6), (7, 8))] == [
        False, True, True, True, False, True, True
    ]  # fmt: skip
