"""What is asked of a process that has `cryptography`, and what it answers (answers.py): bytes and times. Who asks need
not load that library, which takes 13 MiB.
"""

from datetime import datetime

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True):
    """Most have a *private key*, so none shows what it holds."""

    def __repr__(self) -> str:
        return type(self).__name__


class Leaf(Message, frozen=True, tag=True):
    """A chain and its *private key* in PEM, as OpenSSL reads them from one file."""

    pem: bytes
    ends: datetime


class Look(Message, frozen=True, tag=True):
    """What is the next step? The arguments are those of `bundle.step`. `leaf`: in PEM; empty: there is none yet."""

    data: dict[str, bytes] | None
    published: tuple[bytes, ...] | None
    leaf: bytes
    hosts: tuple[str, ...]
    now: datetime


class Write(Message, frozen=True, tag=True):
    """`data` should replace that of the Secret. `why`: one line for the log."""

    data: dict[str, bytes]
    why: str


class Serve(Message, frozen=True, tag=True):
    """The Secret is in order.

    `leaf`: to be served from now on; None: the present one stays. `publish`: the `caBundle` to be published; empty: it
    is. `accepted`: what is published now accepts leaves of this CA. `until`: the same question has this answer, with no
    new leaf, until then.
    """

    leaf: Leaf | None
    publish: bytes
    accepted: bool
    until: datetime


class Files(Message, frozen=True, tag=True):
    """Are these a chain and its key? `names`: of both files. The answer is a `Leaf`, or `Refused`."""

    certificate: bytes
    key: bytes
    names: tuple[str, str]


class Refused(Message, frozen=True, tag=True):
    """`why`: one line for the log."""

    why: str


Question = Look | Files
Answer = Write | Serve | Leaf | Refused
