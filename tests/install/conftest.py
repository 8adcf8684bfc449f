import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from controlplane.helm import CHART, Helm


@pytest.fixture(scope="session", params=[pytest.param(3, marks=pytest.mark.slow), 4], ids=["helm3", "helm4"])
def each_helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(request.param, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(4, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def ci_values() -> list[Path]:
    return [*sorted((CHART / "ci").glob("*.yaml")), CHART / "values-k3s.yaml"]


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """charts/generate.py, which lies in no package."""
    spec = importlib.util.spec_from_file_location("generate", CHART.parent / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
