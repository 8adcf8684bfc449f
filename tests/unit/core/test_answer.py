import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.answer import MAX_CHARS, codes, hiding, is_html, words


def errors(*said: tuple[str, str]) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message} for code, message in said]}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (errors(("DENIED", "denied")), "denied"),
        (errors(("DENIED", "permission_denied: read_package")), "denied: permission_denied: read_package"),
        (errors(("MANIFEST_UNKNOWN", "manifest unknown")), "manifest_unknown: manifest unknown"),
        (errors(("UNAUTHORIZED", ""), ("DENIED", "")), "unauthorized; denied"),
        (errors(*[("A", f"a{number}") for number in range(50)]), "a0; a1; a2"),
        (b'{"errors": [{"code": 403, "message": "no"}]}', "403: no"),
        (b'{"details": "incorrect username or password"}', "incorrect username or password"),
        (b'{"error": "invalid_grant", "error_description": "it has ended"}', "it has ended"),
        (b'{"error": "invalid_grant"}', "invalid_grant"),
        (b'{"error": {"code": 403, "message": "it is denied", "status": "PERMISSION_DENIED"}}', "it is denied"),
        (b'{"error": {"code": "AuthorizationFailed"}}', ""),
        (b'{"RequestId": "1", "Code": "NoPermission", "Message": "You may not."}', "NoPermission: You may not."),
        (b'{"Code": "NoPermission"}', "NoPermission"),
        (b'{"Message": "You may not."}', "You may not."),
        (b'{"message": "HTTP Basic: Access denied"}', "HTTP Basic: Access denied"),
        (b"Your Authorization Token has expired.\nLog in.", "Your Authorization Token has expired. Log in."),
        (
            b"<R><Error><Code>AccessDenied</Code><Message>it &quot;is&quot;\nso</Message></Error></R>",
            'AccessDenied: it "is" so',
        ),
        (b"<Error><Message>https://u:p@h.example/</Message></Error>", "https://h.example/"),
        (b'{"errors": []}', ""),
        (b'{"token": "secret"}', ""),
        (b'[{"token": "secret"}]', ""),
        (b'{"broken', ""),
        (b"", ""),
        (b"<html><head><title>\n Log  in </title>", 'a page in HTML: "Log in"'),
        (
            b"<html><title>Blocked: https://u:p@h.example/x?sig=abc</title>",
            'a page in HTML: "Blocked: https://h.example/x"',
        ),
        (b"<!DOCTYPE html><body>x", "a page in HTML"),
        (errors(("A", "see https://u:p@h.example/x?sig=abc&y=1 for more")), "a: see https://h.example/x for more"),
        (errors(("A", "\x1b[2J\u202eevil\nline")), "a: ?[2J?evil line"),
    ],
)
def test_words(body: bytes, said: str) -> None:
    assert words(body) == said


def test_what_is_html() -> None:
    assert is_html(b"", "text/html")
    assert is_html(b"\n<!-- x --><HTML>")
    assert not is_html(b'{"a": "<html>"}', "application/json")
    assert not is_html(b"<xml>")


def test_codes() -> None:
    assert codes(errors(("manifest_unknown", "x"), ("DENIED", "y"))) == {"MANIFEST_UNKNOWN", "DENIED"}
    assert codes(b"<html>") == codes(b"{}") == frozenset()


FIELDS = st.sampled_from(["errors", "code", "message", "error", "details"])
JSON = st.recursive(st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner))


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_has_words_on_one_line(body: bytes) -> None:
    said = words(body)
    assert len(said) <= MAX_CHARS + len("...")
    assert said.isprintable()


def test_a_long_answer_takes_no_time() -> None:
    begin = time.perf_counter()
    for part in (b"<", b"<title", b"<!--", b"<title><", b" ", b"https://", b"?", b"<html><title>"):
        words(part * (64 * 1024 // len(part)))
        hiding(["x" * 32_000])("x" * MAX_CHARS)
    assert time.perf_counter() - begin < 2


TOKEN = planted.token()


@pytest.mark.parametrize(
    "said",
    [TOKEN, TOKEN.lower(), TOKEN.upper(), f"not {TOKEN}!", TOKEN[:12], TOKEN[-9:], f"{TOKEN}{TOKEN}",
     *(base64.b64encode(b"x" * offset + TOKEN.encode() + b"yz").decode() for offset in range(6))],
)  # fmt: skip
def test_nothing_of_a_secret_is_shown(said: str) -> None:
    hidden = hiding([TOKEN])(f"it says {said} here")
    assert hidden.startswith("it says ")
    assert hidden.endswith(" here")
    assert "***" in hidden
    assert not planted.leaks(hidden)
    assert TOKEN[:8].lower() not in hidden.lower()
    assert TOKEN[-8:].lower() not in hidden.lower()


def test_other_words_stay() -> None:
    assert hiding([TOKEN, "short"])("denied: read_package for alice") == "denied: read_package for alice"
    assert hiding([TOKEN, "short"])("the short one") == "the *** one"
    assert hiding(["p/ä s?"])(f"x {quote('p/ä s?', safe='')} y p/ä s? z") == "x *** y *** z"
    assert hiding([])("all") == hiding([""])("all") == "all"


@given(secret=st.text(min_size=8, max_size=40), before=st.text(max_size=10), after=st.text(max_size=10))
def test_a_secret_is_hidden_wherever_it_stands(secret: str, before: str, after: str) -> None:
    assert secret not in hiding([secret])(before + secret + after).replace("***", "")
