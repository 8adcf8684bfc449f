"""Faults of the replicas' own processes."""

from faults.arena import Scene
from faults.fault import Fault, lasting


def kill_one(scene: Scene) -> None:
    scene.kubelets[0].kill()
    lasting(3)


def kill_one_without_lag(scene: Scene) -> None:
    for kubelet in scene.kubelets:
        kubelet.lag = 0.0
    kill_one(scene)


def rolling_restart(scene: Scene) -> None:
    for kubelet in (*scene.kubelets,):
        scene.replace(kubelet)


def both_gone(scene: Scene) -> None:
    for kubelet in scene.kubelets:
        kubelet.kill(after=5)
    scene.note()
    lasting(5)


def frozen(scene: Scene) -> None:
    kubelet = scene.kubelets[0]
    kubelet.freeze()
    lasting(10)
    kubelet.thaw()


FAULTS = [
    Fault("kill_one", "kill -9 of one, whose endpoint goes 1 s later", kill_one, rounds=3, rate=25, uncaught=True),
    Fault("kill_one_no_lag", "the same, the endpoint goes at once", kill_one_without_lag, rounds=2, uncaught=True),
    Fault("rolling_restart", "both replaced, one after the other", rolling_restart, rounds=2),
    Fault("both_gone", "kill -9 of both, back after 5 s", both_gone, rounds=2, uncaught=True),
    Fault("frozen", "one stands still for 10 s", frozen, uncaught=True),
]
