"""Compiles what the server imports, the standard library's part too, into $PYTHONPYCACHEPREFIX.

A read-only file system keeps no cache, and the official Python images bring none.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

for name in ("webhook.cli", "webhook.app", "webhook.commands.inject.inject", "uvloop"):
    importlib.import_module(name)

# Never compared with the source: both lie in one layer, whose times are rewritten.
UNCHECKED = (1).to_bytes(4, "little")

assert sys.pycache_prefix
for compiled in Path(sys.pycache_prefix).rglob("*.pyc"):
    folder = Path("/") / compiled.relative_to(sys.pycache_prefix).parent
    source = folder / f"{compiled.name.partition('.')[0]}.py"
    content = compiled.read_bytes()
    compiled.write_bytes(content[:4] + UNCHECKED + importlib.util.source_hash(source.read_bytes()) + content[16:])
