import importlib.util
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.helm import CHART, Helm
from controlplane.image import Layout
from controlplane.networked import Networked
from controlplane.release import Release
from controlplane.webhookimage import pushed


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
def rendered(helm: Helm, ci_values: list[Path]) -> dict[str, list[Object]]:
    """What each of them comes to, by name of the file; not to be changed."""
    return {file.name: helm.render(None, "--values", file) for file in ci_values}


def script(name: str) -> ModuleType:
    """A file beside the chart, which lies in no package."""
    spec = importlib.util.spec_from_file_location(name, CHART.parent / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass looks for its types
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    return script("generate")


@pytest.fixture(scope="session")
def releaser() -> ModuleType:
    return script("release")


@pytest.fixture(scope="session")
def release(networked: Networked, image_layout: Layout) -> Release:
    """Nothing is installed; whoever installs, uninstalls."""
    return Release(networked, pushed(networked.registry, secrets.token_urlsafe()))


@pytest.fixture(scope="module")
def alone(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that no other file's tests use: what is installed here has the names of what they use."""
    with ControlPlane.start(tmp_path_factory.mktemp("alone")) as cluster:
        yield cluster
