"""Certificate and key from two files that somebody else renews: a mounted Secret, cert-manager, an administrator.

The files are read every ten seconds. That sees every way of replacing them, also the one of mounted Secrets, where a
symlink in the *directory's* path changes and the files themselves never do; the kubelet takes a minute to get there.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import certificates, private_key
from certs.serving import Serving

LOOK_SECONDS = 10.0
"""Seconds."""


class Files:
    """`report` gets one line whenever there is something new to say; `now` is the wall clock, with a time zone."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        serving: Serving,
        *,
        now: Callable[[], datetime],
        report: Callable[[str], None],
    ) -> None:
        self._certificate, self._key = certificate, key
        self._serving = serving
        self._now = now
        self._report = report
        self._said = ""

    async def start(self) -> None:
        """Serves what stands there. Raises `Unusable`: files that are wrong at the start are a mistake to be shown."""
        self._load()
        self._say(self._expired())

    async def run(self) -> None:
        """For ever. Files that can't be used are reported, and the certificate before them is still served."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        try:
            self._load()
        except Unusable as e:
            self._say(f"{e}; the certificate from before is still served")
        else:
            self._say(self._expired())

    def _load(self) -> None:
        certificate, key = self._read()
        pair = self._pair(certificate, key)
        if pair != self._serving.pair:
            self._serve(pair)

    def _serve(self, pair: Pair) -> None:
        try:
            self._serving.serve(pair)
        except Unusable as e:
            raise Unusable(f"{self._certificate}: {e}") from None
        self._report(f"{self._certificate} is served; it ends at {pair.ends:%Y-%m-%d %H:%M} UTC")

    def _pair(self, certificate: bytes, key: bytes) -> Pair:
        chain, secret = certificates(certificate, str(self._certificate)), private_key(key, str(self._key))
        try:
            return Pair(chain, secret)
        except Unusable as e:
            raise Unusable(f"{self._certificate} and {self._key}: {e}") from None

    def _read(self) -> tuple[bytes, bytes]:
        """Both, read until neither changed meanwhile: a certificate and the key that came after it do not match."""
        before = _contents(self._certificate), _contents(self._key)
        while (contents := (_contents(self._certificate), _contents(self._key))) != before:
            before = contents
        return contents

    def _expired(self) -> str:
        """A warning, no refusal: whoever calls may have a wrong clock, and without a certificate nothing works."""
        pair = self._serving.pair
        if pair is None or self._now() < pair.ends:
            return ""
        return f"{self._certificate} ended at {pair.ends:%Y-%m-%d %H:%M} UTC and is served all the same"

    def _say(self, text: str) -> None:
        if text and text != self._said:
            self._report(text)
        self._said = text


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}") from None
