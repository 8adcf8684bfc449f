"""`pullsecret adopt`: the webhook takes over Secrets of our name that something else wrote, without a gap.

Only metadata is written: UID and content stay. The webhook then sees the Secret and applies the owner's credentials in
place, with force. So nothing else may still write the Secret. And the owner's credentials must be known: otherwise the
webhook would delete the Secret.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from webhook.commands import writers
from webhook.commands.cluster_view import ClusterView, PullSecretObject, covered, usable
from webhook.core.credential import Credentials
from webhook.core.names import DOCKERCONFIG_TYPE, is_ours
from webhook.core.pullsecret import Namespace, marks
from webhook.core.shown import command, quoted, shown, some
from webhook.core.times import to_the_minute
from webhook.kube.cluster import MERGE_PATCH, ClusterError, Meta, OwnerReference, is_name

FIELD_MANAGER = "pullsecret-adopt"
_DELETABLE_KINDS = frozenset({"configmap", "externalsecret", "sealedsecret", "secret", "sopssecret"})
"""Namespaced kinds: a command that deletes one changes no other namespace. A user who may write the Secret may put any
kind and any name into its owner references.
"""
MAX_KEYS = 20
"""Keys of labels or annotations that a printed command removes. No honest writer leaves more."""

Result = Literal["adopted", "fine", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`todo`: what an administrator has to do. `before`: who wrote the content last, and when."""

    namespace: str
    owner: str | None
    result: Result
    why: str = ""
    todo: str = ""
    before: str = ""


def line(outcome: Outcome, *, dry_run: bool) -> str:
    results = {"adopted": "would be adopted" if dry_run else "adopted", "fine": "nothing to do", "refused": "refused"}
    why = [outcome.why] if outcome.why else [f"for {quoted(outcome.owner or '')}"]
    why += [f"last written by {outcome.before}"] if outcome.before else []
    todo = f"\n  to do: {outcome.todo}" if outcome.todo else ""
    return f"{outcome.namespace}: {results[outcome.result]}: {'; '.join(why)}{todo}"


def summary(outcomes: Sequence[Outcome], *, dry_run: bool) -> str:
    counts = Counter(outcome.result for outcome in outcomes)
    adopted = f"{counts['adopted']} {'would be adopted' if dry_run else 'adopted'}"
    return f"{adopted}, {counts['fine']} with nothing to do, {counts['refused']} refused"


async def run(
    view: ClusterView, namespace: str | None, now: datetime, *, dry_run: bool, force: bool
) -> AsyncIterator[Outcome]:
    """`namespace` None: all served namespaces that have such a Secret."""
    sources = await view.source_secrets()
    async for space, secret in _found(view, namespace):
        outcome = judge(space, secret, usable(sources, space), now, force=force)
        if secret is not None and outcome.result == "adopted":
            outcome = await _adopt(view, space, secret, outcome, dry_run=dry_run)
        yield outcome


async def _found(view: ClusterView, namespace: str | None) -> AsyncIterator[tuple[Namespace, PullSecretObject | None]]:
    if namespace is not None:
        yield await view.namespace(namespace), await view.pull_secret(namespace)
        return
    spaces, _, _ = await view.served()
    async for secret in view.pull_secrets():
        if (space := spaces.get(secret.metadata.namespace)) is not None:
            yield space, secret


def judge(
    namespace: Namespace, secret: PullSecretObject | None, known: Credentials | None, now: datetime, *, force: bool
) -> Outcome:
    """Can it be adopted? `known`: the owner's credentials from source Secrets; None: a source Secret is broken."""
    name, owner = namespace.name, namespace.owner

    def refused(why: str, todo: str) -> Outcome:
        return Outcome(name, owner, "refused", why, todo)

    if owner is None:
        return refused("the namespace has no owner", "set the owner first")
    if namespace.left_alone:
        return refused(namespace.left_alone, "nothing: the webhook would delete an adopted Secret")
    if namespace.terminating:
        return refused("the namespace is being deleted", "nothing")
    if secret is None:
        return Outcome(name, owner, "fine", "there is no such Secret; the webhook creates its own")
    if is_ours(secret.metadata.labels):
        return Outcome(name, owner, "fine", "it is already the webhook's")
    why, todo = _unfit(namespace, secret)
    if why:
        return refused(why, todo)
    if not force and (lost := _lost(secret, known, owner, now)):
        return refused(lost[0], lost[1] + ", or use --force")
    at, by = secret.written or (None, "")
    return Outcome(name, owner, "adopted", before=f"{quoted(by)}, {to_the_minute(at)}" if at else "")


def _unfit(namespace: Namespace, secret: PullSecretObject) -> tuple[str, str]:
    """Why it cannot change in place, or what else still writes it, and what to do; empty when nothing is wrong."""
    meta = secret.metadata
    delete = command("kubectl -n {} delete secret {}", namespace.name, meta.name) or "delete it"
    replace = f"{delete}; the webhook immediately creates its own"
    if meta.deletion_timestamp is not None:
        return "the Secret is being deleted", "nothing: after that the webhook creates its own"
    if secret.type != DOCKERCONFIG_TYPE:
        return f"its type is {quoted(secret.type)}, and a type cannot be changed", replace
    if secret.immutable:
        return "it is immutable", replace
    for other in meta.owner_references or ():
        if other.uid != namespace.uid:
            return f"{quoted(other.kind)} {quoted(other.name)} owns it", _orphaned(namespace.name, other)
    return _written_by(namespace.name, meta)


def _orphaned(namespace: str, owner: OwnerReference) -> str:
    kind, call = owner.kind.lower(), "kubectl -n {} delete {} {} --cascade=orphan"
    delete = command(call, namespace, kind, owner.name) if kind in _DELETABLE_KINDS and is_name(owner.name) else ""
    return f"remove that owner and keep the Secret: {delete or 'check it, then delete it with --cascade=orphan'}"


def _written_by(namespace: str, meta: Meta) -> tuple[str, str]:
    """The signs of a writer. They stay when the writer stops, so an administrator then removes them all."""
    signs = writers.signs(meta)
    if not signs:
        return "", ""
    commands = []
    for where in writers.PLACES:
        if keys := [one.key for one in signs if one.where == where]:
            call = f"kubectl -n {{}} {where} secret {{}}{' {}-' * len(keys)}"
            commands.append(command(call, namespace, meta.name, *keys))
    short = all(commands) and len(signs) <= MAX_KEYS
    remove = " && ".join(commands) if short else "remove its labels and annotations from the Secret"
    return signs[0].who, f"{signs[0].stop}; then {remove}"


def _lost(secret: PullSecretObject, known: Credentials | None, owner: str, now: datetime) -> tuple[str, str] | None:
    """What would be lost when the webhook writes the credentials that it knows, and what to do."""
    if known is None:
        return f"a source Secret of {quoted(owner)} is broken", "repair it"
    fresh = known.unexpired(now)
    if not fresh.items:
        state = "has expired" if known.items else "is in no source Secret"
        return (
            f"the credential of {quoted(owner)} {state}; the webhook would remove the credentials in this Secret",
            "create a source Secret with a valid credential first",
        )
    registries = [credential.registry for credential in fresh.items]
    had, _ = secret.content  # nothing that cannot be read: the kubelet cannot use it either
    missing = [registry for registry in had if not covered(registry, registries)]
    if missing:
        return (
            f"{quoted(owner)} has no credential for {some(missing)}, which is in the Secret",
            "add one to the owner's source Secrets",
        )
    return None


async def _adopt(
    view: ClusterView, namespace: Namespace, secret: PullSecretObject, outcome: Outcome, *, dry_run: bool
) -> Outcome:
    query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
    path, body = view.path(namespace.name), _patch(namespace, secret)
    try:
        await view.cluster.call("PATCH", path, query=query, body=body, content_type=MERGE_PATCH, within=30.0)
    except ClusterError as e:
        why = "it has just changed" if e.status == 409 else f"the API server refused the change ({shown(str(e))})"
        return Outcome(outcome.namespace, outcome.owner, "refused", why, "run this command again")
    return outcome


def _patch(namespace: Namespace, secret: PullSecretObject) -> dict[str, Any]:
    """With UID and resourceVersion: only the object that was judged is patched."""
    marked = marks(namespace)
    marked["annotations"][writers.LAST_APPLIED] = None
    return {"metadata": {"uid": secret.metadata.uid, "resourceVersion": secret.metadata.resource_version, **marked}}
