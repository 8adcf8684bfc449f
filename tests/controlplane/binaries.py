"""Finds the programs of a test cluster, in this order:

$KUBEBUILDER_ASSETS (whatever version is there), PATH (only the pinned minor version: an old kubectl is worse than
none), the cache of what was built or unpacked before, else a Debian package or a build from the modules in go/."""

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from controlplane import debian, gobuild
from controlplane.errors import HarnessError
from controlplane.tools import TOOLS, Module, Tool, parse_version


def need(*names: str) -> dict[str, Path]:
    """The programs by name; those that are nowhere are built, which can take minutes and says so."""
    _make([TOOLS[name] for name in names if _find(TOOLS[name]) is None])
    found = {name: _find(TOOLS[name]) for name in names}
    return {name: path for name, path in found.items() if path is not None}


def _make(tools: list[Tool]) -> None:
    builds: defaultdict[Module, list[Tool]] = defaultdict(list)
    for tool in tools:
        if tool.module is not None:
            builds[tool.module].append(tool)
        else:
            debian.unpack(tool.debian, tool.name)
    for module, missing in builds.items():
        gobuild.build(module, missing)


def _find(tool: Tool) -> Path | None:
    return _given(tool) or _on_path(tool) or _cached(tool)


def _given(tool: Tool) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or tool.ours:
        return None
    if not Path(assets).is_dir():
        raise HarnessError(f"$KUBEBUILDER_ASSETS is {assets}, which is no folder: correct or unset it")
    program = Path(assets) / tool.name
    return program if program.is_file() else None


def _on_path(tool: Tool) -> Path | None:
    program = None if tool.ours else shutil.which(tool.name)
    if program is None:
        return None
    version = _version(program, tool)
    return Path(program) if version is not None and tool.fits(version) else None


def _version(program: str, tool: Tool) -> tuple[int, int] | None:
    try:
        asked = subprocess.run([program, *tool.ask], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(asked.stdout)


def _cached(tool: Tool) -> Path | None:
    if tool.module is None:
        return debian.unpacked(tool.debian, tool.name)
    program = gobuild.target(tool)
    return program if program.exists() else None
