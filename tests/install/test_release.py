"""What a release publishes: the chart with the image that was pushed, and how that is done."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from controlplane.helm import CHART, NAMESPACE, Helm, documents, one

DIGEST = f"sha256:{'a' * 64}"
REPOSITORY, CHARTS, SOURCE = "ghcr.io/someone/psw", "ghcr.io/someone/charts", "https://github.com/someone/psw"
WORKFLOWS = CHART.parents[1] / ".github" / "workflows"


@pytest.fixture
def released(releaser: ModuleType, tmp_path: Path) -> Path:
    release = releaser.Release(f"{REPOSITORY}@{DIGEST}", CHARTS, SOURCE, ("linux/amd64", "linux/arm64"))
    made: Path = release.write(tmp_path)
    return made


@pytest.mark.helm
def test_the_released_chart_needs_no_value(released: Path, helm: Helm) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert "0 chart(s) failed" in helm.run("lint", "--strict", released)
    helm.run("package", released, "--destination", released.parent)
    package = released.parent / f"{released.name}-{version}.tgz"
    objects = documents(helm.run("template", "r", package, "--namespace", NAMESPACE))
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{REPOSITORY}:{version}@{DIGEST}"


def test_the_released_chart_says_where_it_comes_from(released: Path) -> None:
    about = yaml.safe_load((released / "Chart.yaml").read_text())
    assert (about["home"], about["sources"]) == (SOURCE, [SOURCE])
    path = about["icon"].removeprefix(f"{SOURCE}/raw/v{about['version']}/")
    assert (CHART.parents[1] / path).exists()
    (image,) = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert image["image"] == f"{REPOSITORY}:{about['version']}@{DIGEST}"
    assert image["platforms"] == ["linux/amd64", "linux/arm64"]


def test_the_readme_of_the_released_chart_fits(released: Path) -> None:
    text = (released / "README.md").read_text()
    assert f"helm install pullsecret-webhook oci://{CHARTS}/pullsecret-webhook" in text
    assert f"| `image.digest` | `{DIGEST}` |" in text
    assert "registry.example.com" not in text


@pytest.mark.parametrize(
    ("image", "source", "said"),
    [
        (f"{REPOSITORY}:0.1.0", SOURCE, "name what was pushed by its digest"),
        (f"{REPOSITORY}@{DIGEST}", "git@github.com:someone/psw", "is no https address"),
    ],
)
def test_what_names_nothing_is_refused(releaser: ModuleType, image: str, source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        releaser.Release(image, CHARTS, source, ())


def test_actions_of_others_are_pinned() -> None:
    text = "\n".join(file.read_text() for file in WORKFLOWS.glob("*.yaml"))
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []


def test_no_step_of_a_workflow_has_text_of_others_in_its_script() -> None:
    """What stands in `${{ }}` is put into the script as it is; by the environment it is a value."""
    for file in WORKFLOWS.glob("*.yaml"):
        jobs = yaml.safe_load(file.read_text())["jobs"]
        scripts = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
        assert any(scripts)
        assert "${{" not in json.dumps(scripts), file.name
