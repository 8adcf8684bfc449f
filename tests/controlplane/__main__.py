"""`make demo`, `make demo-mirrors`, `make cluster`, and what `make build` and `make chart` make for the tests."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane import installed
from controlplane import webhook as deployed
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.mirrorstory import MirrorStory
from controlplane.node import Node
from controlplane.progress import say
from controlplane.registry import Registry
from controlplane.story import Story, new_token, tell
from controlplane.tools import TOOLS


def main() -> int:
    parser = argparse.ArgumentParser(prog="controlplane", description="A real Kubernetes with the webhook in it.")
    parser.add_argument(
        "what",
        choices=tuple(WHAT),
        help="tell a story, run until Ctrl-C, build what `make test` needs, or render the chart for the tests",
    )
    what = parser.parse_args().what
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        WHAT[what]()
    except HarnessError as e:
        say(f"{what}: {e}")
        return 1
    except KeyboardInterrupt:
        say(f"{what}: interrupted; everything that was started has ended")
        return 0 if what == "cluster" else 130  # Ctrl-C is how a cluster is meant to end
    return 0


def demo() -> None:
    began = time.monotonic()
    with started() as (control_plane, registry):
        say("")
        Story(control_plane, registry).told()
    tell(f"\nAll of it was real, took {time.monotonic() - began:.0f} s, and has ended.")


def demo_mirrors() -> None:
    if os.geteuid() != 0:
        raise HarnessError("it shows whom a node pulls from, and a node takes root")
    began = time.monotonic()
    with folder() as base, MirrorStory.start(base) as story:
        say("")
        story.told()
    tell(f"\nAll of it was real, took {time.monotonic() - began:.0f} s, and has ended.")


def cluster() -> None:
    with started() as (control_plane, registry):
        deployed.install(control_plane)
        with deployed.running(control_plane) as replica:
            deployed.register(control_plane, replica.port)
            control_plane.namespace("team-a", labels={"pullsecret-webhook/owner": "alice"})
            deployed.give(control_plane.api, "alice", registry.users["alice"] if registry else new_token())
            image = registry.push("alice/app", "1") if registry else "ghcr.io/alice/app:1"
            tell(f"\nexport KUBECONFIG={control_plane.kubeconfig}\n")
            tell(f"A kubectl of its version: {need('kubectl')['kubectl']}")
            tell("Namespace team-a belongs to alice. To try:")
            tell(f"  kubectl -n team-a run app --image={image}")
            tell("  kubectl -n team-a get pod app -o jsonpath='{.spec.imagePullSecrets}'")
            pullsecret, config = Path(sys.executable).with_name("pullsecret"), control_plane.folder / "webhook.yaml"
            for verb in ("status", "explain pod app -n team-a"):
                tell(f"  {pullsecret} {verb} --config {config}")
            tell(f"The webhook's log: {replica.child.log}\nCtrl-C ends everything.")
            while True:
                replica.child.check()
                time.sleep(1)


def build() -> None:
    need(*(name for name, tool in TOOLS.items() if not (tool.module and tool.module.rare)))


@contextmanager
def started() -> Iterator[tuple[ControlPlane, Registry | None]]:
    """Control plane; with root also registry and node."""
    with folder() as base, ControlPlane.start(base / "c") as control_plane:
        if os.geteuid() != 0:
            say("not root: the story is told without a node and a registry")
            yield control_plane, None
            return
        users = {name: new_token() for name in ("alice", "bob")}
        with Registry.start(base / "r", users) as registry, Node.start(base / "n", control_plane, [registry]):
            yield control_plane, registry


@contextmanager
def folder() -> Iterator[Path]:
    """For all that is written."""
    with tempfile.TemporaryDirectory(prefix="pullsecret-", ignore_cleanup_errors=True) as made:
        yield Path(made)


WHAT = {
    "demo": demo,
    "demo-mirrors": demo_mirrors,
    "cluster": cluster,
    "build": build,
    "installed": installed.write,
}

if __name__ == "__main__":
    sys.exit(main())
