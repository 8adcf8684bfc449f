"""Where the programs of the test cluster come from, and what is said when they cannot be had."""

import shutil
import subprocess
from pathlib import Path

import pytest

from controlplane import debian
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.image import Layout
from controlplane.tools import TOOLS


def script(folder: Path, name: str, text: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, without Go in it; and nothing is cached."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "setpriv"):
        (folder / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


def test_the_pinned_minor_version_on_path_is_taken(path: Path) -> None:
    kubectl = script(path, "kubectl", f"echo Client Version: {TOOLS['kubectl'].expected()}")
    assert need("kubectl") == {"kubectl": kubectl}


def test_another_version_on_path_is_not(path: Path) -> None:
    script(path, "kubectl", "echo Client Version: v1.20.2")
    with pytest.raises(HarnessError, match="kubectl: not found, and no Go to build them"):
        need("kubectl")


def test_given_assets_are_taken_whatever_their_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(path))
    etcd = script(path, "etcd", "exit 1")
    assert need("etcd") == {"etcd": etcd}


def test_an_assets_folder_that_is_not_there_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(path / "nowhere"))
    with pytest.raises(HarnessError, match="nowhere, which is no folder"):
        need("etcd")


def test_a_build_is_used_again(path: Path) -> None:
    script(path, "go", 'shift 2; while [ "$1" != -o ]; do shift; done; echo built > "$2/pause"')
    built = need("pause")["pause"]
    script(path, "go", "exit 1")
    assert need("pause") == {"pause": built}
    assert built.read_text() == "built\n"


def test_a_failed_build_says_why_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    script(path, "go", "echo dial tcp: lookup proxy: no such host; exit 1")
    with pytest.raises(HarnessError, match=r"is the Go module proxy reachable.*\n.*\n  dial tcp: lookup proxy"):
        need("pause")
    assert {file.name for file in (tmp_path / "cache" / "pullsecret-webhook").iterdir()} == {"lock", "build-images.log"}


@pytest.mark.node
def test_unpacked_packages_are_there_for_one_command_only(image_layout: Layout) -> None:
    """As for the image: /usr/bin/buildah with its libraries, and nothing of it on the machine."""
    mounts = Path("/proc/self/mounts").read_text()
    call = [*debian.within("buildah", "mmdebstrap"), "buildah", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("buildah version ")
    assert Path("/proc/self/mounts").read_text() == mounts
