"""A DNS server: CoreDNS, built from its Go module (go/coredns), with whatever Corefile the caller writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.binaries import need
from controlplane.network import LOOPBACK, Network
from controlplane.process import Child, Command

_LISTENS = "\nCoreDNS-"  # it prints its version once it does


@contextmanager
def coredns(folder: Path, corefile: str, network: Network = LOOPBACK) -> Iterator[Child]:
    """Answers when yielded. The folder gets `Corefile`, whose imports are relative to it, and `coredns.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Corefile").write_text(corefile)
    log = folder / "coredns.log"
    command: Command = [*network.enter, need("coredns")["coredns"], "-conf", folder / "Corefile"]
    with Child("coredns", command, log=log) as child:
        child.until(lambda: _LISTENS in log.read_text(), "CoreDNS listens", within=20)
        yield child
