"""What an owner has in source Secrets, and in which of its namespaces each credential is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from webhook.commands.cluster_view import ClusterView, broken, unknown
from webhook.commands.credential.content import same_key
from webhook.config.models import LabelRule, NameRule
from webhook.config.reading import ConfigError
from webhook.config.sourceconfig import SecretsSource
from webhook.core.check import Checks
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import PullsecretError
from webhook.core.merge import Merged, merged
from webhook.core.mirror import MirrorRule, mirrored
from webhook.core.mistakes import near_owner
from webhook.core.pullsecret import Namespace
from webhook.core.shown import command, quoted
from webhook.sources.secret import SourceSecret, credentials_of

NAMESPACES_UNREAD = "the namespaces may not be read, so it is not known which of them use it"


class NotThere(PullsecretError):
    """What somebody names is not there."""


@dataclass(frozen=True)
class Holdings:
    """`secrets`: its source Secrets, by name. `namespaces`: those that it is the owner of, by name; None: they may not
    be read. `checks`: what registries said; None: that is not known. `mirrors`: that nodes ask before registries.
    """

    owner: str
    secrets: Mapping[str, SourceSecret]
    namespaces: Mapping[str, Namespace] | None = None
    checks: Checks | None = field(default=None, repr=False)
    mirrors: tuple[MirrorRule, ...] = ()

    @cached_property
    def known(self) -> Credentials | str:
        """With refusals; or the name of a broken source Secret, because of which nothing is written at all."""
        found = credentials_of(self.secrets)
        if isinstance(found, str) or self.checks is None:
            return found
        return self.checks.marked(found)

    @property
    def broken(self) -> str:
        """Why its pull secrets stay as they are; empty: no source Secret is broken."""
        return broken(self.secrets)

    def used(self, namespace: str, now: datetime) -> tuple[Credential, ...]:
        """Its credentials in the pull secret there, also under other names because of mirrors. Preferred ones of a
        registry come first. Empty while one is broken.
        """
        return self.merged(namespace, now).items

    def merged(self, namespace: str, now: datetime) -> Merged:
        known = self.known if isinstance(self.known, Credentials) else Credentials()
        return merged(mirrored(known.accepted, self.mirrors, self.owner), namespace, now)

    def refuses(self, c: Credential) -> bool:
        """Does its registry, so that the credential is left out of pull secrets?"""
        check = self.checks.of(c) if self.checks is not None else None
        return check is not None and check.refusal is not None and check.refusal.left_out

    def with_secret(self, name: str, secret: SourceSecret | None) -> "Holdings":
        """As after a change. None: without it."""
        secrets = {key: one for key, one in self.secrets.items() if key != name}
        return replace(self, secrets=secrets if secret is None else {**secrets, name: secret})

    def of_registry(self, registry: str) -> list[tuple[str, Credential]]:
        """Name of the Secret and credential, of all for this registry."""
        return [
            (name, c)
            for name, one in sorted(self.secrets.items())
            for c in one.credentials or ()
            if same_key(c.registry, registry)
        ]


def needs_source(view: ClusterView) -> None:
    """Raises ConfigError."""
    if not any(isinstance(source, SecretsSource) for source in view.config.sources):
        raise ConfigError(
            "the webhook's configuration has no source `from: secrets`, so it reads no source Secrets; change the "
            "credential where it comes from"
        )


async def holdings(view: ClusterView, owner: str) -> tuple[Holdings, "Names"]:
    """Of one owner, and the names of others."""
    sources = await view.source_secrets()
    served = await view.may("namespaces", view.served(), None)
    spaces = None if served is None else served[0]
    mine = None if spaces is None else {name: one for name, one in spaces.items() if one.owner == owner}
    names = Names(frozenset(sources), frozenset(one.owner or "" for one in (spaces or {}).values()))
    return Holdings(owner, sources.get(owner, {}), mine, await view.checks(), view.config.mirror_rules), names


@dataclass(frozen=True)
class Names:
    """Owners of source Secrets, and of namespaces."""

    of_secrets: frozenset[str]
    of_namespaces: frozenset[str]

    def no_secret(self, owner: str) -> NotThere:
        return NotThere(unknown(owner, self.of_secrets))

    def no_namespace(self, owner: str, view: ClusterView) -> str:
        near = near_owner(owner, self.of_namespaces)
        guess = f"; did you mean {quoted(near)}?" if near else ""
        return f"no namespace has the owner {quoted(owner)} yet{guess}{_how(owner, view)}"


def _how(owner: str, view: ClusterView) -> str:
    """How a namespace gets it, where the first owner rule makes that plain."""
    rule = view.config.owner_rules[0]
    if isinstance(rule, NameRule) or rule.pattern is not None:
        return ""
    verb = "label" if isinstance(rule, LabelRule) else "annotate"
    call = command(f"kubectl {verb} namespace NAME {{}}={{}}", rule.key, owner)
    return f" (to set it: {call})" if call else ""
