"""Something a human must know of: said once as a log line, a metric and an Event, by whoever is handed a `Tell`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from webhook.core.shown import short

LONGEST_MESSAGE, LONGEST_NAME = 1024, 253
"""Bytes, as the API takes them in an Event's note and in a name."""

About = Literal["Secret", "ServiceAccount", "Service", "Namespace"]


@dataclass(frozen=True, slots=True)
class Notice:
    """`reason` as in Kubernetes Events (UpperCamelCase, a constant); `message` never holds a token.

    `owner`: of whom it is, where it does not stand in that owner's namespace. What others wrote is in `message`, and in
    the name of an account; so both are cut here, for all who show them.
    """

    reason: str
    message: str
    namespace: str
    kind: About
    name: str
    type: Literal["Warning", "Normal"] = "Warning"
    owner: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", short(self.message, LONGEST_MESSAGE))
        object.__setattr__(self, "name", short(self.name, LONGEST_NAME))


Tell = Callable[[Notice], None]
