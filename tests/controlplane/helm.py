"""Helm 3 and 4, built like all else; without plug-ins, repositories or settings of whoever runs the tests."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.errors import HarnessError

CHART = Path(__file__).parents[2] / "charts" / "pullsecret-webhook"
NAMESPACE = "pullsecret-webhook"
REPOSITORY = "registry.example.com/pullsecret-webhook"
"""The chart names no image of its own."""


class Helm:
    """`folder` holds what Helm writes for itself; `kubeconfig` is for what talks to a cluster."""

    def __init__(self, major: int, folder: Path, kubeconfig: Path | None = None) -> None:
        name = f"helm{major}"
        self._image = folder / "image.yaml"
        self._image.write_text(json.dumps({"image": {"repository": REPOSITORY}}))
        self._program, self._folder = need(name)[name], folder
        self._kubeconfig = kubeconfig or folder / "no-cluster"

    def run(self, *arguments: str | Path, values: Object | None = None, within: float = 120) -> str:
        """What it prints. Raises HarnessError with what it says when it fails. `values` go in by standard input, and
        override the image, as values in files do.
        """
        image: list[str | Path] = []
        if CHART in arguments or str(CHART) in arguments:
            image = [] if arguments[0] == "package" else ["--values", self._image]
        done = subprocess.run(
            [self._program, arguments[0], *image, *arguments[1:], *(["--values", "-"] if values is not None else [])],
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "KUBECONFIG": str(self._kubeconfig)},
        )
        if done.returncode:
            raise HarnessError(f"helm {arguments[0]}: {done.stderr.strip()}\n{done.stdout.strip()}")
        return done.stdout

    def render(self, values: Object | None = None, *flags: str | Path, namespace: str = NAMESPACE) -> list[Object]:
        """The objects that an installation with these values has, hooks too."""
        text = self.run("template", "release", CHART, "--namespace", namespace, *flags, values=values or {})
        return documents(text)


def documents(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def one(objects: list[Object], kind: str, name: str = "") -> Any:
    """The one object of this kind, or of this kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    return found
