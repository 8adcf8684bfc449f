"""Compiles all modules that the server and the probe on a node import into $PYTHONPYCACHEPREFIX, also those of the
standard library.

Python cannot write its cache on a read-only file system, and the official Python images have none.
"""

import importlib
import py_compile
import sys
from pathlib import Path

COMMANDS = "webhook.commands.inject.references", "webhook.commands.doctor.packed"
for name in ("webhook.cli", "webhook.app", *COMMANDS, "uvloop"):
    importlib.import_module(name)

assert sys.pycache_prefix
for compiled in Path(sys.pycache_prefix).rglob("*.pyc"):
    folder = Path("/") / compiled.relative_to(sys.pycache_prefix).parent
    source = folder / f"{compiled.name.partition('.')[0]}.py"
    # Never compared with the source: both are in one image layer, and its file times are rewritten.
    py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
