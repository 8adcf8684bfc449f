"""The configuration: one YAML file, read into frozen values. What contradicts itself is refused when it is made.

Every message names the path, the value and what to write instead.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import yaml

from webhook.config.messages import explained, value_shown
from webhook.config.model import Key, Model, Name, Port
from webhook.config.sourceconfig import Decrypt, Fields, HttpSource, SecretsSource, Source, SqlSource
from webhook.core.errors import PullsecretError
from webhook.core.names import OWNER
from webhook.core.owner import OwnerRule, by_annotation, by_label, by_name
from webhook.core.shown import shown

LARGEST = 1024 * 1024
"""Characters. A ConfigMap has no more bytes."""
DEEPEST = 20
"""Levels. The configuration has six."""
LONGEST = 1000
"""Characters of a message, which names keys and values as they stand in the file."""
NAMED = 3


class ConfigError(PullsecretError):
    """One line: path, what is wrong there, what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, LONGEST))


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


def load(path: Path | None) -> Config:
    """Raises ConfigError."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    try:
        return parse(text)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from None


def parse(text: str) -> Config:
    if len(text) > LARGEST:
        raise ConfigError(f"it has more than {LARGEST} characters; write fewer")
    try:
        raw = yaml.load(text, _Plain)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as e:
        raise ConfigError(_yaml_problem(e)) from None
    return Config() if raw is None else convert(raw)


def convert(raw: Any) -> Config:
    """From plain data, as it stands in the file. Raises ConfigError."""
    _known_keys(raw, Config, "")
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as e:
        raise ConfigError(explained(str(e), raw, schema())) from None


def schema() -> dict[str, Any]:
    """As JSON Schema (2020-12), for editors and for the chart."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}


class _Plain(yaml.SafeLoader):
    """YAML as JSON has it. Not what makes more of a text than stands in it (aliases; merge keys live on them), nor what
    loses something: of two equal keys the second one would win in silence, and what looks like a date would be one.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # typeshed's gap
        if event.anchor is not None:
            raise _refused(event, "an anchor or an alias; write out what it stands for")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(event, f"nested deeper than {DEEPEST}; flatten it")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused(key, "a key that is no text; write a name")
            if key.value in seen:
                raise _refused(key, f"{shown(key.value, 60)} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            raise _refused(node, "a value that is not valid for its type: put it in quotes if it is text") from None


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(at: Any, what: str) -> yaml.MarkedYAMLError:
    """`at`: an event or a node of YAML's."""
    return yaml.constructor.ConstructorError(None, None, what, at.start_mark)


def _yaml_problem(e: yaml.YAMLError) -> str:
    if isinstance(e, yaml.MarkedYAMLError) and e.problem_mark is not None:
        return f"line {e.problem_mark.line + 1}: {e.problem or 'not YAML'}"
    return "not YAML"


def _by_tag(union: Any) -> dict[str, type[Model]]:
    return {model.__struct_config__.tag: model for model in get_args(union)}


_PARTS: Mapping[type[Model], Mapping[str, type[Model]]] = {
    Config: {"pullSecret": PullSecret, "server": Server, "tls": Tls},
    HttpSource: {"answer": Fields},
    SqlSource: {"decrypt": Decrypt},
}
_LISTS: Mapping[str, tuple[str, Mapping[str, type[Model]]]] = {
    "ownerRules": ("the places to look", _by_tag(LabelRule | AnnotationRule | NameRule)),
    "sources": ("the kinds of sources", _by_tag(Source)),
}


def _known_keys(raw: Any, model: type[Model], path: str) -> None:
    """Before msgspec sees it: all unknown keys at a level, each with the nearest known one."""
    if not isinstance(raw, dict):
        return
    tag = model.__struct_config__.tag_field
    known = [*([tag] if tag else []), *model.__struct_encode_fields__]
    if unknown := [key for key in raw if key not in known]:
        more = f"; and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise ConfigError("; ".join(_unknown(path, key, known) for key in unknown[:NAMED]) + more)
    for key, part in _PARTS.get(model, {}).items():
        _known_keys(raw.get(key), part, f"{path}{key}.")
    for key in _LISTS if model is Config else ():
        for index, item in enumerate(_sequence(raw.get(key))):
            if isinstance(item, dict):
                _known_keys(item, _kind(key, item.get("from"), index), f"{key}[{index}].")


def _kind(key: str, tag: Any, index: int) -> type[Model]:
    what, models = _LISTS[key]
    try:
        return models[tag]
    except (KeyError, TypeError):
        wrong = "missing" if tag is None else f"{value_shown(tag)} is not one of {what}"
        raise ConfigError(f"{key}[{index}].from: {wrong}; write one of {', '.join(models)}") from None


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _unknown(path: str, found: Any, known: Iterable[str]) -> str:
    key = shown(found, 60) if isinstance(found, str) else value_shown(found)
    near = difflib.get_close_matches(key, list(known), 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"{path}{key}: no such key; {hint}"
