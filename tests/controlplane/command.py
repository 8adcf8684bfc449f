"""The command `pullsecret` as an administrator calls it, in this process: a start of its own takes a second."""

import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from unittest.mock import patch

from controlplane.cluster import ControlPlane
from support import planted
from webhook.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class _Typed(TextIOWrapper):
    def isatty(self) -> bool:
        return True


def command(cluster: ControlPlane, *arguments: str, stdin: str = "", typed: bool = False) -> Ran:
    """The kubeconfig is in the environment. What it prints holds no planted token. `typed`: stdin is a terminal."""
    out, err, code = StringIO(), StringIO(), 0
    environment = patch.dict(os.environ, {"KUBECONFIG": str(cluster.kubeconfig)})
    given = patch("sys.stdin", (_Typed if typed else TextIOWrapper)(BytesIO(stdin.encode())))
    with environment, given, redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert not planted.leaks(out.getvalue() + err.getvalue())
    return Ran(code, out.getvalue(), err.getvalue())
