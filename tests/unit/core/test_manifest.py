import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.manifest import ACCEPT, Manifest, is_of, manifest

CONFIG = f"sha256:{'c' * 64}"
OLD = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def image_list(*platforms: str | None) -> Manifest:
    """The digest of each is its place."""
    entries = []
    for number, text in enumerate(platforms):
        entry: dict[str, Any] = {"digest": digest(number), "size": 1, "mediaType": "m"}
        if text is not None:
            entry["platform"] = dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))
        entries.append(entry)
    found = manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("platform", "platforms", "found"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/arm64", "windows/amd64"], None),
        ("linux/amd64", ["linux/386"], 0),
        ("linux/amd64", ["linux/386", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64/v3", ["linux/amd64/v3"], 0),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64", ["Linux/AMD64"], 0),
        ("linux/arm64", ["linux/amd64", "linux/arm64/v8"], 1),
        ("linux/arm64", ["linux/arm/v7"], 0),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64"], 1),
        ("linux/arm64", ["linux/amd64", "unknown/unknown"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], 2),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm/v7", ["linux/arm"], 0),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm/v6", ["linux/arm"], None),
        ("linux/arm", ["linux/arm/v5"], 0),
        ("linux/arm/v7", ["linux/arm64"], None),
        ("linux/s390x", ["linux/amd64", "linux/s390x"], 1),
        ("linux/riscv64", ["linux/amd64"], None),
        ("windows/amd64", ["linux/amd64", "windows/amd64"], 1),
        ("linux/amd64", ["linux/arm64", None], 1),
        ("linux/amd64", [None, "linux/amd64"], 1),
        ("linux/amd64", [], None),
    ],
)
def test_what_a_node_takes_of_a_list(platform: str, platforms: list[str | None], found: int | None) -> None:
    assert image_list(*platforms).for_platform(platform) == (None if found is None else digest(found))


def test_what_is_told_of_a_list() -> None:
    found = image_list("linux/amd64", "linux/arm/v7", "unknown/unknown", "linux/amd64", None, "\x1b[1m\u202e/evil")
    assert found.platforms == ("linux/amd64", "linux/arm/v7", "?[1m?/evil")
    assert len(image_list(*(f"linux/a{number}" for number in range(500))).platforms) <= 64
    assert all(len(one) <= 70 for one in image_list("x" * 5000).platforms)


def test_one_image() -> None:
    found = manifest(json.dumps({"schemaVersion": 2, "config": {"digest": CONFIG}, "layers": [{"size": 1}]}).encode())
    assert found == Manifest(CONFIG)
    assert found.platforms == ()
    for bad in ("", "sha256:../..", None):
        assert manifest(json.dumps({"config": {"digest": bad}}).encode()) == Manifest("")


def test_old_formats() -> None:
    assert manifest(b'{"schemaVersion": 1, "fsLayers": []}') == Manifest(old=True)
    assert manifest(json.dumps({"mediaType": OLD}).encode()) == Manifest(old=True)
    assert manifest(b'{"fsLayers": []}', OLD) == Manifest(old=True)
    assert "v1+prettyjws" not in ACCEPT


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b"null", b'{"config": 1}', b'{"manifests": {}}', b'{"a":' * 10_000, b"\xff"]
)
def test_no_manifests(body: bytes) -> None:
    assert manifest(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "manifests", "digest", "platform", "os", "variant"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.text(max_size=10))
def test_any_json_is_read(value: object, platform: str) -> None:
    found = manifest(json.dumps(value).encode())
    if found is not None and found.entries is not None:
        assert all(isinstance(one, str) for one in found.platforms)
        found.for_platform(platform)


def test_digests_of_content() -> None:
    for kind in ("sha256", "sha512"):
        right = f"{kind}:{hashlib.new(kind, b'content').hexdigest()}"
        assert is_of(b"content", right) is True
        assert is_of(b"other", right) is False
    for unknown in ("", "sha256:", f"md5:{'0' * 32}", f"sha999:{'0' * 64}"):
        assert is_of(b"content", unknown) is None
