"""`python -m doctor [CASE ...]`: a cluster with pods that cannot pull, to try `pullsecret doctor` by hand."""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from controlplane import webhookimage
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.progress import say
from controlplane.story import tell
from doctor.bed import Bed
from doctor.cases import CASES, NAMESPACE

_HERE = """\
#!/bin/sh
# Runs a command on a machine that is not misled: it finds the registries.
exec unshare --mount --propagation private sh -c 'mount --bind "$0" /etc/hosts; exec "$@"' {hosts} "$@"
"""


def main() -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="doctor", description="Pods that cannot pull, until Ctrl-C.")
    parser.add_argument("case", nargs="*", help=f"without any, a few of each kind; {', '.join(names)}")
    parser.add_argument("--probes", action="store_true", help="also what `pullsecret doctor --node` needs: the image")
    given = parser.parse_args()
    chosen = given.case
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"no such case: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cases = [case for case in CASES if case.name in chosen or (case.quick and not chosen)]
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pullsecret-", ignore_cleanup_errors=True) as folder,
            Bed.start(Path(folder), cases, webhookimage.layout() if given.probes else None) as bed,
        ):
            _tell(bed, Path(folder))
            while True:
                time.sleep(1)
    except HarnessError as e:
        say(f"doctor: {e}")
        return 1
    except KeyboardInterrupt:
        say("everything that was started has ended")
        return 0


def _tell(bed: Bed, folder: Path) -> None:
    hosts, here = folder / "hosts", folder / "here"
    hosts.write_text("".join(f"{address} {name}\n" for name, address in bed.hosts.of_here().items()))
    here.write_text(_HERE.format(hosts=hosts))
    here.chmod(0o755)
    tell(f"\nexport KUBECONFIG={bed.cluster.kubeconfig}")
    tell(f"  {need('kubectl')['kubectl']} -n {NAMESPACE} get pods")
    pullsecret = Path(sys.executable).with_name("pullsecret")
    tell(f"  {here} {pullsecret} doctor pod NAME -n {NAMESPACE} --config {bed.config} --ca-file {bed.ca} --ask")
    tell(f"What the node has as its own: {bed.node.folder / 'etc'}, and registries in {bed.node.folder / 'certs.d'}")


if __name__ == "__main__":
    sys.exit(main())
