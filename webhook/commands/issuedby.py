"""What issuers gave the owner of a namespace, for people."""

from collections.abc import Mapping, Sequence

from webhook.config.models import Config
from webhook.core.issued import IssuedBy, secret_name
from webhook.core.shown import quoted
from webhook.core.times import to_the_minute
from webhook.kube.recent_events import RecentWarnings


def of_owner(owner: str | None, config: Config, issued: Mapping[str, IssuedBy]) -> tuple[IssuedBy, ...]:
    """In the order of the issuers. `issued`: by name of the Secret. `owner` None: there is none."""
    found = (issued.get(secret_name(one.called, owner or "")) for one in config.issuers)
    return tuple(one for one in found if one is not None)


def text(given: Sequence[IssuedBy]) -> list[str]:
    """What each issuer gave, and when it does again."""
    return [
        f"{quoted(one.issuer)}: what was noted about its credential cannot be read, so it gives another one soon"
        if one.issued is None
        else f"{quoted(one.issuer)}: credential {one.generation}, of {to_the_minute(one.issued)}, "
        f"ends {to_the_minute(one.ends)}, "
        + (
            f"the next from {to_the_minute(one.renewed)} on"
            if one.renewed
            else "no issuer of the configuration renews it"
        )
        for one in given
    ]


def drop_what_is_over(warnings: RecentWarnings, issued: Mapping[str, IssuedBy]) -> None:
    """A replica that takes over does not know what the one before it has told."""
    for owner, failed in warnings.not_issued.items():
        for issuer, warning in [*failed.items()]:
            by = issued.get(secret_name(issuer, owner))
            if by is not None and by.issued is not None and not warning.is_after(by.issued):
                del failed[issuer]


def trouble(warnings: RecentWarnings, owner: str | None, namespace: str) -> str:
    """Why the owner gets no new credential; empty: nobody said so."""
    return str(warnings.issuing(owner or "", namespace) or "")
