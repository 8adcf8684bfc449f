"""What hears of what."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from support.steps import at_once
from webhook.app import App
from webhook.config.models import Config
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.core.pullsecret import Fingerprint, Namespace, Planner
from webhook.kube.cluster import Cluster
from webhook.kube.views import Account, State
from webhook.sources.combined import Combined
from webhook.supply import Supply
from webhook.wiring import Parts

NOW = datetime(2026, 11, 23, tzinfo=UTC)
TEAM = Namespace("team", "u1", 1, "alice")
NONE = cast(Any, None)


def scene(told: list[Notice]) -> Parts:
    supply = Supply(
        state=State.empty(),
        source=Combined([]),
        store=NONE,
        lookup=NONE,
        policy=NONE,
        planner=Planner("ghcr-secret", Fingerprint(b"k")),
        now=lambda: NOW,
        metrics=Metrics(),
        record=told.append,
    )
    return Parts(Config(), supply)


def test_the_safety_net_is_told_of_accounts_however_they_are_learned() -> None:
    """A review that is ahead of the watch reads an account itself; the watch then has nothing new to tell."""

    async def main() -> str | None:
        app = App(Config(), cast(Cluster, None))
        app._parts.state.accounts.learn("team/builder", Account(7, "", enforced=True))
        return app._net.text()

    assert asyncio.run(main()) == ",team,"


@pytest.mark.parametrize(("owner", "names"), [("alice", ["a", "b"]), ("bob", []), (None, ["b", "a", "c", "free"])])
def test_the_namespaces_that_news_of_a_source_are_about(owner: str | None, names: list[str]) -> None:
    async def main() -> list[str]:
        parts = scene([])
        for name, of in (("b", "alice"), ("a", "alice"), ("c", "carol"), ("free", None)):
            parts.state.namespaces.learn(name, Namespace(name, f"uid-{name}", 1, of))
        return list(parts.refresh._of_owner(owner))

    assert asyncio.run(main()) == names


def test_a_mistake_in_a_namespace_is_told_once_for_each_change() -> None:
    told: list[Notice] = []

    async def main() -> None:
        namespaces = scene(told).state.namespaces
        for version, mistakes in enumerate(["", "a", "a", "", "b"], 1):
            namespaces.learn("team", replace(TEAM, version=version, mistakes=mistakes))

    asyncio.run(main())
    found = [(one.reason, one.message, one.namespace, one.kind) for one in told]
    assert found == [("NamespaceMistake", text, "team", "Namespace") for text in "ab"]


REFUSES, LISTS, LENIENT = (
    Account(2, "", enforced=True),
    Account(2, "ghcr-secret", enforced=True),
    Account(2, "", enforced=False),
)


@pytest.mark.parametrize("before", [None, LENIENT, LISTS, REFUSES], ids=["new", "lenient", "lists", "refuses"])
@pytest.mark.parametrize("after", [LENIENT, LISTS, REFUSES], ids=["lenient", "lists", "refuses"])
@pytest.mark.parametrize("namespace", [TEAM, replace(TEAM, owner=None), None], ids=["served", "unserved", "unseen"])
def test_an_account_that_begins_to_refuse_is_spoken_of(
    namespace: Namespace | None, before: Account | None, after: Account
) -> None:
    told: list[Notice] = []

    async def main() -> None:
        state = scene(told).state
        if namespace is not None:
            state.namespaces.learn("team", namespace)
        if before is not None:
            state.accounts.learn("team/builder", before)
        state.accounts.synced.set()
        state.accounts.learn("team/builder", replace(after, version=3))

    asyncio.run(main())
    begins = namespace is TEAM and after is REFUSES and before is not REFUSES
    assert [(one.reason, one.namespace, one.kind, one.name) for one in told] == [
        ("AccountRefuses", "team", "ServiceAccount", "builder")
    ] * begins


def test_accounts_of_the_first_list_are_not_spoken_of() -> None:
    told: list[Notice] = []

    async def main() -> None:
        state = scene(told).state
        state.namespaces.learn("team", TEAM)
        state.accounts.learn("team/early", replace(REFUSES, version=1))
        at_once(state.accounts.replace({"team/builder": REFUSES, "team/other": LENIENT}, 2))
        assert told == []
        at_once(state.accounts.replace({"team/builder": REFUSES, "team/other": replace(REFUSES, version=3)}, 3))

    asyncio.run(main())
    assert [one.name for one in told] == ["other"]
