"""Something a human must know of: said once as a log line, a metric and an Event, by whoever is handed a `Tell`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

About = Literal["Secret", "ServiceAccount", "Service", "Namespace"]


@dataclass(frozen=True, slots=True)
class Notice:
    """`reason` as in Kubernetes Events (UpperCamelCase, a constant); `message` never holds a token."""

    reason: str
    message: str
    namespace: str
    kind: About
    name: str
    type: Literal["Warning", "Normal"] = "Warning"


Tell = Callable[[Notice], None]
