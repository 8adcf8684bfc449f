"""What people are told when an owner gets no new credential: whoever runs the webhook, and the tenant if nothing but a
change of the owner or of the configuration helps.

It is in Events, not on the Secret that holds the credential: an owner who never had one has no Secret, and a write
would make all replicas of the webhook read it again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from webhook.core.issued import secret_name
from webhook.core.notice import About, Notice
from webhook.core.shown import quoted
from webhook.core.times import to_the_minute


@dataclass(frozen=True, slots=True)
class Problem:
    """`refused`: this owner gets none until somebody changes something. `ends`: when what stands ends, if soon. `many`:
    it is one of many that fail at the same time.
    """

    text: str
    refused: bool = False
    ends: datetime | None = None
    many: bool = False


def notices(
    issuer: str, owner: str, problem: Problem | None, namespace: str, tenants: Iterable[str]
) -> Iterator[Notice]:
    """`problem` None: all is well again. `namespace`: the webhook's own; `tenants`: those of the owner."""
    name, who = secret_name(issuer, owner), f"issuer {issuer}, owner {quoted(owner)}"
    about: About = "Secret"
    if problem is None:  # quiet: that it was issued has its log line already
        well = f"{who}: all is well again"
        yield Notice("Issued", well, namespace, about, name, "Normal", owner=owner, source=issuer, quiet=True)
        return
    many, failed = problem.many, f"{who}: {problem.text}"
    yield Notice("IssueFailed", failed, namespace, about, name, owner=owner, source=issuer, quiet=many)
    if problem.ends is not None:
        ends = f"{to_the_minute(problem.ends)} UTC"
        message = f"{who}: its credential ends at {ends} and is not renewed yet"
        yield Notice("IssuedSoonEnds", message, namespace, about, name, owner=owner, source=issuer, quiet=many)
    for tenant in tenants if problem.refused else ():
        message = f"owner {quoted(owner)} of this namespace: {problem.text}"
        yield Notice("IssueFailed", message, tenant, "Namespace", tenant, owner=owner, source=issuer, quiet=True)
