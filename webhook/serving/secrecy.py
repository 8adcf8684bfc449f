"""What is in our memory, tokens and the key of the CA, stays there: no core dumps, and no other process reads it.

The process still reads its own /proc/self, which certs/serving.py does.
"""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
