"""Compiles what the server imports, the standard library's part too, into $PYTHONPYCACHEPREFIX.

A read-only file system keeps no cache, and the official Python images bring none.
"""

import importlib
import py_compile
import sys
from pathlib import Path

for name in ("webhook.cli", "webhook.app", "webhook.commands.inject.references", "uvloop"):
    importlib.import_module(name)

assert sys.pycache_prefix
for compiled in Path(sys.pycache_prefix).rglob("*.pyc"):
    folder = Path("/") / compiled.relative_to(sys.pycache_prefix).parent
    source = folder / f"{compiled.name.partition('.')[0]}.py"
    # Never compared with the source: both lie in one layer, whose times are rewritten.
    py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
