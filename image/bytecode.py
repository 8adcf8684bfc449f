"""Compiles all modules that the server, its process for certificates and the probe on a node import into
$PYTHONPYCACHEPREFIX, also those of the standard library.

Python cannot write its cache on a read-only file system, and the official Python images have none. Nobody reads the
docstrings of others' modules there: without them the server takes 1.8 MiB less memory. Ours are the commands' help.
"""

import ast
import importlib
import importlib.util
import marshal
import sys
from pathlib import Path

import certs
import webhook

COMMANDS = "webhook.commands.inject.references", "webhook.commands.doctor.packed"
OURS = [Path(folder) for package in (webhook, certs) for folder in package.__path__]
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""Never compared with the source (PEP 552): both are in one image layer, and its file times are rewritten."""


def bytecode(path: Path) -> bytes:
    source = path.read_bytes()
    tree = ast.parse(source, path)
    if not any(folder in path.parents for folder in OURS):
        for node in ast.walk(tree):
            without_docstring(node)
    code = compile(tree, path, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source) + marshal.dumps(code)


def without_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    match node.body:
        case [ast.Expr(ast.Constant(str())) as docstring]:
            node.body = [ast.copy_location(ast.Pass(), docstring)]
        case [ast.Expr(ast.Constant(str())), *rest]:
            node.body = rest


def main() -> None:
    for name in ("webhook.cli", "webhook.app", "certs.answers", *COMMANDS, "uvloop"):
        importlib.import_module(name)
    assert sys.pycache_prefix
    for compiled in Path(sys.pycache_prefix).rglob("*.pyc"):
        folder = Path("/") / compiled.relative_to(sys.pycache_prefix).parent
        compiled.write_bytes(bytecode(folder / f"{compiled.name.partition('.')[0]}.py"))


if __name__ == "__main__":
    main()
