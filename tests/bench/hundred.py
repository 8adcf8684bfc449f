"""`make bench-100k`: 100,000 namespaces of 25,000 owners, with two replicas.

The API server is the one in memory (controlplane/simulated.py); with --real it is kube-apiserver, which has room for
20,000 here.
"""

import argparse
import functools
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import httpx

from bench.figures import Chunk, Figure, Goal
from bench.measure import cpu_seconds, peak_mib
from bench.platform import (
    EACH,
    FIRST_TOKEN,
    REVIEWED,
    Audit,
    Database,
    Onlooker,
    audit_flags,
    everybody,
    fill,
    namespace,
    owner,
    registered_for_nobody,
    spaces,
)
from bench.rotation import CLIENT, SERVER, first, pause, pin, plain_applies, reviews, right_secrets
from bench.session import T, Tick, ended, stepped
from controlplane import plain
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.kubeconfig import Access
from controlplane.ports import free_port
from controlplane.postgres import Postgres
from controlplane.process import Child
from controlplane.progress import say
from controlplane.simulated import Simulated
from controlplane.waiting import until
from controlplane.webhook import Webhook
from webhook.sharing import SHARED_FROM

WRITE_SECONDS, WRITES_AT_ONCE = 0.005, 2
"""Of a write by the API server in memory: the CPU of a real one, which has as many cores for them."""
CALMS, MOST_CALMS, CALM_MS, STOLEN_PERCENT = 3, 9, 3.0, 0.2
"""Into so many parts a calm is divided, of which the one with the least p99 counts: others are compared with it. If the
host takes CPU time, more are measured, up to the second number. This p99, and the percent of CPU time that the host
took, beyond which ratios of p99 say nothing about the webhook.
"""
CALM = "reviews and nothing else"
PATIENCE = 1800.0
"""Seconds after which a phase is given up."""
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Lengths:
    """Of the parts of a run. `single`: owners whose rotation is measured alone, one by one; `taken_over`: those who
    rotate right after a replica was killed, which had the namespaces of some. `calm`: seconds of reviews while
    nothing else happens; `quiet`: those without a question and a write after which a start has ended. `rounds`: of
    everybody's rotation, each between two times as many plain applies, on kube-apiserver; in memory, where one takes a
    quarter of an hour, one.
    """

    single: int = 20
    taken_over: int = 40
    calm: float = 15.0
    quiet: float = 5.0
    rounds: int = 3


QUICK = Lengths(2, 4, 2.0, 1.0, 2)


@dataclass(frozen=True)
class Phase:
    """`writes`: requests of the webhook's account that are no reads; `vain`: those of them that changed nothing;
    `refused`: conflicts, mostly. `cpu`: seconds of all replicas.
    """

    seconds: float
    reviews: Chunk | None = None
    writes: int = 0
    vain: int = 0
    refused: int = 0
    questions: int = 0
    cpu: float = 0.0


@dataclass(frozen=True)
class Start:
    """`ready`: seconds until it is ready; `shared`: until each replica has its share; `settled`: until it has asked for
    all. `peak`: MiB.
    """

    ready: float
    shared: float
    settled: float
    questions: int
    writes: int
    peak: float
    reviews: Chunk | None = None


@dataclass(frozen=True)
class Between(Generic[T_co]):
    """What was found between two calms. A shared machine may be half as fast a few minutes later, so reviews meanwhile
    are compared with those just before and just after.
    """

    found: T_co
    before: Chunk
    after: Chunk

    def ratio(self, meanwhile: Chunk) -> float:
        """Of the p99, to the mean of both calms."""
        return meanwhile.p99_ms / statistics.mean((self.before.p99_ms, self.after.p99_ms))


@dataclass(frozen=True)
class Round:
    """Everybody's rotation, and the seconds of as many plain applies just `before` and just `after` it."""

    rotation: Between[Phase]
    before: float
    after: float

    @property
    def plain(self) -> float:
        return statistics.mean((self.before, self.after))

    @property
    def slower(self) -> float:
        return self.rotation.found.seconds / self.plain


@dataclass(frozen=True)
class Found:
    """`taken_over`: seconds from the kill until each of some owners' new tokens was everywhere. `wrong`: namespaces
    without the newest token at the end of a phase. `http`: a start that asks an HTTP service. `filled` None: all
    Secrets were there.
    """

    namespaces: int
    filled: Phase | None
    singles: Between[Sequence[Phase]]
    rounds: Sequence[Round]
    killed: Between[Phase]
    restart: Between[Start]
    taken_over: float
    http: Start
    wrong: int
    peak: float

    def figures(self) -> list[Figure]:
        single = sorted(one.seconds * 1000 for one in self.singles.found)
        restart, middle = self.restart.found, self._middle
        rows = [
            *([self._phase("filled", self.filled)] if self.filled is not None else []),
            Figure("one owner's rotation", statistics.median(single), single[-1]),
            self._phase("everybody's rotation", middle.rotation.found, middle.slower),
            Figure("as many plain applies", middle.plain * 1000, rps=self.namespaces / middle.plain),
            self._phase("everybody's, a replica is killed half-way", self.killed.found),
            Figure("a dead replica's share is taken over", self.taken_over * 1000),
            Figure("a restart: ready", restart.ready * 1000, rss_mib=restart.peak),
            Figure("a restart: has its share", restart.shared * 1000),
            Figure("a restart: all is looked at", restart.settled * 1000),
            Figure("a start with an HTTP source: ready", self.http.ready * 1000, rss_mib=self.http.peak),
            Figure("a start with an HTTP source: all is looked at", self.http.settled * 1000),
            Figure("a replica at most", rss_mib=self.peak),
            *self._each_round,
            *self._calms,
        ]
        for name, (seen, ratio) in self._meanwhile.items():
            rows.append(Figure(f"a review, {name}", seen.p50_ms, seen.p99_ms, ratio=ratio))
        return rows

    def goals(self) -> list[Goal]:
        vain = max(one.vain for one in (*(one.rotation.found for one in self.rounds), self.killed.found))
        slow = [Goal(f"p99 of a review {name}, to calm", ratio, 1.5) for name, (_, ratio) in self._meanwhile.items()]
        calm = max(one.p99_ms for one in self._calm)
        restart = self.restart.found
        stolen = Goal(
            "percent of CPU time that the host took, else a missed p99 means nothing", self.stolen, STOLEN_PERCENT
        )
        return [
            Goal("seconds until a restarted replica is ready", restart.ready, 30),
            Goal("seconds until one with an HTTP source is ready", self.http.ready, 30),
            Goal("MiB of memory, at most", self.peak, 350),
            Goal("seconds until one owner's rotation is everywhere", max(one.seconds for one in self.singles.found), 1),
            Goal("everybody's rotation, to as many plain applies", self._middle.slower, 1.3),
            Goal("writes at a restart", restart.writes + self.http.writes, 0),
            Goal("questions to the database at a restart", restart.questions, 250),
            Goal("questions to an HTTP service at a restart", self.http.questions, 250),
            Goal("seconds until a dead replica's share is taken over", self.taken_over, 15),
            Goal("namespaces that are left wrong", self.wrong, 0),
            Goal("applies that changed nothing, to those that did", vain / self.namespaces, 0.05),
            Goal("ms of p99 of a review in calm, else the ratios mean nothing", calm, CALM_MS),
            *slow,
            *([] if all(one.reached for one in slow) else [stolen]),
        ]

    @property
    def stolen(self) -> float:
        """In the worst phase. One owner's rotation is too short for clock ticks."""
        rotations = [one.rotation.found.reviews for one in self.rounds]
        seen = (*self._calm, *rotations, self.killed.found.reviews, self.restart.found.reviews)
        return max(chunk.stolen_percent for chunk in seen if chunk is not None)

    @property
    def _middle(self) -> Round:
        return sorted(self.rounds, key=lambda one: one.slower)[len(self.rounds) // 2]

    @property
    def _calm(self) -> list[Chunk]:
        all_between: list[Between[object]] = [self.singles, self.killed, self.restart]
        all_between += [one.rotation for one in self.rounds]
        return [calm for one in all_between for calm in (one.before, one.after)]

    @property
    def _calms(self) -> list[Figure]:
        calms = sorted(self._calm, key=lambda chunk: chunk.p99_ms)
        named = {"": calms[len(calms) // 2], ", at least": calms[0], ", at most": calms[-1]}
        return [Figure(f"a review, in calm{name}", calm.p50_ms, calm.p99_ms) for name, calm in named.items()]

    @property
    def _each_round(self) -> Iterator[Figure]:
        """If there are several."""
        for number, one in enumerate(self.rounds if len(self.rounds) > 1 else (), 1):
            rotation = one.rotation.found
            yield self._phase(f"round {number}: everybody's rotation", rotation, one.slower)
            yield Figure("  as many plain applies, before", one.before * 1000, rps=self.namespaces / one.before)
            yield Figure("  as many plain applies, after", one.after * 1000, rps=self.namespaces / one.after)
            if (seen := rotation.reviews) is not None:
                yield Figure("  a review", seen.p50_ms, seen.p99_ms, ratio=one.rotation.ratio(seen))

    @property
    def _meanwhile(self) -> dict[str, tuple[Chunk, float]]:
        """With its ratio to calm; of several the middle one. A rotation of one owner is over before the hundredth
        review, so its p99 is its worst.
        """

        def middle(seen: Sequence[tuple[Between[object], Chunk | None]]) -> tuple[Chunk, float]:
            pairs = [(chunk, between.ratio(chunk)) for between, chunk in seen if chunk is not None]
            return sorted(pairs, key=lambda pair: pair[1])[len(pairs) // 2]

        return {
            "in one owner's rotation": middle([(self.singles, one.reviews) for one in self.singles.found]),
            "in everybody's rotation": middle([(one.rotation, one.rotation.found.reviews) for one in self.rounds]),
            "when a replica is killed": middle([(self.killed, self.killed.found.reviews)]),
            "while another replica starts": middle([(self.restart, self.restart.found.reviews)]),
        }

    def _phase(self, name: str, seen: Phase, ratio: float | None = None) -> Figure:
        cpu = seen.cpu / self.namespaces * 1e6 if seen.cpu > 0 else None  # a dead one took its share with it
        return Figure(name, seen.seconds * 1000, ratio=ratio, cpu_us=cpu, rps=self.namespaces / seen.seconds)


@dataclass
class Hundred:
    """All that takes part, and what is done to it. The first of the replicas is the one that is asked."""

    cluster: ControlPlane
    database: Database
    postgres: Postgres
    onlooker: Onlooker
    audit: Audit
    owners: int
    lengths: Lengths
    filled: bool = False
    replicas: list[Webhook] = field(default_factory=list)
    peak: float = 0.0
    wrong: int = 0
    _starts: int = 0

    @functools.cached_property
    def everybody(self) -> list[str]:
        return everybody(self.owners)

    def seed(self, tick: Tick) -> None:
        namespace(self.cluster, REVIEWED)
        if isinstance(self.cluster, Simulated):
            self.cluster.seed(self.owners, EACH)
            if self.filled:
                self.cluster.seed_secrets(right_secrets(self.cluster, FIRST_TOKEN))
        else:
            fill(self.cluster, self.everybody, tick)

    @contextmanager
    def replica(self, source: Object, core: int) -> Iterator[tuple[Webhook, float]]:
        """With the seconds that it took to be ready."""
        self._starts += 1
        name, began = f"replica-{self._starts}", time.monotonic()
        settings = {"sources": [source], "replicas": 2}
        with deployed.running(
            self.cluster,
            settings=settings,
            name=name,
            verbose=False,
            within=PATIENCE,
            enter=("taskset", "-c", str(core)),
        ) as started:
            self.replicas.append(started)
            try:
                yield started, time.monotonic() - began
            finally:
                self.look_at_memory()
                self.replicas.remove(started)

    @contextmanager
    def first_replica(self, source: Object) -> Iterator[None]:
        """The one that is asked, which comes first on its core."""
        with self.replica(source, CLIENT) as (started, _):
            first(started.child.pid)
            yield

    def calm(self, tick: Tick) -> Chunk:
        """Of reviews while nothing else happens."""
        self.settled(self.questions, tick)
        self._until_nothing_is_written(tick)  # such as the Events about what was before
        found: list[Chunk] = []
        while len(found) < MOST_CALMS and sum(map(_undisturbed, found)) < CALMS:
            with reviews(self.cluster, self.replicas[0]) as seen:
                pause(self.lengths.calm / CALMS, tick)
            found.append(seen.chunk)
        return min([*filter(_undisturbed, found)] or found, key=lambda chunk: chunk.p99_ms)

    def between(self, what: str, measure: Callable[[Tick], T], before: Chunk | None = None) -> Between[T]:
        """`before`: the calm that has just been measured."""
        before = before or told(CALM, self.calm)
        found = told(what, measure)
        return Between(found, before, told(CALM, self.calm))

    def shared_out(self, tick: Tick) -> float:
        """When each replica has its share; at once if there are too few namespaces for that.

        The newest is asked first, and not often: reviews wait while a replica makes its page of metrics.
        """

        def all_have() -> bool:
            tick()
            return all(0 < replica.share() < 1 for replica in reversed(self.replicas))

        if len(self.replicas) > 1 and len(self.everybody) >= SHARED_FROM:
            until(all_have, "each replica has its share", within=60, every=0.25)
        return time.monotonic()

    def look_at_memory(self) -> None:
        alive = [one for one in self.replicas if one.child.running]
        self.peak = max([self.peak, *(peak_mib(one.child.pid) for one in alive)])

    def questions(self) -> int:
        with self.postgres.admin() as admin:
            found = admin.execute(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%git_connections%'"
                " AND userid = 'pullsecret'::regrole"
            ).fetchone()
        return int(found[0]) if found else 0

    def settled(self, asked: Callable[[], int], tick: Tick) -> float:
        """When the last question and the last write were, as `time.monotonic` counts."""
        last, since = (-1, -1), time.monotonic()
        while time.monotonic() - since < self.lengths.quiet:
            tick()
            now = (asked(), self.onlooker.changes)
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.1)
        return since

    def phase(self, act: Callable[[], float]) -> Phase:
        """`act` gives when it ended."""
        self.audit.writes()
        changes, questions, cpu = self.onlooker.changes, self.questions(), self._cpu()
        with reviews(self.cluster, self.replicas[0]) as seen:
            began = time.monotonic()
            took = act() - began
        used = self._cpu() - cpu
        time.sleep(1.0)  # for what is written once too often
        requests = [status for space, status in self.audit.writes("secrets") if space != deployed.NAMESPACE]
        taken = sum(status < 300 for status in requests)
        return Phase(
            took,
            seen.chunk,
            len(requests),
            taken - (self.onlooker.changes - changes),
            len(requests) - taken,
            self.questions() - questions,
            used,
        )

    def rotated(self, tick: Tick, of: str | None = None) -> Callable[[], float]:
        def act() -> float:
            where = self.everybody if of is None else spaces(int(of.removeprefix("user-")))
            return self.onlooker.arrived(where, self.database.rotate(of), PATIENCE, tick)

        return act

    def killed_half_way(self, tick: Tick) -> Callable[[], float]:
        def act() -> float:
            token = self.database.rotate()
            until(lambda: self._half(token, tick), "half of the Secrets are new", within=PATIENCE)
            self.kill()
            ends = self.onlooker.arrived(self.everybody, token, PATIENCE, tick)
            self.wrong += self.onlooker.without(self.everybody, token)
            return ends

        return act

    def taken_over(self, tick: Tick) -> float:
        """Seconds from the death of a replica until what changes right after it is everywhere."""
        self.kill()
        began, seen = time.monotonic(), []
        numbers = range(0, self.owners, max(1, self.owners // self.lengths.taken_over))
        tokens = [(number, self.database.rotate(owner(number))) for number in numbers]
        for number, token in tokens:
            seen.append(self.onlooker.arrived(spaces(number), token, PATIENCE, tick))
            self.wrong += self.onlooker.without(spaces(number), token)
        return max(seen) - began

    def kill(self) -> None:
        """The replica that is not asked."""
        self.look_at_memory()
        victim = self.replicas[-1].child
        victim.signal(signal.SIGKILL)
        victim.wait(5)

    def started(self, source: Object, core: int, asked: Callable[[], int], tick: Tick, stack: ExitStack) -> Start:
        """One more replica."""
        self._until_nothing_is_written(tick)
        before, began = asked(), time.monotonic()
        with ExitStack() as until_settled:
            seen = until_settled.enter_context(reviews(self.cluster, self.replicas[0])) if self.replicas else None
            replica, ready = stack.enter_context(self.replica(source, core))
            shared = self.shared_out(tick) - began
            settled = self.settled(asked, tick) - began
        writes = [space for space, _ in self.audit.writes() if space not in (deployed.NAMESPACE, REVIEWED)]
        return Start(
            ready,
            shared,
            settled,
            asked() - before,
            len(writes),
            peak_mib(replica.child.pid),
            seen.chunk if seen is not None else None,
        )

    def _until_nothing_is_written(self, tick: Tick) -> None:
        since = time.monotonic()
        while time.monotonic() - since < self.lengths.quiet:
            tick()
            if any(space != deployed.NAMESPACE for space, _ in self.audit.writes()):  # there are Leases all the time
                since = time.monotonic()
            time.sleep(0.1)

    def _half(self, token: str, tick: Tick) -> bool:
        tick()
        return self.onlooker.having(token) >= len(self.everybody) // 2

    def _cpu(self) -> float:
        return sum(cpu_seconds(one.child.pid) for one in self.replicas if one.child.running)


def _undisturbed(seen: Chunk) -> bool:
    return seen.stolen_percent <= STOLEN_PERCENT


def told(what: str, measure: Callable[[Tick], T]) -> T:
    """As `stepped`; what was found is said at once, as a run takes 20 minutes or more."""
    found = stepped(what, measure)
    if found is not None and not isinstance(found, list):
        say(f"  {found}")
    return found


def measured(made: Hundred, credentials: "Credentials") -> Found:
    size, source, long = len(made.everybody), made.database.source, made.lengths
    in_memory = isinstance(made.cluster, Simulated)
    other = SERVER if in_memory else CLIENT  # the real API server has a core for itself
    told(f"{size:,} namespaces", made.seed)
    began = time.monotonic()
    with made.first_replica(source):
        with made.replica(source, other):
            told("each has its share", made.shared_out)
            everywhere = [REVIEWED, *made.everybody]

            def filled(tick: Tick) -> Phase | None:
                took = made.onlooker.arrived(everywhere, FIRST_TOKEN, PATIENCE, tick) - began
                return None if made.filled else Phase(took, cpu=made._cpu())

            first_fill = told("all Secrets are written", filled)
            singles = made.between(
                f"rotations of {long.single} owners, one at a time",
                lambda tick: [made.phase(made.rotated(tick, owner(number))) for number in range(long.single)],
            )
            killed = made.between(
                "everybody's rotation, a replica is killed half-way",
                lambda tick: made.phase(made.killed_half_way(tick)),
                singles.after,
            )
        with ExitStack() as again:
            restart = made.between(
                "it starts again",
                lambda tick: made.started(source, other, made.questions, tick, again),
                killed.after,
            )
            taken_over = told(f"it is killed, and {long.taken_over} owners rotate", made.taken_over)
    rounds: list[Round] = []
    for _ in range(1 if in_memory else long.rounds):
        rounds.append(_round(made, source, other, rounds[-1].after if rounds else _plain(made)))
    credentials.token(made.database.token)  # all have it, by the last plain applies
    with ExitStack() as last:
        http = told(
            "a start with an HTTP source",
            lambda tick: made.started(credentials.source, CLIENT, credentials.questions, tick, last),
        )
    return Found(
        size,
        first_fill,
        singles,
        rounds,
        killed,
        restart,
        taken_over,
        http,
        made.wrong,
        made.peak,
    )


def _round(made: Hundred, source: Object, other: int, before: float) -> Round:
    with made.first_replica(source), made.replica(source, other):
        told("each has its share", made.shared_out)
        rotation = made.between("everybody's rotation", lambda tick: made.phase(made.rotated(tick)))
        made.wrong += made.onlooker.without(made.everybody, made.database.token)
    return Round(rotation, before, _plain(made))


def _plain(made: Hundred) -> float:
    def written(tick: Tick) -> float:
        token = made.database.rotate()  # which the Secret for the reviews does not get
        took = plain_applies(made.cluster, token)
        made.onlooker.arrived(made.everybody, token, PATIENCE, tick)
        return took

    return told("as many plain applies", written)


class Credentials:
    """The service that the HTTP source asks, go/simulated/credentials."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        one, many = f"{self._base}/owners/{{owner}}", f"{self._base}/owners"
        self.source: Object = {"from": "http", "url": one, "batchUrl": many, "maxAge": 86400}

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator["Credentials"]:
        port = free_port()
        command: list[str | Path] = [
            need("simulated-credentials")["simulated-credentials"],
            f"--address=127.0.0.1:{port}",
        ]
        with Child("credentials", command, log=folder / "credentials.log") as child:
            made = cls(port)
            child.until(made._answers, "it answers", within=10)
            pin(child.pid, SERVER)
            yield made

    def token(self, token: str) -> None:
        plain.put(f"{self._base}/token", token)

    def questions(self) -> int:
        return int(plain.get(f"{self._base}/questions").text)

    def _answers(self) -> bool:
        try:
            return self.questions() == 0
        except httpx.TransportError:
            return False


@contextmanager
def world(folder: Path, owners: int, lengths: Lengths, *, real: bool, filled: bool) -> Iterator[Hundred]:
    audit = folder / "audit.log"
    audit.touch()
    with ExitStack() as stack:
        libraries = {"shared_preload_libraries": "pg_stat_statements"}
        postgres = stack.enter_context(Postgres.start(**libraries))
        with postgres.admin() as admin:
            admin.execute("CREATE EXTENSION pg_stat_statements")
        place = folder / "cluster"
        if real:
            flags = audit_flags(folder / "audit-policy.json", audit)
            cluster = stack.enter_context(ControlPlane.start(place, extra_flags=flags))
            deployed.install(cluster)
        else:
            cluster = stack.enter_context(
                Simulated.begin(place, write_seconds=WRITE_SECONDS, at_once=WRITES_AT_ONCE, audit=audit)
            )
        registered_for_nobody(cluster)
        database = Database(postgres, folder, owners)
        for child in cluster.children:
            pin(child.pid, SERVER)
        pin(database.pid, CLIENT if real else SERVER)
        pin(os.getpid(), CLIENT)  # and what we start from here on, if it does not say where
        onlooker = Onlooker(Access.read(cluster.kubeconfig))
        yield Hundred(cluster, database, postgres, onlooker, Audit(audit), owners, lengths, filled)


def run(folder: Path, namespaces: int, lengths: Lengths, *, real: bool, filled: bool) -> Found:
    need("bench-load", "bench-apply")
    if os.geteuid() != 0:
        raise HarnessError("only root may give what is measured precedence over what would be elsewhere; use sudo")
    with (
        world(folder, namespaces // EACH, lengths, real=real, filled=filled) as made,
        Credentials.start(folder) as credentials,
    ):
        return measured(made, credentials)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.hundred", description="100,000 namespaces of 25,000 owners.")
    parser.add_argument("--namespaces", type=int, default=100_000)
    parser.add_argument("--real", action="store_true", help="on kube-apiserver; 20,000 take 20 minutes")
    parser.add_argument("--filled", action="store_true", help="in memory: begin with all Secrets as they should be")
    parser.add_argument("--quick", action="store_true", help="shorter phases, to see that it runs")
    wanted = parser.parse_args()
    lengths = QUICK if wanted.quick else Lengths()
    size, real, filled = wanted.namespaces, wanted.real, wanted.filled
    return ended(functools.partial(run, namespaces=size, lengths=lengths, real=real, filled=filled), real=real)


if __name__ == "__main__":
    sys.exit(main())
