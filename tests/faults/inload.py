"""More than usual: connections, tokens, namespaces, replicas."""

import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import sleep

from controlplane.waiting import until
from faults.fault import Act, Fault
from faults.flood import flood, opened
from faults.news import first_pod
from faults.replica import Spec
from faults.scene import Scene
from faults.tenants import Tenants

LIMIT_MIB = 256
"""The chart's."""


def flooded(seconds: float, *, silent: int, dribbling: int = 0, garbage: int = 0) -> Act:
    """So many connections to each replica, as any pod may open them."""

    def act(scene: Scene) -> None:
        with ExitStack() as stack:
            logs = []
            for replica in scene.replicas:
                logs.append(replica.log.with_suffix(".flood"))
                stack.enter_context(flood(logs[-1], replica.port, silent=silent, dribbling=dribbling, garbage=garbage))
            until(lambda: all(map(opened, logs)), "the connections have been opened", within=300)
            sleep(seconds)

    return act


def few_files(scene: Scene) -> None:
    for replica in scene.replicas:
        replica.limited(resource.RLIMIT_NOFILE, 64)
    flooded(10, silent=160)(scene)
    for replica in scene.replicas:
        replica.limited(resource.RLIMIT_NOFILE, None)


def rotations(pause: float, count: int) -> Act:
    def act(scene: Scene) -> None:
        for _ in range(count):
            scene.tenants.rotate(scene.tenants.owners[0])
            sleep(pause)

    return act


def labelled(count: int) -> Act:
    """Namespaces that were known as nobody's, and pods at once."""

    def act(scene: Scene) -> None:
        spaces = [scene.tenants.namespace(None) for _ in range(count)]
        sleep(0.5)
        for space in spaces:
            scene.tenants.label(space, scene.tenants.owners[0])
            for _ in range(3):
                scene.load.one(space)

    return act


def first_pods(count: int) -> Act:
    def act(scene: Scene) -> None:
        owners = scene.tenants.owners
        with ThreadPoolExecutor(16) as workers:
            made = workers.map(lambda n: first_pod(scene.tenants, scene.load, owners[n % len(owners)]), range(count))
            list(made)

    return act


def racing(scene: Scene) -> None:
    """Three replicas see the same."""

    def turned(tenants: Tenants) -> None:
        owners = tenants.owners
        for owner in owners:
            tenants.rotate(owner)
        for space in tenants.spaces:
            tenants.label(space, owners[hash(space) % len(owners)])

    for _ in range(5):
        turned(scene.tenants)
        sleep(1)


def _limited() -> Spec:
    return Spec(memory_mib=LIMIT_MIB)


FAULTS = [
    Fault("silent_10000", "10,000 silent TLS connections to each", flooded(2, silent=10_000), spec=_limited),
    Fault("dribbling", "400 silent, 60 dribbling, garbage", flooded(15, silent=400, dribbling=60, garbage=400)),
    Fault("few_files", "64 descriptors, 160 silent connections", few_files),
    Fault("token_every_2s", "a token changes every 2 s", rotations(2, 15)),
    Fault("labelled", "20 namespaces labelled, pods at once", labelled(20), rounds=2),
    Fault("first_pods_200", "200 namespaces with first pods", first_pods(200)),
    Fault("three_racing", "three replicas, all tokens and owners change", racing, replicas=3),
]
