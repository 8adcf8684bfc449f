"""The configuration, as frozen values. What contradicts itself is refused when it is made."""

import re
from typing import Literal

from webhook.config.base import Key, Model, Name, Port
from webhook.config.messages import value_shown
from webhook.config.sourceconfig import SecretsSource, Source
from webhook.core.names import OWNER
from webhook.core.owner import OwnerRule, by_annotation, by_label, by_name


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"pattern {value_shown(pattern)} is no regular expression: {e}") from None
    if "owner" not in compiled.groupindex:
        raise ValueError(
            f"pattern {value_shown(pattern)} has no group named owner; write (?P<owner>...) around the owner"
        )
    return compiled


class LabelRule(Model, tag="label", tag_field="from", frozen=True):
    """The owner is the value of a label of the namespace, or what the group `owner` of `pattern` matches in it."""

    key: Key
    pattern: str | None = None

    def __post_init__(self) -> None:
        _compiled(self.pattern)

    @property
    def rule(self) -> OwnerRule:
        return by_label(self.key, _compiled(self.pattern))


class AnnotationRule(Model, tag="annotation", tag_field="from", frozen=True):
    """The same with an annotation."""

    key: Key
    pattern: str | None = None

    def __post_init__(self) -> None:
        _compiled(self.pattern)

    @property
    def rule(self) -> OwnerRule:
        return by_annotation(self.key, _compiled(self.pattern))


class NameRule(Model, tag="name", tag_field="from", frozen=True):
    """The owner is what the group `owner` of `pattern` matches in the namespace's name."""

    pattern: str

    def __post_init__(self) -> None:
        _compiled(self.pattern)

    @property
    def rule(self) -> OwnerRule:
        pattern = _compiled(self.pattern)
        assert pattern is not None
        return by_name(pattern)


class PullSecret(Model, frozen=True):
    """`whenUnowned`: what happens to a pull secret whose namespace has no owner any more, or is opted out."""

    name: Name = "ghcr-secret"
    when_unowned: Literal["delete", "keep"] = "delete"


class Server(Model, frozen=True):
    """Where the webhook listens: TLS for the API server, plain HTTP for metrics."""

    address: str = "0.0.0.0"  # noqa: S104  # a pod's own address is not known beforehand
    port: Port = 8443
    metrics_port: Port = 8080

    def __post_init__(self) -> None:
        if self.port == self.metrics_port:
            raise ValueError(f"port and metricsPort are both {self.port}; they need two different ports")


class Tls(Model, frozen=True):
    """The serving certificate. Without files the webhook makes its own and publishes its CA.

    `hosts`: names and addresses in the certificate; empty: those of the Service in the release namespace.
    `caSecret`, `service` and `webhookConfiguration`: the names of the objects in the cluster.
    """

    cert_file: str | None = None
    key_file: str | None = None
    hosts: tuple[str, ...] = ()
    service: Name = "pullsecret-webhook"
    ca_secret: Name = "pullsecret-webhook-ca"  # noqa: S105  # an object's name
    webhook_configuration: Name = "pullsecret-webhook"
    webhook: str = "mutate.pullsecret-webhook.io"

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

    owner_rules: tuple[LabelRule | AnnotationRule | NameRule, ...] = (LabelRule(key=OWNER),)
    sources: tuple[Source, ...] = (SecretsSource(),)
    pull_secret: PullSecret = PullSecret()
    deployments: Literal["inject", "supply"] = "inject"
    excluded_namespaces: tuple[Name, ...] = ("kube-system", "kube-public", "kube-node-lease")
    namespace: Name = "pullsecret-webhook"
    server: Server = Server()
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        if not self.owner_rules:
            raise ValueError("ownerRules is empty, so no namespace would have an owner; leave it out for the default")
        if not self.sources:
            raise ValueError("sources is empty, so no owner would have credentials; leave it out for the default")
        if [*map(type, self.sources)].count(SecretsSource) > 1:
            raise ValueError("sources has secrets twice; once is all of them")

    @property
    def rules(self) -> tuple[OwnerRule, ...]:
        return tuple(rule.rule for rule in self.owner_rules)

    @property
    def asked_about_owned(self) -> bool:
        """Does the registration's namespace selector let only owned namespaces through, none of them opted out?

        The chart makes it so where one label decides, whatever its value.
        """
        rules = self.owner_rules
        return len(rules) == 1 and isinstance(rules[0], LabelRule) and rules[0].pattern is None

    def excluded(self, namespace: str) -> bool:
        """The webhook's own namespace is always excluded: its Secrets are every owner's."""
        return namespace == self.namespace or namespace in self.excluded_namespaces
