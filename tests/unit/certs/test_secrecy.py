"""What is in memory stays there, and certs/serving.py can still read what it wrote: as the user of the image."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
import ctypes, os, resource, sys
from certs.errors import Unusable
from certs import serving
from certs import secrecy

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65532)
    os.setuid(65532)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, which the change of the user has taken away
secrecy.hide_memory()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
with serving._file(b"a pair") as path:
    print(open(path).read(), path.startswith("/proc/self/fd/"))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's, where the webhook runs")
def test_no_core_dump_and_nobody_else_reads_the_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "a pair True\n"
        memory = Path(f"/proc/{int(process.stdout.readline())}/mem")
        assert memory.stat().st_uid == 0  # not its own user's
        if os.getuid() != 0:
            with pytest.raises(PermissionError):
                memory.open("rb").close()
    finally:
        process.communicate("")
    assert process.returncode == 0
