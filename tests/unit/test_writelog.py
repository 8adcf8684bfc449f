"""A log line for each write of a pull secret, with the reason; never a token, and never too many."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from support import planted
from support.replicas import BROKEN, NOW, World, settled
from support.simulated import KEY, NAMESPACE, OWNER, Stepping, dockerconfig
from webhook.core.pullsecret import OPTED_OUT, UPDATED, WITHDRAWN, ExistingSecret
from webhook.writelog import DELETED, MOST, MOST_OF_OWNER, SECONDS, WRITTEN, WriteLog

DISABLED = {OWNER: "alice", "pullsecret-webhook/inject": "disabled"}


def lines(world: World, change: Callable[[World], object]) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        change(world)
        world.all_is_told()
    assert not planted.leaks(str(logs))
    return [dict(line) for line in logs if line["event"] in {WRITTEN, DELETED}]


def short(world: World, change: Callable[[World], object]) -> list[tuple[str, str, str, str]]:
    return [
        ("-" if line["event"] == DELETED else "+", line["owner"], line["why"], line.get("by", ""))
        for line in lines(world, change)
    ]


def deletes(world: World) -> None:
    world.server.delete_secret()


def rotates(world: World, owner: str = "alice") -> None:
    token = f"{owner}-{planted.token()}"
    world.tokens[token] = owner
    world.server.set_source(owner, dockerconfig(token))


def edits(path: tuple[str, ...], value: Any) -> Callable[[World], None]:
    return lambda world: world.tenant(path, value)


def labels(labels: dict[str, str]) -> Callable[[World], None]:
    return lambda world: world.server.label_namespace(labels)


def goes(world: World) -> None:
    world.server.delete_namespace()
    world.server.finish_namespace()


def is_made_anew(world: World) -> None:
    goes(world)
    world.server.create_namespace({OWNER: "alice"})


def test_a_line_says_where_whose_which_and_why() -> None:
    with settled("A") as world:
        (line,) = lines(world, rotates)
    assert line == {
        "event": WRITTEN,
        "log_level": "info",
        "about": f"Secret {NAMESPACE}/ghcr-secret",
        "owner": "alice",
        "registries": "ghcr.io",
        "why": "changed",
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda world: world.set_token("alice"), [("+", "alice", "changed", "")]),
        (deletes, [("+", "alice", "restored", "")]),
        (edits(("data", KEY), dockerconfig("the tenant's")), [("+", "alice", "restored", "tenant")]),
        (
            edits(("metadata", "annotations", OWNER), "bob"),
            [("-", "bob", "restored", ""), ("+", "alice", "restored", "")],
        ),
        (edits(("metadata", "ownerReferences"), None), [("+", "alice", "restored", "")]),
        (edits(("metadata", "labels", "example.org/seen"), "yes"), []),
        (labels({OWNER: "bob"}), [("-", "alice", "owner changed", ""), ("+", "bob", "owner changed", "")]),
        (labels(DISABLED), [("-", "alice", OPTED_OUT, "")]),
        (is_made_anew, [("+", "alice", "created", "")]),
        (lambda world: world.server.set_source("alice", None), [("-", "alice", WITHDRAWN, "")]),
    ],
)
def test_why(change: Callable[[World], object], expected: list[tuple[str, str, str, str]]) -> None:
    with settled("A") as world:
        assert short(world, change) == expected


def test_of_other_credentials_the_tenant_is_told() -> None:
    """Not of a Secret that is created, restored or deleted and created."""
    with settled("A") as world:
        told = world.replicas[0].said
        for change in (deletes, edits(("data", KEY), dockerconfig("the tenant's")), labels({OWNER: "bob"})):
            lines(world, change)
        assert [notice for notice in told if notice.reason == UPDATED] == []
        rotates(world, "bob")
        world.all_is_told()
        (notice,) = [notice for notice in told if notice.reason == UPDATED]
    assert (notice.namespace, notice.kind, notice.name, notice.type) == (NAMESPACE, "Secret", "ghcr-secret", "Normal")
    assert notice.message == "the credentials of owner bob have changed; the Secret has them as they are now"


def test_when_it_was_last_written_is_a_number() -> None:
    with settled("A") as world:
        value = world.replicas[0].supply.metrics.registry.get_sample_value
        assert value("pullsecret_webhook_last_write_timestamp_seconds") == NOW.timestamp()


def test_namespaces_are_counted_by_how_they_stand() -> None:
    with settled("A") as world:

        def standing(change: Callable[[World], object]) -> dict[str, int]:
            lines(world, change)
            return {kind: count for kind, count in world.replicas[0].supply.standings.counts().items() if count}

        assert standing(deletes) == {"right": 1}
        assert standing(lambda world: world.server.set_source("alice", None)) == {"no_credential": 1}
        assert standing(rotates) == {"right": 1}
        assert standing(labels(DISABLED)) == {}
        assert standing(labels({OWNER: "bob"})) == {"right": 1}
        assert standing(lambda world: world.server.set_source("bob", BROKEN)) == {"failed": 1}
        assert standing(goes) == {}


def test_it_is_created_at_first_and_again_after_we_deleted_it() -> None:
    with capture_logs() as logs, settled("A") as world:
        first = [line["why"] for line in logs if line["event"] == WRITTEN]
        world.server.label_namespace(DISABLED)
        world.all_is_told()
        again = short(world, labels({OWNER: "alice"}))
    assert first == ["created"]
    assert again == [("+", "alice", "created", "")]


def test_what_a_replica_that_starts_finds_is_only_found_different() -> None:
    """It cannot know whether the credentials changed meanwhile, or the Secret."""
    with settled("A") as world:
        world.replicas[0].end()
        world.tenant(("data", KEY), dockerconfig("another"))
        assert short(world, lambda _: world.replicas.__setitem__(0, world.replica("A"))) == [
            ("+", "alice", "found different", "")
        ]


def test_of_two_replicas_each_knows_what_was_right() -> None:
    """Here they write at the same moment, and each says so."""
    with settled("AB") as world:
        assert {*short(world, lambda _: world.set_token("alice"))} == {("+", "alice", "changed", "")}
        assert {*short(world, deletes)} == {("+", "alice", "restored", "")}


# -- how many ----------------------------------------------------------------------------------------------------------


def secret(owner: str, number: int) -> ExistingSecret:
    return ExistingSecret(f"team-{number}", "s", 1, True, True, False, False, owner, b"", ("ghcr.io",))


def test_a_token_that_is_new_for_thousands_makes_some_lines_and_one_with_their_number() -> None:
    loop, log = Stepping(), WriteLog()

    async def write() -> None:
        for number in range(20_000):
            log.wrote("ghcr-secret", secret("alice", number), "changed")
        log.wrote("ghcr-secret", secret("bob", 1), "restored", "kubectl-patch")
        log.deleted("ghcr-secret", secret("bob", 2), "the namespace has no owner any more")

    with capture_logs() as logs:
        loop.run_until_complete(write())
        assert len(logs) == MOST_OF_OWNER + 2
        assert loop.time() < SECONDS
        while loop.sleep():
            pass
    loop.close()
    assert logs[MOST_OF_OWNER]["owner"] == "bob"  # alice's hide nobody's
    assert logs[-1] == {
        "event": "more pull secrets were written or deleted",
        "log_level": "info",
        "writes": 20_000 - MOST_OF_OWNER,
        "owners": "alice",
        "why": "19,980 changed",
    }


def test_all_owners_together_have_a_limit_too_and_after_a_minute_there_are_lines_again() -> None:
    loop, log = Stepping(), WriteLog()

    async def write() -> None:
        for number in range(MOST + 10):
            log.wrote("ghcr-secret", secret(f"o{number}", number), "created")

    with capture_logs() as logs:
        loop.run_until_complete(write())
        assert len(logs) == MOST
        loop.sleep()
        assert logs[-1]["owners"] == "o200, o201, o202, o203, o204 and 5 more"
        loop.run_until_complete(write())
        assert len(logs) == 2 * MOST + 1
        log.finish()  # the process ends
        log.finish()
    loop.close()
    assert len(logs) == 2 * MOST + 2


def test_what_others_wrote_is_shown_as_that() -> None:
    odd = ExistingSecret("team", "s", 1, True, True, False, False, "a\nb" + "x" * 300, b"", ("ghcr.io",) * 9)

    async def write() -> None:
        WriteLog().wrote("ghcr-secret", odd, "changed")

    with capture_logs() as logs:
        asyncio.run(write())
    assert logs[0]["owner"].startswith("a?bxx")
    assert len(logs[0]["owner"]) < 210
    assert logs[0]["registries"].endswith("and 4 more")
