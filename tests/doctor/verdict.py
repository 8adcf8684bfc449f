"""What must be said about a case."""

from doctor.bed import Bed
from doctor.cases import Case
from webhook.core import pulls
from webhook.core.faults import Fault


def check(bed: Bed, case: Case) -> None:
    if case.said is None:
        bed.pods.runs(case)
        return
    heard = bed.pods.heard(case)
    assert pulls.is_stuck(heard.reason, heard.message)
    words = pulls.lowest(pulls.heard(heard.reason, heard.message))
    assert words is not None
    if case.said is Fault.MIRROR_FAILS:  # the words tell which mirror fails, and how
        assert words.mirror
        return
    assert words.fault is case.said, heard.message
