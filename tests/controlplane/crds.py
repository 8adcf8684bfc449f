"""CustomResourceDefinitions of others, from the Go modules that publish them, to check our manifests against."""

import json
import subprocess
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import yaml

from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError

_CERT_MANAGER = ("github.com/cert-manager/cert-manager@v1.21.1", "h1:0LttV37Q5c2CBNoHkjuI8sLKTXWZDC2SwQkxrBMKV9w=")
_PROMETHEUS = (
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
)
_HELM_CONTROLLER = ("github.com/fluxcd/helm-controller@v1.6.1", "h1:b0XKTQCGlQy4nOGfEFMbn/e+/j9IMEHSDlKecbZkG9M=")
_SOURCE_CONTROLLER = ("github.com/fluxcd/source-controller@v1.9.6", "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc=")
_KUSTOMIZE_CONTROLLER = (
    "github.com/fluxcd/kustomize-controller@v1.9.6",
    "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE=",
)
_K3S = ("github.com/k3s-io/helm-controller@v0.17.9", "h1:HhZTiFhVDzhbAYeb/aSlExWhJTnDTpHypMqu5Mh8Uow=")
_FILES = {
    "Certificate": (*_CERT_MANAGER, "deploy/crds/cert-manager.io_certificates.yaml"),
    "Issuer": (*_CERT_MANAGER, "deploy/crds/cert-manager.io_issuers.yaml"),
    "ClusterIssuer": (*_CERT_MANAGER, "deploy/crds/cert-manager.io_clusterissuers.yaml"),
    "CertificateRequest": (*_CERT_MANAGER, "deploy/crds/cert-manager.io_certificaterequests.yaml"),
    "ServiceMonitor": (*_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    "PodMonitor": (*_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    "PrometheusRule": (*_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "HelmRelease": (*_HELM_CONTROLLER, "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"),
    "OCIRepository": (*_SOURCE_CONTROLLER, "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml"),
    "HelmChart": (*_K3S, "pkg/crds/yaml/generated/helm.cattle.io_helmcharts.yaml"),
}


def install(cluster: ControlPlane) -> None:
    """All of them, and waits until they are served."""
    for kind in _FILES:
        _serve(cluster, _read(kind))


def install_flux(cluster: ControlPlane) -> None:
    """All that its controllers watch."""
    for module, digest in (_SOURCE_CONTROLLER, _KUSTOMIZE_CONTROLLER, _HELM_CONTROLLER):
        for file in sorted((_downloaded(module, digest) / "config" / "crd" / "bases").glob("*.yaml")):
            _serve(cluster, yaml.safe_load(file.read_text()))


def _serve(cluster: ControlPlane, definition: Object) -> None:
    """Unless it is served already, for other tests in the same cluster."""
    path, name = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition["metadata"]["name"]
    try:
        cluster.api.raw("POST", path, json=definition)
    except ApiError as e:
        if e.status != 409:
            raise
    cluster.wait(partial(_established, cluster, f"{path}/{name}"), f"{name} is served")


def _established(cluster: ControlPlane, path: str) -> bool:
    conditions = cluster.api.raw("GET", path).json().get("status", {}).get("conditions")
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions or ())


def _read(kind: str) -> Object:
    module, digest, file = _FILES[kind]
    definition: Object = yaml.safe_load((_downloaded(module, digest) / file).read_text())
    return definition


def _downloaded(module: str, digest: str) -> Path:
    command = ["go", "mod", "download", "-json", module]  # from the module cache when it is there
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=gettempdir())
    except FileNotFoundError:
        raise HarnessError(f"no Go to get {module} with: install Go") from None
    found = json.loads(done.stdout or "{}")
    if done.returncode or found["Sum"] != digest:
        raise HarnessError(f"{module}: {found.get('Error') or 'not what was pinned: ' + found.get('Sum', '')}")
    return Path(found["Dir"])
