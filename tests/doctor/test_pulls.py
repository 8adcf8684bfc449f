"""Pulls that fail on the real node: what the kubelet's words mean, and which cause `pullsecret doctor` finds.

A few of each kind are in `make test`, all of them in `make test-doctor`. The pods of all that run are made at once.
"""

import pytest

from doctor.bed import Bed
from doctor.cases import CASES, NAMESPACE, Case
from webhook.core.faults import Fault
from webhook.core.pulls import heard, is_stuck, lowest

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]
POISONED, RIGHT = (next(case for case in CASES if case.name == name) for name in ("ghcr-poisoned-dns", "right"))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[] if case.quick else pytest.mark.slow) for case in CASES]
)
def test_the_cause_is_found(bed: Bed, case: Case) -> None:
    if case.said is None:
        bed.pods.runs(case)
    else:
        bed.cluster.wait(lambda: _says(bed, case), f"the kubelet says of {case.name} what it should", within=60)
    code, document = bed.doctor("pod", case.name, "-n", case.namespace, *case.looks)
    assert [one["code"] for one in document["verdicts"]] == [case.fault]
    assert document["cause"] == case.fault
    assert code == (1 if case.fault else 0)


def _says(bed: Bed, case: Case) -> bool:
    """A kubelet that has not seen a new Secret yet pulls without it, and has other words the first time."""
    waits = bed.pods.heard(case)
    words = lowest(heard(waits.reason, waits.message))
    return is_stuck(waits.reason, waits.message) and words is not None and words.fault is case.said


@pytest.mark.parametrize("case", [POISONED], ids=lambda case: case.name)
def test_the_poisoned_registry_fails_to_the_letter(bed: Bed, case: Case) -> None:
    """As users of K3s have seen it."""
    said = "x509: certificate is valid for *.github.io, *.github.com, github.io, not ghcr.io"
    assert bed.pods.heard(case).message.endswith(f"tls: failed to verify certificate: {said}")


def test_a_registry_is_looked_at_from_the_node(bed: Bed) -> None:
    code, document = bed.doctor("registry", POISONED.host, "--node", bed.node.name)
    assert (code, document["cause"]) == (1, Fault.DNS_WRONG_ADDRESS)
    assert bed.hosts.addresses[POISONED.host] in str(document["verdicts"][0]["todo"])
    code, document = bed.doctor("registry", RIGHT.host, "--node", bed.node.name)
    assert (code, document["cause"]) == (0, None)


def test_an_image_is_asked_about_before_there_is_a_pod(bed: Bed) -> None:
    code, document = bed.doctor("image", "schema1.test/team/app:1", "-n", NAMESPACE, "--ask")
    assert (code, document["cause"]) == (1, Fault.FORMAT_TOO_OLD)
