"""Faults of the replicas' own processes."""

from time import sleep

from controlplane.waiting import until
from faults.fault import Act, Fault
from faults.scene import Scene


def killed(seconds: float) -> Act:
    """One of them, and so much time to see what comes of it."""

    def act(scene: Scene) -> None:
        scene.kubelets[0].kill()
        sleep(seconds)

    return act


def killed_without_lag(scene: Scene) -> None:
    for kubelet in scene.kubelets:
        kubelet.lag = 0.0
    killed(3)(scene)


def replaced(count: int) -> Act:
    """So many, one after the other."""

    def act(scene: Scene) -> None:
        for kubelet in scene.kubelets[:count]:
            scene.replace(kubelet)

    return act


def both_gone(scene: Scene) -> None:
    """Its end is when the first one is up again."""
    for kubelet in scene.kubelets:
        kubelet.kill(after=5)
    scene.note()
    sleep(5)
    until(lambda: any(kubelet.is_up for kubelet in scene.kubelets), "a replica is up again", within=60)


def frozen(scene: Scene) -> None:
    kubelet = scene.kubelets[0]
    kubelet.freeze()
    sleep(10)
    kubelet.thaw()


FAULTS = [
    Fault("kill_one", "kill -9 of one, whose endpoint goes 1 s later", killed(3), rounds=2, rate=25, uncaught=True),
    Fault("kill_one_no_lag", "the same, the endpoint goes at once", killed_without_lag, rounds=2, uncaught=True),
    Fault("rolling_restart", "both replaced, one after the other", replaced(2)),
    Fault("both_gone", "kill -9 of both, back after 5 s", both_gone, rounds=2, uncaught=True),
    Fault("frozen", "one stands still for 10 s", frozen, uncaught=True),
]
