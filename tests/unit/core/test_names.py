from collections.abc import Mapping

import pytest

from webhook.core.names import is_ours


@pytest.mark.parametrize(
    ("labels", "ours"),
    [
        (None, False),
        ({}, False),
        ({"app.kubernetes.io/managed-by": "Helm"}, False),
        ({"app.kubernetes.io/managed-by": "pullsecret-webhook"}, True),
        ({"app.kubernetes.io/managed-by": "pullsecret-webhook", "app": "x"}, True),
        ({"managed-by": "pullsecret-webhook"}, False),
    ],
)
def test_ours_is_what_the_label_says(labels: Mapping[str, str] | None, ours: bool) -> None:
    assert is_ours(labels) is ours
