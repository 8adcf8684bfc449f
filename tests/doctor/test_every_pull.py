"""The pulls that test_pulls.py has not, all at once."""

import pytest

from doctor import cases
from doctor.bed import Bed
from doctor.cases import Case
from doctor.verdict import check

pytestmark = [pytest.mark.node, pytest.mark.slow]
CASES = [case for case in cases.CASES if not case.quick]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_cause_is_found(bed: Bed, case: Case) -> None:
    check(bed, case)
