"""Faults of where the log goes. Watches are cut meanwhile, which is logged."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from faults.fault import Act, Fault
from faults.inconnections import cuts
from faults.pipes import Pipe
from faults.replica import Spec
from faults.scene import Scene


@contextmanager
def full(scene: Scene) -> Iterator[None]:
    """As a full disk: the kernel lets no file of theirs grow."""
    for replica in scene.replicas:
        replica.limited(resource.RLIMIT_FSIZE, replica.log.stat().st_size)
    yield
    for replica in scene.replicas:
        replica.limited(resource.RLIMIT_FSIZE, None)


@contextmanager
def stuck(scene: Scene) -> Iterator[None]:
    for pipe in _pipes(scene):
        pipe.stop()
    yield
    for pipe in _pipes(scene):
        pipe.go_on()


@contextmanager
def gone(scene: Scene) -> Iterator[None]:
    for pipe in _pipes(scene):
        pipe.gone()
    yield


def _pipes(scene: Scene) -> list[Pipe]:
    return [replica.pipe for replica in scene.replicas if replica.pipe]


def during(fault: Callable[[Scene], AbstractContextManager[None]], seconds: int) -> Act:
    def act(scene: Scene) -> None:
        with fault(scene):
            cuts(seconds)(scene)

    return act


def _piped() -> Spec:
    return Spec(piped=True)


FAULTS = [
    Fault("stderr_full", "the log's disk is full", during(full, 5)),
    Fault("stderr_stuck", "nobody reads the log", during(stuck, 5), spec=_piped),
    Fault("stderr_gone", "the log's reader is gone", during(gone, 5), spec=_piped),
]
