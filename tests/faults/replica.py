"""One replica: a process under the webhook's account, between two proxies, whatever its limits are."""

import json
import re
import resource
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from controlplane.kubeconfig import Access
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.webhook import TRUSTS_NOBODY
from faults.memory import limit
from faults.pipes import Pipe
from faults.proxy import Proxy

_UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNVERIFIED.check_hostname, _UNVERIFIED.verify_mode = False, ssl.CERT_NONE
_REVIEWS = re.compile(r'reviews_total\{[^}]*?"([a-z_]+)"\} (\S+)')
_PROBE = 2.0
"""Seconds that a probe waits, as in the chart."""


@dataclass(frozen=True)
class Spec:
    """What is asked of the replicas of one fault. `before`: words that go before the command, and then run it.

    `piped`: the log goes into a pipe. `memory_mib`: what the kernel grants to each, as in the chart's limits.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    piped: bool = False
    memory_mib: int | None = None


class Replica:
    """`api` stands between it and the API server, `front` between the API server and it."""

    def __init__(self, name: str, folder: Path, spec: Spec, api: Proxy, front: Callable[[int], Proxy]) -> None:
        self.name, self.api = name, api
        self.port = free_port()
        self.front = front(self.port)
        self.limits: dict[int, int] = {}
        """By the numbers of `resource`; they hold for each process that is started."""
        self._spec, self._folder = spec, folder
        self._metrics_port = free_port()
        self._child: Child | None = None
        self.pipe: Pipe | None = None
        self._memory: Path | None = None
        self._stack = ExitStack()
        self.log = folder / f"{name}.log"

    # -- its process --

    def start(self, access: Access) -> None:
        """`access` has a token that is good for an hour from now."""
        config, kubeconfig = self._folder / f"{self.name}.yaml", self._folder / f"{self.name}.kubeconfig"
        server = {"address": "127.0.0.1", "port": self.port, "metricsPort": self._metrics_port}
        config.write_text(json.dumps({"server": server, **self._spec.settings}))
        own = Access(f"https://{self.api.host}:{self.api.port}", access.ca, token_file=access.token_file)
        own.write(kubeconfig)
        serve = [sys.executable, "-m", "webhook", "serve", "--log-format", "json"]
        command = [*self._spec.before, *serve, "--config", str(config), "--kubeconfig", str(kubeconfig)]
        self._child = Child(self.name, command, log=self._stderr(), stop_signal=signal.SIGINT, env=TRUSTS_NOBODY)
        if self._spec.memory_mib:
            self._memory = self._memory or self._stack.enter_context(limit(self._spec.memory_mib))
            (self._memory / "cgroup.procs").write_text(str(self._child.pid))
        self._limit()

    def _stderr(self) -> Path:
        if not self._spec.piped:
            return self.log
        if self.pipe:
            self.pipe.close()
        self.pipe = Pipe(self.log)
        return self.pipe.path

    def limited(self, kind: int, value: int | None) -> None:
        """None: as it was."""
        self.limits.pop(kind, None)
        if value is None:
            self._set(kind, resource.getrlimit(kind)[0])
        else:
            self.limits[kind] = value
        self._limit()

    def _limit(self) -> None:
        for kind, value in self.limits.items():
            self._set(kind, value)

    def _set(self, kind: int, value: int) -> None:
        if self._child and self._child.running:
            resource.prlimit(self._child.pid, kind, (value, resource.getrlimit(kind)[1]))

    @property
    def status(self) -> int | None:
        """Of the last process; None while it runs."""
        return self._child.status if self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def signal(self, number: signal.Signals) -> None:
        if self._child:
            self._child.signal(number)

    def stop(self) -> None:
        if self._child:
            self.signal(signal.SIGCONT)
            self._child.stop(5)
        if self.pipe:
            self.pipe.close()
            self.pipe = None
        self._stack.close()

    # -- what is seen of it --

    def ready(self) -> bool | None:
        """None: it does not answer at all."""
        try:
            answer = httpx.get(
                f"https://127.0.0.1:{self.port}/readyz", verify=_UNVERIFIED, trust_env=False, timeout=_PROBE
            )
        except httpx.TransportError:
            return None
        return answer.is_success

    def answers(self) -> Counter[str]:
        """Reviews by result, of this process."""
        try:
            text = httpx.get(
                f"http://127.0.0.1:{self._metrics_port}/metrics", verify=_UNVERIFIED, trust_env=False, timeout=_PROBE
            ).text
        except httpx.TransportError:
            return Counter()
        return Counter({result: int(float(count)) for result, count in _REVIEWS.findall(text)})

    def rss(self) -> float:
        """MiB at most so far, of this process."""
        return self._number("VmHWM:") / 1024

    def rss_now(self) -> float:
        return self._number("VmRSS:") / 1024

    def files(self) -> int:
        return len(list(Path(f"/proc/{self._child.pid}/fd").iterdir())) if self._child and self._child.running else 0

    def _number(self, name: str) -> int:
        if not self._child or not self._child.running:
            return 0
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)

    def lines(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0
