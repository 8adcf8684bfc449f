"""Cheap faults, one of each kind, one after the other on the same two replicas; `make test-faults` has all of them."""

from collections.abc import Iterator

import pytest

from faults import incluster, inconnections, inload, inlogs, inprocesses, insources
from faults.arena import Arena, arena
from faults.fault import Act, Fault
from faults.figures import Row
from faults.replica import Spec
from faults.scene import Scene, scene
from faults.trial import measured

pytestmark = pytest.mark.cluster
CALM, PATIENCE = 1.0, 20.0
"""Seconds without a lost pod after which the next fault comes, and seconds for that."""
NEWS = 0.1


@pytest.fixture(scope="module")
def field(node_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture(scope="module")
def shared(field: Arena) -> Iterator[Scene]:
    with scene(field, replicas=2, spec=Spec(piped=True), source="secrets") as made:
        yield made


def missed(made: Scene, fault: Fault) -> str:
    made.settle()
    return "; ".join(Row(fault, [measured(made, fault, lambda: None, CALM, PATIENCE)], made.arena.net).missed)


def quick(name: str, act: Act, *, uncaught: bool = False, news: float | None = NEWS) -> Fault:
    return Fault(name, name, act, uncaught=uncaught, news=news)


ON_SECRETS = [
    quick("kill_one", inprocesses.killed(1.0), uncaught=True),
    quick("watches_cut", inconnections.cuts(2)),
    quick("deleted_after_cut", inconnections.deleted_after_cut, news=None),
    quick("retry_after_120", inconnections.answers(503, 1, retry_after=120)),
    quick("answers_500", inconnections.answers(500, 3)),
    quick("etcd_killed", incluster.killed("etcd", 0.5)),
    quick("tokens_every_second", inload.rotations(1, 6)),
    quick("labelled", inload.labelled(10)),
    quick("stderr_stuck", inlogs.during(inlogs.stuck, 2)),
]
OTHERS = [
    quick("answers_429", inconnections.answers(429, 3)),
    quick("every_second_503", inconnections.answers(503, 3, one_in=2)),
    quick("api_resets", inconnections.resets(3)),
    quick("stderr_gone", inlogs.during(inlogs.gone, 2)),
    quick("slow_2s", inconnections.slow(2, 4)),
    quick("writes_500", inconnections.failing_writes(8)),
    quick("rbac_withdrawn", incluster.withdrawn(5, "ClusterRoleBinding", "RoleBinding")),
    quick("rolling_restart", inprocesses.replaced(1)),
    quick("apiserver_killed", incluster.killed("kube-apiserver", 0.5)),
]


@pytest.mark.slow
def test_while_the_service_of_tokens_is_down(field: Arena) -> None:
    """The first one: replicas with another source would contradict those of the others."""
    with scene(field, replicas=2, spec=Spec(), source="http") as made:
        assert missed(made, quick("http_down", insources.http_down(5))) == ""


@pytest.mark.parametrize(
    "fault",
    [*ON_SECRETS, *(pytest.param(fault, marks=pytest.mark.slow) for fault in OTHERS)],
    ids=lambda fault: fault.name,
)
def test_no_pod_loses_its_reference(shared: Scene, fault: Fault) -> None:
    assert missed(shared, fault) == ""
