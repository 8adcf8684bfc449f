from pathlib import Path

import pytest
import yaml

from webhook.commands.installation import apiserver

CHART = Path(__file__).parents[4] / "charts" / "pullsecret-webhook" / "Chart.yaml"


def test_the_oldest_version_is_the_charts() -> None:
    major, minor = apiserver.OLDEST
    assert yaml.safe_load(CHART.read_text())["kubeVersion"] == f">={major}.{minor}.0-0"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("v1.36.3", "right"),
        ("v1.30.0-gke.1", "right"),
        ("v1.29.15", "wrong"),
        ("v2.0.0", "right"),
        ("", "unknown"),
        ("x", "unknown"),
    ],
)
def test_version(text: str, result: str) -> None:
    found = apiserver.version(text, "https://192.0.2.1")
    assert (found.result, "https://192.0.2.1" in found.why) == (result, True)


@pytest.mark.parametrize(
    ("ahead", "result", "why"),
    [
        (2.0, "right", "as here"),
        (-5.0, "right", "as here"),
        (6.0, "warning", "it is 6 s ahead of the one here"),
        (-59.0, "warning", "it is 59 s behind the one here"),
        (-3601.0, "wrong", "it is 3,601 s behind the one here"),
    ],
)
def test_clock(ahead: float, result: str, why: str) -> None:
    found = apiserver.clock(ahead)
    assert (found.result, found.why) == (result, why)
    assert bool(found.hint) is (result != "right")
