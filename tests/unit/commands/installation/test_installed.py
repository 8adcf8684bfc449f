"""What is found of an installation, as checks."""

import pytest

from webhook.commands.health import Finding
from webhook.commands.installation import installed
from webhook.commands.status import Report
from webhook.commands.verdict import Line
from webhook.core.credential import Credential
from webhook.kube.cluster import ClusterError
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


def test_source_secrets() -> None:
    good = SourceSecret(1, "alice", (Credential("ghcr.io", "alice", "x"),))
    bad = SourceSecret(1, "bob", None, ("its type is Opaque",))
    assert installed.source_secrets({}).result == "absent"
    well = installed.source_secrets({"alice": {"one": good, "two": good}})
    assert (well.result, well.why) == ("right", "2 Secrets of 1 owner")
    broken = installed.source_secrets({"alice": {"one": good}, "bob": {"three": bad}})
    assert (broken.result, broken.why) == ("warning", "source Secret three is broken: its type is Opaque")


def test_namespaces_are_counted_and_not_listed() -> None:
    well = installed.summed_up(Report([Line("team-a", "alice", "right")]))
    assert (well.result, well.hint) == ("right", "")
    assert well.why.startswith("1 namespace: 1 right")
    bad = installed.summed_up(Report([Line("team-a", "alice", "wrong", problem="the Secret is missing")]))
    assert (bad.result, bad.hint) == ("warning", "see pullsecret status --problems")
    assert "team-a" not in bad.why
