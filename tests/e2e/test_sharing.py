"""Two replicas share out the namespaces, under the chart's roles: a source is asked once, and nothing is lost when one
dies, ends or stands still."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.objects import password
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted, tokenservice
from support.tokenservice import TokenService
from webhook.core.names import OWNER, REPLICA_LEASES
from webhook.core.shares import LASTS_SECONDS
from webhook.sharing import ABLE_SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
FEW = 10
SETS = f"from webhook import sharing; sharing.SHARED_FROM = {FEW}"
SHARES = ("-c", f"{SETS}; import runpy; runpy.run_module('webhook', run_name='__main__')")
"""A replica that shares out a few namespaces, as others do thousands."""
TEAMS = [f"team-{number}" for number in range(30)]
TAKEN_OVER = 15.0
STANDS_STILL = 30.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, binaries: None) -> Iterator[ControlPlane]:
    with ControlPlane.start(tmp_path_factory.mktemp("sharing")) as cluster:
        deployed.install(cluster)
        yield cluster


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    """It knows nobody, for an hour."""
    with tokenservice.serving(tmp_path_factory.mktemp("service")) as serving:
        serving.headers = {"Cache-Control": "max-age=3600"}
        yield serving


@pytest.fixture(scope="module")
def replicas(own: ControlPlane, service: TokenService) -> Iterator[list[Webhook]]:
    """Each has half of what is there."""
    http = {"from": "http", "url": service.url, "answer": "auths", "caFile": service.ca_file}
    settings = {"replicas": 2, "check": False, "sources": [http, {"from": "secrets"}]}
    for number in range(FEW):
        made(own, f"first-{number}")
    with ExitStack() as stack:
        both = [
            stack.enter_context(deployed.running(own, settings=settings, name=name, program=SHARES))
            for name in ("one", "other")
        ]
        shared(both)
        yield both


def made(cluster: ControlPlane, name: str) -> None:
    cluster.api.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {OWNER: f"owner-{name}"}}}
    )


def share(replica: Webhook) -> float:
    (line,) = (line for line in replica.metrics().splitlines() if line.startswith("pullsecret_webhook_share "))
    return float(line.split()[-1])


def shared(both: list[Webhook], within: float = 20) -> None:
    until(lambda: [share(one) for one in both] == [0.5, 0.5], "each has its share", within=within)


def rotate(cluster: ControlPlane) -> dict[str, str]:
    """Everybody gets another token."""
    tokens = {name: planted.token() for name in TEAMS}
    for name, token in tokens.items():
        deployed.give(cluster.api, f"owner-{name}", token)
    return tokens


def wrong(cluster: ControlPlane, tokens: dict[str, str]) -> int:
    return sum(password(cluster, name) != token for name, token in tokens.items())


def right_within(cluster: ControlPlane, tokens: dict[str, str], seconds: float) -> float:
    """How long it took."""
    began = time.monotonic()
    until(lambda: not wrong(cluster, tokens), "all are right", within=seconds)
    return time.monotonic() - began


def again(replica: Webhook) -> None:
    """After its end."""
    until(lambda: not replica.child.running, "it has ended", within=15)
    replica.child.again()
    replica.child.until(replica.is_ready, "the webhook is ready", within=30)


def test_one_asks_about_each_owner(own: ControlPlane, service: TokenService, replicas: list[Webhook]) -> None:
    assert {lease["spec"]["leaseDurationSeconds"] for lease in leases(own)} == {LASTS_SECONDS}
    tokens = rotate(own)
    service.asked.clear()
    for name in TEAMS:
        made(own, name)
    right_within(own, tokens, 20)
    asked = Counter(one.owner for one in service.asked)
    assert asked == {f"owner-{name}": 1 for name in TEAMS}
    right_within(own, rotate(own), 10)
    wrote = [one.metrics().count("secret_writes_total{") for one in replicas]
    assert all(wrote), "each did its part"


def leases(cluster: ControlPlane) -> list[dict[str, dict[str, object]]]:
    found = [cluster.api.get("Lease", f"{REPLICA_LEASES}{number}", NAMESPACE) for number in range(2)]
    return [lease for lease in found if lease is not None]


def test_a_dead_ones_share_is_taken_over(own: ControlPlane, replicas: list[Webhook]) -> None:
    replicas[0].child.signal(signal.SIGKILL)
    tokens = rotate(own)
    assert right_within(own, tokens, TAKEN_OVER) > 1.0, "nobody knew it at once"
    again(replicas[0])
    shared(replicas)
    right_within(own, rotate(own), 10)


def test_one_that_ends_gives_its_share_back(own: ControlPlane, replicas: list[Webhook]) -> None:
    replicas[1].child.signal(signal.SIGTERM)
    right_within(own, rotate(own), 2.0)
    until(lambda: share(replicas[0]) == 1.0, "the other one has all", within=10)
    right_within(own, rotate(own), 2.0)
    again(replicas[1])
    shared(replicas)


@pytest.mark.slow
def test_one_that_stood_still_does_no_harm(own: ControlPlane, replicas: list[Webhook]) -> None:
    replicas[0].child.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        right_within(own, rotate(own), TAKEN_OVER)
        newest = rotate(own)
        right_within(own, newest, 5.0)
        time.sleep(max(0.0, STANDS_STILL - (time.monotonic() - began)))
    finally:
        replicas[0].child.signal(signal.SIGCONT)
    for _ in range(20):
        assert not wrong(own, newest), "it does not write what it knew before"
        time.sleep(0.1)
    shared(replicas, within=20 + ABLE_SECONDS)  # its watches were behind
    right_within(own, rotate(own), 5.0)
