"""Process 1 of the node: `python -m controlplane.inside SPEC` in mount and pid namespaces of its own.

Prepares what containerd and the kubelet want to find, starts both, and collects orphans until one of the two ends;
with this process everything in the node ends."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from controlplane.nodefiles import SOCKET
from controlplane.process import last_lines

# The kubelet insists on these values; it is shown them in place of the machine's, which stay as they are.
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main(spec: dict[str, Any]) -> NoReturn:
    folder = Path(spec["folder"])
    _own_folders([folder, *map(Path, spec["keep"])])
    _own_files(folder / "etc")
    _show_sysctls()
    _bind(folder / "containerd", Path("/var/lib/containerd"))
    containerd = _run("containerd", folder, spec["containerd"])
    _import_pause(spec["ctr"], folder / "pause.tar", containerd)
    kubelet = _run("kubelet", folder, spec["kubelet"])
    _collect({containerd.pid: "containerd", kubelet.pid: "kubelet"}, folder)


def _own_folders(keep: list[Path]) -> None:
    """Empty /run and /var; what is needed and lies in there is put back in its place."""
    resolver = Path("/etc/resolv.conf")
    real, servers = resolver.resolve(), resolver.read_text()
    hidden = [path for path in keep if path.is_relative_to("/run") or path.is_relative_to("/var")]
    opened = {path: os.open(path, os.O_PATH) for path in hidden}
    for folder in ("/run", "/var"):
        _mount("-t", "tmpfs", "tmpfs", folder)
    for name in ("run", "lib", "log", "tmp"):
        Path("/var", name).mkdir(exist_ok=True)
    for path, handle in opened.items():
        _bind(Path(f"/proc/{os.getpid()}/fd/{handle}"), path)
    if not resolver.exists():  # it pointed into /run
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(servers)


def _own_files(etc: Path) -> None:
    for file in etc.iterdir():
        _mount("--bind", str(file), f"/etc/{file.name}")


def _show_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        shown = Path("/run/sysctl", name)
        shown.parent.mkdir(parents=True, exist_ok=True)
        shown.write_text(f"{value}\n")
        _mount("--bind", str(shown), f"/proc/sys/{name}")


def _import_pause(ctr: str, archive: Path, containerd: subprocess.Popen[bytes]) -> None:
    command = [ctr, "--address", SOCKET, "--namespace", "k8s.io", "images", "import", str(archive)]
    for _ in range(200):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 or containerd.poll() is not None:
            return
        time.sleep(0.1)
    sys.exit(f"the pause image could not be imported: {done.stderr}")


def _collect(services: dict[int, str], folder: Path) -> NoReturn:
    while True:
        pid, status = os.wait()
        if pid in services:
            name = services[pid]
            code = os.waitstatus_to_exitcode(status)
            sys.exit(f"{name} ended with status {code}; its last lines:\n{last_lines(folder / f'{name}.log', 8)}")


def _run(name: str, folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def _bind(what: Path, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(what), str(where))


def _mount(*args: str) -> None:
    subprocess.run(["mount", "--no-canonicalize", *args], check=True)  # /proc/.../fd/N must not be read as a link


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
