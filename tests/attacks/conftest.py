from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from attacks.attack import Attack, Outcome, attacking
from attacks.platform import VICTIM, Platform
from attacks.target import Target, target
from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.ports import free_port

_ROW = "outcome"


@pytest.fixture(scope="session")
def platform(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A cluster of its own: what is done to it is nothing for other tests."""
    with ControlPlane.start(tmp_path_factory.mktemp("attacks")) as cluster:
        yield Platform(cluster)


@pytest.fixture(scope="session")
def replicas(platform: Platform) -> Iterator[Callable[[], Target]]:
    """The running replica, called by the API server; another one in its place, if an attack has ended it."""
    port = free_port()
    with ExitStack() as stack:
        running: list[Target] = []

        def current() -> Target:
            if not running or not running[-1].lives:
                stack.close()
                running.append(stack.enter_context(target(platform.cluster, "attacked", port=port)))
            deployed.register(platform.cluster, port)  # a test may have had another one called
            deployed.wait_called(platform.cluster.api, port, VICTIM)
            return running[-1]

        yield current


@pytest.fixture
def attacked(replicas: Callable[[], Target]) -> Target:
    return replicas()


@pytest.fixture
def attack(platform: Platform, record_property: Callable[[str, object], None]) -> Attack:
    """`attacking`, its outcome a row in the table at the end."""

    @contextmanager
    def during(on: Target) -> Iterator[Outcome]:
        with attacking(platform, on) as outcome:
            yield outcome
        record_property(_ROW, str(outcome))

    return during


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    rows = [(report.nodeid, text) for report in reports for name, text in report.user_properties if name == _ROW]
    if rows:
        terminalreporter.section("attacks")
    for nodeid, text in rows:
        terminalreporter.line(f"{nodeid.rpartition('::')[2]:50} {text}")
