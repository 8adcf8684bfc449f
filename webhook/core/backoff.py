"""How long to wait after a failure: twice as long each time, up to a cap, and shortened at random (jitter), so that
replicas that failed at the same moment do not all try again at the same moment.
"""

import random
from dataclasses import dataclass

JITTER = 0.5


def jittered(seconds: float, jitter: float = JITTER) -> float:
    """Shorter by a random part, at most `jitter`."""
    return seconds * random.uniform(1 - jitter, 1)  # noqa: S311  # keeps replicas apart, protects nothing


@dataclass(slots=True)
class Backoff:
    """`initial`, `cap`: seconds of the first and of the longest delay. `delay`: the last one, before jitter; 0.0 if
    nothing has failed since the start, or since `reset`.
    """

    initial: float
    cap: float
    jitter: float = JITTER
    delay: float = 0.0

    def next(self) -> float:
        """After a failure: seconds to wait."""
        self.delay = min(max(self.delay * 2, self.initial), self.cap)
        return jittered(self.delay, self.jitter)

    def reset(self) -> None:
        """After a success."""
        self.delay = 0.0
