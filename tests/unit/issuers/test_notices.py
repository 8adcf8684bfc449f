"""Who is told what, when an owner gets no new credential."""

from datetime import UTC, datetime

from webhook.core.issued import secret_name
from webhook.core.notice import Notice
from webhook.issuers.notices import Problem, notices

ENDS = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


def told(problem: Problem | None, owner: str = "alice") -> list[Notice]:
    return [*notices("registry", owner, problem, "release", ["team-a", "team-b"])]


def test_an_outage_is_for_whoever_runs_the_webhook() -> None:
    (one,) = told(Problem("no new credential: it does not answer"))
    assert one.message == "issuer registry, owner alice: no new credential: it does not answer"
    assert (one.reason, one.namespace, one.kind, one.name) == (
        "IssueFailed",
        "release",
        "Secret",
        secret_name("registry", "alice"),
    )
    assert (one.owner, one.source, one.type, one.quiet) == ("alice", "registry", "Warning", False)


def test_a_tenant_hears_what_only_a_change_helps() -> None:
    first, *rest = told(Problem("no new credential: there is no project alice", refused=True))
    assert first.namespace == "release"
    assert [(one.namespace, one.kind, one.name, one.quiet) for one in rest] == [
        (name, "Namespace", name, True) for name in ("team-a", "team-b")
    ]
    assert {one.message for one in rest} == {
        "owner alice of this namespace: no new credential: there is no project alice"
    }


def test_the_end_that_comes_soon_is_told_with_the_problem_and_over_with_it() -> None:
    failed, soon = told(Problem("no new credential: it does not answer", ends=ENDS))
    assert soon.reason == "IssuedSoonEnds"
    assert (
        soon.message
        == "issuer registry, owner alice: its credential ends at 2030-01-01 12:30 UTC and is not renewed yet"
    )
    (well,) = told(None)
    assert well.type == "Normal"
    assert {*well.over} == {failed.reason, soon.reason}
    assert (well.kind, well.name, well.source, well.owner) == (soon.kind, soon.name, soon.source, soon.owner)


def test_each_of_many_is_told_quietly() -> None:
    assert [one.quiet for one in told(Problem("it does not answer", ends=ENDS, many=True))] == [True, True]
    assert [one.quiet for one in told(Problem("it does not answer", ends=ENDS))] == [False, False]
    assert [one.quiet for one in told(None)] == [True]


def test_an_owner_is_shown_and_not_copied() -> None:
    (one,) = told(Problem("no"), owner="a\x1b[31m")
    assert "\x1b" not in one.message
