"""Faults on the way: between the replicas and the API server, and between the API server and the replicas."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from time import sleep

from faults.fault import Act, Fault
from faults.link import Rule
from faults.proxy import Proxy
from faults.scene import Scene

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
Bad = Callable[[Proxy], AbstractContextManager[None]]


def on_all(bad: Bad, seconds: float, *, cut: bool = False) -> Act:
    """All of the replicas' connections to the API server are bad for so long. `cut`: those that are open are closed."""

    def act(scene: Scene) -> None:
        with ExitStack() as stack:
            for proxy in scene.apis:
                stack.enter_context(bad(proxy))
                if cut:
                    proxy.cut()
            sleep(seconds)

    return act


def answers(status: int, seconds: float, *, retry_after: int | None = None, one_in: int = 1) -> Act:
    headers = (("Retry-After", str(retry_after)),) if retry_after is not None else ()
    return on_all(lambda proxy: proxy.ruled(Rule(status, headers, one_in=one_in)), seconds, cut=True)


def slow(delay: float, seconds: float) -> Act:
    return on_all(lambda proxy: proxy.ruled(Rule(delay=delay)), seconds)


def failing_writes(seconds: float) -> Act:
    return on_all(lambda proxy: proxy.ruled(Rule(500, methods=WRITES)), seconds)


def cuts(count: int) -> Act:
    """One a second, of all connections to the API server."""

    def act(scene: Scene) -> None:
        for _ in range(count):
            for proxy in scene.apis:
                proxy.cut()
            sleep(1)

    return act


def deleted_after_cut(scene: Scene) -> None:
    """The watches are open again, and about source Secrets there is nothing new that would say so."""
    cuts(1)(scene)
    scene.news.deleted()


def flapping(scene: Scene) -> None:
    for _ in range(5):
        on_all(Proxy.resetting, 1)(scene)
        sleep(1)


def silent(*, one: bool) -> Act:
    """The connections that are open now. It has no end: time counts from its beginning."""

    def act(scene: Scene) -> None:
        for proxy in scene.apis[:1] if one else scene.apis:
            proxy.silence()

    return act


def calls_reset(scene: Scene) -> None:
    """The API server's connections to the replicas."""
    for _ in range(50):
        for proxy in scene.fronts:
            proxy.reset()
        sleep(0.1)


def stalls(seconds: float) -> Act:
    return on_all(Proxy.stalling, seconds)


def resets(seconds: float) -> Act:
    return on_all(Proxy.resetting, seconds)


FAULTS = [
    Fault("calls_reset", "connections to the replicas reset, 50 times", calls_reset, uncaught=True),
    Fault("watches_cut", "connections to the API server closed, 5 times", cuts(5), rounds=2),
    Fault("deleted_after_cut", "a pull secret is deleted when watches are open again", deleted_after_cut, news=None),
    Fault("api_resets_20s", "API server unreachable by reset during TLS", resets(20), rounds=2),
    Fault("api_resets_90s", "the same for 90 s", resets(90), rate=10),
    Fault("api_flaps", "the same, every second second", flapping),
    Fault("api_stalls_20s", "nothing comes through, without a word", stalls(20)),
    Fault("silent_both", "open connections silent for good, from then on", silent(one=False), right=15),
    Fault("silent_one", "the same, of one replica", silent(one=True), right=15),
    Fault("retry_after_120", "one second of 503 with Retry-After: 120", answers(503, 1, retry_after=120), rounds=2),
    Fault("answers_429", "429 with Retry-After: 1 to all calls, watches cut", answers(429, 10, retry_after=1)),
    Fault("answers_500", "500 to all calls, watches cut", answers(500, 10)),
    Fault("answers_401", "401 to all calls, watches cut", answers(401, 10)),
    Fault("answers_403", "403 to all calls, watches cut", answers(403, 10)),
    Fault("every_second_503", "every second call 503", answers(503, 10, one_in=2), rounds=2),
    Fault("slow_2s", "API server 2 s slower", slow(2, 30)),
    Fault("slow_0.9s", "API server 0.9 s slower", slow(0.9, 20)),
    Fault("writes_500", "all writes answer 500", failing_writes(35), news=1),
]
