"""One key for the ConfigMap that CoreDNS imports: what it holds, and whether CoreDNS would take it. Pure.

What others wrote becomes no part of a key: names and addresses are parsed, and printed anew.
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from posixpath import basename, dirname, join

from webhook.commands.clusterdns.coredns import ConfigMapFolder, CoreDns
from webhook.core import corefile
from webhook.core.corefile import PLUGINS, Corefile, CorefileError, Files, Zone
from webhook.core.errors import PullsecretError
from webhook.core.hostport import bracketed
from webhook.core.shown import quoted

MARKER_ADDRESS = "192.0.2.1"
"""Of a net that is for documentation only."""
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_SUFFIX = re.compile(r"\*(?P<suffix>[-._A-Za-z0-9]{1,40})")
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_SERVER = ".server"


class Refused(PullsecretError):
    """The key would not help, or CoreDNS would not start with it. Nothing was written."""


class NoPlace(Refused):
    """The Corefile imports no keys for server blocks."""


def dns_name(text: str) -> str | None:
    """In small letters. None: it is no name of a host, or one that no DNS is asked about."""
    name = text.lower().removesuffix(".")
    is_name = len(name) <= 253 and _NAME.fullmatch(name) and not name.rpartition(".")[2].isdecimal()
    return name if is_name else None


def address(text: str) -> str | None:
    """In its usual spelling. None: it is no address, or none that a pod can connect to from wherever it runs."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    usable = not (found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified)
    return str(found) if usable and not getattr(found, "scope_id", None) else None


@dataclass(frozen=True, slots=True)
class Resolver:
    """Asked by TLS. `name`: which its certificate must have."""

    addresses: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Host:
    """`port`: at which it was tried."""

    name: str
    addresses: tuple[str, ...] = ()
    port: int = 443


@dataclass(frozen=True, slots=True)
class Key:
    """`hosts`: the registry first. `resolver`: asked about them; None: their addresses are in the key. `port`: of the
    cluster's DNS inside of its pods.
    """

    hosts: tuple[Host, ...]
    resolver: Resolver | None = None
    port: str = "53"

    @property
    def registry(self) -> str:
        return self.hosts[0].name

    @property
    def marker(self) -> str:
        """A name that only a CoreDNS answers that has read just this key."""
        digest = hashlib.sha256(repr((self.hosts, self.resolver, self.port)).encode()).hexdigest()
        return f"pullsecret-{digest[:10]}.{self.registry}"

    @property
    def zones(self) -> tuple[Zone, ...]:
        return tuple(Zone(f"{one.name}.", self.port) for one in self.hosts)

    @property
    def text(self) -> str:
        lines = [f"{one} {host.name}" for host in self.hosts for one in host.addresses]
        hosts = "\n".join(f"        {line}" for line in (*lines, f"{MARKER_ADDRESS} {self.marker}"))
        forward = "forward . /etc/resolv.conf"
        if self.resolver is not None:
            to = " ".join(f"tls://{bracketed(one)}" for one in self.resolver.addresses)
            forward = f"forward . {to} {{\n        tls_servername {self.resolver.name}\n    }}"
        return (
            f"# Of `pullsecret doctor dns {self.registry}`. For programs in pods: nodes, which pull images, ask\n"
            f"# another DNS. {MARKER_ADDRESS} is no host: it shows that CoreDNS has read just this text.\n"
            f"{' '.join(map(str, self.zones))} {{\n"
            "    errors\n    cache 30\n"
            f"    hosts {{\n{hosts}\n        fallthrough\n    }}\n"
            f"    {forward}\n}}\n"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the key goes. `path`: of the file that CoreDNS sees. `port`: of the cluster's DNS inside of its pods."""

    config_map: str
    key: str
    path: str
    port: str


def name_of(registry: str, suffix: str = _SERVER) -> str:
    """Of the key, and of the field manager that owns it: one for each registry, so that they do not meet."""
    return f"pullsecret-{registry}{suffix}"


def place(dns: CoreDns, registry: str) -> Place:
    """Where the key for a registry goes. Raises Refused, also if CoreDNS would not start again as it is."""
    found = _read(dns, dns.files)
    for clash in corefile.clashes(found):
        where = " and ".join(dict.fromkeys(_named(dns, file) for file in clash.files))
        raise Refused(f"CoreDNS would not start again as it is: {clash.words}, in {where}; repair that first")
    for block in found.blocks:
        for plugin in block.plugins:
            if plugin.name not in PLUGINS and (_is_custom(dns, plugin.file) or not _WORD.fullmatch(plugin.name)):
                raise Refused(
                    f"CoreDNS would not start again as it is: there is no plugin {quoted(plugin.name)}, in "
                    f"{_named(dns, plugin.file)}, line {plugin.line}; repair that first"
                )
    ports = {zone.port for block in found.blocks if block.has("kubernetes") for zone in block.zones}
    if len(ports) != 1:
        raise Refused("the Corefile has no server block with the plugin kubernetes, or several with other ports")
    if _is_near(registry, cluster_domains(dns)):
        raise Refused(f"{registry} is in the cluster's own domain or above it, whose names a key would hide")
    folder, suffix = _extension(dns, found)
    key = name_of(registry, suffix)
    return Place(folder.name, key, join(folder.path, key), ports.pop())


def fits(dns: CoreDns, place: Place, key: Key) -> Key:
    """The key without hosts that the Corefile serves already, or that would hide the cluster's own names: a registry
    names its token service. Raises Refused if the registry is one of those, or CoreDNS would not start with the key.
    """
    others = {path: text for path, text in dns.files.texts.items() if path != place.path}
    there = {zone: block.file for block in _read(dns, Files(others, dns.files.unseen)).blocks for zone in block.zones}
    own = key.zones[0]
    if own in there:
        raise Refused(
            f"the zone {own} stands in {_named(dns, there[own])} already; with it twice CoreDNS would not start again"
        )
    domains = cluster_domains(dns)
    kept = [
        host
        for host, zone in zip(key.hosts, key.zones, strict=True)
        if zone not in there and not _is_near(host.name, domains)
    ]
    key = replace(key, hosts=tuple(kept))
    found = _read(dns, Files({**others, place.path: key.text}, dns.files.unseen))
    blocks = [block for block in found.blocks if own in block.zones]
    wanted = ["errors", "cache", "hosts", "forward"]
    if (
        len(blocks) != 1
        or (blocks[0].zones, blocks[0].file) != (key.zones, place.path)
        or [plugin.name for plugin in blocks[0].plugins] != wanted
    ):
        raise Refused(
            "with the key CoreDNS would not start again: it becomes no server block of its own, because one before it "
            "has no braces"
        )
    return key


def cluster_domains(dns: CoreDns) -> tuple[str, ...]:
    """What the plugin kubernetes answers, such as cluster.local; reverse zones last."""
    found = list[str]()
    for block in _read(dns, dns.files).blocks:
        for plugin in block.plugins:
            if plugin.name == "kubernetes":
                words = takewhile(lambda word: word != "{", plugin.arguments)
                found += [*words] or [zone.name for zone in block.zones]
    names = dict.fromkeys(name for one in found if (name := one.lower().rstrip(".")))
    return tuple(sorted(names, key=lambda name: name.endswith(".arpa")))


def _is_near(name: str, domains: Sequence[str]) -> bool:
    """Is it one of the domains, below one, or above one?"""
    return any(name == one or name.endswith(f".{one}") or one.endswith(f".{name}") for one in domains)


def reloads(dns: CoreDns) -> bool:
    """Does CoreDNS read a new key without a restart?"""
    return any(block.has("reload") for block in _read(dns, dns.files).blocks)


def _extension(dns: CoreDns, found: Corefile) -> tuple[ConfigMapFolder, str]:
    folders = {one.path: one for one in dns.folders}
    ways = [
        (folders[dirname(pattern)], suffix["suffix"])
        for pattern in found.imports
        if dirname(pattern) in folders and (suffix := _SUFFIX.fullmatch(basename(pattern)))
    ]
    for way in ways:
        if way[1] == _SERVER:
            return way
    if not ways:
        raise NoPlace(
            "the Corefile imports no *.server from a ConfigMap such as coredns-custom, so there is no place for a key"
        )
    return ways[0]


def _read(dns: CoreDns, files: Files) -> Corefile:
    try:
        return corefile.read(dns.corefile, files)
    except CorefileError as e:
        raise Refused(
            f"it is not known that CoreDNS would start again: {_named(dns, e.file)}, line {e.line}: {e.words}"
        ) from None


def _is_custom(dns: CoreDns, file: str) -> bool:
    return any(dirname(file) == folder.path for folder in dns.folders)


def _named(dns: CoreDns, file: str) -> str:
    return dns.named.get(file, quoted(file))
