import signal
from collections.abc import Generator

import pytest

from support import planted

pytest_plugins = ["controlplane.fixtures"]


def pytest_configure() -> None:
    """A shell that runs us in the background has made us ignore Ctrl-C, and what we start would ignore it too."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No planted token in what a test printed, logged or failed with: that is a failure of its own."""
    report = yield
    seen = report.capstdout + report.capstderr + report.caplog + report.longreprtext
    if planted.leaks(seen):
        report.outcome = "failed"
        report.sections = []
        report.longrepr = f"{item.nodeid}: a planted token is in this test's output or failure (not shown)"
    return report
