"""Lists in pages: of bounded size, however large the objects are."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.core.errors import PullsecretError
from webhook.core.names import DOCKERCONFIG_KEY, EXPIRES, MANAGED_BY, MANAGER, OWNER
from webhook.core.owner import OwnerRule
from webhook.core.pullsecret import Fingerprint
from webhook.kube import listing
from webhook.kube.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, SecretObject, TooLarge
from webhook.kube.listing import PAGE_SIZE, Listing, Unread, kept, listed, number
from webhook.kube.reader import Reader
from webhook.sources.secret import read


class Sized:
    """A cluster with objects of these sizes in bytes. `asked`: how many each time."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.asked, self.largest = sizes, list[int](), 0

    async def call(self, _method: str, _path: str, *, query: dict[str, str], at_most: int, **_: object) -> bytes:
        start, limit = int(query.get("continue", 0)), int(query["limit"])
        self.asked.append(limit)
        end = min(start + limit, len(self.sizes))
        items = [{"metadata": {"name": str(i)}, "x": "x" * self.sizes[i]} for i in range(start, end)]
        more = {"continue": str(end)} if end < len(self.sizes) else {}
        body = json.dumps({"metadata": {"resourceVersion": "7", **more}, "items": items}).encode()
        if len(body) > at_most:
            raise TooLarge
        self.largest = max(self.largest, len(body))
        return body


def walked(cluster: Sized) -> list[str]:
    async def main() -> list[str]:
        pages = Listing(cast(Cluster, cluster), "/x")
        names = [msgspec.json.decode(raw, type=NamespaceObject).metadata.name async for raw in pages]
        assert pages.version == 7
        return names

    return asyncio.run(main())


def test_a_page_too_large_is_asked_for_with_fewer_and_then_with_more_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_BYTES", 100_000)
    cluster = Sized(*[10] * 300, *[30_000] * 30, *[10] * 2_000)

    assert walked(cluster) == [str(number) for number in range(2_330)]
    assert cluster.largest <= 100_000
    assert 3 in cluster.asked
    assert cluster.asked[-1] == PAGE_SIZE
    assert len(cluster.asked) < 60


def test_one_object_too_large_for_any_page_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_BYTES", 1_000)
    with pytest.raises(ClusterError, match="AnswerTooLarge"):
        walked(Sized(10, 2_000))


def test_a_command_lists_what_can_be_read_and_says_what_not(caplog: pytest.LogCaptureFixture) -> None:
    class Some:
        async def call(self, *_: object, **__: object) -> bytes:
            odd = b'{"metadata": {"namespace": "team", "name": "odd", "labels": []}}'
            return b'{"metadata": {}, "items": [' + odd + b', {"metadata": {"name": "a"}}]}'

    async def main() -> list[str]:
        found = listed(cast(Cluster, Some()), "namespaces", "/x", NamespaceObject)
        return [one.metadata.name async for one in found]

    assert asyncio.run(main()) == ["a"]
    assert "left out of namespaces: team/odd: it cannot be decoded" in caplog.text


@pytest.mark.parametrize("body", [b"", b"[]", b'{"kind": "Status"}'])
def test_what_is_no_list_is_said(body: bytes) -> None:
    class Other:
        async def call(self, *_: object, **__: object) -> bytes:
            return body

    async def main() -> None:
        async for _ in listed(cast(Cluster, Other()), "namespaces", "/x", NamespaceObject):
            pass

    with pytest.raises(PullsecretError, match=r"namespaces cannot be listed \(NotKubernetes\)"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("", None), ("-7", None), ("x", None), ("7" * 21, None), ("\u00b2", None)]
)
def test_number(text: str, value: int | None) -> None:
    assert number(text) == value


KEYS = ("metadata", "labels", "annotations", "resourceVersion", "name", "namespace", "uid", "type", "data", "spec")
MORE_KEYS = ("imagePullSecrets", "ownerReferences", "immutable", "deletionTimestamp", OWNER, EXPIRES, MANAGED_BY)
TEXTS = st.sampled_from(["a", MANAGER, DOCKERCONFIG_KEY, "9" * 5_000, "\ud800", "2030-01-31T12:00:00Z", "e30=", "\0"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*KEYS, *MORE_KEYS)), inner, max_size=6)
    ),
    max_leaves=25,
)
READER = Reader(
    (OwnerRule("label", OWNER), OwnerRule("annotation", "a")), lambda _: False, Fingerprint(b"k"), "ghcr-secret"
)
READS: dict[type[msgspec.Struct], Callable[[Any], object]] = {
    NamespaceObject: READER.namespace,
    SecretObject: lambda seen: (READER.existing(seen), read(seen)),
    AccountObject: READER.account,
}


def test_an_error_of_ours_is_handed_on() -> None:
    left, bug = list[Unread](), KeyError("x")

    def keep(_: NamespaceObject) -> None:
        raise bug

    raw = b'{"metadata": {"name": "a", "resourceVersion": "7"}}'
    assert asyncio.run(kept(raw, msgspec.json.Decoder(NamespaceObject), keep, left.append)) is None
    assert left == [Unread("", "a", 7, "it cannot be used (KeyError)")]
    assert left[0].bug is bug


@pytest.mark.parametrize("item", READS)
@settings(max_examples=60)
@given(
    st.fixed_dictionaries({"metadata": st.dictionaries(st.sampled_from((*KEYS, *MORE_KEYS)), VALUES)}) | VALUES,
    st.dictionaries(st.sampled_from((*KEYS[4:], *MORE_KEYS)), VALUES),
)
def test_whatever_an_object_is_it_is_kept_or_left_out(item: type[msgspec.Struct], value: Any, more: Any) -> None:
    left = list[Unread]()
    raw = json.dumps({**more, **value} if isinstance(value, dict) else value).encode()
    one = asyncio.run(kept(raw, msgspec.json.Decoder(item), READS[item], left.append))
    assert (one is None) == (len(left) == 1)
    for unread in left:
        assert str(unread).isprintable()
        assert unread.bug is None
