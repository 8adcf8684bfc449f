"""Remotes made into a source: every order of questions, answers, news, failures and time; and each rule by itself."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from support import planted
from support.simulated import Stepping
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed, breaker, cached
from webhook.sources.cached import Cached
from webhook.sources.remote import QUERY_SECONDS, Answer

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
FRESH = 30.0
OWNERS = ("alice", "bob", "carol")


def one(owner: str, number: int, expires: datetime | None = None) -> Credentials:
    return Credentials((Credential("ghcr.io", owner, f"token-{number}", expires),))


@dataclass
class Question:
    """`found`: what the remote has read, and at which step, to be sent later."""

    owner: str
    at: float
    step: int
    before: Answer | None
    reply: "asyncio.Future[Answer]"
    found: tuple[Credentials, int] | None = None


@dataclass
class Remote:
    """Answers when it is told to."""

    many: bool = False
    questions: list[Question] = field(default_factory=list)
    step: int = 0
    hear: Changed | None = None
    broken: Exception | None = None
    closed: bool = False
    runs: list[float] = field(default_factory=list)

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        loop = asyncio.get_running_loop()
        question = Question(owner, loop.time(), self.step, before, loop.create_future())
        self.questions.append(question)
        try:
            return await question.reply
        finally:
            self.questions.remove(question)

    async def run(self, changed: Changed) -> None:
        self.hear = changed
        self.runs.append(asyncio.get_running_loop().time())
        if self.broken is not None:
            raise self.broken
        await asyncio.Future()

    async def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, broken: Exception | None = None) -> None:
        self.loop, self.jumped = Stepping(), timedelta()
        self.callers: list[asyncio.Task[Credentials]] = []
        self.troubles: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(str(context)))
        self.remote, self.metrics = Remote(broken=broken), Metrics()
        self.heard: list[str | None] = []
        self.said: list[tuple[str, str]] = []
        self.cached = Cached(Origin("remote"), self.remote, self.changed, self.report, self.metrics, self.now)
        self.running = self.loop.create_task(self.cached.run())
        self.loop.settle()

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.loop.time()) + self.jumped

    def changed(self, owner: str | None) -> None:
        self.heard.append(owner)

    def report(self, reason: str, message: str, _owner: str) -> None:
        self.said.append((reason, message))

    def ask(self, owner: str) -> "asyncio.Task[Credentials]":
        task = self.loop.create_task(self.cached.credentials(owner))
        self.callers.append(task)
        self.loop.settle()
        return task

    def known(self, owner: str) -> Credentials | None:
        found: list[Credentials | None] = []
        self.loop.call_soon(lambda: found.append(self.cached.known(owner)))
        self.loop.settle()
        return found[0]

    def invalidate(self, owner: str) -> None:
        self.loop.call_soon(self.cached.invalidate, owner)
        self.loop.settle()

    def answer(self, owner: str, found: Credentials, fresh_for: float = FRESH) -> None:
        self._of(owner).reply.set_result(Answer(found, fresh_for))
        self.loop.settle()

    def fail(self, owner: str, *, everybody: bool = False, retry_after: float = 0.0) -> None:
        self._of(owner).reply.set_exception(SourceUnavailable("no", everybody=everybody, retry_after=retry_after))
        self.loop.settle()

    def _of(self, owner: str) -> Question:
        (question,) = (q for q in self.remote.questions if q.owner == owner)
        return question

    def asked(self) -> list[str]:
        return [question.owner for question in self.remote.questions]

    def news(self, owner: str | None) -> None:
        assert self.remote.hear is not None
        self.loop.call_soon(self.remote.hear, owner)
        self.loop.settle()

    def passes(self, seconds: float) -> None:
        done = self.loop.create_task(asyncio.sleep(seconds))
        while not done.done():
            assert self.loop.sleep()

    def has(self, owner: str, found: Credentials, fresh_for: float = FRESH) -> Credentials:
        task = self.ask(owner)
        self.answer(owner, found, fresh_for)
        return task.result()

    def refused(self, owner: str) -> SourceUnavailable:
        """At once, without a question."""
        before = self.asked()
        e = self.ask(owner).exception()
        assert isinstance(e, SourceUnavailable)
        assert self.asked() == before
        return e

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()
        assert all(task.cancelled() or isinstance(task.exception(), SourceUnavailable | None) for task in self.callers)
        self.loop.close()
        assert not self.troubles


@pytest.fixture
def world() -> Iterator[World]:
    with closing(World()) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


WHAT = (
    *("somebody_asks", "the_truth_changes", "news_arrive", "the_remote_reads", "the_remote_answers"),
    *("somebody_asks", "the_remote_answers", "news_arrive"),
    *("the_remote_refuses", "the_remote_is_down", "a_caller_goes_away", "time_passes"),
)


class Everything(RuleBasedStateMachine):
    """Every call by `changed` is answered by a look, as in refresh.py: that alone must make all right in the end."""

    @initialize()
    def start(self) -> None:
        self.world = World()
        self.truth = {owner: one(owner, 0) for owner in OWNERS}
        self.numbers = 0
        self.last_heard = dict.fromkeys(OWNERS, 0)
        self.unheard: set[str] = set()
        self.latest: dict[str, Credentials] = {}
        self.last: dict[str, asyncio.Task[Credentials]] = {}
        self.callers: list[tuple[str, int, float, asyncio.Task[Credentials]]] = []
        self.failed_at: dict[str, tuple[int, float]] = {}
        self.said: list[tuple[str, Credentials, int, float]] = []
        self.news_in_flight = dict.fromkeys(OWNERS, 0)
        self.interested: set[str] = set()
        self.down: set[str] = set()

    @property
    def step(self) -> int:
        return self.world.remote.step

    def next_step(self) -> None:
        self.world.remote.step += 1
        self.looks()

    def looks(self) -> None:
        heard, self.world.heard = self.world.heard, []
        for owner in heard:
            for each in OWNERS if owner is None else (owner,):
                if each in self.interested:
                    self.caller(each)

    def caller(self, owner: str) -> None:
        self.interested.add(owner)
        self.callers.append((owner, self.last_heard[owner], self.world.loop.time(), self.world.ask(owner)))

    # -- what happens --

    @rule(what=st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 9)), min_size=30, max_size=90))
    def much(self, what: list[tuple[str, int]]) -> None:
        for action, which in what:
            getattr(self, action)(which)
            self.next_step()
            self.holds()

    def somebody_asks(self, which: int) -> None:
        self.caller(OWNERS[which % len(OWNERS)])

    def a_caller_goes_away(self, which: int) -> None:
        waiting = [task for *_, task in self.callers if not task.done()]
        if waiting:
            waiting[which % len(waiting)].cancel()
            self.world.loop.settle()

    def the_truth_changes(self, which: int) -> None:
        owner = OWNERS[which % len(OWNERS)]
        self.numbers += 1
        self.truth[owner] = one(owner, self.numbers)
        self.unheard.add(owner)

    def news_arrive(self, which: int) -> None:
        everybody = which == 0
        about = {*OWNERS} if everybody else {*self.unheard, *OWNERS[which : which + 1]}
        for owner in about:
            self.last_heard[owner] = self.step
            self.news_in_flight[owner] += owner in self.world.asked()
        whose: list[str | None] = [None] if everybody else [*sorted(about)]
        for each in whose:
            self.world.news(each)
        self.unheard.clear()
        self.failed_at.clear()

    def the_remote_reads(self, which: int) -> None:
        if unread := [q for q in self.world.remote.questions if q.found is None]:
            question = unread[which % len(unread)]
            question.found = self.truth[question.owner], self.step

    def the_remote_answers(self, which: int) -> None:
        self.the_remote("answers", which)

    def the_remote_refuses(self, which: int) -> None:
        self.the_remote("refuses", which)

    def the_remote_is_down(self, which: int) -> None:
        self.the_remote("is down", which)

    def the_remote(self, how: str, which: int = 0) -> None:
        if questions := self.world.remote.questions:
            question = questions[which % len(questions)]
            if how != "is down":  # hope for those of whom it could not be told whose fault it was
                self.failed_at = {whose: it for whose, it in self.failed_at.items() if whose not in self.down}
                self.down.clear()
            else:
                self.down.add(question.owner)
            if how == "answers":
                found, read_at = question.found or (self.truth[question.owner], self.step)
                found = Credentials(tuple(found.items))  # equal, but another object
                question.reply.set_result(Answer(found, FRESH))
                self.said.append((question.owner, found, read_at, self.world.loop.time()))
            else:
                question.reply.set_exception(SourceUnavailable("no", everybody=how == "is down"))
                self.failed_at[question.owner] = self.step, self.world.loop.time() + breaker.BACKOFF_SECONDS * 0.75
            self.world.loop.settle()

    def time_passes(self, which: int) -> None:
        self.world.passes((0.2, 0.2, 1.0, 5.0, FRESH, QUERY_SECONDS)[which % 6])

    @rule()
    def all_is_well_for_a_while(self) -> None:
        """Then everybody who ever asked knows the truth, by calls alone, unless news of it are still to come."""
        self.news_arrive(len(OWNERS))
        self.next_step()
        for _ in range(30):
            while self.world.remote.questions:
                self.the_remote("answers")
            self.world.loop.sleep()
            self.next_step()
        for owner in self.interested:
            self.holds()
            if owner in self.last:
                assert self.last[owner].exception() is None, "whoever was turned away is called again"
                assert self.last[owner].result() == self.truth[owner]

    # -- what always holds --

    def holds(self) -> None:
        asked = self.world.asked()
        assert len(asked) == len({*asked}), "one question an owner"
        for question in self.world.remote.questions:
            failed, until = self.failed_at.get(question.owner, (0, 0.0))
            assert question.step <= failed or question.at >= until, "nobody is asked for during a pause"
        done, self.callers = self.callers, [caller for caller in self.callers if not caller[-1].done()]
        for owner, heard, at, task in done:
            if task.done() and task.cancelled():
                self.last.pop(owner, None)
            elif task.done():
                self.last[owner] = task
                if task.exception() is None:
                    self.is_up_to_date(owner, heard, at, task.result())
        for owner in {*OWNERS} - {*asked}:
            self.news_in_flight[owner] = 0

    def is_up_to_date(self, owner: str, heard: int, at: float, found: Credentials) -> None:
        """What was said of this owner, is fresh, and no older than the news that were heard before it was asked for."""
        said = [(read, sent) for whose, what, read, sent in self.said if whose == owner and what == found]
        assert max(sent for _, sent in said) + FRESH >= at
        assert max(read for read, _ in said) >= heard or self.news_in_flight[owner] >= cached.OVERTAKEN
        latest, self.latest[owner] = self.latest.get(owner), found
        assert latest is found or latest != found, "equal answers are one object"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()


TestEverything = Everything.TestCase
TestEverything.settings = settings(max_examples=50, stateful_step_count=4)


class Longer(Everything):
    """The same, and more of it."""


TestLonger = pytest.mark.slow(Longer.TestCase)
TestLonger.settings = settings(max_examples=1000, stateful_step_count=8)


# -- each rule by itself --


def test_an_answer_is_known_while_it_is_fresh_and_asked_for_again_by_the_next_look(world: World) -> None:
    first = world.has("alice", one("alice", 1))
    assert world.known("alice") is first
    assert world.ask("alice").result() is first
    assert not world.asked()
    world.passes(FRESH + 0.1)
    assert world.known("alice") is None
    assert not world.asked()  # nothing polls
    again = world.ask("alice")
    assert not again.done()  # what is old is not handed out
    assert world.remote.questions[0].before == Answer(first, FRESH)
    world.answer("alice", one("alice", 1))
    assert again.result() is first
    assert not world.heard


def test_what_is_not_to_be_kept_is_kept_for_one_write(world: World) -> None:
    first = world.has("alice", one("alice", 1), 0.0)
    assert world.ask("alice").result() is first
    world.passes(cached.MIN_FRESH_SECONDS + 0.1)
    assert not world.ask("alice").done()


def test_another_answer_calls_on_the_owner_for_its_other_namespaces(world: World) -> None:
    world.has("alice", one("alice", 1))
    assert not world.heard
    world.passes(FRESH + 0.1)
    assert world.has("alice", one("alice", 2)) == one("alice", 2)
    assert world.heard == ["alice"]


def test_a_question_overtaken_by_news_is_asked_again(world: World) -> None:
    task = world.ask("alice")
    world.news("alice")
    late = world.ask("alice")
    world.answer("alice", one("alice", 1))
    assert not task.done()
    assert world.asked() == ["alice"]
    world.answer("alice", one("alice", 2))
    assert task.result() is late.result()
    assert task.result() == one("alice", 2)


def test_what_is_doubted_is_asked_for_again_and_is_no_news(world: World) -> None:
    """Of others nothing is doubted; and of whom nothing is known, nothing can be."""
    first = world.has("alice", one("alice", 1))
    world.has("bob", one("bob", 1))
    for owner in ("alice", "carol"):
        world.invalidate(owner)
    assert (world.known("alice"), world.known("bob")) == (None, one("bob", 1))
    again = world.ask("alice")
    world.invalidate("alice")  # of that question too
    world.answer("alice", one("alice", 2))
    assert not again.done()
    world.answer("alice", one("alice", 1))
    assert again.result() is first
    assert not world.heard


def test_doubts_in_vain_are_ever_rarer(world: World) -> None:
    """Who edits a Secret again and again must not have the source asked as often."""
    world.has("alice", one("alice", 1), 10**6)
    asked_at: list[float] = []
    for _ in range(2000):
        world.passes(0.1)
        world.invalidate("alice")
        if world.known("alice") is None:
            asked_at.append(world.loop.time())
            world.has("alice", one("alice", 1), 10**6)
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.2)
    world.passes(300)
    world.invalidate("alice")
    world.has("alice", one("alice", 2), 10**6)  # with reason
    world.invalidate("alice")
    assert world.known("alice") is None


def test_news_faster_than_answers_do_not_starve_anybody(world: World) -> None:
    task = world.ask("alice")
    for number in range(cached.OVERTAKEN):
        assert not task.done()
        owner: str | None = "alice" if number % 2 else None
        world.news(owner)
        world.heard.clear()
        world.answer("alice", one("alice", number))
    assert task.result() == one("alice", cached.OVERTAKEN - 1)
    assert world.known("alice") is None
    assert world.heard == ["alice"]  # to look again


def test_one_owner_alone_does_not_bring_the_source_down(world: World) -> None:
    for everybody in (True, False):
        for _ in range(5):
            task = world.ask("poison")
            world.fail("poison", everybody=everybody)
            assert task.exception() is not None
            assert str(world.refused("poison")) == "no"
            world.has(f"fine {world.loop.time()}", one("x", 1))
            world.heard.clear()
            world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
            assert world.heard == ["poison"]  # to look again: nobody asks by itself
    assert "source_down{" not in _metrics(world)


def test_two_owners_bring_it_down_and_one_question_finds_out_that_it_is_back(world: World) -> None:
    for owner in ("alice", "bob"):
        world.ask(owner)
    for owner in ("alice", "bob"):
        world.fail(owner, everybody=True)
    assert 'source_down{source="remote"} 1.0' in _metrics(world)
    assert world.refused("carol").everybody
    world.passes(breaker.BACKOFF_SECONDS)
    assert len(world.asked()) == 1
    world.refused("dave")
    world.fail(world.asked()[0], everybody=True)
    for _ in range(10):
        world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
        assert len(world.asked()) == 1
        world.fail(world.asked()[0], everybody=True)
    world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
    world.heard.clear()
    world.answer(world.asked()[0], Credentials())
    assert {*world.heard} == {"alice", "bob", "carol", "dave"}
    assert sum(world.known(owner) is None for owner in ("alice", "bob", "carol", "dave")) == 3
    assert world.has("eve", one("eve", 1)) == one("eve", 1)
    assert "source_down{" not in _metrics(world)


def test_an_owner_who_is_alone_waits_no_longer_than_many(world: World) -> None:
    for _ in range(10):
        task = world.ask("alice")
        world.fail("alice", everybody=True)
        assert task.exception() is not None
        world.heard.clear()
        world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
        assert world.heard == ["alice"]


def test_changes_are_listened_to_again_soon_after_an_outage() -> None:
    with closing(World(SourceUnavailable("down", everybody=True))) as world:
        world.passes(120)
        assert max(after - before for before, after in pairwise(world.remote.runs)) <= breaker.MAX_DOWN_BACKOFF_SECONDS
        assert len(world.remote.runs) < 60
        world.remote.broken, before = None, len(world.remote.runs)
        world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
        assert len(world.remote.runs) == before + 1
        world.passes(120)
        assert len(world.remote.runs) == before + 1


def test_a_refusal_shows_that_it_is_back(world: World) -> None:
    for owner in ("alice", "bob"):
        world.ask(owner)
        world.fail(owner, everybody=True)
    world.passes(breaker.BACKOFF_SECONDS)
    (asked,) = world.asked()
    world.fail(asked)
    assert "source_down{" not in _metrics(world)


def test_it_is_left_alone_for_as_long_as_it_asked(world: World) -> None:
    world.ask("alice")
    world.fail("alice", retry_after=50)
    world.passes(49)
    world.refused("alice")
    world.passes(1.5)
    assert world.has("alice", one("alice", 1))
    for owner in ("bob", "carol"):
        world.ask(owner)
        world.fail(owner, everybody=True, retry_after=10**9)
    world.passes(breaker.MAX_RETRY_AFTER_SECONDS - 1)
    assert not world.asked()
    world.refused("dave")
    world.passes(2)
    assert len(world.asked()) == 1


def test_news_end_a_pause(world: World) -> None:
    for owner in ("alice", "bob"):
        world.ask(owner)
        world.fail(owner, everybody=True, retry_after=500)
    world.news(None)
    assert world.has("carol", one("carol", 1))
    assert {"alice", "bob"} <= {*world.heard}
    world.ask("alice")
    world.fail("alice")
    world.refused("alice")
    world.news("alice")
    assert world.has("alice", one("alice", 1))


def test_one_that_never_answers_is_given_up(world: World) -> None:
    task = world.ask("alice")
    world.passes(QUERY_SECONDS + 1)
    assert str(task.exception()) == "no answer in time"


def test_an_error_of_our_own_is_no_answer_and_its_text_is_not_shown(world: World) -> None:
    task = world.ask("alice")
    world.remote.questions[0].reply.set_exception(ValueError(planted.token()))
    world.loop.settle()
    assert isinstance(task.exception(), SourceUnavailable)
    assert str(task.exception()) == "an error in pullsecret-webhook itself (ValueError)"
    assert not planted.leaks(repr(world.said))


@pytest.mark.parametrize("ours", [True, False])
def test_an_error_keeps_nothing_of_the_answer(world: World, monkeypatch: pytest.MonkeyPatch, *, ours: bool) -> None:
    class Large:
        """An answer, or what was decoded of it."""

    answers: list[weakref.ref[Large]] = []

    async def ask(_owner: str, _before: Answer | None) -> Answer:
        large = Large()
        answers.append(weakref.ref(large))
        try:
            raise ValueError(large)
        except ValueError:
            if ours:
                raise
            raise SourceUnavailable("it cannot be read") from None

    monkeypatch.setattr(world.remote, "ask", ask)
    task = world.ask("alice")
    assert isinstance(task.exception(), SourceUnavailable)
    assert [answer() for answer in answers] == [None]


def test_an_error_is_freed_when_its_callers_have_it(world: World) -> None:
    """At once, and not when Python looks for objects that hold each other."""

    def alive() -> int:
        return sum(isinstance(thing, SourceUnavailable) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        for owner in OWNERS[:2]:
            asking = world.loop.create_task(world.cached.credentials(owner))
            world.loop.settle()
            world.fail(owner)
            assert isinstance(asking.exception(), SourceUnavailable)
            del asking
        assert alive() == before
    finally:
        gc.enable()


def test_a_feed_that_breaks_is_told_and_begun_again() -> None:
    for broken in (SourceUnavailable("hung up"), ValueError(planted.token())):
        with closing(World(broken)) as world:
            for _ in range(8):
                world.remote.hear = None
                world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
                assert world.remote.hear is not None
            assert {reason for reason, _ in world.said} == {"SourceFeedBroken"}
            assert not planted.leaks(repr(world.said))
            assert world.has("alice", one("alice", 1))  # questions go on
            assert not world.remote.closed
        assert world.remote.closed  # though it ended while nobody listened


def test_when_a_credential_has_ended_the_next_look_asks_for_the_one_that_came_after_it(world: World) -> None:
    world.has("alice", one("alice", 1, BEGIN + timedelta(seconds=10)), cached.MAX_FRESH_SECONDS)
    world.passes(9.9)
    assert world.known("alice") is not None
    world.passes(0.2)
    assert world.known("alice") is None
    ended = one("alice", 1, BEGIN + timedelta(seconds=10))
    world.has("alice", ended, 60.0)  # the same as before: then it is fresh for as long as it says
    world.passes(59)
    assert world.known("alice") == ended
    assert world.heard == []


def test_after_the_clock_was_put_on_an_expired_credential_is_not_taken_for_fresh(world: World) -> None:
    """Freshness is counted by the loop's time, which does not jump."""
    world.has("alice", one("alice", 1, BEGIN + timedelta(hours=1)), cached.MAX_FRESH_SECONDS)
    world.jumped += timedelta(minutes=59)
    assert world.known("alice") is not None
    world.jumped += timedelta(minutes=1)
    assert world.known("alice") is None
    world.has("alice", one("alice", 1, BEGIN + timedelta(hours=1)))
    assert world.known("alice") is not None


def test_credentials_come_in_one_order_whatever_the_remotes_is_and_say_where_they_are_from(world: World) -> None:
    """A database returns its rows in any order. Of several for one registry the one that ends last comes first."""
    end = BEGIN + timedelta(days=1)
    best_first = (
        Credential("a.example", "z", "1"),
        Credential("ghcr.io", "z", "1"),
        Credential("ghcr.io", "y", "1", end + timedelta(days=1)),
        Credential("ghcr.io", "x", "1", end),
        Credential("ghcr.io", "x", "2", end),
        Credential("ghcr.io", "a", "1", BEGIN - timedelta(days=1)),
    )
    found = world.has("alice", Credentials(best_first), 1.0)
    assert found.items == best_first
    assert {str(c.origin) for c in found.items} == {"source remote"}
    for some in permutations(best_first):
        world.passes(1.1)
        assert world.has("alice", Credentials((*some, some[0])), 1.0) is found


def test_problems_are_told_and_never_their_content(world: World) -> None:
    task = world.ask("alice")
    token = planted.token()
    found = Credentials((Credential("ghcr.io", "a", token),))
    world.remote.questions[0].reply.set_result(Answer(found, FRESH, problems=("credential 3: it has no password",)))
    world.loop.settle()
    assert [(c.username, c.password) for c in task.result().items] == [("a", token)]
    assert world.said == [
        ("SourceAnswerBroken", "source remote: owner alice: credential 3: it has no password"),
        ("SourceAnswers", "source remote: it answers"),
    ]
    world.passes(FRESH + 1)
    world.has("alice", found)
    assert world.said[2:] == [("SourceAnswers", "source remote: it answers again for owner alice")]


def fails(world: World, owner: str, *, everybody: bool) -> None:
    world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
    if not world.remote.questions:
        world.ask(owner)
    question = next(one for one in world.remote.questions if one.owner == owner)
    question.reply.set_exception(SourceUnavailable("HTTP 401", everybody=everybody))
    world.loop.settle()


def test_the_end_of_an_outage_is_told_once(world: World) -> None:
    world.has("carol", one("carol", 1), 3600)
    assert world.said.pop() == ("SourceAnswers", "source remote: it answers")
    for _ in range(2):
        fails(world, "alice", everybody=True)
    assert {reason for reason, _ in world.said} == {"SourceUnavailable"}
    world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
    before = len(world.said)
    world.has("bob", one("bob", 1))
    assert len(world.said) == before  # of several, only alice had no answer, perhaps because of her
    world.has("alice", one("alice", 1))
    world.passes(FRESH + 1)
    world.has("alice", one("alice", 2))
    assert world.said[before:] == [("SourceAnswers", "source remote: it answers again")]


def test_after_an_outage_for_all_one_answer_is_its_end(world: World) -> None:
    for owner in ("alice", "bob"):
        fails(world, owner, everybody=True)
    world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS * 2)
    (probe,) = world.remote.questions
    probe.reply.set_result(Answer(Credentials(), FRESH))
    world.loop.settle()
    assert world.said[-1] == ("SourceAnswers", "source remote: it answers again")


def test_that_one_owner_has_no_answer_is_over_when_that_owner_has_one(world: World) -> None:
    world.has("bob", one("bob", 1), 3600)
    fails(world, "alice", everybody=False)
    before = len(world.said)
    world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
    world.has("alice", Credentials())
    assert world.said[before:] == [("SourceAnswers", "source remote: it answers again for owner alice")]


def test_that_changes_are_watched_again_is_told(world: World) -> None:
    with closing(World(broken=SourceUnavailable("hung up"))) as cut:
        cut.remote.broken = None
        cut.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
        assert cut.remote.hear is not None
        cut.loop.call_soon(cut.remote.hear, "alice")
        cut.loop.settle()
        assert {reason for reason, _ in cut.said} == {"SourceFeedBroken"}
        assert not cut.cached.able(), "it hears of no changes, though it answers"
        for _ in range(2):
            cut.loop.call_soon(cut.remote.hear, None)
        cut.loop.settle()
        assert cut.said[-1] == ("SourceFeedWorks", "source remote: it is watched for changes again")
        assert len([one for one in cut.said if one[0] == "SourceFeedWorks"]) == 1
        assert cut.cached.able()
    assert world.said == []


def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "BUDGET_BYTES", 16_000)
    large = Credentials((Credential("ghcr.io", "u", "x" * 3_000),))
    for number in range(20):
        world.has(f"owner {number}", large, 3600)
    known = [number for number in range(20) if world.known(f"owner {number}") is not None]
    assert known == [16, 17, 18, 19]
    world.known("owner 16")
    world.has("huge", Credentials((Credential("ghcr.io", "u", "x" * 30_000),)))
    assert [number for number in range(20) if world.known(f"owner {number}") is not None] == []
    assert world.known("huge") is not None


def test_another_answer_is_known_as_such_also_after_the_first_one_was_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "BUDGET_BYTES", 1500)
    for owner in ("alice", "bob", "carol"):
        world.has(owner, one(owner, 1))
    assert world.known("alice") is world.known("bob") is None
    assert not world.heard
    world.has("alice", one("alice", 2))
    assert world.heard == ["alice"]
    world.has("bob", one("bob", 1))
    assert world.heard == ["alice"]


def _metrics(world: World) -> str:
    from prometheus_client import generate_latest

    return generate_latest(world.metrics.registry).decode()
