"""The process that answers questions about certificates: a real one, as the server starts it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop

from certs import child, files
from certs.answers import answer
from certs.authority import Authority
from certs.child import ask
from certs.errors import Unanswered
from certs.pem import encode, encode_key
from certs.questions import Files, Look, Refused
from certs.selfmanaged import SelfManaged
from certs.serving import Serving
from support.certworld import ApiServer, as_leaf, as_pair, verifies

HOST = "pullsecret-webhook.pullsecret-system.svc"
NOW = datetime.now(UTC)
CA = Authority.create(NOW)
PAIR = CA.issue([HOST], NOW)
FILES = Files(encode(*PAIR.chain), encode_key(PAIR.key), ("tls.crt", "tls.key"))

Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(test: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test)

    return run


def children() -> list[Path]:
    """Our processes, by their folders in /proc."""
    own = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / pid for file in own for pid in file.read_text().split()]


def test_it_manages_certificates(run: Run) -> None:
    """All steps from nothing."""
    api, serving = ApiServer(), Serving()
    managed = SelfManaged(api, api, [HOST], serving, now=lambda: NOW, report=lambda _: None)
    before = children()
    run(managed.look())
    assert serving.leaf
    assert verifies(as_pair(serving.leaf), api.bundle or b"", HOST, NOW)
    assert children() == before


def test_it_says_what_is_wrong_with_files(run: Run) -> None:
    async def test() -> None:
        assert await ask(FILES) == as_leaf(PAIR)
        none = Refused("tls.key holds no PEM private key that can be parsed")
        assert await ask(Files(FILES.certificate, b"x", FILES.names)) == none
        none = Refused("tls.crt holds no PEM certificate")
        assert await ask(Files(b"\xff\0" * 500_000, FILES.key, FILES.names)) == none

    run(test())


def test_no_message_shows_a_key() -> None:
    look = Look({"tls.key": encode_key(PAIR.key)}, (), PAIR.pem(), (HOST,), NOW)
    assert f"{look!r}{answer(look)!r}{FILES!r}{answer(FILES)!r}" == "LookWriteFilesLeaf"


def spied(tmp_path: Path, script: str) -> str:
    """A program that is started in the place of Python."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_no_key_is_on_its_command_line_or_in_its_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python, seen = sys.executable, tmp_path / "seen"
    script = f'tr "\\0" " " < /proc/$$/cmdline > {seen}; echo "$@" >> {seen}; env >> {seen}; exec "{python}" "$@"'
    monkeypatch.setattr(sys, "executable", spied(tmp_path, script))

    async def test() -> None:
        assert await ask(FILES) == as_leaf(PAIR)

    run(test())
    assert "-P -m certs.answers" in seen.read_text()
    assert "PRIVATE" not in seen.read_text()
    assert "BEGIN" not in seen.read_text()


@pytest.mark.parametrize(
    ("program", "whys"),
    [
        ("/nowhere/python", {"the process for certificates gave no answer (FileNotFoundError)"}),
        (
            "/bin/false",
            {
                "the process for certificates ended with status 1",
                "the process for certificates gave no answer (RuntimeError)",
            },
        ),
    ],
)
def test_one_that_cannot_work_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, program: str, whys: set[str]
) -> None:
    monkeypatch.setattr(sys, "executable", program)

    async def test() -> None:
        with pytest.raises(Unanswered) as error:
            await ask(FILES)
        assert str(error.value) in whys

    run(test())


@pytest.mark.parametrize(
    "script",
    [
        "cat > /dev/null",
        "cat > /dev/null; echo loaded",
        "cat > /dev/null; printf '\\377'",
        """cat > /dev/null; echo '{"type": "Look"}'""",
        f'echo loaded; exec "{sys.executable}" "$@"',
    ],
)
def test_one_whose_answer_cannot_be_read_gave_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    monkeypatch.setattr(sys, "executable", spied(tmp_path, script))

    async def test() -> None:
        with pytest.raises(Unanswered, match=r"^the answer of the process for certificates cannot be read$"):
            await ask(FILES)

    run(test())


def test_one_that_hangs_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", spied(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(child, "ANSWER_SECONDS", 0.2)
    before = children()

    async def test() -> None:
        with pytest.raises(Unanswered, match=r"^the process for certificates gave no answer in 0 s$"):
            await ask(FILES)

    run(test())
    assert children() == before


def test_it_is_asked_again_after_a_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api, serving, said = ApiServer(), Serving(), list[str]()
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")

    def report(text: str) -> None:
        said.append(text)
        monkeypatch.setattr(sys, "executable", python)

    run(SelfManaged(api, api, [HOST], serving, now=lambda: NOW, report=report).start())
    assert serving.ready
    assert "process for certificates" in said[0]


def test_files_are_asked_about_again_if_there_was_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(FILES.certificate)
    (tmp_path / "tls.key").write_bytes(FILES.key)
    serving, said = Serving(), list[str]()
    mode = files.Files(tmp_path / "tls.crt", tmp_path / "tls.key", serving, now=lambda: NOW, report=said.append)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        asyncio.run(mode.refresh())
    assert not serving.ready
    asyncio.run(mode.refresh())
    assert serving.leaf == as_leaf(PAIR)
    assert [text.partition(" ")[0] for text in said] == ["the", str(tmp_path / "tls.crt")]


def test_after_a_wrong_answer_files_are_read_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(FILES.certificate)
    (tmp_path / "tls.key").write_bytes(FILES.key)
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.01)

    async def test() -> None:
        said, names = asyncio.Queue[str](), (tmp_path / "tls.crt", tmp_path / "tls.key")
        mode = files.Files(*names, Serving(), now=lambda: NOW, report=said.put_nowait)
        async with asyncio.timeout(20):
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", spied(tmp_path, "cat > /dev/null; echo loaded"))
                running = asyncio.create_task(mode.run())
                assert "cannot be read; the previous certificate is still served" in await said.get()
            assert "is served; it expires at" in await said.get()
        assert not running.done()
        running.cancel()

    asyncio.run(test())


def test_the_server_does_not_load_the_library() -> None:
    """13 MiB, of which only the process that answers has need."""
    code = "import sys, webhook.cli, webhook.app; print('cryptography' in sys.modules, 'certs.answers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
