"""The configuration, as frozen values. To make one that contradicts itself raises ValueError."""

import re
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Literal, cast

import msgspec

from webhook.config import mirrorconfig
from webhook.config.base import (
    Expression,
    Key,
    Label,
    Model,
    Name,
    Namespaces,
    Port,
    doc,
    labelled,
    matching,
    named,
    whole,
)
from webhook.config.issuers import Issuer, check_issuers
from webhook.config.messages import value_shown
from webhook.config.mirrorconfig import Mirror
from webhook.config.sourceconfig import SecretsSource, Source
from webhook.core.errors import CredentialError
from webhook.core.mirror import MirrorRule
from webhook.core.names import OWNER
from webhook.core.owner import OwnerRule, Pattern, Place
from webhook.core.registry import asked_at, canonical_registry
from webhook.core.rewrite import RewriteRule
from webhook.core.shown import few, shown, some

ALWAYS_EXCLUDED = ("kube-system", "kube-public", "kube-node-lease")
"""The cluster's own, which no tenant has, and which must start without a webhook."""


def _compiled(expression: str) -> re.Pattern[str]:
    r"""As in RE2, where `\d`, `\w` and `\s` mean ASCII."""
    return re.compile(expression, re.ASCII)


class _Rule(Model, frozen=True):
    """The owner is what is left of a text without `prefix` and `suffix`, if the whole of that matches `owner`."""

    prefix: Annotated[Expression, matching("the text before the owner")] = ""
    owner: Annotated[Expression, msgspec.Meta(min_length=1), matching("the owner, which is what is left")] = ".+"
    suffix: Annotated[Expression, matching("the text after the owner, as much as possible")] = ""

    def __post_init__(self) -> None:
        for part in ("prefix", "owner", "suffix"):
            try:
                _compiled(getattr(self, part))
            except (re.error, RecursionError) as e:
                raise ValueError(f"{part} {value_shown(getattr(self, part))} is no regular expression: {e}") from None

    @property
    def pattern(self) -> Pattern | None:
        if (self.prefix, self.owner, self.suffix) == ("", ".+", ""):
            return None
        return Pattern(_compiled(self.prefix), _compiled(self.owner), _compiled(rf"(?:{self.suffix})\Z"))

    @property
    def in_short(self) -> str:
        parts = (("prefix", self.prefix), ("owner", "" if self.owner == ".+" else self.owner), ("suffix", self.suffix))
        where = f"{self.__struct_config__.tag} {getattr(self, 'key', '')}".strip()
        return " ".join([where, *(f"{part} {shown(text)}" for part, text in parts if text)])

    @property
    def rule(self) -> OwnerRule:
        place = cast(Place, self.__struct_config__.tag)
        return OwnerRule(place, getattr(self, "key", ""), self.pattern)


class LabelRule(_Rule, tag="label", tag_field="from", frozen=True, kw_only=True):
    """The owner is in a label of the namespace."""

    key: Key


class AnnotationRule(_Rule, tag="annotation", tag_field="from", frozen=True, kw_only=True):
    """The owner is in an annotation of the namespace."""

    key: Key


class NameRule(_Rule, tag="name", tag_field="from", frozen=True):
    """The owner is in the namespace's name."""


class PullSecret(Model, frozen=True):
    """The Secret that the webhook writes into each namespace that has an owner."""

    name: Annotated[Name, named("the name of the pull secret in every namespace")] = "ghcr-secret"
    when_unowned: Annotated[
        Literal["delete", "keep"], doc("what happens to it when its namespace has no owner any more, or is opted out")
    ] = "delete"
    when_withdrawn: Annotated[
        Literal["delete", "keep"], doc("what happens to it when its owner has no credential any more")
    ] = "delete"
    max_withdrawn: Annotated[
        float,
        msgspec.Meta(ge=0, le=1),
        doc("the share of owners, from 0 to 1, that may lose their credentials in ten minutes; beyond it, others wait"),
    ] = 0.1


class Registry(Model, frozen=True):
    """A registry that may have a private address, or that needs more than a name to be asked."""

    host: Annotated[
        str,
        whole(r"([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?"),
        msgspec.Meta(max_length=260),
        doc("its host, and its port if images are written with it, such as registry.example.com:5000"),
    ]
    ca_file: Annotated[str | None, doc("a file with the CA certificates to trust; else those of the system")] = None
    plain: Annotated[bool, doc("ask it over http:; passwords are then sent in the clear")] = False

    def __post_init__(self) -> None:
        if self.plain and self.ca_file is not None:
            raise ValueError("plain is for http:, which has no certificates; leave out plain or caFile")


class Server(Model, frozen=True):
    """Where the webhook listens: TLS for the API server, plain HTTP for metrics."""

    address: Annotated[str, doc('the address to listen on; "::" where pods have IPv6 addresses only')] = "0.0.0.0"  # noqa: S104  # a pod's own address is not known beforehand
    port: Annotated[Port, doc("the port for the API server, TLS")] = 8443
    metrics_port: Annotated[Port, doc("the port for metrics, plain HTTP")] = 8080

    def __post_init__(self) -> None:
        if self.port == self.metrics_port:
            raise ValueError(f"port and metricsPort are both {self.port}; they need two different ports")


class Tls(Model, frozen=True):
    """The serving certificate. Without files the webhook makes its own and publishes its CA."""

    cert_file: Annotated[str | None, doc("a file with the certificate chain, PEM; read again when it changes")] = None
    key_file: Annotated[str | None, doc("a file with its private key, PEM")] = None
    hosts: Annotated[
        tuple[str, ...], doc("names and addresses in the certificate; empty: those of the Service in the own namespace")
    ] = ()
    service: Annotated[Label, labelled("the name of the webhook's Service")] = "pullsecret-webhook"
    ca_secret: Annotated[Name, named("the name of the Secret with the webhook's CA")] = "pullsecret-webhook-ca"  # noqa: S105  # an object's name
    webhook_configuration: Annotated[Name, named("the name of the MutatingWebhookConfiguration that gets the CA")] = (
        "pullsecret-webhook"
    )
    webhook: Annotated[str, doc("the name of the entry for pods in it")] = "mutate.pullsecret-webhook.io"

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile go together; name both or neither")
        if self.cert_file is not None and self.hosts:
            raise ValueError("hosts is for the webhook's own certificate; leave it out with certFile")

    def names(self, namespace: str) -> tuple[str, ...]:
        service = f"{self.service}.{namespace}.svc"
        return self.hosts or (service, f"{service}.cluster.local")


class Config(Model, frozen=True):
    """All that can be set. Every field has a default; an empty file is a valid configuration."""

    owner_rules: Annotated[
        tuple[LabelRule | AnnotationRule | NameRule, ...],
        doc("where the owner of a namespace is looked for; the first rule that finds one decides"),
    ] = (LabelRule(key=OWNER),)
    sources: Annotated[
        tuple[Source, ...],
        doc("where credentials come from; for one registry, those of the first source come first"),
    ] = (SecretsSource(),)
    pull_secret: Annotated[PullSecret, doc("the Secret that the webhook writes")] = PullSecret()
    check: Annotated[bool, doc("ask each registry once whether a credential that is new or has changed works")] = True
    registries: Annotated[
        tuple[Registry, ...], doc("for check: registries with private addresses, a CA of their own, or without TLS")
    ] = ()
    mirrors: Annotated[
        tuple[Mirror, ...], doc("mirrors of registries, by which images are pulled with their owner's credentials")
    ] = ()
    issuers: Annotated[
        tuple[Issuer, ...], doc("what mints credentials, in the background; the chart then runs pullsecret issue")
    ] = ()
    deployments: Annotated[
        Literal["inject", "supply"],
        doc("inject: the templates of Deployments get the reference; supply: only their pods do"),
    ] = "inject"
    excluded_namespaces: Annotated[
        tuple[Namespaces, ...],
        doc(f"namespaces that are never served, by name or pattern, besides {', '.join(ALWAYS_EXCLUDED)}"),
    ] = ()
    namespace: Annotated[Label, labelled("the webhook's own namespace, which is never served")] = "pullsecret-webhook"
    replicas: Annotated[
        int, msgspec.Meta(ge=1, le=100), doc("how many replicas run at once; with many namespaces they share them out")
    ] = 1
    server: Annotated[Server, doc("where the webhook listens")] = Server()
    tls: Annotated[Tls, doc("the serving certificate")] = Tls()

    def __post_init__(self) -> None:
        if not self.owner_rules:
            raise ValueError("ownerRules is empty, so no namespace would have an owner; leave it out for the default")
        if not self.sources:
            raise ValueError("sources is empty, so no owner would have credentials; leave it out for the default")
        if [*map(type, self.sources)].count(SecretsSource) > 1:
            raise ValueError("sources has secrets twice; once is all of them")
        mirrorconfig.check_together(self.mirrors)
        check_issuers(self.issuers)

    @property
    def rules(self) -> tuple[OwnerRule, ...]:
        return tuple(rule.rule for rule in self.owner_rules)

    @property
    def mirror_rules(self) -> tuple[MirrorRule, ...]:
        """Of mirrors that nodes ask."""
        return tuple(mirror.rule for mirror in self.mirrors if mirror.how == "node")

    @property
    def rewrite_rules(self) -> tuple[RewriteRule, ...]:
        """Of mirrors whose names new pods get."""
        return tuple(mirror.rewrite_rule for mirror in self.mirrors if mirror.how == "rewrite")

    def mirrors_of(self, namespace: str, region: str) -> tuple[Mirror, ...]:
        """From which images may be pulled there. `region`: what the namespace says."""
        stays = namespace in self.namespaces_of_mirrors
        return tuple(one for one in self.mirrors if one.is_for(region) and not (stays and one.how == "rewrite"))

    @property
    def regions(self) -> frozenset[str]:
        """That mirrors have."""
        return frozenset(mirror.region for mirror in self.mirrors if mirror.region)

    @property
    def namespaces_of_mirrors(self) -> frozenset[str]:
        return frozenset(mirror.namespace for mirror in self.mirrors if mirror.namespace)

    @property
    def source_names(self) -> tuple[str, ...]:
        """As metrics and notices have them: the kind of each source, and its number among those of its kind."""
        kinds = [str(source.__struct_config__.tag) for source in self.sources]
        numbers = [kinds[:place].count(kind) for place, kind in enumerate(kinds, 1)]
        return tuple(kind if number == 1 else f"{kind}-{number}" for kind, number in zip(kinds, numbers, strict=True))

    @property
    def in_short(self) -> dict[str, str]:
        """What decides most, for the log."""
        return {
            "owner_rules": "; ".join(few([rule.in_short for rule in self.owner_rules])),
            "sources": some(self.source_names),
            "excluded_namespaces": some(sorted(self.never_served)),
            "pull_secret": self.pull_secret.name,
            "deployments": self.deployments,
            "check": "on" if self.check else "off",
            **({"issuers": some([one.called for one in self.issuers])} if self.issuers else {}),
            **({"mirrors": some([f"{one.to} of {one.of}" for one in self.mirrors])} if self.mirrors else {}),
        }

    @property
    def named_registries(self) -> dict[str, Registry]:
        """By host: those that may be asked at a private address, because an administrator has named them."""
        hosts = {_asked_at(named) for source in self.sources for named in source.registries_named if named}
        hosts |= {
            _asked_at(name) for name in [*(one.to for one in self.mirrors), *(one.registry for one in self.issuers)]
        }
        implied = {host: Registry(host=host) for host in hosts if host is not None}
        return implied | {_asked_at(one.host) or one.host: one for one in self.registries}

    @property
    def asked_about_owned(self) -> bool:
        """Does the registration's namespace selector let only owned namespaces through, none of them opted out?

        The chart makes it so where one label decides, whatever its value.
        """
        rules = self.owner_rules
        return len(rules) == 1 and isinstance(rules[0], LabelRule) and rules[0].pattern is None

    @property
    def never_served(self) -> tuple[str, ...]:
        """Names and patterns. The webhook's own namespace is one of them: its Secrets are every owner's."""
        return tuple(dict.fromkeys((*ALWAYS_EXCLUDED, self.namespace, *self.excluded_namespaces)))

    def excluded(self, namespace: str) -> bool:
        return _one_of(self.never_served).fullmatch(namespace) is not None


@lru_cache(maxsize=8)
def _one_of(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of these names and patterns, where `*` is all that a shell knows and they may have."""
    return re.compile("|".join(map(translate, names)))


def _asked_at(registry: str) -> str | None:
    """None: no registry is asked about it."""
    try:
        return asked_at(canonical_registry(registry))
    except CredentialError:
        return None
