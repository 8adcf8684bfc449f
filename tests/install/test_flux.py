"""The example for Flux, by the real source- and helm-controller: installed, looked at again, and nothing drifts."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.flux import Flux
from controlplane.helm import CHART, NAMESPACE
from controlplane.image import Artifact
from controlplane.registry import Registry
from controlplane.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
EXAMPLE = CHART.parents[1] / "docs" / "examples" / "install" / "flux.yaml"
ONE_ENTRY = Path(__file__).with_name("one-entry.tpl")
NAME = "pullsecret-webhook"


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Flux]:
    folder = tmp_path_factory.mktemp("flux-install")
    with (
        ControlPlane.start(folder / "cluster") as cluster,
        Flux.start(folder / "flux", cluster, registry) as started,
    ):
        yield started


def chart(version: str = "0.1.0", **templates: str) -> Artifact:
    files = {str(file.relative_to(CHART)): file.read_text() for file in CHART.rglob("*") if file.is_file()}
    files |= {f"templates/{name}.yaml": text for name, text in templates.items()}
    files["Chart.yaml"] = yaml.safe_dump(yaml.safe_load(files["Chart.yaml"]) | {"version": version})
    return Artifact.of_chart(NAME, version, files)


def events(flux: Flux, reason: str) -> list[str]:
    about = [e for e in flux.cluster.api.list("Event", NAMESPACE) if e.get("regarding", {}).get("name") == NAME]
    assert about, "helm-controller has said nothing"
    return [event.get("note", "") for event in about if event.get("reason") == reason]


def test_the_example_installs_and_does_not_drift(flux: Flux) -> None:
    """Its registry is the tests' own, and nothing waits for pods: there is no node. All else is as it stands there."""
    cluster = flux.cluster
    flux.push(NAME, chart(), tag="0.1.0")
    objects: list[Any] = list(yaml.safe_load_all(EXAMPLE.read_text()))
    for obj in objects:
        if obj["kind"] == "OCIRepository":
            flux.credentials(NAMESPACE)
            obj["spec"] |= {"url": flux.url(NAME), **flux.reach}
        if obj["kind"] == "HelmRelease":
            obj["spec"] |= {"install": {"disableWait": True}, "upgrade": {"disableWait": True}}
        cluster.api.create(obj)
    flux.reconcile("OCIRepository", NAME, NAMESPACE)
    flux.reconcile("HelmRelease", NAME, NAMESPACE)
    assert cluster.api.get("Deployment", NAME, NAMESPACE)

    # As the webhook publishes its CA.
    bundle = base64.b64encode(cluster.ca.read_bytes()).decode()
    deployed.patch_entries(cluster.api, clientConfig={"caBundle": bundle})
    for _ in range(2):
        flux.reconcile("HelmRelease", NAME, NAMESPACE)
    assert events(flux, "DriftDetected") == []
    assert deployed.ca_bundle(cluster.api) == bundle
    # And drift that is none of its doing, to see that it would be found.
    cluster.api.patch("MutatingWebhookConfiguration", NAME, {"metadata": {"labels": {"helm.sh/chart": "other"}}})
    flux.reconcile("HelmRelease", NAME, NAMESPACE)
    until(lambda: events(flux, "DriftDetected"), "drift is found", within=20)


def test_back_to_one_entry_and_up_again(flux: Flux) -> None:
    """After the test above, which has installed it and published a caBundle."""
    before, drifts = deployed.ca_bundle(flux.cluster.api), len(events(flux, "DriftDetected"))

    def entries() -> list[tuple[str, str]]:
        found = flux.cluster.api.get("MutatingWebhookConfiguration", NAME)
        assert found is not None
        return [(one["name"], one["clientConfig"].get("caBundle", "")) for one in found["webhooks"]]

    def installs(artifact: Artifact, tag: str) -> list[tuple[str, str]]:
        flux.push(NAME, artifact, tag=tag)
        flux.reconcile("OCIRepository", NAME, NAMESPACE)
        flux.reconcile("HelmRelease", NAME, NAMESPACE)
        return entries()

    one, two = (deployed.ENTRY, before), (deployed.TEMPLATES_ENTRY, "")
    assert before
    assert installs(chart("0.1.1", webhook=ONE_ENTRY.read_text()), "0.1.1") == [one]
    assert installs(chart("0.1.2"), "0.1.2") == [one, two]
    deployed.patch_entries(flux.cluster.api, clientConfig={"caBundle": before})
    flux.reconcile("HelmRelease", NAME, NAMESPACE)
    assert deployed.ca_bundle(flux.cluster.api) == before
    assert len(events(flux, "DriftDetected")) == drifts
