"""Builds programs of a pinned Go module into the cache."""

import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.cache import alone, cache, draft
from controlplane.errors import HarnessError
from controlplane.process import Child
from controlplane.progress import step
from controlplane.tools import Module, Tool

_HINTS = {
    r"requires go >= (\S+)": "install the Go version that it asks for",
    r"dial tcp|no such host|connection refused|TLS handshake|proxyconnect|i/o timeout": (
        "is the Go module proxy reachable ($GOPROXY, $HTTPS_PROXY)?"
    ),
    r"no space left": "free some disk space: a build takes about 4 GB",
    r"signal: killed": "was it out of memory? A build takes about 3 GB",
    r"missing go\.sum entry|updates to go\.mod needed": "go.mod was changed without go.sum",
}


def target(tool: Tool) -> Path:
    """Where the built program stands, or would."""
    assert tool.module
    return cache() / "go" / f"{tool.module.name}-{tool.module.digest()}" / tool.name


def build(module: Module, tools: Sequence[Tool]) -> None:
    with alone():
        missing = [tool for tool in tools if not target(tool).exists()]  # another run may have made them meanwhile
        if missing:
            _build(module, missing)


def _build(module: Module, tools: Sequence[Tool]) -> None:
    if shutil.which("go") is None:
        names = ", ".join(tool.name for tool in tools)
        raise HarnessError(f"{names}: not found, and no Go to build them: install Go, or set $KUBEBUILDER_ASSETS")
    with draft() as folder:
        _compile(module, tools, folder)
        for tool in tools:
            target(tool).parent.mkdir(parents=True, exist_ok=True)
            (folder / _made(tool)).rename(target(tool))


def _compile(module: Module, tools: Sequence[Tool], folder: Path) -> None:
    log = cache() / f"build-{module.name}.log"
    log.unlink(missing_ok=True)
    packages = [tool.package for tool in tools]
    command = ["go", "-C", str(module.folder), "build", *module.flags(), "-o", f"{folder}/", *packages]
    names = ", ".join(tool.name for tool in tools)
    what = f"building {names} (Go; {module.usual} on 2 cores when nothing is cached)"
    with (
        step(what, "done in") as progress,
        Child("go", command, log=log, env=_env(folder), stop_signal=signal.SIGINT) as go,
    ):
        progress.announce()
        while go.running:
            progress.tick()
            time.sleep(0.25)
        if go.status:
            raise HarnessError(f"go build of {module.name} failed{_hint(log)}\n{go.tail()}")


def _env(folder: Path) -> Mapping[str, str]:
    return {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false -mod=readonly",
        "GOWORK": "off",
        "GOTMPDIR": str(folder),  # an interrupted build leaves its work folder behind
    }


def _made(tool: Tool) -> str:
    """What `go build` calls the program: the last word of its package that is no version."""
    words = [word for word in tool.package.split("/") if not re.fullmatch(r"v\d+", word)]
    return tool.name if words[-1] == "." else words[-1]


def _hint(log: Path) -> str:
    text = log.read_text(errors="replace")
    return next((f": {hint}" for pattern, hint in _HINTS.items() if re.search(pattern, text)), "")
