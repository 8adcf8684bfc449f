"""What bench-scale says is what it saw."""

from bench.figures import Chunk
from bench.rotation import EVERYBODY, Restart, Spread, Writes
from bench.scale import Found, Round


def reviews(ms: float) -> Chunk:
    return Chunk(ms / 2, ms, 100)


def spread(seconds: float, changes: int, ms: float = 1.0, again: int = 0) -> Spread:
    return Spread(seconds, reviews(ms), Writes(again, 0, changes), 4.0, 6.0)


def found(**changes: float) -> Found:
    all_of_them = int(changes.get("changes", len(EVERYBODY)))
    together = spread(changes.get("seconds", 12.0), all_of_them, 15.0, int(changes.get("again", 0)))
    restart = Restart(int(changes.get("restart", 0)), reviews(changes.get("starting", 10.0)), 90.0)
    one = Round(reviews(10.0), together, (10.0, 5.0), restart)
    single = spread(changes.get("single", 0.4), 4, changes.get("meanwhile", 10.0))
    return Found([single], [one], 80, changes.get("peak", 90), int(changes.get("disturbed", 0)))


def missed(what: Found) -> list[str]:
    return [goal.what for goal in what.goals() if not goal.reached]


def test_writes_are_told_apart() -> None:
    requests = [("a", 200), ("b", 201), ("a", 200), ("c", 409)]
    assert Writes.of(requests, changes=2) == Writes(again=1, refused=1, changes=2)


def test_goals() -> None:
    assert missed(found()) == []
    assert missed(found(seconds=14)) == ["everybody's rotation, to as many plain applies"]
    assert missed(found(single=2.1)) == ["seconds until one owner's rotation is everywhere"]
    assert missed(found(changes=2001)) == ["Secrets that were changed twice"]
    assert missed(found(again=500)) == ["applies that changed nothing, to those that did"]
    assert missed(found(restart=1)) == ["writes at a restart of all replicas"]
    assert missed(found(starting=16)) == ["p99 of a review while another replica starts, to calm"]
    assert missed(found(meanwhile=16)) == ["p99 of a review in one owner's rotation, to calm"]
    assert missed(found(peak=101)) == ["MiB of memory, at most"]
    assert missed(found(disturbed=1)) == ["pods that were disturbed"]


def test_figures() -> None:
    rows = {figure.name: figure for figure in found().figures()}
    assert rows["everybody's rotation"].ratio == 1.2
    assert rows["everybody's rotation"].cpu_us == 2000
    assert rows["the API server, rotation"].ratio == 1.2
    review = rows["a review, in everybody's rotation"]
    assert (review.p99_ms, review.ratio) == (15, 1.5)
