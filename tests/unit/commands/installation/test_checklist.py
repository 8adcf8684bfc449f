"""What `doctor cluster` prints, and which exit code follows."""

import pytest

from webhook.commands.installation.checklist import MARKS, PLAIN_MARKS, Check, Checklist, Result, line, summary

FIRST = Check("API server", "version", "right", "v1.36.3")


def test_a_line_has_the_mark_the_name_and_what_was_seen() -> None:
    assert line(Check("s", "clock", "wrong", "70 s behind")) == "✗ clock: 70 s behind"
    assert line(Check("s", "CA", "right")) == "✔ CA"
    assert line(Check("s", "CA", "right"), PLAIN_MARKS) == "+ CA"
    assert all(mark.isascii() for mark in PLAIN_MARKS.values())
    assert len({*MARKS.values()}) == len({*PLAIN_MARKS.values()}) == len(MARKS)


def test_the_summary_names_what_there_is() -> None:
    results: tuple[Result, ...] = ("right", "right", "wrong", "warning", "unknown", "absent")
    checks = [Check("s", "n", result) for result in results]
    assert summary(checks) == "2 right, 1 wrong, 1 warning, 1 could not be looked at"
    assert summary(checks[:2]) == "2 right, 0 wrong"


@pytest.mark.parametrize(
    ("results", "needs", "unseen"),
    [
        (("right",), False, False),
        (("warning", "absent"), False, False),
        (("wrong", "unknown"), True, False),
        (("unknown", "absent"), False, True),
        (("unknown", "right"), False, False),
    ],
)
def test_only_what_is_wrong_needs_a_human_and_an_answer_of_the_api_server_alone_is_no_look(
    results: tuple[Result, ...], needs: bool, unseen: bool
) -> None:
    found = Checklist([FIRST, *(Check("Webhook", "n", result) for result in results)])
    assert (found.needs_a_human, found.unseen) == (needs, unseen)
    assert found.document["checks"][0] == {
        "section": "API server",
        "name": "version",
        "result": "right",
        "why": "v1.36.3",
        "hint": "",
    }
