"""Which entries a pull secret has for mirrors, and whom the kubelet shows what by them."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials, Refusal
from webhook.core.dockerconfig import parse, registries, render
from webhook.core.merge import merged
from webhook.core.mirror import MirrorRule, mirrored, of_mirrors
from webhook.core.pullsecret import UNMATCHED, ExistingSecret, Fingerprint, Leave, Namespace, Plan, Planner, Write
from webhook.core.registry import DOCKER_HUB, MAX_SAME_KEY, canonical_registry, matching

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TEAM = Namespace("team", "uid-1", 7, "alice")
OWN, THEIRS = planted.token(), planted.token()
UPSTREAM = Credential("ghcr.io", "alice", OWN)
AT = Credential("mirror.test:5000/alice", "alice", THEIRS)
RULE = MirrorRule("ghcr.io", "mirror.test:5000")
PLANNER = Planner("ghcr-secret", Fingerprint(b"k" * 32), mirrors=(RULE,))


@pytest.mark.parametrize(
    ("to", "path", "registry", "key"),
    [
        ("mirror.test:5000", "", "mirror.test:5000/alice", "ghcr.io/alice"),
        ("mirror.test:5000", "", "mirror.test:5000/alice/", "ghcr.io/alice/"),
        ("mirror.test:5000", "", "mirror.test:5000", "ghcr.io"),
        ("mirror.test:5000", "{owner}/", "mirror.test:5000", "ghcr.io/alice/"),
        ("mirror.test:5000", "{owner}/", "mirror.test:5000/acme", "ghcr.io/acme"),
        ("mirror.test:5000", "team-{owner}", "mirror.test:5000", "ghcr.io/team-alice"),
        ("mirror.test:5000", "", "mirror.test", None),
        ("mirror.test:5000", "", "other.test:5000/alice", None),
        ("mirror.test:5000", "", "*.test:5000/alice", "ghcr.io/alice"),
        ("mirror.test/ghcr", "", "mirror.test/ghcr/alice", "ghcr.io/alice"),
        ("mirror.test/ghcr", "", "mirror.test/ghcr/", "ghcr.io"),
        ("mirror.test/ghcr", "{owner}/", "mirror.test", "ghcr.io/alice/"),
        ("mirror.test/ghcr", "", "mirror.test/gh", "ghcr.io"),
        ("mirror.test/ghcr", "", "mirror.test/hub/alice", None),
        ("mirror.test/ghcr", "", "mirror.test/ghcr-2/alice", None),
    ],
)
def test_under_which_name_a_credential_is_written(to: str, path: str, registry: str, key: str | None) -> None:
    rule = MirrorRule("ghcr.io", to, path)
    assert rule.key(registry, "alice") == key
    assert rule.covers(registry) == (key is not None)


def test_the_kubelet_tries_the_mirror_s_password_first() -> None:
    written = parse(render(mirrored(Credentials((AT, UPSTREAM)), [RULE], "alice").items)).credentials
    tried = matching([c.registry for c in written], "ghcr.io/alice/app:1")
    assert [c.password for key in tried for c in written if c.registry == key] == [THEIRS, OWN]
    assert matching([c.registry for c in written], "ghcr.io/bob/app:1") == ("ghcr.io",)


@pytest.mark.parametrize("registry", [DOCKER_HUB, "registry-1.docker.io", "docker.io"])
def test_an_entry_for_a_mirror_of_docker_hub_hides_no_credential_for_docker_hub(registry: str) -> None:
    hub, rule = Credential(registry, "alice", OWN), MirrorRule("docker.io", "mirror.test:5000")
    written = parse(render(merged(mirrored(Credentials((hub, AT)), [rule], "alice"), "team", NOW).items)).credentials
    tried = matching({c.registry for c in written}, "alice/app")
    assert [{c.password for c in written if c.registry == key} for key in tried] == [{THEIRS}, {OWN}]
    assert of_mirrors(written, [rule], "alice") == {replace(AT, registry="docker.io/alice")}


@pytest.mark.parametrize("owner", ["Alice", "al ice", "alice@example.com", "-alice", "\u540d", "a" * 300])
def test_an_owner_that_is_no_name_is_told_and_never_changed(owner: str) -> None:
    whole = replace(AT, registry="mirror.test:5000")
    planner = replace(PLANNER, mirrors=(replace(RULE, path="{owner}/"),))
    plan = planner(replace(TEAM, owner=owner), Credentials((whole, UPSTREAM)), None, NOW)
    assert of(plan) == {"ghcr.io": OWN, "mirror.test:5000": THEIRS}
    (notice,) = plan.notices(owner)
    assert notice.reason == UNMATCHED
    assert "mirror.test:5000 is not written for the images of ghcr.io" in notice.message
    assert "as in mirror.test:5000/PROJECT" in notice.message
    with_path = planner(replace(TEAM, owner=owner), Credentials((AT, UPSTREAM)), None, NOW)
    assert not [*with_path.notices(owner)]
    assert "ghcr.io/alice" in of(with_path)


def of(plan: Plan) -> dict[str, str]:
    assert isinstance(plan.step, Write)
    found = written(plan.step)
    return {c.registry: c.password for c in found}


def written(step: Write) -> tuple[Credential, ...]:
    return parse(base64.b64decode(step.body["data"][".dockerconfigjson"])).credentials


def test_one_for_a_mirror_takes_no_place_from_the_registry_s_own() -> None:
    own = [replace(UPSTREAM, username=f"u{number}") for number in range(MAX_SAME_KEY)]
    known = Credentials((replace(AT, registry="mirror.test:5000"), *own))
    plan = PLANNER(TEAM, known, None, NOW)
    assert [c.copy_of for c in plan.left_out] == ["mirror.test:5000"]
    assert of(plan)["ghcr.io"] == OWN


def test_one_for_a_mirror_is_no_new_one_in_the_place_of_what_has_ended() -> None:
    ended, whole = replace(UPSTREAM, expires=NOW - DAY), replace(AT, registry="mirror.test:5000")
    plan = PLANNER(TEAM, Credentials((ended, whole)), None, NOW)
    assert plan.expired == (ended,)
    both = PLANNER(TEAM, Credentials((UPSTREAM, replace(whole, expires=NOW - DAY))), None, NOW)
    assert [c.registry for c in both.expired] == ["mirror.test:5000"]  # once, not also as ghcr.io


def test_one_for_docker_hub_s_mirror_is_no_new_one_in_the_place_of_what_has_ended() -> None:
    planner = replace(PLANNER, mirrors=(MirrorRule("docker.io", "mirror.test:5000"),))
    ended = Credential(DOCKER_HUB, "alice", OWN, NOW - DAY)
    plan = planner(TEAM, Credentials((ended, replace(AT, registry="mirror.test:5000"))), None, NOW)
    assert plan.expired == (ended,)


def test_the_registry_s_own_has_the_usual_spelling() -> None:
    """Which other tools look for. Else one that is limited to namespaces comes first."""
    limited = replace(AT, registry="mirror.test:5000", namespaces=("team",))
    plan = PLANNER(TEAM, Credentials((limited, UPSTREAM)), None, NOW)
    assert isinstance(plan.step, Write)
    auths = json.loads(base64.b64decode(plan.step.body["data"][".dockerconfigjson"]))["auths"]
    assert auths["ghcr.io"]["password"] == OWN
    assert auths["https://ghcr.io"]["password"] == THEIRS


def test_what_matches_no_image_is_told_once() -> None:
    plan = PLANNER(TEAM, Credentials((replace(AT, registry="mirror.test:5000/Alice"),)), None, NOW)
    (notice,) = plan.notices("alice")
    assert notice.message.count("matches hardly any image") == 1


def test_of_what_is_not_written_here_it_is_not_told_that_it_has_no_name() -> None:
    planner = replace(PLANNER, mirrors=(replace(RULE, path="{owner}/"),))
    whole = replace(AT, registry="mirror.test:5000")
    elsewhere = replace(whole, namespaces=("team-b",))
    refused = replace(whole, username="u", refusal=Refusal("HTTP 401", left_out=True))
    plan = planner(replace(TEAM, owner="Alice"), Credentials((elsewhere, refused, UPSTREAM)), None, NOW)
    assert not plan.nameless


def test_a_refusal_by_the_mirror_counts_for_both_entries_and_is_told_once() -> None:
    refused = replace(AT, refusal=Refusal("HTTP 401", left_out=True))
    plan = PLANNER(TEAM, Credentials((refused, UPSTREAM)), None, NOW)
    assert of(plan) == {"ghcr.io": OWN}
    assert plan.refused == (refused,)


def test_one_that_is_limited_to_namespaces_is_for_a_mirror_there_alone() -> None:
    limited = replace(AT, namespaces=("team-b",))
    assert of(PLANNER(TEAM, Credentials((limited, UPSTREAM)), None, NOW)) == {"ghcr.io": OWN}
    assert of(PLANNER(replace(TEAM, name="team-b"), Credentials((limited, UPSTREAM)), None, NOW))["ghcr.io/alice"]


hosts = st.sampled_from(["ghcr.io", "docker.io", DOCKER_HUB, "m.eu.test:5000", "m.eu.test", "*.eu.test"])
paths = st.sampled_from(["", "/ghcr", "/ghcr/alice", "/alice", "/alice/", "/gh", "/Alice"])
logins = st.sampled_from(["a", "b"])
credentials = st.builds(
    lambda host, path, login, expires: Credential(
        host if host == DOCKER_HUB else f"{host}{path}", login, f"{login}-{host}", expires
    ),
    hosts,
    paths,
    logins,
    st.sampled_from([None, NOW - DAY, NOW + DAY]),
)
rules = st.builds(
    MirrorRule,
    st.sampled_from(["ghcr.io", "docker.io"]),
    st.sampled_from(["m.eu.test:5000", "m.eu.test", "m.eu.test/ghcr"]),
    st.sampled_from(["", "{owner}/", "acme"]),
)


@given(st.lists(credentials, max_size=6), st.lists(rules, max_size=3), st.sampled_from(["alice", "Al ice"]))
def test_what_holds_for_all(items: list[Credential], many: list[MirrorRule], owner: str) -> None:
    known, space = Credentials(tuple(items)), replace(TEAM, owner=owner)
    planner = replace(PLANNER, mirrors=tuple(many))
    more = mirrored(known, many, owner).items[len(items) :]
    for c in more:
        assert canonical_registry(c.registry) == c.registry
        assert c.registry.partition("/")[0] in {rule.of for rule in many}
        assert c.login in {one.login for one in items if one.registry == c.copy_of}
    plan, without = planner(space, known, None, NOW), replace(planner, mirrors=())(space, known, None, NOW)
    assert type(plan.step) is type(without.step)
    assert (plan.until, plan.refused) == (without.until, without.refused)
    assert plan.expired == without.expired
    if isinstance(plan.step, Write) and isinstance(without.step, Write):
        ours, dead = written(plan.step), {replace(c, expires=None) for c in (*plan.expired, *plan.left_out)}
        assert {c for c in written(without.step) if c not in dead} <= {*ours}  # nothing is lost
        assert {c.login for c in ours} <= {c.login for c in items}
        assert registries(plan.step.body["data"][".dockerconfigjson"])
        again = planner(space, known, standing(plan.step), NOW)
        assert isinstance(again.step, Leave)


def standing(step: Write) -> ExistingSecret:
    found = registries(step.body["data"][".dockerconfigjson"])
    return ExistingSecret("team", "s", 1, True, True, False, False, step.owner, step.digest, registries=found)
