"""Which credential is used where, which is preferred, and what needs attention."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.commands.credential.holdings import Holdings
from webhook.commands.credential.table import Row, Table, rows_of, text
from webhook.core.check import Check, Checks, Why
from webhook.core.credential import Credential, Origin
from webhook.core.issued import IssuedBy
from webhook.core.mirror import MirrorRule
from webhook.core.pullsecret import Namespace
from webhook.sources.secret import SourceSecret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = b"k" * 32


def spaces(*names: str) -> dict[str, Namespace]:
    return {name: Namespace(name, f"uid-{name}", 1, "alice") for name in names}


def source(name: str, registry: str = "ghcr.io", **fields: Any) -> SourceSecret:
    origin = Origin("", "pullsecret-webhook", "Secret", name)
    return SourceSecret(1, "alice", (Credential(registry, name, planted.token(), origin=origin, **fields),))


TEAMS = "team-a", "team-b"


def held(checks: Checks | None = None, namespaces: Sequence[str] = TEAMS, **secrets: SourceSecret) -> Holdings:
    return Holdings("alice", secrets, spaces(*namespaces), checks)


def rows(found: Holdings) -> dict[str, Row]:
    by_name = {row.secret: row for row in rows_of(found, NOW)}
    shown = text(Table([*by_name.values()])) + repr(by_name)
    assert not planted.leaks(shown)
    return by_name


def test_one_that_is_used_everywhere() -> None:
    row = rows(held(a=source("a", expires=NOW + timedelta(days=90))))["a"]
    assert (row.used_in, row.preferred, row.problem, row.note) == (2, "yes", "", "")


def test_of_several_for_one_registry_the_first_by_name_is_preferred() -> None:
    found = rows(held(a=source("a"), b=source("b"), c=source("c", "quay.io")))
    assert [(row.used_in, row.preferred) for row in found.values()] == [(2, "yes"), (2, "no"), (2, "yes")]
    assert found["b"].note == "that of source Secret a comes first"


def test_a_limited_one_is_preferred_where_it_is_used() -> None:
    found = rows(held(a=source("a"), b=source("b", namespaces=("team-b",))))
    assert (found["a"].used_in, found["a"].preferred) == (2, "partly")
    assert (found["b"].used_in, found["b"].preferred) == (1, "yes")
    assert found["b"].note == "limited to team-b"
    lonely = rows(held(b=source("b", namespaces=("other-*",))))["b"]
    assert (lonely.used_in, lonely.preferred) == (0, "unknown")
    assert "no namespace of the owner is called so" in lonely.note


def test_one_for_a_mirror_is_used_too_and_takes_no_place_from_another() -> None:
    rules = (MirrorRule("ghcr.io", "mirror.test"),)
    mine = held(a=source("a", "mirror.test", namespaces=("team-a",)), b=source("b"))
    found = rows(replace(mine, mirrors=rules))
    assert [(row.registry, row.used_in, row.preferred) for row in found.values()] == [
        ("ghcr.io", 2, "yes"),
        ("mirror.test", 1, "yes"),
    ]
    assert "comes first" not in found["b"].note
    items = replace(mine, mirrors=rules).used("team-a", NOW)
    assert sorted(c.registry for c in items) == ["ghcr.io", "ghcr.io", "mirror.test"]
    over = held(a=source("a", "mirror.test"), b=source("b", expires=NOW - timedelta(days=1)))
    row = rows(replace(over, mirrors=rules))["b"]
    assert (row.used_in, row.problem) == (0, "it has ended; renew it with pullsecret credential rotate")
    assert row.note == ""


def test_one_that_has_ended() -> None:
    over = NOW - timedelta(days=1)
    alone = rows(held(a=source("a", expires=over)))["a"]
    assert alone.problem == "it has ended; renew it with pullsecret credential rotate"
    found = rows(held(a=source("a", expires=over), b=source("b")))
    assert (found["a"].used_in, found["a"].preferred, found["a"].problem) == (0, "no", "")
    assert found["a"].note == "that of source Secret b is used instead"
    assert rows(held(a=source("a", expires=NOW + timedelta(days=6))))["a"].note == "it ends soon"


def test_what_an_issuer_minted_says_when_it_is_renewed() -> None:
    soon, later = NOW + timedelta(hours=12), NOW + timedelta(hours=1)
    found = held(a=source("a", expires=soon), b=source("b", "r.test", expires=soon))
    by = IssuedBy("registry", 7, NOW - timedelta(hours=12), later)
    one, other = rows_of(found, NOW, {"a": by})
    assert (one.issued, one.note, one.problem) == (by, "", "")  # that it ends soon is as it should be
    assert (other.issued, other.note) == (None, "it ends soon")
    head, first, second, *_ = text(Table([one, other])).splitlines()
    assert head.split()[-4:] == ["ISSUER", "GENERATION", "ISSUED", "NEXT"]
    assert first.split()[-6:] == ["registry", "7", "2029-12-31", "12:00", "2030-01-01", "01:00"]
    assert second.split()[-4:] == ["-"] * 4
    assert "ISSUER" not in text(Table([other]))
    assert Table([one]).document["credentials"][0]["issued"]["generation"] == 7


def test_what_no_issuer_renews_any_more_is_told() -> None:
    ends = NOW + timedelta(hours=12)
    (orphan,) = rows_of(held(a=source("a", expires=ends)), NOW, {"a": IssuedBy("old", 7, NOW, None)})
    assert orphan.note == "no issuer of the configuration renews it"
    (lost,) = rows_of(held(a=source("a", expires=ends)), NOW, {"a": IssuedBy("registry")})
    assert lost.note == "what its issuer noted about it cannot be read, so another one is minted soon"
    (over,) = rows_of(held(a=source("a", expires=NOW)), NOW, {"a": IssuedBy("registry", 7, NOW, NOW)})
    assert over.problem == "it has ended, and its issuer has minted no other one; see pullsecret status"


def test_what_the_registry_said_is_shown() -> None:
    secrets = {name: source(name) for name in ("a", "b")}
    checks, (first, second) = Checks(KEY), (secrets[name].credentials or () for name in ("a", "b"))
    said = {first[0]: Check(Why.UNAUTHORIZED, 1000, 2), second[0]: Check(Why.NO_CONNECTION, 1000, 2)}
    recorded = replace(checks, records={checks.digest(c): one.record for c, one in said.items()})
    found = replace(held(recorded), secrets=secrets)
    refused, unknown = rows_of(found, NOW)
    assert refused.check is not None
    assert (refused.check.result, refused.used_in, refused.preferred) == ("refused", 0, "no")
    assert "the registry refuses the credential for ghcr.io (HTTP 401); it is left out" in refused.problem
    assert (unknown.used_in, unknown.preferred, unknown.problem) == (2, "yes", "")
    shown = text(Table([refused, unknown]))
    assert "the registry does not say whether it works: it cannot be reached" in shown
    assert "2 credentials of 1 owner; 1 needs attention" in shown


def test_a_broken_secret_holds_all_up() -> None:
    found = rows(held(a=source("a"), b=SourceSecret(1, "alice", None, ("it is empty",))))
    assert found["b"].problem == "it is empty; until it is repaired, the pull secrets stay as they are"
    assert (found["a"].used_in, found["a"].preferred) == (None, "unknown")


def test_without_a_namespace_and_without_the_right_to_see_them() -> None:
    row = rows(held(namespaces=(), a=source("a")))["a"]
    assert (row.used_in, row.preferred, row.note) == (0, "yes", "no namespace has this owner")
    unseen = rows(replace(held(a=source("a")), namespaces=None))["a"]
    assert (unseen.used_in, unseen.note) == (None, "")
    limited = rows(replace(held(a=source("a", namespaces=("team-a",))), namespaces=None))["a"]
    assert (limited.used_in, limited.preferred, limited.note) == (None, "unknown", "limited to team-a")


def test_json_has_all_that_the_text_has() -> None:
    table = Table(rows_of(held(a=source("a", expires=NOW)), NOW), ["namespaces"])
    document = msgspec.to_builtins(table.document)
    (one,) = document["credentials"]
    assert document["needs_a_human"] is one["needs_a_human"] is True
    assert (one["owner"], one["registry"], one["secret"]) == ("alice", "ghcr.io", "a")
    assert one["expires"] == "2030-01-01T00:00:00Z"
    assert document["unread"] == ["namespaces"]
    assert not planted.leaks(repr(document))


hostile = st.text(max_size=30) | st.sampled_from(["\x1b[2J", "a\nb", "\u202e", "x" * 999])


@given(hostile, hostile)
def test_what_others_wrote_makes_no_line_of_its_own(owner: str, problem: str) -> None:
    table = Table([Row(owner, "ghcr.io", "a"), Row(owner, "", "b", problem="p")])
    assert len(text(table).splitlines()) == 5
    assert all(line.isprintable() for line in text(table).splitlines())
