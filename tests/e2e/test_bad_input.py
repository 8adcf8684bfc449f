"""`pullsecret serve` told wrong things, against the real API server: one clear line, exit code 1, no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from controlplane.cluster import ControlPlane
from controlplane.ports import free_port
from controlplane.webhook import ACCOUNT, NAMESPACE

pytestmark = pytest.mark.cluster


def serve(kubeconfig: Path, *flags: str | Path, port: int | None = None) -> str:
    """The last line on stderr; what is logged before it are JSON lines."""
    ports = ["--port", str(port or free_port()), "--metrics-port", str(free_port())]
    command: list[str | Path] = [
        sys.executable,
        "-c",
        "from webhook import cli; from webhook.kube import preflight; preflight.STARTING_SECONDS = 1.0; cli.main()",
        "serve",
        "--address",
        "127.0.0.1",
        *ports,
        "--kubeconfig",
        kubeconfig,
    ]
    done = subprocess.run([*command, *flags], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    plain = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(plain) == 1, plain
    return plain[0]


def test_missing_rbac_is_named(installed: ControlPlane) -> None:
    if installed.api.get("ServiceAccount", "nobody", NAMESPACE) is None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": NAMESPACE}}
        installed.api.create(account)
    said = serve(installed.service_account(NAMESPACE, "nobody"))
    assert said.startswith("pullsecret: RBAC does not let the webhook list namespaces, list secrets named ghcr-secret,")
    assert "get secrets named pullsecret-webhook-ca in pullsecret-webhook" in said


def test_token_that_the_api_server_does_not_know(installed: ControlPlane, tmp_path: Path) -> None:
    kubeconfig = installed.service_account(NAMESPACE, ACCOUNT).read_text()
    token = tmp_path / "token"
    token.write_text("not-a-token")
    wrong = tmp_path / "kubeconfig"
    wrong.write_text(kubeconfig.replace(str(installed.folder / f"{NAMESPACE}.{ACCOUNT}.token"), str(token)))
    assert "not authenticated" in serve(wrong)


def test_api_server_with_another_certificate(installed: ControlPlane, tmp_path: Path) -> None:
    other = tmp_path / "other"
    trustme.CA().cert_pem.write_to_path(str(other))
    kubeconfig = installed.service_account(NAMESPACE, ACCOUNT).read_text()
    wrong = tmp_path / "kubeconfig"
    wrong.write_text(kubeconfig.replace(str(installed.ca), str(other)))
    assert "the API server cannot be reached" in serve(wrong)


def test_port_in_use(installed: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = serve(installed.service_account(NAMESPACE, ACCOUNT), port=port)
    assert said == f"pullsecret: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another"


@pytest.mark.parametrize(
    ("certificate", "why"), [(None, "No such file or directory"), ("", "cert.pem"), ("no PEM at all", "cert.pem")]
)
def test_certificate_files(installed: ControlPlane, tmp_path: Path, certificate: str | None, why: str) -> None:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    if certificate is not None:
        for file in files:
            file.write_text(certificate)
    said = serve(installed.service_account(NAMESPACE, ACCOUNT), "--tls-cert", files[0], "--tls-key", files[1])
    assert why in said
