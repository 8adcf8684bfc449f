"""`pullsecret status`: is everything as it should be, namespace by namespace, and if not, why?

Read from the cluster alone, with an administrator's kubeconfig, and without writing: namespaces, the Secrets of our
name, source Secrets, our own Events, pods. Of each object only what is shown is kept, so that thousands of namespaces
fit; of a credential no more than its registry.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec

from webhook.cluster import Meta
from webhook.credential import Credentials
from webhook.dockerconfig import DockerConfigError
from webhook.errors import MalformedReview
from webhook.listing import listed
from webhook.names import INJECT, MANAGER, MIRROR, NAMESPACE_UID
from webhook.outside import FINGERPRINT, Outside, PullSecretObject
from webhook.pullsecret import SOON, Leave, Namespace, Planner, Standing
from webhook.review import PodSpec
from webhook.sourceconfig import SecretsSource
from webhook.state import Reader

NAMED = 5
"""Pods of one namespace that are named in text; JSON has all."""
LONGEST_NOTE = 200

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

    @property
    def needs_a_human(self) -> bool:
        return bool(self.problem or self.pods_without)


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
            registries, unreadable = tuple(c.registry for c in parsed.credentials), "; ".join(parsed.problems)
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


class _EventObject(msgspec.Struct, rename="camel"):
    metadata: Meta
    event_time: str | None = None
    reason: str = ""
    message: str = ""


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


async def run(outside: Outside, namespace: str | None, now: datetime) -> list[Line]:
    """`namespace` None: all that are served."""
    config, reader = outside.config, outside.reader
    name = config.pull_secret.name
    if namespace is not None:
        space = await outside.namespace(namespace)
        if not space.served:
            note = "the namespace has no owner" if space.owner is None else "the namespace is opted out or excluded"
            return [Line(namespace, space.owner, "unserved", note=note)]
        spaces = {namespace: space}
        secret = await outside.pull_secret(namespace)
        seen = {} if secret is None else {namespace: Seen.of(secret, reader)}
    else:
        spaces = await outside.served()
        query = {"fieldSelector": f"metadata.name={name}"}
        found = listed(outside.cluster, f"the Secrets {name}", "/api/v1/secrets", PullSecretObject, query=query)
        seen = {one.metadata.namespace: Seen.of(one, reader) async for one in found if one.metadata.namespace in spaces}
    sources = await outside.source_secrets()
    said = await _said(outside, namespace)
    without = await _pods(outside, namespace, spaces, name)
    asked = all(isinstance(source, SecretsSource) for source in config.sources)
    judge = Judge(Planner(name, FINGERPRINT), now, asked=asked)
    return [
        judge(of, seen.get(of.name), sources.usable(of, now), said.get(of.name, ""), tuple(without.get(of.name, ())))
        for of in spaces.values()
    ]


async def _said(outside: Outside, namespace: str | None) -> dict[str, str]:
    """The newest warning of the webhook's for each namespace. The API server keeps them for an hour."""
    query = {"fieldSelector": f"reportingComponent={MANAGER},type=Warning"}
    newest: dict[str, tuple[str, str]] = {}
    async for event in listed(outside.cluster, "Events", _within(namespace, "events"), _EventObject, query=query):
        if event.reason in ("SupplyFailed", "TugOfWar"):
            at = event.event_time or ""
            newest[event.metadata.namespace] = max(newest.get(event.metadata.namespace, ("", "")), (at, event.message))
    return {name: message[:LONGEST_NOTE] for name, (_, message) in newest.items()}


async def _pods(outside: Outside, namespace: str | None, served: Container[str], name: str) -> dict[str, list[str]]:
    without: dict[str, list[str]] = {}
    async for pod in listed(outside.cluster, "pods", _within(namespace, "pods"), _Pod):
        if pod.metadata.namespace in served and pod.lacks(name):
            without.setdefault(pod.metadata.namespace, []).append(pod.metadata.name)
    return without


def _within(namespace: str | None, resource: str) -> str:
    return f"/api/v1/{resource}" if namespace is None else f"/api/v1/namespaces/{namespace}/{resource}"


@dataclass(frozen=True)
class Judge:
    """`asked`: are source Secrets all that there is? If not, what an owner should have is not known here."""

    planner: Planner
    now: datetime
    asked: bool = True

    def __call__(
        self,
        namespace: Namespace,
        seen: Seen | None,
        known: Credentials | None,
        said: str = "",
        pods_without: tuple[str, ...] = (),
    ) -> Line:
        """`known`: what the owner has here by the source Secrets, None when one is broken. `said`: the last warning."""
        name, owner = namespace.name, namespace.owner
        if seen is None:
            problem = self._why_missing(owner, known, said)
            note = (
                ""
                if problem
                else "no credential is known"
                if self.asked
                else "sources other than Secrets are not asked from here"
            )
            state: State = "wrong" if problem else "none"
            return Line(name, owner, state, problem=problem, note=note, pods_without=pods_without)
        problem = self._wrong(namespace, seen) or self._other(namespace, seen, known)
        if problem and said:
            problem += f"; the webhook said: {said}"
        ends = seen.standing.ends
        next_end = min((end for end in ends if end > self.now), default=None)
        soon = next_end is not None and next_end < self.now + SOON
        return Line(
            name,
            owner,
            "wrong" if problem else "right",
            seen.registries if seen.standing.ours else (),
            next_end or min(ends, default=None),
            seen.written,
            problem,
            "a credential ends soon" if soon else "",
            pods_without,
        )

    def _why_missing(self, owner: str | None, known: Credentials | None, said: str) -> str:
        if known is None:
            return f"there is no Secret, and a source Secret of {owner} is broken"
        if known.unexpired(self.now).items:
            return "the Secret is missing" + (f"; the webhook said: {said}" if said else "; is the webhook running?")
        if known.items:
            return f"there is no Secret: the credential of {owner} has ended; renew it"
        return said and f"there is no Secret; the webhook said: {said}"

    def _wrong(self, namespace: Namespace, seen: Seen) -> str:
        standing = seen.standing
        if not standing.ours:
            return f"the Secret is not the webhook's; see pullsecret adopt -n {namespace.name} --dry-run"
        if standing.terminating:
            return "the Secret is being deleted and something holds it"
        if not standing.dockerconfig:
            return f"the Secret's type is {seen.type}"
        if standing.owner != namespace.owner:
            return f"the Secret is {standing.owner or 'nobody'}'s"
        if seen.namespace_uid != namespace.uid:
            return "the Secret is for an earlier namespace of this name"
        if seen.unreadable:
            return f"the Secret's content is not usable: {seen.unreadable}"
        if (first := min(standing.ends, default=self.now)) <= self.now and standing.ends:
            return f"a credential of {namespace.owner} ended {first:%Y-%m-%d %H:%M}; renew it"
        return ""

    def _other(self, namespace: Namespace, seen: Seen, known: Credentials | None) -> str:
        """Would the webhook change it?"""
        if not self.asked:
            return ""
        if known is None:
            return f"a source Secret of {namespace.owner} is broken; what stood before stays"
        if isinstance(self.planner(namespace, known, seen.standing, self.now), Leave):
            return ""
        return f"the Secret is not what {namespace.owner}'s source Secrets say; is the webhook running?"


def text(lines: Sequence[Line]) -> str:
    """A table, and below each row what is to be said about it."""
    rows = [("NAMESPACE", "OWNER", "SECRET", "ENDS", "WRITTEN", "REGISTRIES")]
    for line in lines:
        ends, written = _short(line.expires), _short(line.written)
        rows.append((line.namespace, line.owner or "-", line.state, ends, written, ", ".join(line.registries) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out = []
    for row, about in zip(rows, (None, *lines), strict=True):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if about is not None:
            out += [f"  {one}" for one in (about.problem, about.note, _pods_text(about.pods_without)) if one]
    return "\n".join([*out, summary(lines)])


def summary(lines: Sequence[Line]) -> str:
    states = Counter(line.state for line in lines)
    pods = sum(len(line.pods_without) for line in lines)
    human = sum(line.needs_a_human for line in lines)
    return (
        f"{len(lines)} namespaces: {states['right']} right, {states['none']} without a known credential, "
        f"{states['wrong']} wrong; {pods} pods without the reference; {human} for a human"
    )


def _pods_text(pods: Sequence[str]) -> str:
    if not pods:
        return ""
    more = f" and {len(pods) - NAMED} more" if len(pods) > NAMED else ""
    return f"pods without the reference, to be created anew: {', '.join(pods[:NAMED])}{more}"


def _short(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}" if when is not None else "-"
