"""What bench-issuers says is what it saw."""

from pathlib import Path
from typing import get_args

from bench.issuers import Found, of_all_kinds
from webhook.config import issuers


def missed(found: Found) -> list[str]:
    return [goal.what for goal in found.goals() if not goal.reached]


def test_goals() -> None:
    assert missed(Found(80, 150, 26, 100)) == []
    assert missed(Found(111, 150, 26, 100)) == ["MiB when all kinds have asked, in vain"]
    assert missed(Found(80, 201, 26, 100)) == ["MiB with 10,000 owners, at most"]
    assert missed(Found(80, 150, 61, 100)) == ["seconds until 1,000 owners have a robot"]
    assert missed(Found(80, 150, 20, 100)) == ["robots a second, but for the first ones"]


def test_no_kind_is_forgotten(tmp_path: Path) -> None:
    kinds = {one["issue"] for one in of_all_kinds(tmp_path)} | {"harbor", "registry"}
    assert kinds == {one.__struct_config__.tag for one in get_args(issuers.Issuer)}
