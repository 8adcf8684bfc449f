"""Faults of where credentials come from."""

from time import sleep

from faults.fault import Act, Fault
from faults.scene import Scene


def http_down(seconds: float) -> Act:
    def act(scene: Scene) -> None:
        service = scene.arena.sources.service
        service.up = False
        sleep(seconds)
        service.up = True

    return act


def http_flaps(scene: Scene) -> None:
    for _ in range(8):
        http_down(1)(scene)
        sleep(1)


def nameless(seconds: float) -> Act:
    def act(scene: Scene) -> None:
        scene.arena.sources.resolve(found=False)
        sleep(seconds)
        scene.arena.sources.resolve(found=True)

    return act


def sql_down(seconds: float) -> Act:
    def act(scene: Scene) -> None:
        scene.arena.sources.postgres.down()
        sleep(seconds)
        scene.arena.sources.postgres.up()

    return act


FAULTS = [
    Fault("http_down_20s", "HTTP source hangs up", http_down(20), source="http"),
    Fault("http_down_45s", "the same for 45 s", http_down(45), source="http"),
    Fault("http_flaps", "the same, every second second", http_flaps, source="http"),
    Fault("http_nameless", "its name cannot be resolved for 20 s", nameless(20), source="name"),
    Fault("sql_down_20s", "PostgreSQL is down", sql_down(20), source="sql"),
    Fault("sql_down_45s", "the same for 45 s", sql_down(45), source="sql"),
]
