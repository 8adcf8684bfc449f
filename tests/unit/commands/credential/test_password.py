"""A password from standard input."""

import io

import pytest

from support import planted
from webhook.commands.credential import password
from webhook.commands.credential.password import MAX_BYTES, NoPassword


class Input(io.TextIOWrapper):
    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_end_at_the_end_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    token = planted.token()
    monkeypatch.setattr("sys.stdin", Input(f"{token}{end}".encode()))
    assert password.given("Password", from_stdin=True) == token


def test_one_of_several_lines_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Input(b'{\n "key": 1\n}\n'))
    assert password.given("Password", from_stdin=True) == '{\n "key": 1\n}'


@pytest.mark.parametrize(
    ("data", "from_stdin", "why"),
    [
        (b"", True, "is empty"),
        (b"\n", True, "is empty"),
        (b"\xff\xfet\0", True, "not UTF-8"),
        (b"x" * (MAX_BYTES + 1), True, "which is no password"),
        (b"x", False, "--password-stdin"),
    ],
)
def test_what_is_none_is_told(monkeypatch: pytest.MonkeyPatch, data: bytes, from_stdin: bool, why: str) -> None:
    monkeypatch.setattr("sys.stdin", Input(data))
    with pytest.raises(NoPassword, match=why):
        password.given("Password", from_stdin=from_stdin)


def test_a_terminal_is_asked_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    token = planted.token()

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return token

    monkeypatch.setattr("sys.stdin", Input(b"", terminal=True))
    monkeypatch.setattr("getpass.getpass", getpass)
    assert password.given("Password of alice", from_stdin=False) == token
    assert asked == ["Password of alice: "]


@pytest.mark.parametrize(
    ("typed", "why"),
    [(b"", "no password was given"), (b"\xff", "what was typed is not UTF-8"), (None, "no password was given")],
    ids=["an empty line", "another encoding", "Ctrl-D"],
)
def test_what_is_typed_may_be_none(monkeypatch: pytest.MonkeyPatch, typed: bytes | None, why: str) -> None:
    def getpass(_prompt: str) -> str:
        if typed is None:
            raise EOFError
        return typed.decode()

    monkeypatch.setattr("sys.stdin", Input(b"", terminal=True))
    monkeypatch.setattr("getpass.getpass", getpass)
    with pytest.raises(NoPassword, match=why):
        password.given("Password", from_stdin=False)
