"""Pods as `status` and `explain` read them: which cannot pull an image, and which lack the reference.

Of a pod only what is shown is kept: a cluster has tens of thousands.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.core.dockerconfig import of_kubelet
from webhook.core.errors import MalformedReview
from webhook.core.names import DISABLED, INJECT, MIRROR
from webhook.core.pulls import Said, coarse, heard, is_stuck, text
from webhook.core.review import PodSpec
from webhook.core.runtimewords import Words
from webhook.core.wire import Unreadable
from webhook.kube.cluster import ClusterError, Meta, SecretObject, decode, is_name
from webhook.kube.listing import listed

MAX_SECRETS_READ = 100
"""Secrets that are read to find the one that the kubelet cannot parse."""


_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


class _Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True):
    waiting: _Waiting | None = None


class _ContainerStatus(msgspec.Struct, frozen=True):
    name: str = ""
    state: _State = _State()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    init_container_statuses: list[_ContainerStatus] | None = None
    container_statuses: list[_ContainerStatus] | None = None
    ephemeral_container_statuses: list[_ContainerStatus] | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str = ""
    image: str = ""


class _ImageVolume(msgspec.Struct, frozen=True):
    reference: str = ""


class _Volume(msgspec.Struct, frozen=True):
    image: _ImageVolume | None = None


class _Spec(PodSpec):
    init_containers: list[_Container] | None = None
    containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None
    node_name: str | None = None

    @property
    def all_containers(self) -> list[_Container]:
        return [*(self.init_containers or ()), *(self.containers or ()), *(self.ephemeral_containers or ())]

    @property
    def image_volumes(self) -> list[str]:
        return [one.image.reference for one in self.volumes or () if one.image is not None and one.image.reference]

    @property
    def pull_secrets(self) -> tuple[str, ...]:
        try:
            return tuple(filter(None, self.names or ()))
        except MalformedReview:
            return ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """A container that waits for an image that the kubelet cannot pull. `reason`, `said`: the kubelet's own words;
    `words`: what they mean, for each credential that it tried. `node`: where.
    """

    pod: str
    container: str
    image: str
    reason: str
    said: str
    what: Said
    pull_secrets: tuple[str, ...]
    opted_out: bool
    node: str = ""
    words: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class Lacking:
    """A running pod without the reference."""

    pod: str
    account: str
    images: tuple[str, ...]


@dataclass(slots=True)
class Found:
    """In one namespace."""

    stuck: list[Stuck] = field(default_factory=list)
    lacking: list[Lacking] = field(default_factory=list)


class _Meta(Meta):
    creation_timestamp: datetime | None = None


class Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec
    status: _Status = _Status()

    @property
    def over(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed") or self.metadata.deletion_timestamp is not None

    @property
    def waits(self) -> bool:
        """A container has not started, and nothing is said about why."""
        parts = (self.status.init_container_statuses, self.status.container_statuses)
        waiting = [one.state.waiting for part in parts for one in part or () if one.state.waiting is not None]
        return self.status.phase == "Pending" and (not waiting or any(one.reason in _STARTING for one in waiting))

    @property
    def opted_out(self) -> bool:
        return (self.metadata.labels or {}).get(INJECT) == DISABLED

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(one.image for one in self.spec.all_containers), *self.spec.image_volumes]))

    def lacks(self, name: str) -> bool:
        """Is the reference missing? A pod that has ended or is being deleted needs none."""
        if self.over or self.opted_out or MIRROR in (self.metadata.annotations or {}) or self.spec.too_long:
            return False
        try:
            return name not in (self.spec.names or [])
        except MalformedReview:
            return False

    def stuck(self) -> Iterator[Stuck]:
        if self.over:
            return
        status = self.status
        for part in (status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses):
            for one in part or ():
                waiting = one.state.waiting
                if waiting is not None and is_stuck(waiting.reason, waiting.message):
                    yield self._stuck(one.name, waiting.reason, waiting.message)

    def _stuck(self, container: str, reason: str, message: str) -> Stuck:
        image = next((one.image for one in self.spec.all_containers if one.name == container), "")
        # The image of a volume is missing in all containers; which one it is stands in the message.
        volumes = self.spec.image_volumes
        image = next((one for one in volumes if f'"{one}"' in message or f'"{one}:' in message), image)
        words = heard(reason, message)
        return Stuck(
            self.metadata.name,
            container,
            image,
            reason,
            text(message),
            coarse(words),
            self.spec.pull_secrets,
            self.opted_out,
            self.spec.node_name or "",
            words,
        )


async def read(view: ClusterView, namespace: str | None, wanted: Container[str]) -> dict[str, Found]:
    """By namespace; those that have such pods. `namespace` None: all that are wanted."""
    found: dict[str, Found] = {}
    async for pod in listed(view.cluster, "pods", within(namespace, "pods"), Pod):
        space = pod.metadata.namespace
        if space not in wanted:
            continue
        if stuck := [*pod.stuck()]:
            found.setdefault(space, Found()).stuck += stuck
        if pod.lacks(view.config.pull_secret.name):
            account = pod.spec.service_account_name or "default"
            found.setdefault(space, Found()).lacking.append(Lacking(pod.metadata.name, account, pod.images))
    return found


async def unparsable(view: ClusterView, found: dict[str, Found]) -> dict[str, tuple[str, ...]]:
    """By namespace, the pull secrets of stuck pods that the kubelet cannot parse, as far as they may be read."""
    named = {
        (space, name): None
        for space, pods in found.items()
        for stuck in pods.stuck
        if stuck.what is Said.UNREADABLE
        for name in stuck.pull_secrets
        if is_name(name)
    }
    bad: dict[str, tuple[str, ...]] = {}
    for space, name in [*named][:MAX_SECRETS_READ]:
        try:
            raw = await view.cluster.call("GET", f"/api/v1/namespaces/{space}/secrets/{name}", within=30.0)
            secret = await decode(_SECRET, raw)
        except (ClusterError, Unreadable):
            continue
        if of_kubelet(secret.type, secret.data or {}) == "fails":
            bad[space] = (*bad.get(space, ()), name)
    return bad


_SECRET = msgspec.json.Decoder(SecretObject)


def within(namespace: str | None, resource: str) -> str:
    return f"/api/v1/{resource}" if namespace is None else f"/api/v1/namespaces/{namespace}/{resource}"
