"""When issuers are checked, for whom, and what becomes of each way in which a check can end."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support import planted
from support.signing import key_file
from support.simulated import Stepping
from webhook.config import reading
from webhook.core.issuerchecks import EVERY, WHILE_FAILING, Checked
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted, NotChecked
from webhook.issuers.checking import BUG, CANDIDATES, JITTER, OWNERS, SECONDS, Checking, check_all, likeliest

START = datetime(2030, 1, 1, tzinfo=UTC)
DOWN = IssuerUnavailable("it does not answer")
REFUSED = IssueRefused("there is no project")
EVERYBODY = IssueRefused("it lacks a right", everybody=True)
NO_RIGHT = IssueRefused("it lacks a right here", right=True)
MISFIT = DoesNotFit("no role has such a name")
NOBODY = NotChecked("nobody")


@dataclass
class Fake:
    """`raised`: instead of an answer, by owner. `asked`: for whom. `closed`: how often."""

    raised: dict[str | None, Exception] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    hangs: bool = False
    closed: int = 0

    async def check(self, owner: str | None) -> None:
        self.asked.append(owner)
        if self.hangs:
            await asyncio.sleep(10**6)
        if owner in self.raised:
            raise self.raised[owner]

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        raise AssertionError("a check mints nothing")

    async def end(self, handle: str) -> None:
        raise AssertionError("a check ends nothing")

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def loop() -> Iterator[Stepping]:
    loop = Stepping()
    yield loop
    loop.close()


class World:
    def __init__(self, loop: Stepping, issuer: Fake, *owners: str) -> None:
        self.loop, self.issuer, self.told, self.made = loop, issuer, list[tuple[float, Checked | None]](), 0
        self.checking = Checking("harbor", self._make, lambda: owners, self._now, self._tell)
        self.task = loop.create_task(self.checking.run())
        loop.settle()

    def _make(self) -> Fake:
        self.made += 1
        return self.issuer

    def _now(self) -> datetime:
        return START + timedelta(seconds=self.loop.time())

    def _tell(self) -> None:
        self.told.append((self.loop.time(), self.checking.last))

    @property
    def last(self) -> Checked:
        assert self.checking.last is not None
        return self.checking.last

    @property
    def numbers(self) -> tuple[bool | None, int]:
        """Is it up, and how often was that asked?"""
        return self.checking.up, len(self.told)

    def end(self) -> None:
        self.task.cancel()
        self.loop.settle()
        assert self.task.cancelled()


@pytest.fixture
def world(loop: Stepping) -> Iterator[Callable[..., World]]:
    """Makes one, which ends with the test."""
    worlds = list[World]()

    def make(issuer: Fake, *owners: str) -> World:
        worlds.append(World(loop, issuer, *owners))
        return worlds[-1]

    yield make
    for one in worlds:
        if not one.task.done():
            one.end()


def test_it_is_checked_at_once_and_about_each_hour_by_an_issuer_of_its_own(world: Callable[..., World]) -> None:
    found = world(Fake(), "alice")
    for _ in range(4):
        found.loop.sleep()
    times = [at for at, _ in found.told]
    assert times[0] == 0.0
    gaps = [after - before for before, after in pairwise(times)]
    hour = EVERY.total_seconds()
    assert all(hour * (1 - JITTER) <= gap <= hour + 1 for gap in gaps)
    assert len({*gaps}) == 4
    assert found.made == found.issuer.closed == len(found.told) == 5
    assert {one.result for _, one in found.told if one} == {"works"}
    assert found.checking.up is True


def test_one_that_fails_is_asked_again_soon_and_the_log_has_when_it_begins_and_ends(
    world: Callable[..., World],
) -> None:
    with capture_logs() as logs:
        found = world(Fake({None: DOWN}))
        found.loop.sleep()
        assert found.last == Checked(found.last.at, "fails", "it does not answer")
        assert found.numbers == (False, 2)
        assert found.told[1][0] <= WHILE_FAILING.total_seconds() + 1
        found.issuer.raised.clear()
        found.loop.sleep()
        assert found.numbers == (True, 3)
        found.loop.sleep()
    assert [(one["log_level"], one.get("why", "")) for one in logs] == [("warning", "it does not answer"), ("info", "")]
    assert {one["issuer"] for one in logs} == {"harbor"}


def test_one_of_which_nothing_can_be_said_fails_for_as_long_as_it_did(world: Callable[..., World]) -> None:
    issuer, seen = Fake({None: DOWN}), list[tuple[str, bool | None]]()
    with capture_logs() as logs:
        found = world(issuer)
        for raised in (NOBODY, DOWN, NOBODY, None, NOBODY):
            issuer.raised = {} if raised is None else {None: raised}
            found.loop.sleep()
            seen.append((found.last.result, found.checking.up))
    assert seen == [("unknown", False), ("fails", False), ("unknown", False), ("works", True), ("unknown", None)]
    assert found.told[4][0] <= 4 * WHILE_FAILING.total_seconds() + 1
    assert [one["event"] for one in logs] == ["an issuer fails its check", "an issuer passes its check again"]


def test_who_leads_no_more_knows_nothing(world: Callable[..., World]) -> None:
    found = world(Fake({None: DOWN}))
    assert found.checking.up is False
    found.end()
    assert found.checking.last is None
    assert found.checking.up is None


@pytest.mark.parametrize(
    ("raised", "asked", "result", "why"),
    [
        ({}, ["a"], "works", ""),
        ({"a": REFUSED}, ["a", "b"], "works", ""),
        ({"a": REFUSED, "b": EVERYBODY}, ["a", "b"], "fails", "it lacks a right"),
        ({"a": DOWN}, ["a"], "fails", "it does not answer"),
        ({"a": REFUSED, "b": REFUSED, "c": REFUSED}, ["a", "b", "c", None], "works", ""),
        ({"a": REFUSED, "b": REFUSED, "c": REFUSED, None: DOWN}, ["a", "b", "c", None], "fails", "it does not answer"),
        (
            {"a": REFUSED, "b": REFUSED, "c": REFUSED, None: NOBODY},
            ["a", "b", "c", None],
            "unknown",
            "all owners for whom it was asked are refused: there is no project",
        ),
        # One of them may have taken the right from us; all of them have not.
        ({"a": NO_RIGHT}, ["a", "b"], "works", ""),
        ({"a": NO_RIGHT, "b": NO_RIGHT}, ["a", "b", "c"], "works", ""),
        ({"a": NO_RIGHT, "b": NO_RIGHT, "c": NO_RIGHT}, ["a", "b", "c"], "fails", "it lacks a right here"),
        ({"a": NO_RIGHT, "b": REFUSED, "c": NO_RIGHT}, ["a", "b", "c", None], "works", ""),
        # Nobody was asked for those who do not fit.
        ({"a": MISFIT, "b": MISFIT, "c": MISFIT, "d": DOWN}, ["a", "b", "c", "d"], "fails", "it does not answer"),
        ({"a": MISFIT, "b": MISFIT, "c": NO_RIGHT, "d": NO_RIGHT}, ["a", "b", "c", "d"], "fails", str(NO_RIGHT)),
        (
            dict.fromkeys("abcd", MISFIT) | {None: NOBODY},
            ["a", "b", "c", "d", None],
            "unknown",
            "there is no owner for whom it can be asked: no role has such a name",
        ),
        (dict.fromkeys("abcd", MISFIT), ["a", "b", "c", "d", None], "works", ""),
        ({"a": ValueError("a secret")}, ["a"], "fails", BUG),
    ],
)
def test_for_whom_it_is_asked(
    world: Callable[..., World], raised: dict[str | None, Exception], asked: list[str | None], result: str, why: str
) -> None:
    assert OWNERS == 3
    with capture_logs():
        found = world(Fake(raised), "a", "b", "c", "d")
    assert found.issuer.asked == asked
    assert (found.last.result, found.last.why) == (result, why)
    assert found.issuer.closed == 1


def test_who_has_a_credential_comes_first_and_among_these_nobody_always_does() -> None:
    owners = {f"owner-{number}" for number in range(CANDIDATES + 100)}
    having = {"owner-3", "owner-7", "owner-1050"}
    orders = [likeliest(owners, having.__contains__) for _ in range(50)]
    assert {frozenset(order[:3]) for order in orders} == {frozenset(having)}
    assert {len({*order}) for order in orders} == {CANDIDATES}
    assert {order[0] for order in orders} == having  # but for one of 200 million runs


def test_nobody_to_ask_for_is_neither_up_nor_down(world: Callable[..., World]) -> None:
    found = world(Fake({None: NotChecked("each owner has a role of its own")}))
    assert (found.last.result, found.last.why) == ("unknown", "each owner has a role of its own")
    assert found.checking.up is None
    assert found.loop.sleep()
    assert found.told[1][0] > WHILE_FAILING.total_seconds() * 2


def test_it_has_an_end(world: Callable[..., World]) -> None:
    with capture_logs():
        found = world(Fake(hangs=True))
        assert found.checking.last is None
        found.loop.sleep()
    assert (found.last.result, found.last.why) == ("fails", "it was not done within 60 s")
    assert found.last.at == START  # when it was asked
    assert found.loop.time() == pytest.approx(SECONDS)
    assert found.issuer.closed == 1


def test_one_that_cannot_be_made_fails(loop: Stepping) -> None:
    def make() -> Fake:
        raise IssuerUnavailable("caFile /ca: it is not PEM")

    checking = Checking("harbor", make, tuple, lambda: START, lambda: None)
    with capture_logs():
        task = loop.create_task(checking.run())
        loop.settle()
    assert checking.last == Checked(START, "fails", "caFile /ca: it is not PEM")
    task.cancel()
    loop.settle()


def test_all_of_a_configuration_at_once(tmp_path: Path) -> None:
    good, missing = key_file(tmp_path / "key.pem"), str(tmp_path / "missing.pem")
    token = tmp_path / "token"
    token.write_text(planted.token())
    role = "arn:aws:iam::123456789012:role/pull/{owner}"
    ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    registry = {"issue": "registry", "registry": "registry.example.com"}
    config = reading.convert(
        {
            "issuers": [
                {**registry, "name": "good", "keyFile": good},
                {
                    **registry,
                    "name": "bad",
                    "registry": "other.example.com",
                    "keyFile": missing,
                    "owners": "team-.*",
                },
                {"issue": "ecr", "registry": ecr, "role": role},
            ]
        }
    )

    def found(owner: str | None) -> dict[str, tuple[str, str]]:
        results = asyncio.run(check_all(config, owner, lambda: START))
        assert list(results) == ["good", "bad", "ecr"]
        assert {one.at for one in results.values()} == {START}
        return {called: (one.result, one.why) for called, one in results.items()}

    without = found(None)
    assert without["good"] == ("works", "")
    assert without["bad"] == ("fails", f"it has no key to sign with: {missing}: No such file or directory")
    assert without["ecr"][0] == "unknown"
    assert found("alice")["bad"] == ("unknown", "it is for other owners")
    with_one = found("team-a")
    assert with_one["bad"] == without["bad"]
    assert with_one["ecr"][0] == "fails"
    assert "nothing says as whom AWS is asked" in with_one["ecr"][1]
