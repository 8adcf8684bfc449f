"""All faults, by name."""

from faults import incluster, inconnections, inload, inlogs, inprocesses, insources
from faults.fault import Fault

PARTS = (inprocesses, inconnections, incluster, insources, inlogs, inload)
FAULTS: dict[str, Fault] = {fault.name: fault for part in PARTS for fault in part.FAULTS}
