"""What is found of an installation, as checks."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from support.writtenevents import Object, written
from webhook.commands.cluster_view import ClusterView
from webhook.commands.health import Finding
from webhook.commands.installation import installed
from webhook.commands.installation.checklist import Check
from webhook.commands.status import Report
from webhook.commands.verdict import Line
from webhook.config import reading
from webhook.core.credential import Credential
from webhook.core.notice import Notice
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.recent_events import AboutMirrors, WarningEvent
from webhook.sources.secret import SourceSecret


@pytest.mark.parametrize(
    ("finding", "name", "why", "hint"),
    [
        (Finding("registration", "right"), "registration", "", ""),
        (Finding("replicas", "wrong", "no replica is ready; see x"), "endpoints", "no replica is ready", "see x"),
        (Finding("certificate", "wrong", "it ends"), "CA", "it ends", ""),
        (Finding("policies", "wrong", "a is missing; upgrade; b is missing; upgrade"), "policies", "a is", "upgrade"),
        (Finding("rights", "unknown", "403; so"), "rights", "403; so", ""),
    ],
)
def test_what_status_knows(finding: Finding, name: str, why: str, hint: str) -> None:
    found = installed.known(finding)
    assert (found.name, found.result, found.hint) == (name, finding.result, hint)
    assert found.why.startswith(why)


def test_a_write_that_must_be_refused() -> None:
    assert installed.policy(True, there=True).result == "right"
    for there, result in ((True, "wrong"), (False, "warning")):
        found = installed.policy(False, there=there)
        assert (found.result, "writePolicy.enabled" in found.hint) == (result, True)
    unknown = installed.policy(ClusterError(403, "Forbidden"), there=True)
    assert (unknown.result, "(403 Forbidden)" in unknown.why) == ("unknown", True)


def test_a_write_of_the_issuer_that_must_be_refused() -> None:
    assert installed.issuer_policy(True).result == "right"
    assert (found := installed.issuer_policy(False)).result == "wrong"
    assert found.hint.startswith("upgrade the release")
    unknown = installed.issuer_policy(ClusterError(403, "Forbidden"))
    assert (unknown.result, "(403 Forbidden)" in unknown.why) == ("unknown", True)


def test_source_secrets() -> None:
    good = SourceSecret(1, "alice", (Credential("ghcr.io", "alice", "x"),))
    bad = SourceSecret(1, "bob", None, ("its type is Opaque",))
    assert installed.source_secrets({}).result == "absent"
    well = installed.source_secrets({"alice": {"one": good, "two": good}})
    assert (well.result, well.why) == ("right", "2 Secrets of 1 owner")
    broken = installed.source_secrets({"alice": {"one": good}, "bob": {"three": bad}})
    assert (broken.result, broken.why) == ("warning", "source Secret three is broken: its type is Opaque")


def test_mirrors() -> None:
    silent = {"m.test": WarningEvent("ours", datetime(2030, 1, 1, tzinfo=UTC), "MirrorSilent", "it cannot be reached")}
    found = installed.mirror("m.test", AboutMirrors(silent), ["Events in ours"])
    assert (found.section, found.result) == ("Mirrors", "wrong")
    assert found.why == 'an Event in ours says: "it cannot be reached"'
    assert found.hint
    assert installed.mirror("n.test", AboutMirrors(silent), ()).result == "right"
    unknown = installed.mirror("n.test", AboutMirrors(), ["Events in ours"])
    assert (unknown.result, unknown.why) == ("unknown", "Events in ours cannot be listed")


class Events:
    """A cluster that has only these Events in the webhook's namespace; None: nobody may list them."""

    def __init__(self, events: list[Object] | None) -> None:
        self.events = events

    async def call(self, _method: str, path: str, *, query: dict[str, str], **_more: Any) -> bytes:
        assert path == "/api/v1/namespaces/pullsecret-webhook/events"
        if self.events is None:
            raise ClusterError(403, "Forbidden")
        key, _, value = query["fieldSelector"].rpartition(",")[2].partition("=")
        items = [one for one in self.events if one[key] == value]
        return msgspec.json.encode({"metadata": {}, "items": items})


@pytest.mark.parametrize(("may", "result"), [(True, "wrong"), (False, "unknown")])
def test_each_mirror_whose_names_images_get_is_looked_at_once(may: bool, result: str) -> None:
    now, own = datetime(2030, 1, 1, tzinfo=UTC), "pullsecret-webhook"
    kinds = [("ghcr.io", "m.test/a", "rewrite"), ("quay.io", "m.test/b", "rewrite"), ("docker.io", "n.test", "node")]
    config = reading.convert({"mirrors": [{"of": of, "to": to, "how": how} for of, to, how in kinds]})
    notice = Notice("MirrorSilent", "the mirror m.test ...", own, "Service", own, source="m.test")
    view = ClusterView(cast(Cluster, Events(written([notice], own, now) if may else None)), config)

    async def found() -> list[Check]:
        return [one async for one in installed._mirrors(view, now)]

    assert [(one.name, one.result) for one in asyncio.run(found())] == [("m.test", result)]


def test_namespaces_are_counted_and_not_listed() -> None:
    well = installed.summed_up(Report([Line("team-a", "alice", "right")]))
    assert (well.result, well.hint) == ("right", "")
    assert well.why.startswith("1 namespace: 1 right")
    bad = installed.summed_up(Report([Line("team-a", "alice", "wrong", problem="the Secret is missing")]))
    assert (bad.result, bad.hint) == ("warning", "see pullsecret status --problems")
    assert "team-a" not in bad.why
