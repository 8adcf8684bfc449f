"""Certificate and key from two files that something else renews: a mounted Secret, cert-manager, an administrator.

The files are read every ten seconds, because that works for every way to replace them: in a mounted Secret only a
symlink in the path of the *directory* changes, never the files. The kubelet needs a minute to update it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from certs.child import Ask, ask
from certs.errors import Unusable
from certs.questions import Answer, Leaf, Refused
from certs.questions import Files as Asked
from certs.serving import Serving

LOOK_SECONDS = 10.0


class Files:
    """`report` gets one line for each change. `now`: the wall clock, with a time zone."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        serving: Serving,
        *,
        now: Callable[[], datetime],
        report: Callable[[str], None],
        ask: Ask = ask,
    ) -> None:
        self._certificate, self._key = certificate, key
        self._serving = serving
        self._now = now
        self._report = report
        self._ask = ask
        self._reported = ""
        self._asked: Asked | None = None
        self._answer: Answer | None = None

    async def start(self) -> None:
        """Serves the files. Raises `Unusable`: wrong files at the start are an error of the administrator."""
        await self._load()
        self._report_once(self._expired())

    async def run(self) -> None:
        """For ever. Files that cannot be used are reported, and the previous certificate is still served."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        try:
            await self._load()
        except Unusable as e:
            self._report_once(f"{e}; the previous certificate is still served")
        else:
            self._report_once(self._expired())

    async def _load(self) -> None:
        """Asks only about files that have changed."""
        asked = Asked(*self._read(), (str(self._certificate), str(self._key)))
        if asked != self._asked:
            self._answer = await self._ask(asked)
            self._asked = asked
        if isinstance(self._answer, Refused):
            raise Unusable(self._answer.why)
        assert isinstance(self._answer, Leaf)
        if self._answer != self._serving.leaf:
            self._serve(self._answer)

    def _serve(self, leaf: Leaf) -> None:
        try:
            self._serving.serve(leaf)
        except Unusable as e:
            raise Unusable(f"{self._certificate}: {e}") from None
        self._report(f"{self._certificate} is served; it expires at {leaf.ends:%Y-%m-%d %H:%M} UTC")

    def _read(self) -> tuple[bytes, bytes]:
        """Both files, read until neither changes: an old certificate and a new key do not match."""
        before = _contents(self._certificate), _contents(self._key)
        while (contents := (_contents(self._certificate), _contents(self._key))) != before:
            before = contents
        return contents

    def _expired(self) -> str:
        """A warning, not an error: our clock may be wrong, and without a certificate nothing works."""
        leaf = self._serving.leaf
        if leaf is None or self._now() < leaf.ends:
            return ""
        return f"{self._certificate} expired at {leaf.ends:%Y-%m-%d %H:%M} UTC and is still served"

    def _report_once(self, text: str) -> None:
        if text and text != self._reported:
            self._report(text)
        self._reported = text


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}") from None
