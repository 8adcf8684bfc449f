"""What Events say about pods whose status does not say why an image cannot be pulled: older kubelets say it in Events
alone while they back off. The API server keeps those for an hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.commands.pods import Stuck
from webhook.core.pulls import Said, coarse, heard, text
from webhook.kube.cluster import Object
from webhook.kube.listing import listed

_REASON, _PULLED = "ErrImagePull", 'Failed to pull image "'
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class _Involved(msgspec.Struct, frozen=True):
    name: str = ""


class _Event(Object, rename="camel"):
    involved_object: _Involved = _Involved()
    message: str = ""
    last_timestamp: datetime | None = None
    event_time: datetime | None = None

    @property
    def at(self) -> datetime:
        return self.last_timestamp or self.event_time or _LONG_AGO

    def is_about(self, one: Stuck) -> bool:
        start = f"{_PULLED}{one.image}"
        return self.involved_object.name == one.pod and self.message.startswith((f'{start}"', f"{start}:"))


async def told(view: ClusterView, namespace: str, stuck: Sequence[Stuck]) -> list[Stuck]:
    """With the words of Events where the kubelet's own say nothing. Without a call if all say something."""
    if not any(one.what is Said.NOTHING for one in stuck):
        return [*stuck]
    events = await view.may("Events", _of_pulls(view, namespace), [])
    return [_told(one, events) if one.what is Said.NOTHING else one for one in stuck]


async def _of_pulls(view: ClusterView, namespace: str) -> list[_Event]:
    path, query = f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": "involvedObject.kind=Pod,reason=Failed"}
    found = listed(view.cluster, f"Events in {namespace}", path, _Event, query=query)
    return [one async for one in found if one.message.startswith(_PULLED)]


def _told(one: Stuck, events: Iterable[_Event]) -> Stuck:
    newest = max((each for each in events if each.is_about(one)), key=lambda each: each.at, default=None)
    if newest is None:
        return one
    words = heard(_REASON, newest.message)
    return replace(one, said=text(newest.message), what=coarse(words), words=words)
