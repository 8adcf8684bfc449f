"""The certificate of a listening server, which can be replaced while the server listens.

The listening context has no certificate. For each handshake OpenSSL calls `sni_callback`, which sets the newest
context, also if the client sent no server name (as the API server for an IP address). Loading a pair into the listening
context would take two steps, and leave a certificate without its key if the second one fails.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from certs.errors import Unusable
from certs.questions import Leaf


class Serving:
    """Hand `listening` to the server. Until the first `serve`, handshakes fail."""

    def __init__(self) -> None:
        self.listening = _context()
        self.listening.sni_callback = self._choose
        self._newest: ssl.SSLContext | None = None
        self._leaf: Leaf | None = None

    @property
    def leaf(self) -> Leaf | None:
        """What is served now."""
        return self._leaf

    @property
    def ready(self) -> bool:
        return self._leaf is not None

    def serve(self, leaf: Leaf) -> None:
        """From the next handshake on. Raises `Unusable` when OpenSSL refuses it; then the previous one stays."""
        context = _context()
        with _file(leaf.pem) as path:
            try:
                context.load_cert_chain(path)
            except ssl.SSLError as e:
                raise Unusable(f"OpenSSL refuses the certificate: {e.reason}") from None
        self._newest, self._leaf = context, leaf

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext) -> int | None:
        if self._newest is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._newest
        return None


def _context() -> ssl.SSLContext:
    """TLS 1.2 or newer. No renegotiation: a client could repeat handshakes without end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


@contextmanager
def _file(pem: bytes) -> Iterator[str]:
    """A path for OpenSSL, which loads pairs only from files. In memory, because a pod may have no writable directory.

    Without memfd, or if the kernel refuses it (vm.memfd_noexec), a temporary file with mode 0600 that is then deleted.
    """
    file: IO[bytes]
    try:
        descriptor = os.memfd_create("pair")
    except (AttributeError, OSError):
        with tempfile.NamedTemporaryFile() as file:
            yield _written(file, pem, file.name)
    else:
        with os.fdopen(descriptor, "wb") as file:
            yield _written(file, pem, f"/proc/self/fd/{descriptor}")


def _written(file: IO[bytes], pem: bytes, path: str) -> str:
    file.write(pem)
    file.flush()
    return path
