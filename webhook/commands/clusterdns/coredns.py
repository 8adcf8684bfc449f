"""The cluster's DNS, as its Deployment runs it: where CoreDNS finds its Corefile and what that imports."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import dirname, join, normpath
from typing import TypeVar

import msgspec

from webhook.core.corefile import Files
from webhook.core.errors import PullsecretError
from webhook.core.shown import quoted, some
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError, Meta, decode

NAMESPACE = "kube-system"
_LABEL = "k8s-app=kube-dns"
"""Of the cluster's DNS, also where it is CoreDNS."""
_NODE_LOCAL = "node-local-dns"
_CONF = re.compile(r"--?conf(?:=(?P<path>.*))?", re.DOTALL)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConfigMapFolder:
    """A ConfigMap that is mounted as a whole: each of its keys is a file."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class CoreDns:
    """`corefile`: its path. `folders`: where a new key becomes a file. `pods`: the selector of its pods. `named`: what
    people call a file, by its path.
    """

    corefile: str
    files: Files
    folders: Sequence[ConfigMapFolder]
    pods: str
    named: Mapping[str, str]


class ManagedFields(msgspec.Struct, rename={"fields": "fieldsV1"}):
    manager: str = ""
    fields: dict[str, dict[str, object]] | None = None


class ConfigMapMeta(Meta, rename="camel"):
    managed_fields: list[ManagedFields] | None = None


class ConfigMap(msgspec.Struct, rename="camel"):
    metadata: ConfigMapMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None

    def managers(self, key: str) -> tuple[str, ...]:
        """Who has written this key, and still counts as its owner."""
        return tuple(
            one.manager
            for one in self.metadata.managed_fields or ()
            if f"f:{key}" in ((one.fields or {}).get("f:data") or {})
        )


class _Item(msgspec.Struct):
    key: str = ""
    path: str = ""


class _ConfigMapVolume(msgspec.Struct):
    name: str = ""
    items: list[_Item] | None = None


class _Volume(msgspec.Struct, rename="camel"):
    name: str = ""
    config_map: _ConfigMapVolume | None = None


class _Mount(msgspec.Struct, rename="camel"):
    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""


class _Container(msgspec.Struct, rename="camel"):
    command: list[str] | None = None
    args: list[str] | None = None
    volume_mounts: list[_Mount] | None = None

    @property
    def corefile(self) -> str:
        """Empty: it is not CoreDNS, or it is not said where its Corefile is."""
        words = [*(self.command or ()), *(self.args or ())]
        for word, after in zip(words, [*words[1:], ""], strict=True):
            if found := _CONF.fullmatch(word):
                return found["path"] or after
        return ""


class _PodSpec(msgspec.Struct):
    containers: list[_Container]
    volumes: list[_Volume] | None = None


class _Template(msgspec.Struct):
    spec: _PodSpec


class _Selector(msgspec.Struct, rename="camel"):
    match_labels: dict[str, str] | None = None


class _DeploymentSpec(msgspec.Struct):
    template: _Template
    selector: _Selector


class _Deployment(msgspec.Struct):
    metadata: Meta
    spec: _DeploymentSpec


class _Deployments(msgspec.Struct):
    items: list[_Deployment]


class _Address(msgspec.Struct, rename={"pod_ip": "podIP"}):
    pod_ip: str = ""
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: Meta
    status: _Address


class _Pods(msgspec.Struct):
    items: list[_Pod]


_DEPLOYMENTS, _CONFIG_MAP, _PODS, _ANY = (
    msgspec.json.Decoder(_Deployments),
    msgspec.json.Decoder(ConfigMap),
    msgspec.json.Decoder(_Pods),
    msgspec.json.Decoder(object),
)


async def read(cluster: Cluster) -> CoreDns:
    """Raises PullsecretError if it cannot be read, or is none that this command can change."""
    if await _got(cluster, _ANY, f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{_NODE_LOCAL}") is not None:
        raise PullsecretError(
            f"pods ask NodeLocal DNSCache (the DaemonSet {_NODE_LOCAL} in {NAMESPACE}), which has a Corefile of its "
            "own: a key of CoreDNS would not help them"
        )
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    found = await _got(cluster, _DEPLOYMENTS, path, query={"labelSelector": _LABEL})
    running = [
        (one, container)
        for one in (found.items if found else [])
        for container in one.spec.template.spec.containers
        if container.corefile
    ]
    if len(running) != 1:
        what = "several Deployments run" if running else "no Deployment runs"
        raise PullsecretError(f"{what} CoreDNS with a Corefile (-conf) and the label {_LABEL} in {NAMESPACE}")
    deployment, container = running[0]
    if not container.corefile.startswith("/"):
        raise PullsecretError(
            f"the Deployment {quoted(deployment.metadata.name)} names its Corefile by a relative path"
        )
    volumes = {one.name: one.config_map for one in deployment.spec.template.spec.volumes or ()}
    return await _mounted(cluster, deployment, container, volumes)


async def _mounted(
    cluster: Cluster, deployment: _Deployment, container: _Container, volumes: Mapping[str, _ConfigMapVolume | None]
) -> CoreDns:
    corefile = normpath(container.corefile)
    texts, named, folders, unseen = dict[str, str](), dict[str, str](), list[ConfigMapFolder](), list[str]()
    for mount in container.volume_mounts or ():
        place, volume = normpath(mount.mount_path), volumes.get(mount.name)
        if volume is None or mount.sub_path_expr:
            unseen.append(place)
            continue
        data = await config_map(cluster, volume.name)
        files = _files(volume, data)
        if mount.sub_path:
            files = {"": files[mount.sub_path]} if mount.sub_path in files else {}
        elif volume.items is None and place != dirname(corefile):
            folders.append(ConfigMapFolder(volume.name, place))
        for file, (key, text) in files.items():
            path = normpath(join(place, file)) if file else place
            texts[path], named[path] = text, f"the key {quoted(key)} of the ConfigMap {quoted(volume.name)}"
    if corefile not in texts:
        raise PullsecretError(
            f"the Corefile {quoted(corefile)} of the Deployment {quoted(deployment.metadata.name)} is in no ConfigMap "
            "that it mounts"
        )
    labels = deployment.spec.selector.match_labels or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return CoreDns(corefile, Files(texts, tuple(unseen)), tuple(folders), selector or _LABEL, named)


def _files(volume: _ConfigMapVolume, found: ConfigMap | None) -> dict[str, tuple[str, str]]:
    """Key and text of each file."""
    data = (found.data if found else None) or {}
    if volume.items is None:
        return {key: (key, text) for key, text in data.items()}
    return {one.path: (one.key, data[one.key]) for one in volume.items if one.key in data}


async def config_map(cluster: Cluster, name: str) -> ConfigMap | None:
    """None: there is none of that name."""
    return await _got(cluster, _CONFIG_MAP, f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")


async def addresses(cluster: Cluster, dns: CoreDns) -> tuple[str, ...]:
    """Of its pods, which reload their Corefile one by one."""
    found = await _got(cluster, _PODS, f"/api/v1/namespaces/{NAMESPACE}/pods", query={"labelSelector": dns.pods})
    return tuple(
        sorted(
            one.status.pod_ip
            for one in (found.items if found else [])
            if one.status.phase == "Running" and one.status.pod_ip and one.metadata.deletion_timestamp is None
        )
    )


async def _got(
    cluster: Cluster, decoder: msgspec.json.Decoder[T], path: str, query: Mapping[str, str] | None = None
) -> T | None:
    """None: it does not exist."""
    try:
        return await decode(decoder, await cluster.call("GET", path, query=query, within=30.0))
    except ClusterError as e:
        if e.status == 404:
            return None
        raise PullsecretError(f"the cluster's DNS cannot be read ({e})") from None
    except Unreadable as e:
        raise PullsecretError(f"the cluster's DNS cannot be read: {e}") from None


def others(found: ConfigMap, key: str) -> str:
    """Who but us owns a key of ours, for people; our field manager has its name. Empty: nobody."""
    return some([one for one in found.managers(key) if one != key])
