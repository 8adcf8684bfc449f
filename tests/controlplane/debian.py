"""Programs out of Debian packages, unpacked into the cache; nothing is installed on the machine."""

import os
import shutil
import subprocess
from pathlib import Path

from controlplane.cache import alone, cache, draft
from controlplane.errors import HarnessError
from controlplane.progress import step


def unpacked(package: str, program: str) -> Path | None:
    folder = cache() / "debian" / package
    return next((file for file in folder.glob(f"usr/*bin/{program}") if file.is_file()), None)


def unpack(package: str, program: str) -> Path:
    with alone():
        if not unpacked(package, program):
            with step(f"unpacking the Debian package {package}", "done in"):
                _fetch(package)
    if found := unpacked(package, program):
        return found
    raise HarnessError(f"the Debian package {package} has no program {program}: install {program} yourself")


def _fetch(package: str) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise HarnessError(f"{package} is missing and this is no Debian: install it, so that it is on PATH")
    with draft() as folder:
        _download(package, folder)
        root = folder / "root"
        _run("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(root), folder=folder)
        root.rename(_empty(cache() / "debian" / package))


def _download(package: str, folder: Path) -> None:
    try:
        _run("apt-get", "download", package, folder=folder)
    except HarnessError:
        if os.geteuid() != 0:  # only root may fetch the package lists
            raise
        _run("apt-get", "update", folder=folder)
        _run("apt-get", "download", package, folder=folder)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-1000:]}")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
