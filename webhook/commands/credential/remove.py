"""`pullsecret credential rm`: credentials leave their source Secrets. First it is said what the namespaces lose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from webhook.commands import writers
from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential import content
from webhook.commands.credential.calls import SourceSecrets
from webhook.commands.credential.holdings import NAMESPACES_UNREAD, Holdings, NotThere, holdings, needs_source
from webhook.config.sourceconfig import SecretsSource
from webhook.core.errors import CredentialError, PullsecretError
from webhook.core.shown import quoted, some
from webhook.kube.cluster import SecretObject
from webhook.sources.secret import WITHDRAWAL_SECONDS, SourceSecret

DELAY = f"the pull secrets change later, because a deleted source Secret counts for {WITHDRAWAL_SECONDS:g} seconds more"


@dataclass(frozen=True, slots=True)
class Step:
    """In one source Secret. `data`: what changes in it; None: the whole Secret is deleted. `registries`: whose
    credentials it loses.
    """

    seen: SecretObject = field(repr=False)
    data: Mapping[str, Any] | None = field(repr=False)
    registries: Sequence[str]

    @property
    def name(self) -> str:
        return self.seen.metadata.name

    def line(self, *, done: bool, dry_run: bool = False) -> str:
        """`done`: it has been carried out."""
        verb = "would be " if dry_run else "" if done else "is to be "
        registries = some(self.registries)
        if self.data is None:
            return f"source Secret {self.name} {verb}deleted{registries and f' ({registries})'}"
        return f"{registries} {verb}removed from source Secret {self.name}"


@dataclass(frozen=True, slots=True)
class Removal:
    """`losses`: what the namespaces lose, a line each."""

    steps: Sequence[Step]
    losses: Sequence[str]
    warnings: Sequence[str] = ()


async def planned(view: ClusterView, owner: str, registry: str | None, name: str | None, now: datetime) -> Removal:
    """`registry` None: credentials for all; `name` None: in all source Secrets of the owner. Raises PullsecretError."""
    needs_source(view)
    mine, names = await holdings(view, owner)
    if not mine.secrets:
        raise names.no_secret(owner)
    calls, steps, after, warnings = SourceSecrets(view), list[Step](), mine, list[str]()
    for one in [name] if name is not None else sorted(mine.secrets):
        seen = await calls.get(one, owner)
        if (step := _step(seen, registry)) is None:
            continue
        steps.append(step)
        after = after.with_secret(one, _left(step, owner))
        if issuer := writers.issuer(seen.metadata):
            why = f"the issuer {quoted(issuer)} writes it, and mints another one while the owner has a namespace"
            warnings.append(f"source Secret {one}: {why}, unless its owners in the configuration leave this one out")
        elif who := writers.writer(seen.metadata):
            warnings.append(f"source Secret {one}: {who}, and may write it again; remove the credential there too")
    if not steps:
        raise NotThere(f"{quoted(owner)} has no credential for {quoted(registry or '')}{name and f' in {name}'}")
    if not all(isinstance(source, SecretsSource) for source in view.config.sources):
        warnings.append("the webhook has other sources too, and what they have for the owner stays")
    return Removal(steps, [*losses(view, mine, after, now)], warnings)


async def carry_out(view: ClusterView, removal: Removal, *, dry_run: bool) -> list[str]:
    """A line for each step. Raises PullsecretError, with what has been done before."""
    calls, lines = SourceSecrets(view, dry_run=dry_run), list[str]()
    for step in removal.steps:
        try:
            if step.data is None:
                await calls.delete(step.seen)
            else:
                await calls.change(step.seen, step.data, {})
        except PullsecretError as e:
            raise PullsecretError("; ".join([*lines, str(e)])) from None
        lines.append(step.line(done=True, dry_run=dry_run))
    if not dry_run and any(step.data is None for step in removal.steps):
        lines.append(DELAY)
    return lines


def _step(seen: SecretObject, registry: str | None) -> Step | None:
    """None: it has no credential for the registry."""
    try:
        found = content.entries(seen)
        data = None if registry is None else content.without(seen, registry)
    except CredentialError:
        return Step(seen, None, ()) if registry is None else None
    registries = [one.registry for one in found if registry is None or content.same_key(one.registry, registry)]
    return Step(seen, data, sorted({*registries})) if registries or registry is None else None


def _left(step: Step, owner: str) -> SourceSecret | None:
    """How the webhook reads the Secret after that. Raises PullsecretError if it would read nothing: then the pull
    secrets would stay as they are, with what is to leave them.
    """
    if step.data is None:
        return None
    try:
        return content.read_back(content.patched(step.seen, step.data, {}), owner)
    except CredentialError as e:
        raise PullsecretError(
            f"source Secret {step.name}: without {some(step.registries)} it would be broken ({e}); remove all of it, "
            f"with --name {step.name} and without --registry"
        ) from None


def losses(view: ClusterView, before: Holdings, after: Holdings, now: datetime) -> Iterator[str]:
    """A line for all namespaces that lose the same."""
    if before.namespaces is None:
        yield NAMESPACES_UNREAD
    elif after.broken:
        yield f"the pull secrets stay as they are, also with what is removed: {after.broken}"
    elif before.broken:
        yield f"what the namespaces lose is not known, because {before.broken}"
    else:
        lost: dict[str, list[str]] = {}
        for name in before.namespaces:
            for words in _loss(view, before, after, name, now):
                lost.setdefault(words, []).append(name)
        yield from (f"{some(names)}: {words}" for words, names in lost.items())
        if not lost:
            yield "no namespace loses anything"


def _loss(view: ClusterView, before: Holdings, after: Holdings, namespace: str, now: datetime) -> Iterator[str]:
    """In one namespace."""
    had, has = before.used(namespace, now), after.used(namespace, now)
    if had and not has:
        if view.config.pull_secret.when_withdrawn == "keep":
            yield "the pull secret stays as it is, because the configuration has whenWithdrawn: keep"
        else:
            yield f"the pull secret is deleted, with {some([*dict.fromkeys(c.registry for c in had)])}"
        return
    for registry in dict.fromkeys(c.registry for c in had):
        mine = [c.origin.name for c in has if c.registry == registry]
        if not mine:
            yield f"the pull secret loses {quoted(registry)}"
        elif mine != [c.origin.name for c in had if c.registry == registry]:
            yield f"the pull secret keeps {quoted(registry)}, with the credential of source Secret {some(mine)}"
