"""List and watch against a real HTTP server that does what API servers, proxies and networks do."""

import asyncio
import json
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from structlog.testing import capture_logs

from webhook.kube import watch
from webhook.kube.cluster import Cluster, ClusterError, NamespaceObject
from webhook.kube.listing import PAGE_SIZE, Unread
from webhook.kube.watch import OUTAGE_SECONDS, Changed, Replaced, Watch, lines

PATH = "/api/v1/namespaces"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Object = dict[str, Any]


@dataclass
class Clock:
    """The loop's, as the watch sees it: it goes on only by pauses, which take a moment, and where an answer says so."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0.001 if seconds else 0)

    def after(self, seconds: float, answer: Answer) -> Answer:
        """An answer that takes so long, up to where it ends, is cut, or falls silent."""

        async def late(request: web.Request) -> web.StreamResponse:
            self.now += seconds
            return await answer(request)

        return late


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    loop = SimpleNamespace(
        time=lambda: clock.now, call_later=lambda *timer: asyncio.get_running_loop().call_later(*timer)
    )
    monkeypatch.setattr(watch, "asyncio", SimpleNamespace(sleep=clock.sleep, get_running_loop=lambda: loop))
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.15)
    return clock


@pytest.fixture
def slept(clock: Clock) -> list[float]:
    """How long the watch paused."""
    return clock.slept


def namespace(name: str, version: int, **metadata: object) -> Object:
    return {"metadata": {"name": name, "resourceVersion": str(version), **metadata}}


def listed(*items: Object, version: int, more: str = "") -> Answer:
    meta = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
    return text(json.dumps({"metadata": meta, "items": list(items)}))


def text(body: str | bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers, content_type="application/json")

    return answer


def status(code: int, reason: str, **headers: str) -> Answer:
    return text(json.dumps({"kind": "Status", "code": code, "reason": reason, "message": "no"}), code, **headers)


def frame(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


ADDED_A = frame("ADDED", namespace("a", 11))
BOOKMARK = frame("BOOKMARK", namespace("", 15))
ADDED_C = frame("ADDED", namespace("c", 16))


def stream(*chunks: bytes, then: str = "stay") -> Answer:
    """`then`: `stay` open without a word, `end` in good order, or `cut` the connection, perhaps `late`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.005)  # so that each arrives alone
        if then == "stay":
            await asyncio.sleep(30)
        if then == "cut late":
            await asyncio.sleep(0.1)
        if then.startswith("cut") and request.transport is not None:
            request.transport.abort()
        return response

    return answer


@dataclass
class Fake:
    """Answers requests in turn; the last answer to a watch is repeated. `asked`: the queries that came."""

    lists: list[Answer]
    watches: list[Answer]
    asked: list[dict[str, str]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.path == PATH
        self.asked.append(dict(request.query))
        self.accepted.add(request.headers["Accept"])
        answers = self.watches if "watch" in request.query else self.lists
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    @property
    def since(self) -> list[str]:
        """Where each watch began."""
        return [query["resourceVersion"] for query in self.asked if "watch" in query]

    @property
    def list_calls(self) -> int:
        return sum("watch" not in query and "continue" not in query for query in self.asked)


@dataclass
class Seen:
    """What came of it: names with `+` or `-`, and a list's names in brackets."""

    events: list[str]
    failures: list[str]
    unread: list[str] = field(default_factory=list)
    worked: int = field(default=0, compare=False)
    fails: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    def works(self) -> None:
        self.worked += 1

    def failed(self, error: ClusterError) -> None:
        self.failures.append(str(error))
        self.fails.set()

    def left_out(self, one: Unread) -> None:
        self.unread.append(str(one))


Keep = Callable[[NamespaceObject], tuple[str, object]]


async def follow(
    fake: Fake,
    folder: Path,
    events: int,
    *,
    metadata_only: bool = False,
    keep: Keep = lambda item: (item.metadata.name, item),
) -> Seen:
    """The first so many events."""
    seen = Seen([], [])
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    runner.app.router.add_get("/{path:.*}", fake.handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Cluster.connect(str(kubeconfig(folder, runner.addresses[0][1]))) as cluster:
            watched = Watch(
                cluster,
                PATH,
                NamespaceObject,
                keep,
                seen,
                query={"labelSelector": "x"},
                metadata_only=metadata_only,
            )
            async with asyncio.timeout(10), aclosing(watched.events()) as stream:  # type: ignore[type-var]
                async for event in stream:
                    seen.events.append(told(event))
                    if len(seen.events) == events:
                        break
    finally:
        await runner.cleanup()
    return seen


def told(event: Replaced[object] | Changed[object]) -> str:
    if isinstance(event, Replaced):
        return f"[{' '.join(event.items)}]@{event.version}"
    return f"{'-' if event.gone else '+'}{event.key}"


def kubeconfig(folder: Path, port: int) -> Path:
    file = folder / "kubeconfig"

    def named(kind: str, value: Object) -> list[Object]:
        return [{"name": "x", kind: value}]

    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": named("cluster", {"server": f"http://127.0.0.1:{port}"}),
                "users": named("user", {"token": "t"}),
                "contexts": named("context", {"cluster": "x", "user": "x"}),
            }
        )
    )
    return file


def run(fake: Fake, folder: Path, events: int, **how: Any) -> Seen:
    return asyncio.run(follow(fake, folder, events, **how))


def test_a_list_then_what_changes(tmp_path: Path) -> None:
    fake = Fake(
        [listed(namespace("a", 3), namespace("b", 7), version=10)],
        [stream(ADDED_A, frame("MODIFIED", namespace("a", 12)) + frame("DELETED", namespace("b", 13)))],
    )

    seen = run(fake, tmp_path, 4)

    assert seen == Seen(["[a b]@10", "+a", "+a", "-b"], [])
    assert fake.asked[0] == {"labelSelector": "x", "limit": str(PAGE_SIZE)}
    asked = fake.asked[1]
    assert (asked["labelSelector"], asked["resourceVersion"], asked["allowWatchBookmarks"]) == ("x", "10", "true")
    assert watch.WATCH_SECONDS <= int(asked["timeoutSeconds"]) <= 2 * watch.WATCH_SECONDS
    assert fake.accepted == {"application/json"}


def test_a_list_is_not_kept_while_the_watch_lasts(tmp_path: Path) -> None:
    class Kept:
        """A Struct cannot be referred to weakly."""

    refs, alive = list[weakref.ref[Kept]](), list[bool]()

    def keep(item: NamespaceObject) -> tuple[str, Kept]:
        alive.append(bool(refs) and refs[0]() is not None)
        refs.append(weakref.ref(kept := Kept()))
        return item.metadata.name, kept

    fake = Fake([listed(namespace("a", 3), version=10)], [stream(ADDED_A, ADDED_C)])

    assert run(fake, tmp_path, 3, keep=keep).events == ["[a]@10", "+a", "+c"]
    assert alive == [False, True, False]  # with the first change the test still has the list


def test_pages_are_one_list(tmp_path: Path) -> None:
    fake = Fake(
        [listed(namespace("a", 1), version=10, more="page 2"), listed(namespace("b", 2), version=10)], [stream()]
    )

    assert run(fake, tmp_path, 1).events == ["[a b]@10"]
    assert fake.asked[1]["continue"] == "page 2"


def test_a_page_that_expired_begins_the_list_anew(tmp_path: Path) -> None:
    first = listed(namespace("a", 1), version=10, more="page 2")
    fake = Fake([first, status(410, "Expired"), listed(namespace("b", 2), version=11)], [stream()])

    assert run(fake, tmp_path, 1) == Seen(["[b]@11"], ["410 Expired"])


def test_metadata_only(tmp_path: Path) -> None:
    fake = Fake([text('{"metadata": {"resourceVersion": "10"}, "items": null}')], [stream(ADDED_A)])

    assert run(fake, tmp_path, 2, metadata_only=True).events == ["[]@10", "+a"]
    assert fake.accepted == {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    }


@pytest.mark.parametrize("then", ["end", "cut"])
def test_it_goes_on_from_where_it_was_and_lists_once(tmp_path: Path, then: str) -> None:
    fake = Fake(
        [listed(version=10)],
        [
            stream(ADDED_A, then=then),
            stream(BOOKMARK, then=then),
            stream(frame("ADDED", namespace("b", 16)), then=then),
            stream(frame("ADDED", namespace("c", 17))),
        ],
    )

    assert run(fake, tmp_path, 4).events == ["[]@10", "+a", "+b", "+c"]
    assert fake.since == ["10", "11", "15", "16"]
    assert fake.list_calls == 1


def test_a_stalled_watch_is_given_up_and_goes_on(tmp_path: Path) -> None:
    fake = Fake([listed(version=10)], [stream(ADDED_A), stream(frame("ADDED", namespace("b", 12)))])

    seen = run(fake, tmp_path, 3)

    assert seen.events == ["[]@10", "+a", "+b"]
    assert seen.failures == ["SocketTimeoutError"]
    assert (fake.since, fake.list_calls) == (["10", "11"], 1)


ERROR_410 = frame("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})


@pytest.mark.parametrize("gone", [status(410, "Expired"), stream(ERROR_410)], ids=["status", "stream"])
def test_only_410_makes_it_list_again(tmp_path: Path, gone: Answer) -> None:
    fake = Fake(
        [listed(version=10), listed(namespace("b", 15), version=20)],
        [stream(then="cut"), status(500, "InternalError"), gone, stream(frame("ADDED", namespace("c", 21)))],
    )

    assert run(fake, tmp_path, 3).events == ["[]@10", "[b]@20", "+c"]
    assert (fake.list_calls, fake.since) == (2, ["10", "10", "10", "20"])


def test_retry_after_is_heeded_for_as_long_as_a_view_may_be_blind(tmp_path: Path, slept: list[float]) -> None:
    fake = Fake(
        [status(429, "TooManyRequests", **{"Retry-After": "3"}), listed(version=10)],
        [
            status(429, "TooManyRequests", **{"Retry-After": "3600"}),
            status(429, "TooManyRequests", **{"Retry-After": "soon"}),
            stream(ADDED_A),
        ],
    )

    assert run(fake, tmp_path, 3) == Seen(["[]@10", "[]@10", "+a"], ["429 TooManyRequests"] * 3)
    assert slept[:2] == [3, watch.MAX_BACKOFF_SECONDS]
    assert slept[2] < 1


GARBAGE = {
    "HTML": b"<html>captive portal</html>",
    "other JSON": b'{"kind": "Status"}',
    "no version": b'{"metadata": {}, "items": []}',
    "no number": b'{"metadata": {"resourceVersion": "x"}, "items": []}',
    "half of it": b'{"metadata": {"resourceVersion": "10"}, "ite',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_a_list_that_is_none_is_asked_for_again(tmp_path: Path, body: bytes) -> None:
    fake = Fake([text(body), listed(namespace("a", 1), version=10)], [stream()])

    seen = run(fake, tmp_path, 1)

    assert seen.events == ["[a]@10"]
    assert len(seen.failures) == 1
    assert "captive" not in seen.failures[0]


FRAMES = {
    "HTML": b"<html>captive portal</html>\n",
    "an empty line": b"\n",
    "an unknown type": frame("RENAMED", namespace("x", 12)),
    "no UTF-8": ADDED_A.replace(b'"a"', b'"\xff"'),
    "no object": b'{"type": "ADDED", "object": null}\n',
    "half a line": ADDED_A[:-9],
}


@pytest.mark.parametrize("chunk", FRAMES.values(), ids=FRAMES)
def test_a_frame_that_is_none_ends_the_watch_but_not_the_stream(tmp_path: Path, chunk: bytes) -> None:
    fake = Fake([listed(version=10)], [stream(chunk, then="end"), stream(ADDED_A)])

    seen = run(fake, tmp_path, 2)

    assert seen.events == ["[]@10", "+a"]
    assert len(seen.failures) == 1
    assert "captive" not in seen.failures[0]
    assert fake.list_calls == 1


@pytest.mark.parametrize("chunk", [FRAMES["HTML"], FRAMES["no object"]], ids=["HTML", "no object"])
def test_what_comes_again_and_cannot_be_read_is_passed_by_listing(tmp_path: Path, clock: Clock, chunk: bytes) -> None:
    fake = Fake(
        [listed(version=10), listed(namespace("a", 12), version=12)],
        [
            stream(ADDED_A, chunk),
            clock.after(OUTAGE_SECONDS, stream(chunk)),
            stream(frame("ADDED", namespace("b", 13))),
        ],
    )

    assert run(fake, tmp_path, 4) == Seen(["[]@10", "+a", "[a]@12", "+b"], ["NotKubernetes"] * 2)
    assert fake.since == ["10", "11", "12"]


ODD = {
    "labels that are a list": b'{"metadata": {"name": "odd", "resourceVersion": "12", "labels": ["x"]}}',
    "labels that are no text": b'{"metadata": {"name": "odd", "resourceVersion": "12", "labels": {"a": 1}}}',
    "no UTF-8": b'{"metadata": {"name": "odd", "resourceVersion": "12", "labels": {"a": "\xff"}}}',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_object_that_cannot_be_read_is_left_out_and_said(tmp_path: Path, odd: bytes) -> None:
    a, b = (json.dumps(namespace(name, 7)).encode() for name in "ab")
    page = b'{"metadata": {"resourceVersion": "10"}, "items": [' + b",".join((a, odd, b"null", b)) + b"]}"
    fake = Fake([text(page)], [stream(b'{"type": "MODIFIED", "object": ' + odd + b"}\n" + ADDED_C, then="cut")])

    seen = run(fake, tmp_path, 2)

    assert (seen.events, seen.failures, fake.since) == (["[a b]@10", "+c"], [], ["10"])
    assert [one.partition(":")[0] for one in seen.unread] == ["odd", "an object without a name", "odd"]


@pytest.mark.parametrize("levels", [500, 9_990, 20_000])
def test_however_deep_an_object_is_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: int) -> None:
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 5.0)
    fields = '{"f:a":' * levels + "{}" + "}" * levels
    deep = json.dumps(namespace("deep", 12, managedFields=[{"fieldsV1": "FIELDS"}])).replace('"FIELDS"', fields)
    page = '{"metadata": {"resourceVersion": "12"}, "items": [' + deep + ', {"metadata": {"name": "b"}}]}'
    fake = Fake([text(page)], [stream(f'{{"type": "MODIFIED", "object": {deep}}}\n'.encode() + BOOKMARK, ADDED_C)])

    assert run(fake, tmp_path, 3) == Seen(["[deep b]@12", "+deep", "+c"], [])


def test_a_version_that_is_no_number_moves_nothing(tmp_path: Path) -> None:
    odd = frame("ADDED", {"metadata": {"name": "odd", "resourceVersion": "x" * 5000}})
    fake = Fake([listed(version=10)], [stream(odd + ADDED_A, then="cut"), stream(ADDED_C)])

    assert run(fake, tmp_path, 4).events == ["[]@10", "+odd", "+a", "+c"]
    assert fake.since == ["10", "11"]


TOO_LARGE = "Timeout: Too large resource version: 900, current: 20"
RESTORED = {
    "a change from before": stream(frame("ADDED", namespace("x", 3))),
    "a bookmark from before": stream(frame("BOOKMARK", namespace("", 3))),
    "a position that is not there yet": text(json.dumps({"code": 504, "reason": "Timeout", "message": TOO_LARGE}), 504),
    "an error": stream(frame("ERROR", {"code": 504, "reason": "Timeout", "message": TOO_LARGE})),
}


@pytest.mark.parametrize("answer", RESTORED.values(), ids=RESTORED)
def test_a_server_that_went_back_is_listed_anew(tmp_path: Path, answer: Answer) -> None:
    fake = Fake(
        [listed(namespace("a", 9), version=900), listed(namespace("b", 7), version=20)],
        [answer, stream(frame("ADDED", namespace("c", 21)))],
    )

    assert run(fake, tmp_path, 3).events == ["[a]@900", "[b]@20", "+c"]
    assert fake.since == ["900", "20"]


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


AWAY = {
    "no answer": hang_up,
    "a proxy without a server": status(502, "BadGateway"),
    "a server that ends": status(429, "TooManyRequests", **{"Retry-After": "1"}),
    "a server that begins": status(401, "Unauthorized"),
    "nothing but its head": stream(then="end"),
}


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
@pytest.mark.parametrize("then", ["end", "cut"])
def test_after_an_outage_all_is_listed_anew(tmp_path: Path, clock: Clock, then: str, away: Answer) -> None:
    """Who was restored from a backup may have newer versions than ours by now, of other changes."""
    there = stream(frame("ADDED", namespace("c", 21)))

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (there if fake.list_calls == 2 else away)(request)

    fake = Fake(
        [listed(namespace("a", 9), version=10), listed(namespace("b", 14), version=20)],
        [clock.after(9, stream(BOOKMARK, then=then)), answer],
    )

    assert run(fake, tmp_path, 3).events == ["[a]@10", "[b]@20", "+c"]
    assert [*dict.fromkeys(fake.since)] == ["10", "15", "20"]
    assert OUTAGE_SECONDS < sum(clock.slept) < OUTAGE_SECONDS + 2


def test_a_silence_is_an_outage(tmp_path: Path, clock: Clock) -> None:
    fake = Fake([listed(version=10), listed(version=15)], [clock.after(12, stream()), stream(ADDED_C)])

    assert run(fake, tmp_path, 3) == Seen(["[]@10", "[]@15", "+c"], ["SocketTimeoutError"])


def test_a_connection_that_is_cut_late_is_none(tmp_path: Path, clock: Clock) -> None:
    fake = Fake(
        [listed(version=10)], [clock.after(9, stream(then="cut")), clock.after(9, stream(then="cut")), stream(ADDED_A)]
    )

    assert run(fake, tmp_path, 2).events == ["[]@10", "+a"]
    assert fake.since == ["10"] * 3


def test_an_error_of_ours_ends_no_watch_and_loses_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([None, None, KeyError("secret")])  # the list, the watch, its first event

    def works(_: Seen) -> None:
        if error := next(errors, None):
            raise error

    monkeypatch.setattr(Seen, "works", works)
    fake = Fake(
        [listed(version=10), listed(namespace("a", 11), version=11)],
        [stream(ADDED_A), stream(frame("ADDED", namespace("b", 12)))],
    )

    with capture_logs() as logs:
        seen = run(fake, tmp_path, 3)

    assert seen == Seen(["[]@10", "[a]@11", "+b"], ["KeyError"])
    assert [(line["about"], type(line["exc_info"])) for line in logs] == [(PATH, KeyError)]


@pytest.mark.parametrize(("newest", "lists"), [(899, 3), (900, 2), (None, 2)])
def test_a_watch_that_ends_without_a_word_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest: int | None, lists: int
) -> None:
    """A server that was set back keeps quiet until it is where it was."""
    monkeypatch.setattr(watch, "MIN_WATCH_SECONDS", 0.0)
    now = text(json.dumps({"metadata": {"resourceVersion": str(newest) if newest else ""}, "items": []}))
    fake = Fake(
        [listed(version=900), now, listed(version=899)],
        [stream(then="end"), stream(frame("ADDED", namespace("c", 901)))],
    )

    seen = run(fake, tmp_path, 3 if lists == 3 else 2)

    assert seen.events == (["[]@900", "[]@899", "+c"] if lists == 3 else ["[]@900", "+c"])
    assert [query["limit"] for query in fake.asked if "watch" not in query][:2] == [str(PAGE_SIZE), "1"]
    assert fake.list_calls == lists
    assert seen.failures == ["VersionsWentBack"] * (lists - 2)


def test_it_works_with_each_message_but_after_a_failure_not_before_it_has_caught_up(tmp_path: Path) -> None:
    """The first of many events that were missed does not show that there are no more."""
    fake = Fake([listed(version=10)], [stream(ADDED_A, then="cut"), stream(BOOKMARK + ADDED_C)])

    assert run(fake, tmp_path, 3).worked == 3  # list, accepted, a


def test_after_a_failure_it_has_caught_up_soon_also_if_there_is_nothing_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_SECONDS", 0.02)
    quiet = stream(b"", then="cut late")
    fake = Fake([listed(version=10)], [stream(ADDED_A, then="cut"), quiet, stream(ADDED_C)])

    assert run(fake, tmp_path, 3).worked == 4  # list, accepted, a, the quiet one


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_LINE_BYTES", 1000)
    fake = Fake([listed(version=10)], [stream(ADDED_A, b"x" * 1001), stream(ADDED_C)])

    assert run(fake, tmp_path, 3) == Seen(["[]@10", "+a", "+c"], ["NotKubernetes"])


def test_lines_may_be_cut_anywhere_and_be_long(tmp_path: Path) -> None:
    """An object may have 1.5 MiB; aiohttp's own lines end at 128 KiB."""
    long = frame("MODIFIED", namespace("long", 12, annotations={"a": "ä" * 400_000}))
    whole = ADDED_A + long + frame("DELETED", namespace("b", 13))
    cuts = [0, 1, len(ADDED_A) - 1, len(ADDED_A), len(ADDED_A) + 70_001, len(ADDED_A + long) - 1, len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(cuts)]
    fake = Fake([listed(version=10)], [stream(*chunks)])

    assert run(fake, tmp_path, 4).events == ["[]@10", "+a", "+long", "-b"]
    assert len(fake.asked) == 2


def test_what_comes_all_at_once_keeps_nobody_waiting_for_long() -> None:
    """Others, such as a review that has arrived, have their turn in between."""

    async def main() -> int:
        content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
        content.feed_data(b"x\n" * 100)
        content.feed_eof()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(others())
        assert [line async for line in lines(content)] == [b"x"] * 100
        beside.cancel()
        return turns

    assert asyncio.run(main()) >= 10


def test_a_proxy_that_hangs_up_at_once_is_not_called_without_a_pause(tmp_path: Path) -> None:
    fake = Fake([listed(version=10)], [stream(then="end"), stream(then="end"), stream(ADDED_A)])

    assert run(fake, tmp_path, 2) == Seen(["[]@10", "+a"], ["WatchEndedEarly"] * 2)


def test_attempts_are_ever_farther_apart_until_something_comes(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    down, error = status(503, "ServiceUnavailable"), frame("ERROR", {"code": 500, "reason": "InternalError"})
    fake = Fake(
        [listed(version=10)],
        [
            down,
            *[stream(error)] * 2,
            *[down] * 4,
            stream(ADDED_A, then="cut"),
            down,
            stream(BOOKMARK + frame("ADDED", namespace("b", 16))),
        ],
    )

    run(fake, tmp_path, 8)

    assert slept == [0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0, 0.2, 0.4]
    assert fake.list_calls == 6


def test_nothing_listens(tmp_path: Path) -> None:
    async def main() -> list[str]:
        seen = Seen([], [])
        async with Cluster.connect(str(kubeconfig(tmp_path, 1))) as cluster:
            events: AsyncIterator[object] = Watch(
                cluster, PATH, NamespaceObject, lambda item: ("", item), seen
            ).events()
            first = asyncio.ensure_future(anext(events))
            async with asyncio.timeout(5):
                await seen.fails.wait()
            assert not first.done()
            first.cancel()
        return seen.failures

    assert asyncio.run(main())[0] == "connection refused"
