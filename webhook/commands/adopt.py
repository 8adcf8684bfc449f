"""`pullsecret adopt`: Secrets of our name that something else wrote become the webhook's, without a gap.

Only metadata is written: the label by which the webhook knows its own, whose the Secret is and for which namespace, and
the reference to the namespace. UID and content stay; the webhook then sees the Secret and writes the owner's
credentials into it in place, by force over whoever wrote it before. So nobody may go on writing it, and the owner's
credentials must be there: else the webhook would delete what it has just been given.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from webhook.commands.cluster_view import ClusterView, PullSecretObject, covered
from webhook.core.credential import Credentials
from webhook.core.dockerconfig import DockerConfigError
from webhook.core.names import DOCKERCONFIG_TYPE, MANAGED_BY, MANAGER, NAMESPACE_UID, OWNER
from webhook.core.pullsecret import Namespace
from webhook.core.shown import command, quoted, shown, some
from webhook.kube.cluster import ClusterError, Meta, OwnerReference, is_name
from webhook.kube.listing import listed

FIELD_MANAGER = "pullsecret-adopt"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Has the whole Secret in it, the old token too."""

_ORPHAN = "annotate the Secret {}, take it out of {}"
_WRITERS: tuple[tuple[str, str, str, str], ...] = (
    (
        "label",
        "generate.kyverno.io/",
        "a Kyverno policy generates it",
        "set orphanDownstreamOnPolicyDelete: true in its rule and delete the rule",
    ),
    (
        "label",
        "reconcile.external-secrets.io/",
        "External Secrets writes it",
        "set creationPolicy: Orphan in its ExternalSecret and delete that",
    ),
    (
        "annotate",
        "meta.helm.sh/release-",
        "it is of a Helm release",
        _ORPHAN.format("helm.sh/resource-policy=keep", "the chart and upgrade"),
    ),
    (
        "label",
        "helm.toolkit.fluxcd.io/",
        "it is of a Flux HelmRelease",
        _ORPHAN.format("helm.sh/resource-policy=keep", "the chart and reconcile"),
    ),
    (
        "label",
        "kustomize.toolkit.fluxcd.io/",
        "it is of a Flux Kustomization",
        _ORPHAN.format("kustomize.toolkit.fluxcd.io/prune=disabled", "Git and reconcile"),
    ),
    (
        "annotate",
        "argocd.argoproj.io/tracking-id",
        "it is of an Argo CD application",
        _ORPHAN.format("argocd.argoproj.io/sync-options=Prune=false", "Git and sync"),
    ),
    ("annotate", "reflector.v1.k8s.emberstack.com/", "Reflector copies it", "end the copying at its source"),
    ("annotate", "replicator.v1.mittwald.de/", "kubernetes-replicator copies it", "end the copying at its source"),
)
"""Who writes such Secrets, how that is seen, and how to make them stop without taking the Secret along."""

_MAKERS = frozenset({"configmap", "externalsecret", "sealedsecret", "secret", "sopssecret"})
"""Kinds that live in a namespace, so that a command to delete one reaches no further. Whoever may write the Secret says
what owns it: any kind, any name.
"""
MAX_KEYS = 20
"""Signs that a command takes away; more are nobody's who means no harm."""

Result = Literal["adopted", "fine", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`why` and, for a human, `todo`. `before`: who wrote the content so far."""

    namespace: str
    owner: str | None
    result: Result
    why: str = ""
    todo: str = ""
    before: str = ""


def line(outcome: Outcome, *, dry_run: bool) -> str:
    """For people."""
    said = {"adopted": "would be adopted" if dry_run else "adopted", "fine": "nothing to do", "refused": "refused"}
    why = [outcome.why] if outcome.why else [f"for {quoted(outcome.owner or '')}"]
    why += [f"written so far by {outcome.before}"] if outcome.before else []
    todo = f"\n  to do: {outcome.todo}" if outcome.todo else ""
    return f"{outcome.namespace}: {said[outcome.result]}: {'; '.join(why)}{todo}"


def summary(outcomes: Sequence[Outcome], *, dry_run: bool) -> str:
    counts = Counter(outcome.result for outcome in outcomes)
    adopted = f"{counts['adopted']} {'would be adopted' if dry_run else 'adopted'}"
    return f"{adopted}, {counts['fine']} with nothing to do, {counts['refused']} for a human"


async def run(
    view: ClusterView, namespace: str | None, now: datetime, *, dry_run: bool, force: bool
) -> AsyncIterator[Outcome]:
    """`namespace` None: all that are served; those without such a Secret are passed over."""
    sources = await view.source_secrets()
    if namespace is not None:
        space = await view.namespace(namespace)
        secret = await view.pull_secret(namespace)
        known = sources.usable(space)
        yield await _adopt(view, space, secret, judge(space, secret, known, now, force=force), dry_run=dry_run)
        return
    spaces, name = await view.served(), view.config.pull_secret.name
    query = {"fieldSelector": f"metadata.name={name}"}
    found = listed(view.cluster, f"the Secrets {name}", "/api/v1/secrets", PullSecretObject, query=query)
    async for secret in found:
        if (of := spaces.get(secret.metadata.namespace)) is not None:
            outcome = judge(of, secret, sources.usable(of), now, force=force)
            yield await _adopt(view, of, secret, outcome, dry_run=dry_run)


def judge(
    namespace: Namespace, secret: PullSecretObject | None, known: Credentials | None, now: datetime, *, force: bool
) -> Outcome:
    """May it be taken over? `known`: what the owner has here by the source Secrets; None: nobody could say."""
    name, owner = namespace.name, namespace.owner

    def refused(why: str, todo: str) -> Outcome:
        return Outcome(name, owner, "refused", why, todo)

    if owner is None:
        return refused("the namespace has no owner", "say whose it is first")
    if not namespace.enabled:
        return refused("the namespace is opted out or excluded", "the webhook would delete the Secret")
    if namespace.terminating:
        return refused("the namespace is being deleted", "nothing is to be done")
    if secret is None:
        return Outcome(name, owner, "fine", "there is none; the webhook makes its own")
    if secret.ours:
        return Outcome(name, owner, "fine", "it is the webhook's already")
    why, todo = _unfit(namespace, secret)
    if why:
        return refused(why, todo)
    if not force and (lost := _lost(secret, known, owner, now)):
        return refused(lost[0], lost[1] + ", or use --force")
    return Outcome(name, owner, "adopted", before=_before(secret))


def _unfit(namespace: Namespace, secret: PullSecretObject) -> tuple[str, str]:
    """Why the webhook could not take it over in place, or would have to fight for it; empty when nothing is wrong."""
    meta = secret.metadata
    call = "kubectl -n {} delete secret {}"
    anew = f"{command(call, namespace.name, meta.name) or 'delete it'}; the webhook makes its own at once"
    if meta.deletion_timestamp is not None:
        return "the Secret is being deleted", "nothing: the webhook makes its own when it is gone"
    if secret.type != DOCKERCONFIG_TYPE:
        return f"its type is {quoted(secret.type)}, which cannot be changed", anew
    if secret.immutable:
        return "it is immutable", anew
    for other in meta.owner_references or ():
        if other.uid != namespace.uid:
            return f"{quoted(other.kind)} {quoted(other.name)} owns it", _orphaned(namespace.name, other)
    return _written_by(namespace.name, meta)


def _orphaned(namespace: str, maker: OwnerReference) -> str:
    kind, call = maker.kind.lower(), "kubectl -n {} delete {} {} --cascade=orphan"
    stop = command(call, namespace, kind, maker.name) if kind in _MAKERS and is_name(maker.name) else ""
    what = stop or "if it is what it should be, delete it with --cascade=orphan"
    return f"end that so that the Secret stays: {what}"


def _written_by(namespace: str, meta: Meta) -> tuple[str, str]:
    """Signs of a writer. They stay when it is stopped, so a human who has done that takes them away, all at once."""
    places: dict[str, Mapping[str, str]] = {
        "label": meta.labels or {},  # as kubectl calls it
        "annotate": meta.annotations or {},
    }
    signs: list[tuple[str, str, str, str]] = [
        (where, key, who, stop)
        for where, prefix, who, stop in _WRITERS
        for key in sorted(places[where])
        if key.startswith(prefix)
    ]
    for where, metadata in places.items():
        if by := metadata.get(MANAGED_BY):
            signs.append((where, MANAGED_BY, f"its {MANAGED_BY} is {quoted(by)}", "make that stop writing it"))
    if not signs:
        return "", ""
    commands = []
    for where in places:
        if keys := [key for place, key, _, _ in signs if place == where]:
            call = f"kubectl -n {{}} {where} secret {{}}{' {}-' * len(keys)}"
            commands.append(command(call, namespace, meta.name, *keys))
    away = (
        " && ".join(commands) if all(commands) and len(signs) <= MAX_KEYS else "take these signs of it off the Secret"
    )
    _, _, who, stop = signs[0]
    return who, f"{stop}; then {away}"


def _lost(secret: PullSecretObject, known: Credentials | None, owner: str, now: datetime) -> tuple[str, str] | None:
    """What would be lost when the webhook writes what it knows."""
    if known is None:
        return f"a source Secret of {quoted(owner)} is broken", "mend it"
    fresh = known.unexpired(now)
    if not fresh.items:
        have = "has ended" if known.items else "is in no source Secret"
        return (
            f"the credential of {quoted(owner)} {have}; the webhook would not keep this one",
            "give the owner one first",
        )
    try:
        had = [credential.registry for credential in secret.parsed.credentials]
    except DockerConfigError:
        return None  # it helps nobody now
    registries = [credential.registry for credential in fresh.items]
    missing = [registry for registry in had if not covered(registry, registries)]
    if missing:
        return f"{quoted(owner)} has no credential for {some(missing)}, which is in the Secret", "add it to the owner's"
    return None


def _before(secret: PullSecretObject) -> str:
    wrote = secret.written
    return f"{quoted(wrote.manager)}, {wrote.time:%Y-%m-%d %H:%M}" if wrote is not None and wrote.time else ""


async def _adopt(
    view: ClusterView, namespace: Namespace, secret: PullSecretObject | None, outcome: Outcome, *, dry_run: bool
) -> Outcome:
    if outcome.result != "adopted" or secret is None:
        return outcome
    query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
    try:
        await view.cluster.call(
            "PATCH",
            view.path(namespace.name),
            query=query,
            body=_patch(namespace, secret),
            content_type="application/merge-patch+json",
            within=30.0,
        )
    except ClusterError as e:
        what = "it changed meanwhile" if e.status == 409 else f"the API server does not take it ({shown(str(e))})"
        return Outcome(outcome.namespace, outcome.owner, "refused", what, "run this again")
    return outcome


def _patch(namespace: Namespace, secret: PullSecretObject) -> dict[str, Any]:
    """With UID and version: exactly the object that was judged."""
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": namespace.name, "uid": namespace.uid}
    return {
        "metadata": {
            "uid": secret.metadata.uid,
            "resourceVersion": secret.metadata.resource_version,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {OWNER: namespace.owner, NAMESPACE_UID: namespace.uid, LAST_APPLIED: None},
            "ownerReferences": [reference],
        }
    }
