from doctor.cases import CASES, ELSEWHERE
from webhook.core.faults import Fault

UNSEEN = {
    Fault.IMAGE_SHORT_NAME: "containerd completes short names",
    Fault.RUNTIME_FAILS: "a runtime that is broken fails more than pulls",
    Fault.NODE_BUSY: "the test node has no limit of pulls",
    Fault.NODE_DISK_FULL: "its disk is this machine's",
    Fault.SIGNATURE_REFUSED: "containerd verifies none",
    Fault.PULL_TIMED_OUT: "containerd gives a pull five minutes without progress",
    Fault.NOT_KNOWN: "all words of this containerd are known",
}
"""Why there is no pull for them."""


def test_each_fault_that_the_test_node_can_have_is_a_case() -> None:
    faults = {case.fault for case in CASES} | {case.said for case in CASES}
    assert faults - {None} == set(Fault) - set(UNSEEN)


def test_the_table_names_each_case_once_and_none_that_is_not_there() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {case.after for case in CASES if case.after} <= set(names)
    assert {f"{case.mirror}.test" for case in CASES if case.mirror} <= {case.host for case in CASES} | set(ELSEWHERE)
