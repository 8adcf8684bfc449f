"""Compiles what the server imports, the standard library's part too: a read-only file system keeps no cache, and the
official Python images bring none. Run with $PYTHONPYCACHEPREFIX, as the image runs."""

import py_compile
import sys
from pathlib import Path

import webhook.app
import webhook.cli
import webhook.inject

for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None)
    if source is not None and Path(source).suffix == ".py":
        # Never compared with the source again: the two lie in one layer, whose times are rewritten.
        py_compile.compile(source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
