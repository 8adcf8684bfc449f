"""A few pulls of each kind that fail on the real node: what is said about them. test_every_pull.py has the others."""

import pytest

from doctor import cases
from doctor.bed import Bed
from doctor.cases import Case
from doctor.verdict import check

pytestmark = pytest.mark.node
CASES = [case for case in cases.CASES if case.quick]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_cause_is_found(bed: Bed, case: Case) -> None:
    check(bed, case)


def test_the_poisoned_registry_fails_to_the_letter(bed: Bed) -> None:
    """As users of K3s have seen it."""
    (case,) = (case for case in CASES if case.name == "ghcr-poisoned-dns")
    said = "x509: certificate is valid for *.github.io, *.github.com, github.io, not ghcr.io"
    assert bed.pods.heard(case).message.endswith(f"tls: failed to verify certificate: {said}")
