"""The clocks of nodes, by what they write into their Leases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from webhook.commands.installation import nodeclocks
from webhook.commands.installation.nodeclocks import Lease

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RENEWED: dict[str, Any] = {"f:spec": {"f:renewTime": {}}}


def lease(renewed: datetime | None, *written: tuple[datetime, dict[str, Any]]) -> Lease:
    managers = [{"manager": "kubelet", "time": time.isoformat(), "fieldsV1": fields} for time, fields in written]
    body = {"metadata": {"name": "a", "managedFields": managers}, "spec": {}}
    if renewed is not None:
        body["spec"] = {"renewTime": renewed.isoformat()}
    return msgspec.json.decode(msgspec.json.encode(body), type=Lease)


def test_two_clocks_stand_in_a_lease() -> None:
    written = NOW - timedelta(seconds=7)
    assert lease(written + timedelta(seconds=90), (written, RENEWED)).ahead(NOW) == 90.0
    by_another: tuple[datetime, dict[str, Any]] = (NOW, {"f:metadata": {"f:labels": {}}})
    assert lease(written - timedelta(seconds=5), (written, RENEWED), by_another).ahead(NOW) == -5.0


def test_a_lease_that_says_nothing() -> None:
    assert lease(NOW).ahead(NOW) is None
    assert lease(None, (NOW, RENEWED)).ahead(NOW) is None
    old = NOW - nodeclocks.FRESH - timedelta(seconds=1)
    assert lease(old, (old, RENEWED)).ahead(NOW) is None


@pytest.mark.parametrize(
    ("ahead", "result", "why"),
    [
        ({}, "absent", "no node has told its time of late"),
        ({"a": 0.4, "b": -4.9}, "right", "2 nodes as the API server"),
        ({"a": 0.4, "b": 12.0}, "warning", "not as the API server's: b; b is 12 s ahead of it"),
        ({"a": -3600.0, "b": 12.0}, "wrong", "not as the API server's: a, b; a is 3,600 s behind it"),
    ],
)
def test_clocks(ahead: dict[str, float], result: str, why: str) -> None:
    found = nodeclocks.clocks(ahead)
    assert (found.result, found.why) == (result, why)
