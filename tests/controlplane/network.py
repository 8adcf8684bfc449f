"""A network of the cluster's own: a network namespace with one bridge for the node, its pods and this machine.

The machine joins the bridge as a pod does, by the same CNI plug-in, with a device of a name of its own. It gets no
route but to the bridge's subnet, and no setting outside of that device changes. With the last process of the namespace
all of it is gone. One /24 holds:

    .1           the node: API server, etcd, registry, and pods with hostNetwork
    .1 to .126   Services; the first one is `kubernetes`, so that pods reach the API server by their own environment
    .129 to .253 pods
    .254         this machine

There is no kube-proxy (the other Services' addresses lead nowhere, and the API server calls webhooks at the endpoints
of their Services), no DNS in the cluster, no way out of the subnet, no hostPort, and nothing enforces NetworkPolicies.
"""

import fcntl
import json
import os
import random
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, ClassVar

from controlplane.binaries import need
from controlplane.cache import cache
from controlplane.errors import HarnessError
from controlplane.machine import check_machine
from controlplane.process import Child
from controlplane.waiting import until

_POOL = IPv4Network("198.18.0.0/15")  # RFC 2544: for the benchmarks of networks, so nothing that anyone wants to reach
_BRIDGE = "pods"


@dataclass(frozen=True)
class Pods:
    """How pods get their addresses: from `subnet`, by the CNI plug-ins in the folder `plugins`."""

    plugins: Path
    subnet: IPv4Network
    device: str  # this machine's network device

    def config(self) -> dict[str, Any]:
        return _bridge(self.subnet, self.subnet[129], self.subnet[253]) | {"isDefaultGateway": True}


@dataclass(frozen=True)
class Network:
    """Where the parts of a cluster run and listen."""

    programs: ClassVar = ("bridge", "host-local", "loopback")

    address: str
    services: str  # the range of the Services' addresses
    enter: tuple[str, ...] = ()  # goes before a command, which then runs in there
    pods: Pods | None = None  # on loopback they have no addresses of their own

    @property
    def kubernetes(self) -> str:
        """The address of the Service of this name: the first one of the range."""
        return str(IPv4Network(self.services)[1])

    @property
    def env(self) -> dict[str, str]:
        """Go's programs ask a proxy for everything that is not loopback."""
        return {"NO_PROXY": "*"} if self.pods else {}

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator["Network"]:
        """To be ended last: the device goes when nothing runs in the namespace any more."""
        check_machine("nsenter", "unshare")
        plugins = need(*cls.programs)["bridge"].parent
        folder.mkdir(parents=True, exist_ok=True)
        device = f"psw-{secrets.token_hex(4)}"
        try:
            with _namespace(folder / "network.log") as namespace:
                enter = ("nsenter", f"--net={namespace}", "--")
                _add(plugins, {"type": "loopback"}, device="lo", namespace=namespace)
                subnet = _join(plugins, folder / "addresses", device, enter)
                services = next(subnet.subnets(new_prefix=25))
                yield cls(str(subnet[1]), str(services), enter, Pods(plugins, subnet, device))
        finally:
            gone = Path("/sys/class/net", device)
            until(lambda: not gone.exists(), f"network device {device} removed", within=20)


LOOPBACK = Network("127.0.0.1", "10.0.0.0/24")


@contextmanager
def _namespace(log: Path) -> Iterator[Path]:
    """Held by a process that does nothing else."""
    own = _link(Path("/proc/self/ns/net"))
    with Child("network", ["unshare", "--net", "sleep", "infinity"], log=log) as holder:
        namespace = Path(f"/proc/{holder.pid}/ns/net")
        holder.until(lambda: _link(namespace) not in {None, own}, "a network namespace", within=10)
        yield namespace


def _link(namespace: Path) -> Path | None:
    try:
        return namespace.readlink()
    except FileNotFoundError:  # the process has just ended
        return None


def _join(plugins: Path, addresses: Path, device: str, enter: tuple[str, ...]) -> IPv4Network:
    """Makes the bridge and puts this machine on it. One run at a time chooses: the next one then sees the route."""
    with (cache() / "network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subnet = _free_subnet()
        config = _bridge(subnet, subnet[254], subnet[254]) | {"isGateway": True}
        config["ipam"]["dataDir"] = str(addresses)
        _add(plugins, config, device=device, namespace=Path(f"/proc/{os.getpid()}/ns/net"), enter=enter)
        return subnet


def _bridge(subnet: IPv4Network, first: IPv4Address, last: IPv4Address) -> dict[str, Any]:
    addresses = {"subnet": str(subnet), "rangeStart": str(first), "rangeEnd": str(last), "gateway": str(subnet[1])}
    return {"type": "bridge", "bridge": _BRIDGE, "ipam": {"type": "host-local", "ranges": [[addresses]]}}


def _add(plugins: Path, config: dict[str, Any], *, device: str, namespace: Path, enter: tuple[str, ...] = ()) -> None:
    """CNI's ADD, as containerd does it for a pod."""
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": device,
        "CNI_NETNS": str(namespace),
        "CNI_IFNAME": device,
        "CNI_PATH": str(plugins),
    }
    done = subprocess.run(
        [*enter, plugins / config["type"]],
        input=json.dumps({"cniVersion": "1.0.0", "name": "machine"} | config),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | env,
    )
    if done.returncode:
        raise HarnessError(f"the CNI plug-in {config['type']} failed: {done.stdout.strip()} {done.stderr.strip()}")


def _free_subnet() -> IPv4Network:
    taken = _routes()
    candidates = list(_POOL.subnets(new_prefix=24))
    for subnet in random.sample(candidates, len(candidates)):
        if not any(subnet.overlaps(route) for route in taken):
            return subnet
    raise HarnessError(f"this machine has routes into all of {_POOL}: none of its subnets is free")


def _routes() -> list[IPv4Network]:
    """All but the default route."""
    rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    pairs = [(_address(row[1]), _address(row[7])) for row in rows]
    return [IPv4Network(f"{target}/{mask}") for target, mask in pairs if int(mask)]


def _address(text: str) -> IPv4Address:
    """The kernel prints addresses as numbers of its own byte order, which is little-endian wherever this runs."""
    return IPv4Address(bytes.fromhex(text)[::-1])
