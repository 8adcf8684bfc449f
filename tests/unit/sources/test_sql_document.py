"""docs/sql-source.md: its queries are the presets, and what its program encrypts is opened."""

import os
import re
from pathlib import Path
from typing import Any

from support import planted
from webhook.core.credential import MAX_CREDENTIALS
from webhook.sources import sql
from webhook.sources.batched import RETRIES
from webhook.sources.breaker import MAX_DOWN_BACKOFF_SECONDS
from webhook.sources.encrypted import Keys, unseal
from webhook.sources.remote import MAX_OWNERS, MAX_SIZE

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sql-source.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_presets() -> None:
    assert [block.strip() for block in blocks("sql")] == list(sql.PRESETS.values())
    assert re.findall(r"`preset: ([a-z-]+)`", DOCUMENT) == list(sql.PRESETS)


def test_what_its_program_encrypts_is_opened() -> None:
    (program,) = blocks("python")
    names: dict[str, Any] = {}
    exec(program, names)  # our own document
    key, token = os.urandom(32), planted.token()
    assert unseal(names["seal"](token, "alice", "k1", key), "alice", Keys(by_id={"k1": key})) == token


def test_the_figures() -> None:
    assert f"more than {MAX_CREDENTIALS} rows" in DOCUMENT
    assert f"at most {MAX_DOWN_BACKOFF_SECONDS:g} seconds apart" in DOCUMENT
    assert f"up to {MAX_OWNERS} owners with one query" in DOCUMENT
    assert f"25,000 of them with about {round(25_000 / MAX_OWNERS, -2):g} queries" in DOCUMENT
    assert f"at most {RETRIES} queries" in DOCUMENT
    assert f"more than {MAX_SIZE // 1024**2} MiB in one query" in DOCUMENT
