"""Free TCP ports on loopback.

They are taken from below the range that the kernel gives to outgoing connections: a port from that range can be
gone again between the moment it is found free and the moment the server that gets it listens."""

import random
import socket

from controlplane.errors import HarnessError

_RANGE = range(20000, 32000)
_given: set[int] = set()  # never twice in a process: the server of the first may not listen yet


def free_port() -> int:
    for port in random.sample(_RANGE, 200):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise HarnessError(f"no free TCP port on 127.0.0.1 between {_RANGE.start} and {_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
