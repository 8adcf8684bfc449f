"""All faults, by name."""

from faults import inconnections, inprocesses
from faults.fault import Fault

FAULTS: dict[str, Fault] = {fault.name: fault for part in (inprocesses, inconnections) for fault in part.FAULTS}
