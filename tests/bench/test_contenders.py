"""The contenders of the bench do what they are measured for, and the load client sees it when one does not."""

import base64
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonpatch
import pytest

from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child

pytestmark = pytest.mark.cluster

REVIEW = Path(__file__).with_name("review.json")
CONTENDERS = ("bench-usual", "bench-handmade")
OURS = [{"name": "ghcr-secret"}]


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> dict[str, Path]:
    """A first build takes minutes, which are not the tests'."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture
    with capture.global_and_fixture_disabled():
        return need(*CONTENDERS, "bench-load")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path)
    pki.server("tls", "127.0.0.1")  # tls.crt and tls.key
    return pki


@contextmanager
def running(program: Path, pki: Pki, *flags: str | Path) -> Iterator[str]:
    """The URL of its /mutate."""
    port, folder = free_port(), pki.ca.parent
    command: list[str | Path] = [program, "-port", str(port), "-cert-dir", folder, *flags]
    url = f"https://127.0.0.1:{port}/mutate?timeout=3s"
    with Child(program.name, command, log=folder / f"{program.name}.log") as child:
        child.until(lambda: answers(url, pki), "it answers", within=20)
        yield url


def answers(url: str, pki: Pki) -> bool:
    try:
        return ask(url, pki) is not None
    except httpx.ConnectError:
        return False


def ask(url: str, pki: Pki, review: bytes = REVIEW.read_bytes()) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=pki.ca)
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(url, content=review, headers=headers, verify=context, trust_env=False).raise_for_status()
    response: dict[str, Any] = answer.json()["response"]
    return response


def load(program: Path, url: str, pki: Pki, body: Path = REVIEW) -> subprocess.CompletedProcess[str]:
    flags: list[str | Path] = ["-url", url, "-body", body, "-ca", pki.ca, "-connections", "2", "-seconds", "0.3"]
    return subprocess.run([program, *flags], capture_output=True, text=True, timeout=30, check=False)


def test_the_review_is_of_the_size_that_is_said() -> None:
    assert 5500 <= REVIEW.stat().st_size <= 6500


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_adds_the_reference(name: str, built: dict[str, Path], pki: Pki) -> None:
    request = json.loads(REVIEW.read_text())["request"]
    with running(built[name], pki) as url:
        response = ask(url, pki)
    patched = jsonpatch.apply_patch(request["object"], json.loads(base64.b64decode(response["patch"])))
    assert patched["spec"].pop("imagePullSecrets") == OURS
    assert patched == request["object"]
    assert (response["uid"], response["allowed"], response["patchType"]) == (request["uid"], True, "JSONPatch")


@pytest.mark.parametrize(("labels", "patched"), [({"pullsecret-webhook/owner": "alice"}, True), ({}, False)])
def test_the_usual_one_asks_who_owns_the_namespace(
    cluster: ControlPlane, built: dict[str, Path], pki: Pki, labels: dict[str, str], patched: bool
) -> None:
    name = f"contenders-{patched}".lower()
    cluster.namespace(name, labels=labels)
    review = REVIEW.read_bytes().replace(b'"namespace":"bench"', f'"namespace":"{name}"'.encode())
    with running(built["bench-usual"], pki, "-kubeconfig", cluster.kubeconfig) as url:
        response = ask(url, pki, review)
    assert (response["allowed"], "patch" in response) == (True, patched)


@pytest.mark.parametrize("name", CONTENDERS)
def test_load_counts_what_was_answered(name: str, built: dict[str, Path], pki: Pki) -> None:
    with running(built[name], pki) as url:
        done = load(built["bench-load"], url, pki)
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["requests"] > 10
    assert seen["status_counts"] == {"200": seen["requests"]}
    assert seen["errors"] == 0
    assert 0.3 <= seen["seconds"] < 2
    assert 0 < seen["p50_us"] <= seen["p90_us"] <= seen["p99_us"] < 1e6


def test_load_takes_no_answer_without_a_patch(built: dict[str, Path], pki: Pki, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text("{}")
    with running(built["bench-handmade"], pki) as url:
        done = load(built["bench-load"], url, pki, body)
    assert done.returncode == 1
    assert done.stderr.startswith('load: the first answer is a 400, or without "patch": no AdmissionReview')
