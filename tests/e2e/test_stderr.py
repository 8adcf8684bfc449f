"""A webhook whose standard error is full, gone or read by nobody: reviews go on, and it ends when it is told to."""

from collections.abc import Iterator

import pytest

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, names, pod
from controlplane.webhook import Webhook

pytestmark = pytest.mark.cluster
FULL = "descriptor = os.open('/dev/full', os.O_WRONLY)"
GONE = "reader, descriptor = os.pipe(); os.close(reader)"
STUCK = """
reader, descriptor = os.pipe()
os.set_blocking(descriptor, False)
try:
    while os.write(descriptor, b'x' * 4096): pass
except BlockingIOError:
    os.set_blocking(descriptor, True)
"""
SERVES = "import os\n{}\nos.dup2(descriptor, 2)\nfrom webhook.cli import main\nmain()"


@pytest.fixture
def as_before(installed: ControlPlane, webhook: Webhook) -> Iterator[None]:
    """The replica that the other tests share is called again."""
    yield
    deployed.register(installed, webhook.port)


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("how", [FULL, GONE, STUCK], ids=["full", "gone", "stuck"])
def test_nothing_is_lost_but_lines(installed: ControlPlane, how: str, request: pytest.FixtureRequest) -> None:
    name = f"stderr-{request.node.callspec.id}"
    with deployed.running(installed, name=name, program=("-c", SERVES.format(how))) as replica:
        deployed.register(installed, replica.port)
        installed.namespace(name, labels={"pullsecret-webhook/owner": "nobody"})
        deployed.wait_called(installed.api, replica.port, name)
        before = replica.answered()
        for number in range(20):
            assert names(installed.api.create(pod(name, f"p{number}"))) == [SECRET]
        assert replica.answered() - before >= 20
        (line,) = (line for line in replica.metrics().splitlines() if line.startswith("pullsecret_webhook_log_lines"))
        assert how == STUCK or float(line.split()[-1]) > 0
    assert replica.child.status == 0
