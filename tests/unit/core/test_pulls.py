"""What the kubelet says of images that it cannot pull: measured texts, reported ones, and reasons."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from webhook.core.faults import Fault
from webhook.core.pulls import Said, coarse, end, heard, is_stuck, lowest, text
from webhook.core.runtimewords import Words

IMAGE, MANIFEST = "ghcr.io/a/b:1", "https://ghcr.io/v2/a/b/manifests/1"
PULL = f'failed to pull and unpack image "{IMAGE}": '
HEAD = f'{PULL}failed to resolve image: failed to do request: Head "{MANIFEST}": '
FROM = f"{PULL}failed to resolve image: unexpected status from HEAD request to {MANIFEST}: "
TOKEN = (
    f"{PULL}failed to resolve image: failed to authorize: failed to fetch anonymous token: unexpected status from "
    "GET request to https://ghcr.io/token?scope=repository%3Aa%2Fb%3Apull&service=ghcr.io: "
)
DENIED = "pull access denied, repository does not exist or may require authorization: "
ABOUT = {"case", "from", "because", "reason", "text", "all"}
"""Of a row in the golden files: what is not of the words."""


def golden(name: str) -> list[Any]:
    rows = yaml.load(Path(__file__).with_name(name).read_text(), yaml.CSafeLoader)
    return [pytest.param(row, id=row.get("case") or row["from"]) for row in rows]


DEFAULTS = {one.name: one.default for one in fields(Words) if one.name != "fault"}
TOLD = {"host": "", "role": "registry"}
"""A reported row without a host or a role is about a registry that the text does not name."""


def check(row: dict[str, Any], defaults: dict[str, Any]) -> None:
    wanted = row.get("all") or [{key: value for key, value in row.items() if key not in ABOUT}]
    words = heard(row.get("reason", "ErrImagePull"), row["text"])
    assert len(words) == len(wanted)
    for one, told in zip(words, wanted, strict=True):
        found = {key: getattr(one, key) for key in defaults | told}
        assert {
            key: tuple(value) if isinstance(value, list) else value for key, value in (defaults | told).items()
        } == found


@pytest.mark.parametrize("row", golden("pulls_measured.yaml"))
def test_measured(row: dict[str, Any]) -> None:
    check(row, DEFAULTS)


@pytest.mark.parametrize("row", golden("pulls_reported.yaml"))
def test_reported(row: dict[str, Any]) -> None:
    check(row, TOLD)


@pytest.mark.parametrize("name", ["pulls_measured.yaml", "pulls_reported.yaml"])
def test_in_back_off_and_in_events_the_same_is_said(name: str) -> None:
    rows = [row.values[0] for row in golden(name) if "reason" not in row.values[0]]
    assert len(rows) > 60
    for row in rows:
        words = heard("ErrImagePull", row["text"])
        assert heard("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {row["text"]}') == words
        assert heard("ErrImagePull", f'Failed to pull image "{IMAGE}": {row["text"]}') == words


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said.CERTIFICATE, HEAD + "tls: x509: certificate is valid for *.github.io, not ghcr.io"),
        (Said.CERTIFICATE, HEAD + "http: server gave HTTP response to HTTPS client"),
        (Said.ADDRESS, HEAD + "dial tcp: lookup ghcr.io on 127.0.0.54:53: server misbehaving"),
        (Said.ADDRESS, HEAD + "dial tcp: lookup ghcr.io on 127.0.0.54:53: read udp: i/o timeout"),
        (Said.ADDRESS, HEAD + "dial tcp: lookup ghcr.io: no such host"),
        (Said.CONNECTION, HEAD + "dial tcp 127.0.0.1:1: connect: connection refused"),
        (Said.CONNECTION, "rpc error: code = DeadlineExceeded desc = " + HEAD + "dial tcp 127.0.0.1:9: i/o timeout"),
        (Said.CONNECTION, HEAD + "EOF"),
        (Said.CONNECTION, HEAD + "net/http: TLS handshake timeout"),
        (Said.CONNECTION, HEAD + "proxyconnect tcp: dial tcp 127.0.0.1:3128: connect: connection refused"),
        (Said.CONNECTION, HEAD + "remote error: tls: handshake failure"),
        (Said.BUSY, FROM + "429 Too Many Requests"),
        (Said.BROKEN, FROM + "503 Service Unavailable"),
        (Said.BROKEN, TOKEN + "503 Service Unavailable"),
        (Said.UNAUTHORIZED, FROM + "401 Unauthorized"),
        (Said.UNAUTHORIZED, f"[{FROM}401 Unauthorized, {FROM}403 Forbidden / denied]"),
        (Said.UNAUTHORIZED, "unable to retrieve auth token: invalid username/password: unauthorized: denied"),
        (Said.UNAUTHORIZED, f'Back-off pulling image "ghcr.io/a/b:1": ErrImagePull: {FROM}401 Unauthorized'),
        (Said.FORBIDDEN, FROM + "403 Forbidden / denied: denied: permission_denied: read_package"),
        (Said.FORBIDDEN, DENIED + "server message: insufficient_scope: authorization failed"),
        (Said.UNSENT, DENIED + "authorization failed: no basic auth credentials"),
        (Said.UNSENT, TOKEN + "403 Forbidden"),
        (Said.NOT_FOUND, f"rpc error: code = NotFound desc = {PULL}failed to resolve image: {IMAGE}: not found"),
        (Said.NOT_FOUND, "failed to resolve image: ghcr.io/denied/401:403: not found"),
        (Said.NOT_FOUND, 'failed to pull "x.io/a:401 Unauthorized": failed to resolve image: x.io/denied: not found'),
        (Said.OTHER, "code = NotFound desc = get image config: no match for platform in manifest sha256:dd: not found"),
        (Said.OTHER, "something new"),
        (Said.NOTHING, 'Back-off pulling image "ghcr.io/a/b:1"'),
    ],
)  # fmt: skip
def test_what_status_tells(said: Said, message: str) -> None:
    assert coarse(heard("ErrImagePull", message)) is said
    assert coarse(heard("ImagePullBackOff", message)) is said


PARSER = "illegal base64 data at input byte 0"
INTENT = "Failed to record image pull intent for container image"


@pytest.mark.parametrize(
    ("reason", "message", "fault"),
    [
        ("InvalidImageName", "x", Fault.IMAGE_NAME_INVALID),
        ("ErrImageNeverPull", "x", Fault.IMAGE_NEVER_PULLED),
        ("SignatureValidationFailed", "x", Fault.SIGNATURE_REFUSED),
        ("RegistryUnavailable", "", Fault.TCP_REFUSED),
        (
            "RegistryUnavailable",
            f"image pull failed for {IMAGE} because the registry is unavailable: dial tcp 192.0.2.1:443: i/o timeout",
            Fault.TCP_SILENT,
        ),
        (
            "ImagePullBackOff",
            'Back-off pulling image "x": SignatureValidationFailed: image pull failed for x because the signature',
            Fault.SIGNATURE_REFUSED,
        ),
        ("ImageInspectError", 'Failed to inspect image "": rpc error: code = Unknown desc = odd', Fault.RUNTIME_FAILS),
        (PARSER, PARSER, Fault.SECRET_UNREADABLE),
        ("unexpected end of JSON input", "unexpected end of JSON input", Fault.SECRET_UNREADABLE),
        ("open /x: permission denied", f'{INTENT} "{IMAGE}": open /x: permission denied', Fault.RUNTIME_FAILS),
        ("write /x: no space left on device", f'{INTENT} "x": no space left on device', Fault.NODE_DISK_FULL),
    ],
)
def test_reasons(reason: str, message: str, fault: Fault) -> None:
    assert is_stuck(reason, message)
    assert [one.fault for one in heard(reason, message)] == [fault]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (PARSER, "other"),
        ("CrashLoopBackOff", "CrashLoopBackOff"),
        ("ContainerCreating", ""),
        ("", ""),
        ("CreateContainerConfigError", 'secret "x" not found'),
    ],
)
def test_who_waits_for_something_else(reason: str, message: str) -> None:
    assert not is_stuck(reason, message)


def test_the_lowest_layer_of_several_credentials() -> None:
    both = heard("ErrImagePull", f"[{FROM}401 Unauthorized, {HEAD}dial tcp: lookup ghcr.io: no such host]")
    assert [one.fault for one in both] == [Fault.CREDENTIAL_REFUSED, Fault.DNS_NO_SUCH_NAME]
    found = lowest(both)
    assert found is not None
    assert found.fault is Fault.DNS_NO_SUCH_NAME
    assert lowest(()) is None


def test_no_signature_and_no_password_is_shown() -> None:
    signed = 'Get "https://robot:hidden@cdn.example.com/blobs/1?sig=hidden&x=hidden": 403 Forbidden\x1b[2J'
    for shown in (text(signed), end(signed)):
        assert "hidden" not in shown
        assert shown.isprintable()
    assert end(HEAD + "EOF") == "EOF"
    assert end(FROM + "503 Service Unavailable").endswith("manifests/1: 503 Service Unavailable")
    assert len(text("x" * 9999)) < 600
