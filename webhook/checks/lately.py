"""What one registry said lately: does it refuse so many credentials that this is not the fault of their owners?"""

from collections import deque
from dataclasses import dataclass, field

TOGETHER_SECONDS, FEW_REFUSED = 600.0, 5
"""Refusals of one registry within this time count together, if there are more than this number."""


@dataclass(slots=True)
class Lately:
    """`answers` within TOGETHER_SECONDS: loop time, and whether it was a refusal. `refused`: how many of them were.
    `apart`: digests of the refused, without those that were counted together.
    """

    answers: deque[tuple[float, bool]] = field(default_factory=deque)
    refused: int = 0
    apart: deque[tuple[float, bytes]] = field(default_factory=deque)

    def add(self, now: float, digest: bytes, *, refused: bool) -> None:
        self.answers.append((now, refused))
        self.refused += refused
        if refused:
            self.apart.append((now, digest))
        while now - self.answers[0][0] > TOGETHER_SECONDS:
            self.refused -= self.answers.popleft()[1]
        while self.apart and now - self.apart[0][0] > TOGETHER_SECONDS:
            self.apart.popleft()

    def together(self, share: float) -> list[bytes]:
        """The refused ones, if they are too many to be the fault of their owners; each is returned once."""
        if self.refused <= max(FEW_REFUSED, share * len(self.answers)):
            return []
        together = [digest for _, digest in self.apart]
        self.apart.clear()
        return together
