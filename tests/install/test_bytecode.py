"""The bytecode of the image: others' modules without docstrings; ours keep them, as they are the commands' help."""

import ast
import bisect
import marshal
from pathlib import Path
from typing import Any

import pytest

from image.bytecode import bytecode, without_docstring
from webhook import noanswer

HEADER = 16
"""Bytes before the code (PEP 552)."""


def ran(file: str) -> dict[str, Any]:
    """What is in the module when the bytecode of its file was run."""
    compiled = bytecode(Path(file))
    assert compiled[4:8] == b"\1\0\0\0"  # not compared with the source
    namespace: dict[str, Any] = {"__name__": "module"}
    exec(marshal.loads(compiled[HEADER:]), namespace)
    return namespace


def test_others_lose_their_docstrings_and_ours_keep_them() -> None:
    theirs, ours = ran(bisect.__file__), ran(noanswer.__file__)
    assert bisect.__doc__
    assert theirs.get("__doc__") is None
    assert theirs["bisect_left"]([1, 2, 3], 2) == 1
    assert noanswer.__doc__
    assert ours["__doc__"] == noanswer.__doc__


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('"""Doc."""\nfrom __future__ import annotations\nx = 1', "from __future__ import annotations\nx = 1"),
        ('def f():\n    """Doc."""', "def f():\n    pass"),
        ('class C:\n    "Doc."\n    x = "kept"\n    "kept"', 'class C:\n    x = "kept"\n    "kept"'),
        ('async def f():\n    b"kept"', 'async def f():\n    b"kept"'),
    ],
)
def test_what_is_left_of_a_module(source: str, left: str) -> None:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        without_docstring(node)
    assert ast.dump(tree) == ast.dump(ast.parse(left))
    compile(tree, "module", "exec")
