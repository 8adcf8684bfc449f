"""JSON that nests deep: what is cut, what stays, and how long that takes."""

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook.core import wire
from webhook.core.wire import Unreadable, cut, decode_at_once
from webhook.fairness import in_steps
from webhook.kube.cluster import decode

TEXTS = st.text(alphabet='ab"\\{}[],:\n\u00e4', max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)
LEVELS = 3


def shallow(value: Any, levels: int) -> Any:
    """What is to stay."""
    if not isinstance(value, list | dict):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [shallow(one, levels - 1) for one in value]
    return {key: shallow(one, levels - 1) for key, one in value.items()}


@given(VALUES, st.booleans())
@example({"a": [[[[["\\"]]], "]"]], '"': {"}": [{}]}}, True)
def test_what_is_above_stays_and_the_rest_is_null(value: Any, compact: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "KEPT_LEVELS", LEVELS)
        text = json.dumps(value, ensure_ascii=compact, separators=(",", ":") if compact else None)
        assert json.loads(asyncio.run(in_steps(cut(text.encode())))) == shallow(value, LEVELS)


@given(st.binary(max_size=30) | st.text(alphabet='{}[]"\\a,:', max_size=30).map(str.encode))
def test_what_is_no_json_ends_nothing(data: bytes) -> None:
    asyncio.run(in_steps(cut(data)))


class Whole(msgspec.Struct):
    x: int


WHOLE = msgspec.json.Decoder(Whole)


def deep(levels: int) -> bytes:
    return b'{"y":' + b'[{"a":' * (levels // 2) + b"{}" + b"}]" * (levels // 2) + b',"x":1}'


@pytest.mark.parametrize("levels", [10, 990, 9_990, 30_000])
def test_it_is_read_however_deep(levels: int) -> None:
    before = sys.getrecursionlimit()
    assert asyncio.run(decode(WHOLE, deep(levels))) == Whole(1)
    assert sys.getrecursionlimit() == before


def test_what_only_cutting_makes_readable_is_not_read_at_once() -> None:
    with pytest.raises(RecursionError):
        decode_at_once(WHOLE, deep(1_000_000))


@pytest.mark.parametrize("data", [b"", b"{", b'{"x":"secret"}', b"[]", b'{"x":1,"y":' + b"[" * 30_000, b"\xff"])
def test_what_cannot_be_read_is_not_quoted(data: bytes) -> None:
    with pytest.raises(Unreadable) as error:
        asyncio.run(decode(WHOLE, data))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("inner", [b'"a":{},' * 100_000, b'"' + b"\\\\" * 400_000 + b'":1,', b"[" * 400_000])
def test_cutting_takes_time_in_proportion(inner: bytes) -> None:
    """Others have their turn meanwhile."""

    async def main() -> tuple[float, int]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        began = time.process_time()
        await in_steps(cut(b"[" * 200 + b"{" + inner + b'"a":1}' + b"]" * 200))
        beside.cancel()
        return time.process_time() - began, turns

    seconds, turns = asyncio.run(main())
    assert seconds < 3
    assert turns >= inner.count(b"{") // wire.STEP_BRACKETS
