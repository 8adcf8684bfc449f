"""Virtual environments of their own, for what tests start and the webhook's lock excludes."""

import hashlib
import subprocess
import sys
from pathlib import Path

from controlplane.cache import alone, cache, draft
from controlplane.progress import say


def python(lock: Path) -> Path:
    """An interpreter with the packages of a lock file, kept in the cache."""
    digest = hashlib.sha256(f"{sys.version} {lock.read_text()}".encode()).hexdigest()[:16]
    folder = cache() / "venv" / f"{lock.parent.name}-{digest}"
    if not folder.exists():
        with alone():
            if not folder.exists():
                _make(lock, folder)
    return folder / "bin" / "python"


def _make(lock: Path, folder: Path) -> None:
    say(f"installing the packages of {lock.name} into a venv of their own ...")
    uv = str(Path(sys.executable).with_name("uv"))
    with draft() as made:
        inside = made / "venv"
        packages = ["--require-hashes", "--requirement", str(lock)]
        subprocess.run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(inside)], check=True)
        into = ["--quiet", "--python", str(inside / "bin" / "python")]
        subprocess.run([uv, "pip", "install", *into, *packages], check=True)
        folder.parent.mkdir(exist_ok=True)
        inside.rename(folder)
