"""Programs out of Debian packages, unpacked into the cache; nothing is installed on the machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from controlplane.cache import alone, cache, draft
from controlplane.errors import HarnessError
from controlplane.progress import step

# The packages lie over the machine's own folders, for one command and what it starts.
_OVER = 'for d in usr etc; do mount -t overlay overlay -o "lowerdir=$0/$d:/$d" "/$d"; done; exec "$@"'


def unpacked(package: str, program: str) -> Path | None:
    return next((file for file in _folder(package).glob(f"usr/*bin/{program}") if file.is_file()), None)


def unpack(package: str, program: str) -> Path:
    with alone():
        if not unpacked(package, program):
            with step(f"unpacking the Debian package {package}", "done in"):
                _fetch(package, package)
    if found := unpacked(package, program):
        return found
    raise HarnessError(f"the Debian package {package} has no program {program}: install {program} yourself")


def within(*packages: str) -> list[str]:
    """To be put before a command, which then finds the packages as if they were installed, and all they depend on.

    In a mount namespace of its own, so it takes root."""
    name = "+".join(packages)
    if not _folder(name).exists():
        with step(f"unpacking the Debian packages {', '.join(packages)}", "done in"):
            _fetch(name, *_missing(*packages))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _OVER, str(_folder(name))]


def _folder(name: str) -> Path:
    return cache() / "debian" / name


def _missing(*packages: str) -> list[str]:
    """What apt would install."""
    simulated = _apt("install", "--simulate", "--no-install-recommends", *packages, folder=cache())
    return sorted({*packages, *re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)})


def _fetch(name: str, *packages: str) -> None:
    with draft() as folder:
        _apt("download", *packages, folder=folder)
        root = folder / "root"
        for directory in ("usr", "etc"):
            (root / directory).mkdir(parents=True)
        for package in folder.glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(root), folder=folder)
        root.rename(_empty(_folder(name)))


def _apt(*arguments: str, folder: Path) -> str:
    try:
        return _run("apt-get", *arguments, folder=folder)
    except HarnessError:
        if os.geteuid() != 0:  # only root may fetch the package lists
            raise
        _run("apt-get", "update", folder=folder)
        return _run("apt-get", *arguments, folder=folder)


def _run(*command: str, folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise HarnessError(f"{command[0]} is missing, so this is no Debian: `{' '.join(command)}` was to be run")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-1000:]}")
    return done.stdout


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
