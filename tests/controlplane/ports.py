"""Free TCP ports on loopback, and addresses of it where the well-known ones are free.

They are taken from below the range that the kernel gives to outgoing connections: a port from that range can be
gone again between the moment it is found free and the moment the server that gets it listens."""

import fcntl
import random
import socket
from typing import IO

from controlplane.cache import cache
from controlplane.errors import HarnessError

_RANGE, _BLOCK = range(20000, 32000), 50
_RANDOM = random.SystemRandom()  # hypothesis seeds the usual one, and then all workers would try the same addresses
_mine: list[IO[bytes]] = []
"""Locked files, one for each block of ports that is this process's until it ends: of several that start servers at the
same time, two would else find the same port free."""
_left: list[int] = []
"""Ports of these blocks. None is given twice: the server of the first may not listen yet."""


def free_port() -> int:
    while True:
        if not _left:
            _left.extend(_another_block())
        port = _left.pop()
        if _is_free(port):
            return port


def _another_block() -> range:
    locks = cache() / "ports"
    locks.mkdir(exist_ok=True)
    starts = _RANGE[::_BLOCK]
    for start in _RANDOM.sample(starts, len(starts)):
        file = (locks / str(start)).open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _mine.append(file)
        return range(start, start + _BLOCK)
    raise HarnessError(f"no free TCP ports on 127.0.0.1 between {_RANGE.start} and {_RANGE.stop}")


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
