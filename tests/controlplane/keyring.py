"""The kubelet's own code for credentials (go/keyring), in a process that answers one question a line."""

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.binaries import need
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE


@dataclass(frozen=True)
class Keyring:
    process: subprocess.Popen[str]

    def ask(self, secrets: Sequence[dict[str, Any]], images: Sequence[str]) -> list[list[str]] | None:
        """For each image, `username:password` of all credentials that the kubelet tries, in its order. None: it cannot
        parse one of the Secrets, and tries nothing.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"secrets": secrets, "images": images}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return None if "error" in answer else [[":".join(one) for one in found] for found in answer["found"]]


@contextmanager
def keyring() -> Iterator[Keyring]:
    command = [need("keyring")["keyring"]]
    pipe, silent = subprocess.PIPE, subprocess.DEVNULL  # its log names keys that it passes over
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=silent, text=True) as process:
        yield Keyring(process)
        assert process.stdin is not None
        process.stdin.close()


def secret(content: bytes, kind: str = DOCKERCONFIG_TYPE, key: str = DOCKERCONFIG_KEY) -> dict[str, Any]:
    return {"type": kind, "data": {key: base64.b64encode(content).decode()}}
