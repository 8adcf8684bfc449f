"""`make demo` and `make demo-mirrors` show what the webhook is for: each of their steps raises when it is not so. Here
they are run as a user runs them.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.cluster import ControlPlane
from controlplane.story import Story
from controlplane.waiting import until

ROOT = Path(__file__).parents[2]


def start(folder: Path, what: str = "demo") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "controlplane", what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "TMPDIR": str(folder)},
    )


def left_in(folder: Path) -> list[str]:
    """Processes and mounts that name the folder, and what lies in it."""
    commands = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in (*commands, *mounts) if str(folder) in line] + [str(path) for path in folder.iterdir()]


@pytest.mark.node
@pytest.mark.usefixtures("node_binaries")
def test_the_whole_story(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        out, err = demo.communicate(timeout=110)
    assert demo.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) <= 40
    told = [line.strip() for line in lines]
    assert "1. Without the webhook:  ErrImagePull  ... no basic auth credentials" in told
    assert "the registry's log: 401, no user" in told
    assert "patched:    imagePullSecrets: [{'name': 'ghcr-secret'}]" in told
    assert sum("Running after" in line for line in told) == 2
    assert sum("403 Forbidden" in line for line in told) == 2
    assert not re.search(r"ghp_[A-Za-z0-9_-]{8}", out + err)
    assert left_in(tmp_path) == []


@pytest.mark.slow  # for 15 s it waits until the webhook has seen a mirror go and come; test_mirrors.py has the rest
@pytest.mark.node
@pytest.mark.usefixtures("node_binaries")
def test_the_story_of_mirrors(tmp_path: Path) -> None:
    with start(tmp_path, "demo-mirrors") as demo:
        out, err = demo.communicate(timeout=110)
    assert demo.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) <= 22
    served = [line.partition("; log of ")[2] for line in lines if "Running" in line]
    by_mirrors = [f"mirror of {of}: 200, user alice-at-mirror" for of in ("ghcr.io", "quay.io")]
    by_registries = [f"{of}: 200, user alice" for of in ("ghcr.io", "quay.io")]
    assert served == by_mirrors + by_registries + by_mirrors
    refused = [line.partition("; log of ")[2] for line in lines if "ErrImagePull" in line]
    assert refused == ["ghcr.io: 403, user bob", "mirror of quay.io: 403, user bob-at-mirror"]
    assert not re.search(r"ghp_[A-Za-z0-9_-]{8}", out + err)
    assert left_in(tmp_path) == []


@pytest.mark.node
@pytest.mark.usefixtures("node_binaries")
@pytest.mark.parametrize("after", [1.0, pytest.param(9.0, marks=pytest.mark.slow)], ids=["early", "late"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, after: float) -> None:
    """So many seconds after it has begun: before, while Python imports modules, nothing is there yet."""
    with start(tmp_path) as demo:
        until(lambda: any(tmp_path.iterdir()), "its folder is there", within=30)
        time.sleep(after)
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in err
    assert left_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("binaries")
def test_without_root_it_is_told_without_the_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ControlPlane.start(tmp_path) as cluster:
        Story(cluster, None).told()
    told = capsys.readouterr().out
    assert "Not root" in told
    assert "patched:    imagePullSecrets: [{'name': 'ghcr-secret'}]" in told
    assert "5. The namespace goes to Bob: ghcr-secret is a new object" in told
    assert "Running" not in told
