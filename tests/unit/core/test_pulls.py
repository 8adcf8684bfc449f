"""What the kubelet says of images that it cannot pull, in texts of containerd and CRI-O."""

import pytest

from webhook.core.pulls import Said, end, is_stuck, text, what

IMAGE, MANIFEST = "ghcr.io/a/b:1", "https://ghcr.io/v2/a/b/manifests/1"
PULL = f'failed to pull and unpack image "{IMAGE}": '
HEAD = f'{PULL}failed to resolve image: failed to do request: Head "{MANIFEST}": '
FROM = f"{PULL}failed to resolve image: unexpected status from HEAD request to {MANIFEST}: "
TOKEN = (
    f"{PULL}failed to resolve image: failed to authorize: failed to fetch anonymous token: unexpected status from "
    "GET request to https://ghcr.io/token?scope=repository%3Aa%2Fb%3Apull&service=ghcr.io: "
)
DENIED = "pull access denied, repository does not exist or may require authorization: "


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
        (Said.BUSY, FROM + "429 Too Many Requests"),
        (Said.BROKEN, FROM + "503 Service Unavailable"),
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
def test_what_it_means(said: Said, message: str) -> None:
    assert what("ErrImagePull", message) is said
    assert what("ImagePullBackOff", message) is said


def test_reasons() -> None:
    parser = "illegal base64 data at input byte 0"
    for reason, message, stuck in (
        ("ErrImagePull", "x", True),
        ("InvalidImageName", "x", True),
        ("RegistryUnavailable", "", True),
        (parser, parser, True),
        (parser, "other", False),
        ("CrashLoopBackOff", "CrashLoopBackOff", False),
        ("ContainerCreating", "", False),
        ("", "", False),
    ):
        assert is_stuck(reason, message) is stuck
    assert what(parser, parser) is Said.UNREADABLE
    assert what("InvalidImageName", "x") is Said.NO_NAME
    assert what("RegistryUnavailable", "") is Said.CONNECTION


def test_no_signature_and_no_password_is_shown() -> None:
    signed = 'Get "https://robot:hidden@cdn.example.com/blobs/1?sig=hidden&x=hidden": 403 Forbidden\x1b[2J'
    for shown in (text(signed), end(signed)):
        assert "hidden" not in shown
        assert shown.isprintable()
    assert end(HEAD + "EOF") == "EOF"
    assert end(FROM + "503 Service Unavailable").endswith("manifests/1: 503 Service Unavailable")
    assert len(text("x" * 9999)) < 600
