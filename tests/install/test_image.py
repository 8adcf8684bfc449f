"""The container image: what is in it, and that it runs as strictly as a cluster may ask for.

The chart's pods in test_helm.py are as strict; here each way of calling it is tried alone, which takes its time.
"""

import json
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane import plain, webhookimage
from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.image import Layout
from controlplane.kubeconfig import Access
from controlplane.node import Node
from controlplane.ports import free_port
from controlplane.registry import Registry
from controlplane.webhookimage import Pushed

ROOT = Path(__file__).parents[2]
HOME = "opt/pullsecret"
SITE = f"{HOME}/lib/{webhookimage.PYTHON}/site-packages"
TAG = f"cpython-{webhookimage.PYTHON.removeprefix('python').replace('.', '')}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

STRICT_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
STRICT_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def content(layout: Layout, digest: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layout.path(digest)) as tar:
        return {entry.name.removeprefix("./").rstrip("/"): entry for entry in tar}


def read(layout: Layout, digest: str, name: str) -> bytes:
    with tarfile.open(layout.path(digest)) as tar:
        found = next(entry for entry in tar if entry.name.removeprefix("./") == name)
        file = tar.extractfile(found)
        assert file
        return file.read()


@pytest.fixture(scope="session")
def ours(image_layout: Layout) -> dict[str, tarfile.TarInfo]:
    """Everything that is not the base's."""
    _base, *others = image_layout.layers()
    entries: dict[str, tarfile.TarInfo] = {}
    for digest in others:
        entries |= content(image_layout, digest)
    assert entries
    return entries


@pytest.fixture(scope="session")
def sbom(image_layout: Layout) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(read(image_layout, image_layout.layers()[1], f"{HOME}/sbom.cdx.json"))
    return document


def locked() -> dict[str, str]:
    """Name and version of what the lock asks for on CPython."""
    entries = re.findall(
        r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    names = ("platform_python_implementation", "implementation_name")
    conditions = {f"{name} != '{pypy}'" for name in names for pypy in ("PyPy", "pypy")}
    for name, _version, marker in entries:
        assert not marker or set(marker.split(" and ")) <= conditions, f"{name}: {marker}: is it for this image?"
    assert len(entries) > 30
    return {name: version for name, version, _marker in entries}


@pytest.mark.node
def test_configuration(image_layout: Layout) -> None:
    config = image_layout.config()["config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["pullsecret"], ["serve"])
    assert set(config["ExposedPorts"]) == {"8443/tcp", "8080/tcp"}
    labels = {key.rpartition(".")[2]: text for key, text in config["Labels"].items() if key.startswith("org.opencont")}
    assert labels.pop("name").startswith("localhost/base:")
    assert labels == {
        "title": PROJECT["name"],
        "description": "Gives every namespace its owner's image pull secret",
        "licenses": PROJECT["license"],
        "version": PROJECT["version"],
        "revision": webhookimage.REVISION,
    }


@pytest.mark.node
def test_nothing_but_the_environment_is_added(ours: dict[str, tarfile.TarInfo]) -> None:
    assert {name.partition("/")[0] for name in ours} == {"opt"}
    assert {"/".join(name.split("/")[:3]) for name in ours if name.count("/") > 1} == {
        f"{HOME}/{name}"
        for name in (".gitignore", "bin", "bytecode", "include", "lib", "lib64", "pyvenv.cfg", "sbom.cdx.json")
    } - ({f"{HOME}/.gitignore", f"{HOME}/include"} - set(ours))  # as this Python's venv has them or not
    packages = {name.removeprefix(f"{SITE}/").partition("/")[0] for name in ours if name.startswith(f"{SITE}/")}
    assert packages >= {"webhook", "certs", "starlette"}
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "tests", "controlplane", "planted.py", "pytest"})
    forbidden = re.compile(
        r"(^|/)(\.git|\.cache|\.ssh|\.netrc|\.pypirc|pip\.conf|conftest\.py|.*\.(key|egg-info))(/|$)"
    )
    assert [name for name in ours if forbidden.search(name)] == []


@pytest.mark.node
def test_nobody_can_write_in_it(ours: dict[str, tarfile.TarInfo]) -> None:
    """Root owns all of it, and the numeric user reads it."""
    assert {(entry.uid, entry.gid) for entry in ours.values()} == {(0, 0)}
    for name, entry in ours.items():
        if not entry.issym():
            assert entry.mode & 0o022 == 0, name
            assert entry.mode & 0o004, name
            assert entry.mode & 0o6000 == 0, name


@pytest.mark.node
def test_no_time_of_building_is_in_it(image_layout: Layout, ours: dict[str, tarfile.TarInfo]) -> None:
    assert {entry.mtime for entry in ours.values()} == {int(webhookimage.EPOCH)}
    assert image_layout.config()["created"].startswith("2001-09-09T01:46:40")
    assert "timestamp" not in (image_layout.folder / "sbom.cdx.json").read_text()


@pytest.mark.node
def test_the_code_is_the_checkouts(image_layout: Layout, ours: dict[str, tarfile.TarInfo]) -> None:
    layer = image_layout.layers()[1]
    for package in ("webhook", "certs"):
        here = {str(file.relative_to(ROOT)) for file in (ROOT / package).rglob("*.py")}
        assert {name.removeprefix(f"{SITE}/") for name in ours if name.startswith(f"{SITE}/{package}/")} >= here
    assert read(image_layout, layer, f"{SITE}/webhook/admission.py") == (ROOT / "webhook/admission.py").read_bytes()


@pytest.mark.node
def test_what_the_server_imports_is_compiled(image_layout: Layout, ours: dict[str, tarfile.TarInfo]) -> None:
    """For good: never compared with the time of a source."""
    compiled = [name for name in ours if name.startswith(f"{HOME}/bytecode/")]
    for module in (
        "webhook/app",
        "webhook/serving/server",
        "certs/selfmanaged",
        "certs/answers",
        "cryptography/x509/base",
        "uvicorn/server",
        "kubernetes/aio/client/rest",
    ):
        assert f"{HOME}/bytecode/{SITE}/{module}.{TAG}.pyc" in compiled
    assert f"{HOME}/bytecode/usr/lib/{webhookimage.PYTHON}/asyncio/events.{TAG}.pyc" in compiled
    with tarfile.open(image_layout.path(image_layout.layers()[1])) as tar:
        for entry in tar:
            if entry.name.endswith(".pyc"):
                file = tar.extractfile(entry)
                assert file
                assert file.read(8)[4:] == b"\1\0\0\0", entry.name


@pytest.mark.node
def test_the_sbom_lists_the_python_packages(sbom: dict[str, Any], ours: dict[str, tarfile.TarInfo]) -> None:
    own = sbom["metadata"]["component"]
    assert (own["name"], own["version"]) == (PROJECT["name"], PROJECT["version"])
    listed = {
        one["name"].lower().replace("_", "-"): one["version"] for one in sbom["components"] if "pypi" in one["purl"]
    }
    assert listed == locked()
    installed = {name.split("/")[-2] for name in ours if name.startswith(SITE) and name.endswith(".dist-info/METADATA")}
    named = {name.removesuffix(".dist-info").rpartition("-")[0].lower().replace("_", "-") for name in installed}
    assert named == {*listed, PROJECT["name"]}


@pytest.mark.node
def test_the_sbom_lists_the_packages_of_the_base(image_layout: Layout, sbom: dict[str, Any]) -> None:
    status = read(image_layout, image_layout.layers()[0], "var/lib/dpkg/status").decode()
    there = dict(re.findall(r"^Package: (\S+)\n(?:.*\n)*?Version: (\S+)$", status, re.MULTILINE))
    assert "libc6" in there
    debian = [one for one in sbom["components"] if one["purl"].startswith("pkg:deb/debian/")]
    assert {one["name"]: one["version"] for one in debian} == there
    (libc,) = [one for one in debian if one["name"] == "libc6"]
    assert libc["purl"].endswith("distro=debian-forky&upstream=glibc")


@pytest.mark.node
def test_the_sbom_lists_what_wheels_bundle(sbom: dict[str, Any], ours: dict[str, tarfile.TarInfo]) -> None:
    named = {one["name"] for one in sbom["components"]}
    libraries = {name.rpartition("/")[2] for name in ours if re.search(r"\.libs/[^/]+$", name)}
    assert {re.sub(r"(-[0-9a-f]{8})?\.so.*", "", name) for name in libraries} - {"libcrypto", "libssl"} <= named
    assert {"libpq", "openssl"} <= named
    assert any(one["purl"].startswith("pkg:cargo/") for one in sbom["components"])


@pytest.mark.node
def test_the_sbom_is_written_beside_the_image(image_layout: Layout, sbom: dict[str, Any]) -> None:
    assert json.loads((image_layout.folder / "sbom.cdx.json").read_text()) == sbom
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    refs = [one["bom-ref"] for one in sbom["components"]]
    assert len(refs) == len(set(refs))


def test_without_a_builder_make_image_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", ROOT / "image" / "build.sh"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "make image: it takes buildah, podman or docker, and none of them is on PATH\n"


@pytest.mark.parametrize(
    ("builder", "time"), [("podman", "--timestamp 5"), ("docker", "--build-arg SOURCE_DATE_EPOCH=5")]
)
def test_other_builders_are_called_alike(builder: str, time: str, tmp_path: Path) -> None:
    """Their commands only: neither is here to build."""
    base, digest = "registry.example/python:3.14", f"sha256:{'a' * 64}"
    for named, label in ((base, ""), (f"{base}@{digest}", f"--label org.opencontainers.image.base.digest={digest} ")):
        said, build, sbom = called(builder, named, tmp_path)
        arguments = f"--build-arg BASE={named} --build-arg VERSION=1.2.3 --build-arg REVISION=r"
        assert build == f"build {time} {label}--quiet --file Containerfile --tag i {arguments} ."
        assert sbom == f"run --rm --entrypoint cat i /{HOME}/sbom.cdx.json"
        assert (f"name it by digest: {base}@sha256:..." in said) is (named == base)
    assert called(builder, "localhost/base:1", tmp_path)[0] == ""


def called(builder: str, base: str, tmp_path: Path) -> tuple[str, str, str]:
    """What `make image` says of itself on stderr, and the two commands that it gives the builder."""
    program = tmp_path / "bin" / builder
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    program.chmod(0o755)
    (tmp_path / "calls").unlink(missing_ok=True)
    for tool in ("sed", "mkdir"):
        if not (tmp_path / "bin" / tool).exists():
            (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")
    (tmp_path / "pyproject.toml").write_text('version = "1.2.3"\n')
    env = {"PATH": str(program.parent), "BASE": base, "IMAGE": "i", "REVISION": "r", "SOURCE_DATE_EPOCH": "5"}
    command = ["/bin/sh", str(ROOT / "image" / "build.sh"), "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=10, capture_output=True, text=True)
    build, sbom = (tmp_path / "calls").read_text().splitlines()
    return done.stderr, build, sbom


def start(
    cluster: ControlPlane,
    namespace: str,
    image: Pushed,
    *arguments: str,
    files: Mapping[str, str],
    probe: Mapping[str, Any] | None = None,
) -> None:
    """A strict pod, with the files in /etc/pullsecret. With a probe it is on the node's network, to be reached."""
    level = "privileged" if probe else "restricted"
    cluster.namespace(namespace, labels={"pod-security.kubernetes.io/enforce": level})
    secret = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": image.pull_secret}}
    metadata = {"namespace": namespace, "name": "image"}
    cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | secret)
    mounted = {"metadata": {"namespace": namespace, "name": "files"}, "stringData": dict(files)}
    cluster.api.create({"apiVersion": "v1", "kind": "Secret"} | mounted)
    container = {
        "name": "pullsecret",
        "image": image.by_digest,
        "args": list(arguments),
        "securityContext": STRICT_CONTAINER,
        "volumeMounts": [{"name": "files", "mountPath": "/etc/pullsecret", "readOnly": True}],
    }
    spec = {
        "restartPolicy": "Never",
        "hostNetwork": probe is not None,
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "image"}],
        "securityContext": STRICT_POD,
        "containers": [container | ({"readinessProbe": probe} if probe else {})],
        "volumes": [{"name": "files", "secret": {"secretName": "files"}}],
    }
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def run(cluster: ControlPlane, namespace: str, image: Pushed, *arguments: str, config: str = "{}") -> dict[str, Any]:
    """The state in which a strict pod's container ends."""
    start(cluster, namespace, image, *arguments, files={"config.yaml": config})

    def ended() -> dict[str, Any] | None:
        pod = cluster.api.get("Pod", "image", namespace)
        assert pod
        statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
        found: dict[str, Any] | None = statuses[0]["state"].get("terminated")
        return found

    return cluster.wait(ended, f"the pod in {namespace} ends", within=90)


def logs(cluster: ControlPlane, namespace: str) -> str:
    return cluster.kubectl("-n", namespace, "logs", "image")


@pytest.mark.node
@pytest.mark.slow
def test_it_runs_under_the_restricted_profile(
    cluster: ControlPlane, webhook_image: Pushed, registry: Registry, node: Node
) -> None:
    state = run(cluster, "image-version", webhook_image, "version")
    assert state["exitCode"] == 0, logs(cluster, "image-version")
    assert logs(cluster, "image-version") == f"{PROJECT['version']}\n"
    manifests = "/v2/pullsecret-webhook/pullsecret-webhook/manifests/"
    pulls = [one for one in registry.log() if one.path == f"{manifests}{webhook_image.digest}" and one.status == 200]
    assert {one.user for one in pulls} == {"pullsecret-webhook"}


@pytest.mark.node
@pytest.mark.slow
def test_it_checks_a_configuration(cluster: ControlPlane, webhook_image: Pushed, node: Node) -> None:
    call = ("config", "check", "/etc/pullsecret/config.yaml")
    config = "ownerRules:\n- {from: annotation, key: example.com/tenant}\n"
    state = run(cluster, "image-config", webhook_image, *call, config=config)
    assert state["exitCode"] == 0, logs(cluster, "image-config")
    assert "owner rule 1: annotation example.com/tenant\n" in logs(cluster, "image-config")
    state = run(cluster, "image-bad-config", webhook_image, *call, config="owners: []\n")
    assert state["exitCode"] == 2
    assert "owners" in logs(cluster, "image-bad-config")


@pytest.mark.node
@pytest.mark.slow
def test_serve_is_what_it_does_and_needs_a_cluster(cluster: ControlPlane, webhook_image: Pushed, node: Node) -> None:
    """Without arguments: the server, which gets as far as looking for its service account."""
    state = run(cluster, "image-serve", webhook_image)
    assert state["exitCode"] == 1
    assert "service account" in logs(cluster, "image-serve").lower()


@pytest.mark.node
@pytest.mark.slow
def test_it_serves_on_a_read_only_file_system(
    installed: ControlPlane, webhook_image: Pushed, node: Node, tmp_path: Path
) -> None:
    """As a pod on the node's own network, with the service account's access; the kubelet asks whether it is ready."""
    port, metrics_port = free_port(), free_port()
    own = {"address": "127.0.0.1", "port": port, "metricsPort": metrics_port}
    access = Access.read(installed.service_account(deployed.NAMESPACE, deployed.ACCOUNT))
    assert access.token_file
    mounted = replace(access, ca=Path("/etc/pullsecret/ca"), token_file=Path("/etc/pullsecret/token"))
    files = {
        "config.yaml": json.dumps({"server": own, "tls": {"hosts": ["127.0.0.1"]}}),
        "kubeconfig": mounted.write(tmp_path / "kubeconfig").read_text(),
        "ca": access.ca.read_text(),
        "token": access.token_file.read_text(),
    }
    probe = {"httpGet": {"scheme": "HTTPS", "host": "127.0.0.1", "port": port, "path": "/readyz"}, "periodSeconds": 1}
    arguments = ("serve", "--config=/etc/pullsecret/config.yaml", "--kubeconfig=/etc/pullsecret/kubeconfig")
    start(installed, "image-serves", webhook_image, *arguments, files=files, probe=probe)

    def ready() -> bool:
        pod = installed.api.get("Pod", "image", "image-serves")
        assert pod
        return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))

    try:
        installed.wait(ready, "the pod serves", within=60)
    except HarnessError as e:
        raise AssertionError(f"{e}\n{logs(installed, 'image-serves')}") from None
    metrics = plain.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    assert "pullsecret_webhook_known_objects" in metrics
    (memory,) = re.findall(r"^\S*process_resident_memory_bytes (\S+)$", metrics, re.MULTILINE)
    assert float(memory) < 60 * 2**20
    assert "Traceback" not in logs(installed, "image-serves")
    installed.api.delete("Pod", "image", "image-serves", wait=True)
