"""The webhook as the image starts it: the locked packages alone, with the image's environment and its bytecode."""

import os
import re
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from support import ownvenv

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shipped:
    """An interpreter, and the environment in which it runs `-m webhook`. Its Python is that of the bench."""

    python: Path
    env: dict[str, str]


def shipped(folder: Path) -> Shipped:
    """`folder`: for the bytecode, and for our metadata, as the code is the checkout's."""
    python = ownvenv.python(ROOT / "requirements.lock")
    *_, stage = (ROOT / "Containerfile").read_text().split("\nFROM ")
    settings = dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S+)", stage, re.MULTILINE))
    del settings["PATH"]
    info = folder / "own" / "pullsecret_webhook.dist-info"
    info.mkdir(parents=True)
    name = "pullsecret-webhook"
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {metadata.version(name)}\n")
    paths = {"PYTHONPATH": f"{ROOT}:{info.parent}", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    env = settings | paths
    compiling = env | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONNODEBUGRANGES": "1"}
    subprocess.run([python, ROOT / "image" / "bytecode.py"], env=os.environ | compiling, check=True)
    return Shipped(python, env)
