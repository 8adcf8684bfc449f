from pathlib import Path

import pytest

from controlplane.helm import Helm


@pytest.fixture(scope="session", params=[pytest.param(3, marks=pytest.mark.slow), 4], ids=["helm3", "helm4"])
def each_helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(request.param, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(4, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def ci_values() -> list[Path]:
    from controlplane.helm import CHART

    return [*sorted((CHART / "ci").glob("*.yaml")), CHART / "values-k3s.yaml"]
