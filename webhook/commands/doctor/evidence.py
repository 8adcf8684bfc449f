"""What was seen on the way to a registry, from a node or from here. It crosses from the probe to the doctor as JSON.

Nothing in it is a credential: the probe has none.
"""

from datetime import datetime
from typing import Literal

import msgspec

from webhook.core import registryanswer

Role = registryanswer.Role
Tcp = Literal["open", "refused", "silent", "no route"]
Tls = Literal[
    "right", "wrong name", "unknown CA", "expired", "not yet valid", "no TLS", "silent", "cut", "fails", "not tried"
]
Resolved = Literal["addresses", "no such name", "fails", "refused", "silent", "nothing listens"]
HOSTS_FILE, HERE = "hosts file", "here"
"""Who gave an address, beside resolvers, which are named by address and port."""


class Target(msgspec.Struct, frozen=True):
    """`addresses`: those that other places know for the host; each is tried too. `plain`: HTTP without TLS."""

    host: str
    port: int = 443
    plain: bool = False
    role: Role = "registry"
    addresses: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True):
    """What a probe is asked. `ca_pem`: certificates to trust beside the public ones. `cluster_dns`: the address of the
    cluster's DNS, which pods ask and the node does not; empty: it is not asked.
    """

    targets: tuple[Target, ...]
    ca_pem: str = ""
    cluster_dns: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What one resolver says about one host. `server`: `10.0.0.2:53`, or HOSTS_FILE (only if it has the host)."""

    server: str
    result: Resolved
    addresses: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True):
    """One address, tried. `given_by`: servers, HOSTS_FILE, or HERE. `tls`: the first thing that is wrong, in the order
    in which container runtimes name it; `faults`: all of them. `names`, `issuer`, `begins`, `ends`: of the certificate,
    whatever is wrong with it. `status`: of `GET /v2/` without a credential, 0 if there was none. `registry`: it
    answered as a registry does. `ahead_seconds`: how much the clock there is ahead of ours, by its Date header.
    """

    address: str
    given_by: tuple[str, ...]
    tcp: Tcp
    tls: Tls = "not tried"
    faults: tuple[Tls, ...] = ()
    names: tuple[str, ...] = ()
    issuer: str = ""
    begins: datetime | None = None
    ends: datetime | None = None
    status: int = 0
    registry: bool = False
    ahead_seconds: float | None = None
    milliseconds: int = 0


class HostSeen(msgspec.Struct, frozen=True):
    """`cluster_dns`: what pods see."""

    host: str
    port: int
    role: Role
    answers: tuple[Answer, ...]
    endpoints: tuple[Endpoint, ...]
    cluster_dns: Answer | None = None


class Probed(msgspec.Struct, frozen=True):
    """`at`: by the clock of the machine on which the probe ran. `public_cas`: the machine, or the image that the probe
    ran in, has CA certificates; without any, each certificate is of an unknown CA. `cut`: the answer was too long, and
    a part of it is left out.
    """

    at: datetime
    hosts: tuple[HostSeen, ...]
    public_cas: bool = True
    cut: bool = False
