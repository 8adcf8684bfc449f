"""Keeps tokens and the key of the CA in our memory: no core dumps, and no other process can read it.

The process can still read its own /proc/self, as certs/serving.py does.
"""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
