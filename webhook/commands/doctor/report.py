"""A verdict as people read it, and as scripts do."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from webhook.commands.doctor.verdict import Verdict
from webhook.core.faults import layer

LABEL_CHARS, LINE_CHARS = 22, 110
_WRAP = textwrap.TextWrapper(
    LINE_CHARS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
)
"""Names of hosts and commands stay whole, so that they can be copied."""


def text(verdict: Verdict) -> str:
    code = f"   [{verdict.code}]" if verdict.code is not None else ""
    lines = [f"{verdict.title}.{code}", *([""] if verdict.rows else [])]
    for label, words in verdict.rows:
        if len(label) > LABEL_CHARS:  # such as the name of a host
            lines.append(f"  {label}")
        lines.append(f"  {label if len(label) <= LABEL_CHARS else '':{LABEL_CHARS}} {words}".rstrip())
    if verdict.todo:
        lines += ["", "What to do:"]
        for one in verdict.todo:
            lines += _WRAP.wrap(one)
    if verdict.not_looked:
        lines += ["", f"Not looked at: {'; '.join(verdict.not_looked)}."]
    return "\n".join(lines)


def document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """`cause`: the code of the first verdict that has one, None if nothing wrong was found."""
    return {
        "cause": next((one.code for one in verdicts if one.code is not None), None),
        "verdicts": [
            {
                "code": one.code,
                "layer": layer(one.code).name.lower() if one.code is not None else None,
                **{key: value for key, value in asdict(one).items() if key not in ("code", "rows")},
                "evidence": [{"what": label, "text": words} for label, words in one.rows],
            }
            for one in verdicts
        ],
    }
