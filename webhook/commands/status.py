"""`pullsecret status`: is everything as it should be, namespace by namespace, and if not, why?

Read from the cluster alone, with an administrator's kubeconfig, and without writing: namespaces, the Secrets of our
name, source Secrets, our own Events, pods, and service accounts of those that lack the reference. Of each object only
what is shown is kept, so that thousands of namespaces fit; of a credential no more than its registry.

Sources that are no Secrets cannot be asked from here: the webhook's recent Events about them stand in for that.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import msgspec

from webhook.commands.cluster_view import FINGERPRINT, ClusterView, PullSecretObject
from webhook.config.sourceconfig import SecretsSource
from webhook.core.credential import Credentials, has_ended, next_end
from webhook.core.dockerconfig import DockerConfigError
from webhook.core.errors import MalformedReview
from webhook.core.names import INJECT, MIRROR, NAMESPACE_UID
from webhook.core.pullsecret import SOON, Leave, Namespace, Planner, Standing
from webhook.core.review import PodSpec
from webhook.core.shown import quoted, shown, some
from webhook.kube.cluster import AccountObject, Meta
from webhook.kube.listing import listed
from webhook.kube.reader import Reader
from webhook.kube.recent_events import RecentWarnings, WarningEvent, recent_warnings

CELL = 64
"""Characters of a cell of the table; JSON has all."""

State = Literal["right", "none", "wrong", "unserved"]


@dataclass(frozen=True, slots=True)
class Line:
    """One namespace. `state` none: no credential is known, so there is no Secret. `problem`: what needs a human.

    `expires`: when the next of its credentials ends; if there is none, when the first one did.
    """

    namespace: str
    owner: str | None
    state: State
    registries: tuple[str, ...] = ()
    expires: datetime | None = None
    written: datetime | None = None
    problem: str = ""
    note: str = ""
    pods_without: tuple[str, ...] = ()
    pods_barred: tuple[str, ...] = ()
    accounts_barring: tuple[str, ...] = ()

    @property
    def needs_a_human(self) -> bool:
        return bool(self.problem or self.pods_without or self.pods_barred)


@dataclass(frozen=True, slots=True)
class Report:
    """`sources`: the webhook's recent warnings about sources as a whole."""

    lines: Sequence[Line]
    sources: Sequence[str] = ()

    @property
    def needs_a_human(self) -> bool:
        return any(line.needs_a_human for line in self.lines)


@dataclass(frozen=True, slots=True)
class Pods:
    """Running pods of one namespace without the reference. `barred`: their `accounts` forbid it to them."""

    without: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a Secret of our name."""

    standing: Standing
    type: str
    namespace_uid: str | None
    written: datetime | None
    registries: tuple[str, ...]
    unreadable: str

    @classmethod
    def of(cls, secret: PullSecretObject, reader: Reader) -> "Seen":
        annotations = secret.metadata.annotations or {}
        registries: tuple[str, ...] = ()
        unreadable = ""
        try:
            parsed = secret.parsed
            registries, unreadable = tuple(c.registry for c in parsed.credentials), shown("; ".join(parsed.problems))
        except DockerConfigError as e:
            unreadable = str(e)
        standing, by = reader.standing(secret), secret.written
        return cls(
            standing=standing,
            type=secret.type,
            namespace_uid=annotations.get(NAMESPACE_UID),
            written=by.time if by is not None else None,
            registries=registries,
            unreadable=unreadable,
        )


class _Phase(msgspec.Struct, frozen=True):
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: Meta
    spec: PodSpec
    status: _Phase = _Phase()

    def lacks(self, name: str) -> bool:
        """Should it have the reference, and has it not? One that has ended needs none."""
        meta = self.metadata
        if self.status.phase in ("Succeeded", "Failed") or meta.deletion_timestamp is not None:
            return False
        if (meta.labels or {}).get(INJECT) == "disabled" or MIRROR in (meta.annotations or {}):
            return False
        try:
            return not self.spec.too_long and name not in (self.spec.names or [])
        except MalformedReview:
            return False


async def run(view: ClusterView, namespace: str | None, now: datetime) -> Report:
    """`namespace` None: all that are served."""
    config, reader = view.config, view.reader
    name = config.pull_secret.name
    if namespace is not None:
        space = await view.namespace(namespace)
        if not space.served:
            note = "the namespace has no owner" if space.owner is None else "the namespace is opted out or excluded"
            return Report([Line(namespace, space.owner, "unserved", note=note)])
        spaces = {namespace: space}
        secret = await view.pull_secret(namespace)
        seen = {} if secret is None else {namespace: Seen.of(secret, reader)}
    else:
        spaces = await view.served()
        query = {"fieldSelector": f"metadata.name={name}"}
        found = listed(view.cluster, f"the Secrets {name}", "/api/v1/secrets", PullSecretObject, query=query)
        seen = {one.metadata.namespace: Seen.of(one, reader) async for one in found if one.metadata.namespace in spaces}
    sources = await view.source_secrets()
    warnings = await recent_warnings(view.cluster, config, namespace, now)
    pods = await _pods(view, namespace, spaces, name)
    asked = all(isinstance(source, SecretsSource) for source in config.sources)
    judge = Judge(Planner(name, FINGERPRINT), now, warnings, asked=asked)
    lines = [judge(of, seen.get(of.name), sources.usable(of), pods.get(of.name, Pods())) for of in spaces.values()]
    newest = sorted(warnings.of_source.values(), key=lambda one: one.at, reverse=True)
    return Report(lines, () if asked else [f"{_short(one.at)} {one}" for one in newest])


async def _pods(view: ClusterView, namespace: str | None, served: Container[str], name: str) -> dict[str, Pods]:
    without: dict[str, list[tuple[str, str]]] = {}
    async for pod in listed(view.cluster, "pods", _within(namespace, "pods"), _Pod):
        if pod.metadata.namespace in served and pod.lacks(name):
            account = pod.spec.service_account_name or "default"
            without.setdefault(pod.metadata.namespace, []).append((pod.metadata.name, account))
    barring: set[tuple[str, str]] = set()
    if without:
        path = _within(namespace, "serviceaccounts")
        async for one in listed(view.cluster, "service accounts", path, AccountObject):
            if view.reader.account(one).refuses(name):
                barring.add((one.metadata.namespace, one.metadata.name))
    return {
        space: Pods(
            tuple(pod for pod, account in pods if (space, account) not in barring),
            tuple(pod for pod, account in pods if (space, account) in barring),
            tuple(sorted({account for _, account in pods if (space, account) in barring})),
        )
        for space, pods in without.items()
    }


def _within(namespace: str | None, resource: str) -> str:
    return f"/api/v1/{resource}" if namespace is None else f"/api/v1/namespaces/{namespace}/{resource}"


@dataclass(frozen=True)
class Judge:
    """`asked`: are source Secrets all that there is? If not, what an owner should have is not known here."""

    planner: Planner
    now: datetime
    warnings: RecentWarnings = field(default_factory=RecentWarnings)
    asked: bool = True

    def __call__(
        self,
        namespace: Namespace,
        seen: Seen | None,
        known: Credentials | None,
        pods: Pods = Pods(),
    ) -> Line:
        """`known`: what the owner has here by the source Secrets, None when one is broken."""
        return replace(
            self._line(namespace, seen, known),
            pods_without=pods.without,
            pods_barred=pods.barred,
            accounts_barring=pods.accounts,
        )

    def _line(self, namespace: Namespace, seen: Seen | None, known: Credentials | None) -> Line:
        name, owner = namespace.name, namespace.owner
        if seen is None:
            problem = self._why_missing(namespace, known)
            note = (
                ""
                if problem
                else "no credential is known"
                if self.asked
                else "sources other than Secrets are not asked from here"
            )
            state: State = "wrong" if problem else "none"
            return Line(name, owner, state, problem=problem, note=note)
        problem = self._wrong(namespace, seen) or self._other(namespace, seen, known)
        warning = self.warnings.of_namespace.get(name)
        if problem and warning is not None and warning.is_after(seen.written):
            problem += f"; {warning}"
        ends = seen.standing.ends
        end = next_end(ends, self.now)
        soon = end is not None and has_ended(end, self.now + SOON)
        notes = ["a credential ends soon"] if soon else []
        notes += [str(conflict)] if (conflict := self.warnings.conflicts.get(owner or "")) and not self.asked else []
        return Line(
            name,
            owner,
            "wrong" if problem else "right",
            seen.registries if seen.standing.ours else (),
            end or min(ends, default=None),
            seen.written,
            problem,
            "; ".join(notes),
        )

    def _why_missing(self, namespace: Namespace, known: Credentials | None) -> str:
        owner, warning = namespace.owner or "", self.warnings.of_namespace.get(namespace.name)
        if known is None:
            return f"there is no Secret, and a source Secret of {quoted(owner)} is broken"
        if known.unexpired(self.now).items:
            return f"the Secret is missing; {warning or 'is the webhook running?'}"
        if known.items:
            return f"there is no Secret: the credential of {quoted(owner)} has ended; renew it"
        if warning is None and not self.asked:
            warning = self.warnings.of_owner.get(owner) or self.warnings.outage
        return f"there is no Secret; {warning}" if warning else ""

    def _wrong(self, namespace: Namespace, seen: Seen) -> str:
        standing = seen.standing
        if not standing.ours:
            return f"the Secret is not the webhook's; see pullsecret adopt -n {namespace.name} --dry-run"
        if standing.terminating:
            return "the Secret is being deleted and something holds it"
        if not standing.dockerconfig:
            return f"the Secret's type is {quoted(seen.type)}"
        if standing.owner != namespace.owner:
            return f"the Secret is {quoted(standing.owner or 'nobody')}'s"
        if seen.namespace_uid != namespace.uid:
            return "the Secret is for an earlier namespace of this name"
        if seen.unreadable:
            return f"the Secret's content is not usable: {seen.unreadable}"
        if ended := [end for end in standing.ends if has_ended(end, self.now)]:
            return f"a credential of {quoted(namespace.owner or '')} ended {min(ended):%Y-%m-%d %H:%M}; renew it"
        return ""

    def _other(self, namespace: Namespace, seen: Seen, known: Credentials | None) -> str:
        """Would the webhook change it, as far as is known here?"""
        owner = namespace.owner or ""
        if not self.asked:
            return _stale(seen, self.warnings.of_owner.get(owner))
        if known is None:
            return f"a source Secret of {quoted(owner)} is broken; what stood before stays"
        if isinstance(self.planner(namespace, known, seen.standing, self.now).step, Leave):
            return ""
        return f"the Secret is not what {quoted(owner)}'s source Secrets say; is the webhook running?"


def _stale(seen: Seen, warning: WarningEvent | None) -> str:
    """Could the webhook not learn what the owner has? What it cannot use of an answer is in no Secret, however new."""
    if warning is None or warning.reason not in ("SourceUnavailable", "SourceAnswerBroken"):
        return ""
    if warning.reason == "SourceUnavailable" and not warning.is_after(seen.written):
        return ""
    return f"what stands may be old; {warning}"


def text(report: Report) -> str:
    """The warnings about sources, a table, and below each row what is to be said about it."""
    lines = report.lines
    rows = [("NAMESPACE", "OWNER", "SECRET", "ENDS", "WRITTEN", "REGISTRIES")]
    for line in lines:
        ends, written = _short(line.expires), _short(line.written)
        owner = quoted(line.owner, CELL) if line.owner else "-"
        rows.append((quoted(line.namespace), owner, line.state, ends, written, some(line.registries) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out = []
    for row, about in zip(rows, (None, *lines), strict=True):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if about is not None:
            out += [f"  {one}" for one in (about.problem, about.note, *_pods_text(about)) if one]
    return "\n".join([*report.sources, *out, summary(lines)])


def summary(lines: Sequence[Line]) -> str:
    states = Counter(line.state for line in lines)
    pods = sum(len(line.pods_without) + len(line.pods_barred) for line in lines)
    human = sum(line.needs_a_human for line in lines)
    return (
        f"{len(lines)} namespaces: {states['right']} right, {states['none']} without a known credential, "
        f"{states['wrong']} wrong; {pods} pods without the reference; {human} for a human"
    )


def _pods_text(line: Line) -> list[str]:
    said = []
    if line.pods_without:
        said.append(f"pods without the reference, to be created anew: {some(line.pods_without)}")
    if line.pods_barred:
        said.append(
            f"pods without the reference, which their service account forbids: {some(line.pods_barred)}; "
            f"add the pull secret to the imagePullSecrets of {some(line.accounts_barring)}, then create them anew"
        )
    return said


def _short(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}" if when is not None else "-"
