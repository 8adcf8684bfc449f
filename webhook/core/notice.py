"""Something a human must know of: said once as a log line, a metric and an Event, by whoever is handed a `Tell`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from webhook.core.owner import LONGEST as LONGEST_OWNER
from webhook.core.shown import short

LONGEST_MESSAGE, LONGEST_NAME = 1024, 253
"""Bytes, as the API takes them in an Event's note and in a name."""

About = Literal["Secret", "ServiceAccount", "Service", "Namespace"]


@dataclass(frozen=True, slots=True)
class Notice:
    """`reason` as in Kubernetes Events (UpperCamelCase, a constant); `message` never holds a token.

    `source` and `owner`: for a notice about a source, the source's name and the one owner that it is about; empty if it
    is about none, or about several. What others wrote may be in each text, so all are cut here, for all who show them.
    """

    reason: str
    message: str
    namespace: str
    kind: About
    name: str
    type: Literal["Warning", "Normal"] = "Warning"
    owner: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", short(self.message, LONGEST_MESSAGE))
        object.__setattr__(self, "name", short(self.name, LONGEST_NAME))
        object.__setattr__(self, "owner", self.owner[: LONGEST_OWNER + 1])  # what was cut equals no owner
        object.__setattr__(self, "source", short(self.source, LONGEST_NAME))


Tell = Callable[[Notice], None]
