"""What a fault is: its name, what it does, and what is to be seen of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from faults.replica import Spec
from faults.scene import RATE, Scene

Act = Callable[[Scene], None]
"""Makes the fault and returns at its end."""


@dataclass(frozen=True)
class Fault:
    """`rounds`: on new replicas each. `right`: seconds after the fault's end within which all must be right.

    `rate`: pods a second. `news`: seconds between the pieces of news; None: there are none but the fault's own.
    `uncaught`: without the net, references are lost that no replica can see, of requests under way or while none is up.
    """

    name: str
    what: str
    act: Act
    rounds: int = 1
    right: float = 5.0
    replicas: int = 2
    source: str = "secrets"
    rate: float = RATE
    news: float | None = 0.5
    uncaught: bool = False
    spec: Callable[[], Spec] = field(default=Spec)
