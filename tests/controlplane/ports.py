"""Free TCP ports on loopback, and addresses of it where the well-known ones are free.

They are taken from below the range that the kernel gives to outgoing connections: a port from that range can be
gone again between the moment it is found free and the moment the server that gets it listens."""

import random
import socket

from controlplane.errors import HarnessError

_RANGE = range(20000, 32000)
_RANDOM = random.SystemRandom()  # hypothesis seeds the usual one, and then all workers would try the same ports
_given: set[int] = set()  # never twice in a process: the server of the first may not listen yet


def free_port() -> int:
    for port in _RANDOM.sample(_RANGE, 200):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise HarnessError(f"no free TCP port on 127.0.0.1 between {_RANGE.start} and {_RANGE.stop}")


def free_address(*ports: int) -> str:
    """One on which these ports are free: for servers that are found at the port of their protocol only."""
    for _ in range(200):
        address = f"127.{_RANDOM.randrange(1, 255)}.{_RANDOM.randrange(256)}.{_RANDOM.randrange(1, 255)}"
        if all(_is_free(port, address) for port in ports):
            return address
    raise HarnessError(f"no address in 127.0.0.0/8 on which the ports {ports} are free")


def _is_free(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind((address, port))
        except OSError:
            return False
    return True
