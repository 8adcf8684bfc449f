"""What nodes need so that they ask mirrors: the files of containerd and of K3s, without any password. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from webhook.config.mirrorconfig import Mirror
from webhook.config.models import Config
from webhook.core.errors import PullsecretError
from webhook.core.registry import asked_at
from webhook.core.shown import some

CERTS_D = "/etc/containerd/certs.d"
REGISTRIES_YAML = "/etc/rancher/k3s/registries.yaml"


class NoMirror(PullsecretError):
    """The configuration has none, or none that is asked for."""


@dataclass(frozen=True, slots=True)
class NodeFile:
    """`path`: where it belongs on a node."""

    path: str
    text: str


def chosen(config: Config, of: str | None, to: Sequence[str]) -> dict[str, list[Mirror]]:
    """The mirrors of each registry, in the order in which nodes ask them. `of`: of this registry alone; `to`: these
    mirrors alone, in this order. Raises NoMirror.
    """
    mirrors = [one for one in config.mirrors if one.how == "node"]
    if not mirrors and config.mirrors:
        raise NoMirror("all mirrors of the configuration have how: rewrite; for these, nodes need no file")
    if not mirrors:
        raise NoMirror("the configuration has no mirrors; write them under mirrors, as in docs/mirrors.md")
    if of is not None and of not in {one.of for one in mirrors}:
        raise NoMirror(f"there is no mirror of this registry; there are some of {some(_once(mirrors, 'of'))}")
    if not {*to} <= {one.to for one in mirrors}:
        raise NoMirror(f"there is no such mirror; there are {some(_once(mirrors, 'to'))}")
    found: dict[str, list[Mirror]] = {}
    for one in sorted(mirrors, key=lambda one: to.index(one.to) if one.to in to else len(to)):
        if (of is None or one.of == of) and (not to or one.to in to):
            found.setdefault(one.of, []).append(one)
    if not found:
        raise NoMirror(f"none of these is a mirror of {of}")
    return found


def _once(mirrors: Sequence[Mirror], key: str) -> list[str]:
    return list(dict.fromkeys(getattr(one, key) for one in mirrors))


def hosts_toml(config: Config, mirrors: dict[str, list[Mirror]]) -> list[NodeFile]:
    """containerd's: one file for each registry."""
    return [NodeFile(f"{CERTS_D}/{of}/hosts.toml", "\n".join(_toml(config, of, ones))) for of, ones in mirrors.items()]


def _toml(config: Config, of: str, mirrors: Sequence[Mirror]) -> Iterator[str]:
    yield f'server = "{_url(config, asked_at(of) or of)}"'
    for one in mirrors:
        yield ""
        yield f'[host."{_endpoint(config, one)}"]'
        yield 'capabilities = ["pull", "resolve"]'
        if "/" in one.to:
            yield "override_path = true"
        if one.node_ca_file:
            yield f'ca = "{one.node_ca_file}"'
    yield ""


def registries_yaml(config: Config, mirrors: dict[str, list[Mirror]]) -> NodeFile:
    """K3s': one for all registries."""
    endpoints, configs = dict[str, Any](), dict[str, Any]()
    for of, ones in mirrors.items():
        endpoints[of] = {"endpoint": [_endpoint(config, one) for one in ones]}
        configs |= {
            one.to.partition("/")[0]: {"tls": {"ca_file": one.node_ca_file}} for one in ones if one.node_ca_file
        }
    whole = {"mirrors": endpoints} | ({"configs": configs} if configs else {})
    return NodeFile(REGISTRIES_YAML, yaml.safe_dump(whole, sort_keys=False))


def _endpoint(config: Config, mirror: Mirror) -> str:
    """With a path it is used as it stands, so it has the version of the API too."""
    host, _, path = mirror.to.partition("/")
    return f"{_url(config, host)}{path and f'/v2/{path}'}"


def _url(config: Config, host: str) -> str:
    named = config.named_registries.get(host)
    return f"{'http' if named is not None and named.plain else 'https'}://{host}"
