"""What the webhook said lately, read back from its Events for `pullsecret status`: of pull secrets, and of its sources.

Sources that are no Secrets cannot be asked by an administrator's command; what the webhook heard of them can.

Whoever may create Events in a namespace may forge one there, in our name too. So what is read is shown as what an Event
says, and where. One in a tenant's namespace never makes anything look better than it is; those about sources count in
the webhook's own namespace only.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.core.names import MANAGER
from webhook.core.shown import quoted
from webhook.kube.cluster import Meta
from webhook.kube.events import again
from webhook.kube.listing import listed

LATE = timedelta(minutes=10)
"""By which what goes on being wrong is said again at the latest, after `again`: more than any pause in between."""
SECOND = timedelta(seconds=1)
SUPPLY = frozenset({"SupplyFailed", "TugOfWar", "Unreadable"})
SOURCE = frozenset(
    {"SourceUnavailable", "SourceAnswerBroken", "SourceConflict", "SourceFeedBroken", "CredentialExpired"}
)
_AFTER_OWNER = re.compile(": | has: | for ")


@dataclass(frozen=True, slots=True)
class Warned:
    """What an Event in the namespace `where` warns of."""

    where: str
    at: datetime
    reason: str
    message: str

    def __str__(self) -> str:
        return f"an Event in {self.where} says: {quoted(self.message)}"

    def since(self, written: datetime | None) -> bool:
        """Not before the Secret was written? That time is in whole seconds."""
        return written is None or self.at >= written + SECOND


@dataclass(frozen=True, slots=True)
class Said:
    """The newest of each. `conflicts`: of owners, too. `of_all`: of a source as a whole, by message."""

    of_namespace: Mapping[str, Warned] = field(default_factory=dict)
    of_owner: Mapping[str, Warned] = field(default_factory=dict)
    conflicts: Mapping[str, Warned] = field(default_factory=dict)
    of_all: Mapping[str, Warned] = field(default_factory=dict)

    @property
    def down(self) -> Warned | None:
        """A source that could not be asked."""
        down = [one for one in self.of_all.values() if one.reason == "SourceUnavailable"]
        return max(down, key=_at, default=None)


class _Object(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Event(msgspec.Struct, rename="camel"):
    metadata: Meta
    event_time: datetime | None = None
    involved_object: _Object = _Object()
    reason: str = ""
    message: str = ""


async def said(view: ClusterView, namespace: str | None, owners: Container[str], now: datetime) -> Said:
    """In one namespace or in all, and of these owners. What it says of sources stands beside its own Service."""
    query = {"fieldSelector": f"reportingComponent={MANAGER},type=Warning"}
    own, secret = view.config.namespace, _Object("Secret", view.config.pull_secret.name)
    paths = (
        ["/api/v1/events"] if namespace is None else [f"/api/v1/namespaces/{each}/events" for each in {namespace, own}]
    )
    of_namespace: dict[str, Warned] = {}
    of_owner: dict[str, Warned] = {}
    conflicts: dict[str, Warned] = {}
    of_all: dict[str, Warned] = {}
    for path in paths:
        async for event in listed(view.cluster, "Events", path, _Event, query=query):
            where, at = event.metadata.namespace, event.event_time
            if at is None or now - at > again(event.reason) + LATE:
                continue
            message, about = _first_line(event.message), event.involved_object
            one = Warned(where, at, event.reason, message)
            if one.reason in SUPPLY and about == secret:
                _keep(of_namespace, where, one)
            elif where == own and one.reason in SOURCE and about.kind == "Service":
                _, about_one, rest = message.partition("owner ")
                if not about_one:
                    _keep(of_all, one.message, one)
                elif (owner := _owner(rest, owners)) is not None:
                    _keep(conflicts if one.reason == "SourceConflict" else of_owner, owner, one)
    return Said(of_namespace, of_owner, conflicts, of_all)


def _first_line(message: str) -> str:
    return next(iter(message.splitlines()), "")


def _keep(found: dict[str, Warned], key: str, one: Warned) -> None:
    found[key] = max(found.get(key, one), one, key=_at)


def _at(one: Warned) -> datetime:
    return one.at


def _owner(text: str, owners: Container[str]) -> str | None:
    """The owner with whom the text begins. An owner may have anything in it."""
    return next((text[: end.start()] for end in _AFTER_OWNER.finditer(text) if text[: end.start()] in owners), None)
