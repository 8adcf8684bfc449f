"""tls.mode cert-manager with its real controllers and cainjector: from Certificate to caBundle, and renewals."""

import base64
import ssl
import time
from collections.abc import Iterator

import pytest
from cryptography import x509

from controlplane import crds
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.helm import NAMESPACE
from controlplane.process import Child
from controlplane.release import NAME, Release, Traffic
from controlplane.waiting import until

pytestmark = [
    pytest.mark.node,
    pytest.mark.helm,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("node_binaries"),
]
LEAF, CA = f"{NAME}-tls", f"{NAME}-issuer"  # Secrets


@pytest.fixture(scope="module")
def issued(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp("certmanager")
    program, cluster = need("certmanager")["certmanager"], release.cluster
    crds.install(cluster)
    helm = release.helm(4, folder)
    env = {"KUBECONFIG": str(cluster.kubeconfig)}
    with Child("certmanager", [program], log=folder / "certmanager.log", env=env) as child:
        helm.install({"tls": {"mode": "cert-manager"}})
        child.check()
        yield release
        child.check()
        helm.uninstall()
        until(lambda: not release.left(), "nothing is left", within=60)


def secret(release: Release, name: str) -> dict[str, bytes]:
    found = release.api.get("Secret", name, NAMESPACE)
    return {key: base64.b64decode(value) for key, value in (found or {"data": {}})["data"].items()}


def bundle(release: Release) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(base64.b64decode(deployed.ca_bundle(release.api)))


def authority(release: Release) -> x509.Certificate:
    return x509.load_pem_x509_certificate(secret(release, LEAF)["ca.crt"])


def served(release: Release) -> set[bytes]:
    """What the pods answer with."""
    addresses = [pod["status"]["podIP"] for pod in release.pods()]
    return {ssl.get_server_certificate((address, 8443)).strip().encode() for address in addresses}


def renew(release: Release, certificate: str) -> None:
    """As `cmctl renew` does it."""
    path = f"/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/certificates/{certificate}"
    found: Object = release.api.raw("GET", path).json()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": now}
    found["status"]["conditions"].append(condition)
    release.api.raw("PUT", f"{path}/status", json=found)


def touch(release: Release) -> None:
    """The kubelet brings mounted Secrets up to date when it looks at a pod, which it else does once a minute."""
    for pod in release.pods():
        release.api.patch("Pod", pod["metadata"]["name"], {"metadata": {"annotations": {"a": "b"}}}, NAMESPACE)


def serves_another(release: Release, before: bytes) -> bytes:
    """Until the pods serve what the leaf's Secret now holds."""
    until(lambda: secret(release, LEAF)["tls.crt"] != before, "the leaf is renewed", within=30)
    touch(release)

    def new() -> bool:
        leaf = secret(release, LEAF)["tls.crt"]
        first = x509.load_pem_x509_certificates(leaf)[0]
        return {x509.load_pem_x509_certificate(one) for one in served(release)} == {first}

    until(new, "the pods serve it", within=150)
    return secret(release, LEAF)["tls.crt"]


def test_the_main_job_with_a_certificate_that_others_issue(issued: Release) -> None:
    issued.runs_without_a_word_about_credentials("carol", "certified")
    assert bundle(issued) == [authority(issued)]
    assert issued.api.get("Secret", "pullsecret-webhook-ca", NAMESPACE) is None


def test_a_renewed_leaf_is_served_and_misses_no_admission(issued: Release) -> None:
    before, ca = secret(issued, LEAF)["tls.crt"], authority(issued)
    with Traffic(issued, "certified") as traffic:
        renew(issued, NAME)
        serves_another(issued, before)
        time.sleep(1)
    assert traffic.missed == []
    assert bundle(issued) == [ca]


def test_another_ca_is_appended_and_misses_no_admission(issued: Release) -> None:
    """Its Secret is lost: cert-manager makes a new one, and signs with it from the next renewal on."""
    before, old, key = secret(issued, LEAF)["tls.crt"], authority(issued), secret(issued, CA)["tls.key"]
    with Traffic(issued, "certified") as traffic:
        issued.api.delete("Secret", CA, NAMESPACE)
        until(lambda: secret(issued, CA).get("tls.key", key) != key, "there is a new CA", within=30)
        renew(issued, NAME)
        until(lambda: len(bundle(issued)) > 1, "cainjector has appended it", within=30)
        serves_another(issued, before)
        time.sleep(1)
    assert traffic.made > 100
    assert traffic.missed == []
    assert authority(issued) != old
    assert set(bundle(issued)) == {old, authority(issued)}
