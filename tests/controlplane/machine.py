"""What the parts that need more than an ordinary user's rights ask of the machine."""

import os
import shutil

from controlplane.errors import HarnessError


def check_machine(*programs: str) -> None:
    """Raises unless we are root and have these programs of util-linux."""
    if os.geteuid() != 0:
        raise HarnessError("node and network need root: containers, mounts, devices; the control plane alone does not")
    for program in programs:
        if shutil.which(program) is None:
            raise HarnessError(f"{program} is missing: install util-linux")
