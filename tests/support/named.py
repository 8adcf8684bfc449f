"""Names of the internet that are servers on loopback: whatever asks them has its own addresses and its own TLS."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme


class Names:
    """`ports`: of the servers, by name. Certificates of `authority` are what the system trusts."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ports = dict[str, int]()
        self.ca_file = str(folder / "authority.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)


@contextmanager
def names(folder: Path) -> Iterator[Names]:
    """No other name is known meanwhile."""
    found, real = Names(folder), socket.getaddrinfo

    def resolved(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host in {None, "127.0.0.1", "localhost"}:
            return real(host, port, *args, **options)
        if host not in found.ports:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", found.ports[host]))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolved)
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            patch.setenv(variable, found.ca_file)
        yield found
