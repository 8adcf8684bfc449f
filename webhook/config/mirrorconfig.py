"""Mirrors of registries, as an administrator writes them (docs/mirrors.md)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from webhook.config.base import DNS_LABEL, Model, doc, labelled, whole
from webhook.config.messages import value_shown
from webhook.core.errors import CredentialError
from webhook.core.imagename import image_name
from webhook.core.mirror import HUB, OWNER_HERE, MirrorRule
from webhook.core.registry import DOCKER_HUB, also_known_as, asked_at, canonical_registry, why_unmatched
from webhook.core.rewrite import RewriteRule

_HOST = r"[a-z0-9][a-z0-9.\-]*(:[0-9]{1,5})?"
_PATH = r"(/[a-z0-9][a-z0-9._\-]*)*"


class Mirror(Model, frozen=True):
    """A mirror of a registry, for which owners have credentials (docs/mirrors.md)."""

    of: Annotated[
        str,
        whole(rf"{_HOST}{_PATH}/?"),
        msgspec.Meta(max_length=500),
        doc(
            "the host of the registry as images name it, such as ghcr.io or docker.io, without https://; where images "
            "are rewritten, perhaps with the beginning of their names, such as ghcr.io/acme"
        ),
    ]
    to: Annotated[
        str,
        whole(rf"{_HOST}{_PATH}"),
        msgspec.Meta(max_length=500),
        doc("the mirror: its host, port and path, such as mirror.example.com:5000/ghcr, without https:// and /v2"),
    ]
    how: Annotated[
        Literal["node", "rewrite"],
        doc("node: nodes are told to ask the mirror first; rewrite: images of new pods get their names at the mirror"),
    ] = "node"
    path: Annotated[
        str,
        msgspec.Meta(max_length=200),
        doc(
            "for credentials without a path: what the names of their images begin with, such as {owner}/; empty: all; "
            "for how: node"
        ),
    ] = ""
    node_ca_file: Annotated[
        str,
        whole(r"(/[A-Za-z0-9._/\-]+)?"),
        doc(
            "a file on the nodes, by its whole path, with the mirror's CA certificates; else those of the system; for "
            "how: node"
        ),
    ] = ""
    region: Annotated[
        str,
        whole(r"([A-Za-z0-9]([A-Za-z0-9._\-]{0,61}[A-Za-z0-9])?)?"),
        doc("the region or zone that the mirror is for, as namespaces and nodes name it; empty: all; for how: rewrite"),
    ] = ""
    namespace: Annotated[
        str,
        whole(f"({DNS_LABEL})?"),
        labelled("the namespace that the mirror runs in, whose images stay, for how: rewrite"),
    ] = ""

    def __post_init__(self) -> None:
        for key, name in (("of", self.of), ("to", self.to)):
            try:
                canonical_registry(name)
            except CredentialError as e:
                raise ValueError(f"{key} {value_shown(name)}: {e}") from None
        if wrong := why_unmatched(self.prefix):
            raise ValueError(f"of {value_shown(self.of)}: {wrong}")
        if self._of_host != HUB and DOCKER_HUB in {canonical_registry(self._of_host), also_known_as(self._of_host)}:
            raise ValueError(f"of is {self.of}; in the names of images Docker Hub is {HUB}, so write that")
        if asked_at(self._of_host) == asked_at(self.host):
            raise ValueError(f"of and to are both {self._of_host}; a registry is no mirror of itself")
        if self.how == "node":
            self._check_node()
        else:
            self._check_rewrite()

    def _check_node(self) -> None:
        if self.of != self._of_host:
            raise ValueError(
                f"of is {self.of}; nodes ask a mirror for all images of a registry: write {self._of_host}, or how: "
                "rewrite"
            )
        self._check_only("rewrite", region=self.region, namespace=self.namespace)
        if self.path and why_unmatched(f"{self.of}/{self.path.replace(OWNER_HERE, 'owner')}"):
            raise ValueError(
                f"path {value_shown(self.path)}: no repository's name begins so; write {OWNER_HERE}/ or a name such as "
                "acme/"
            )

    def _check_rewrite(self) -> None:
        self._check_only("node", path=self.path, nodeCaFile=self.node_ca_file)
        wrong = why_unmatched(self.to)
        if wrong or image_name(f"{self.to}/app") is None:
            raise ValueError(
                f"to {value_shown(self.to)}: {wrong or 'with the name of an image it is longer than a name may be'}"
            )

    def _check_only(self, how: str, **keys: str) -> None:
        for key, value in keys.items():
            if value:
                raise ValueError(f"{key} is for how: {how}; leave it out")

    @property
    def prefix(self) -> str:
        """`of` without a slash at its end."""
        return self.of.removesuffix("/")

    @property
    def _of_host(self) -> str:
        return self.of.partition("/")[0]

    @property
    def host(self) -> str:
        return self.to.partition("/")[0]

    @property
    def rule(self) -> MirrorRule:
        return MirrorRule(self.prefix, self.to, self.path)

    @property
    def rewrite_rule(self) -> RewriteRule:
        return RewriteRule(self.prefix, self.to, self.region)

    def is_for(self, region: str) -> bool:
        """May images be pulled from it by pods of a namespace that names this region? Empty: it names none."""
        return not region or self.region in ("", region)


def check_together(mirrors: Sequence[Mirror]) -> None:
    """Raises ValueError. Whichever mirror is asked, one credential must be meant."""
    files: dict[str, str] = {}
    for one in mirrors:
        if one.how == "node" and files.setdefault(one.host, one.node_ca_file) != one.node_ca_file:
            raise ValueError(f"mirrors has two nodeCaFile for {one.host}; a host has one, so write the same in each")
    hosts = {one.prefix.partition("/")[0] for one in mirrors}
    for number, one in enumerate(mirrors):
        if one.host in hosts:
            raise ValueError(
                f"mirrors has {one.host} as a mirror of {one.prefix}, and as a registry with mirrors; leave one out"
            )
        for wrong in (wrong for before in mirrors[:number] if (wrong := _wrong(before, one))):
            raise ValueError(wrong)


def _wrong(first: Mirror, second: Mirror) -> str:
    """Why one cannot follow the other."""
    of = first.prefix.partition("/")[0]
    if of != second.prefix.partition("/")[0]:
        return ""
    if first.how != second.how:
        return (
            f"mirrors has mirrors of {of} with how: node and with how: rewrite; an image with another name comes to no "
            "mirror of its first one, so choose one way for all"
        )
    same = first.host == second.host if first.how == "node" else (first.prefix, first.to) == (second.prefix, second.to)
    if same and first.region in ("", second.region):
        return f"mirrors names {first.host} as a mirror of {first.prefix} twice; once is enough"
    # One that has a region comes before one for all, where pods name that region.
    if first.region == second.region and second.prefix.startswith(f"{first.prefix}/"):
        return (
            f"mirrors has {second.prefix} behind {first.prefix}, which has its images too; write {second.prefix} first"
        )
    return ""
