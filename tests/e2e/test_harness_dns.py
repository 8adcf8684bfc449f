"""The DNS server of the test cluster: it says what its Corefile says."""

import random
import socket
from pathlib import Path

import pytest

from controlplane.coredns import coredns
from controlplane.errors import HarnessError
from controlplane.ports import free_address

pytestmark = pytest.mark.cluster

POISONED = """
.:53 {{
    bind {address}
    template IN A ghcr.io {{
        answer "{{{{ .Name }}}} 60 IN A 192.0.2.1"
    }}
}}
"""


def ask(server: str, name: str) -> bytes:
    """The whole answer to a question for the address of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = random.randbytes(2) + b"\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01"
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(question, (server, 53))
        return udp.recv(512)


def test_a_name_may_have_a_wrong_address(tmp_path: Path) -> None:
    address = free_address(53)
    with coredns(tmp_path, POISONED.format(address=address)):
        assert socket.inet_aton("192.0.2.1") in ask(address, "ghcr.io")


def test_a_corefile_that_is_wrong_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="Unknown directive 'nonsense'"), coredns(tmp_path, ".:53 {\n nonsense\n}\n"):
        pass
