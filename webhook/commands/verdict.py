"""The verdict on one namespace, from what `pullsecret status` has read: is its pull secret right?"""

import sys
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from webhook.commands import issuedby
from webhook.commands.cluster_view import NO_OUTLOOK, Outlook, PullSecretObject
from webhook.commands.pods import Lacking, Stuck
from webhook.commands.pullcause import About, FailingPod, failing
from webhook.config.mirrorconfig import Mirror
from webhook.core.check import Check, Checks
from webhook.core.check import Result as Said
from webhook.core.credential import Credential, Credentials, has_expired, next_expiry
from webhook.core.issued import IssuedBy
from webhook.core.mirror import MirrorRule, of_mirrors
from webhook.core.names import NAMESPACE_UID
from webhook.core.pullsecret import (
    SOON,
    UNUSED,
    WITHDRAWAL,
    Delete,
    ExistingSecret,
    Leave,
    Namespace,
    Planner,
    refusal_words,
    refused_at,
)
from webhook.core.registry import DOCKER_HUB, also_known_as, matching
from webhook.core.shown import few, quoted
from webhook.core.times import to_the_minute
from webhook.kube.reader import Reader
from webhook.kube.recent_events import RecentWarnings, WarningEvent

State = Literal["right", "none", "withdrawn", "refused", "wrong", "unserved", "unknown"]
REFUSES = "the registry refuses the credential for"
RUNNING = "is the webhook running?"
SPREAD = timedelta(seconds=15)
"""An Event about an owner's credentials is from the first of the owner's namespaces that has been supplied; the pull
secrets of the others are written up to this time later.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a credential: its registry, and what that said about it. None: it was not asked."""

    registry: str
    check: Check | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry of one credential said, and when."""

    registry: str
    result: Said | Literal["unasked"]
    why: str = ""
    at: datetime | None = None

    @classmethod
    def of(cls, entry: Entry) -> "Answer":
        if (check := entry.check) is None:
            return cls(entry.registry, "unasked")
        return cls(entry.registry, check.result, str(check), datetime.fromtimestamp(check.at, UTC))


@dataclass(frozen=True, slots=True)
class Line:
    """One namespace. `state` none: no credential is known, so there is no Secret; refused: a registry refuses a
    credential, in the Secret or left out of it; unknown: the pull secret may not be read. `problem`: what needs
    attention.

    `rule`: by which owner rule the owner was found; `uid`: of the pull secret, by which the kubelet trusts images.
    `expires`: when the next of its credentials expires; if all have expired, when the first one did. `checks`: what
    registries said about the credentials in the Secret, and about those that are left out because of it. `unmirrored`:
    mirrors for which the owner has no credential. `issued`: what issuers gave the owner.
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
    checks: tuple[Answer, ...] = ()
    pods_failing: tuple[FailingPod, ...] = ()
    rule: str = ""
    uid: str = ""
    unmirrored: tuple[str, ...] = ()
    issued: tuple[IssuedBy, ...] = ()

    @property
    def needs_a_human(self) -> bool:
        return bool(self.problem or self.pods_without or self.pods_barred or self.pods_failing)


@dataclass(frozen=True, slots=True)
class Pods:
    """Of one namespace. `lacking`: running ones without the reference; `barring`: service accounts that forbid it.
    `stuck`: containers that cannot pull; `unparsable`: pull secrets of theirs that the kubelet cannot parse.
    """

    stuck: Sequence[Stuck] = ()
    lacking: Sequence[Lacking] = ()
    barring: frozenset[str] = frozenset()
    unparsable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What `status` keeps of a Secret of our name."""

    existing: ExistingSecret
    type: str
    namespace_uid: str | None
    written: datetime | None
    registries: tuple[str, ...]
    unreadable: str
    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(
        cls,
        secret: PullSecretObject,
        reader: Reader,
        checks: Checks | None = None,
        mirrors: Sequence[MirrorRule] = (),
    ) -> "Seen":
        uid = (secret.metadata.annotations or {}).get(NAMESPACE_UID)
        written, _ = secret.written or (None, "")
        existing, (credentials, unreadable) = reader.existing(secret), secret.credentials
        registries = tuple(dict.fromkeys(c.registry for c in credentials))
        entries: tuple[Entry, ...] = ()
        if checks is not None and existing.ours:
            entries = _entries(credentials, checks, of_mirrors(credentials, mirrors, existing.owner or ""))
        return cls(existing, secret.type, uid, written, registries, unreadable, entries)


def _entries(credentials: Sequence[Credential], checks: Checks, unasked: Container[Credential]) -> tuple[Entry, ...]:
    """`unasked`: entries for mirrors under the name of a registry, about which nobody asks that one."""
    found = [(c, checks.of(c)) for c in credentials]
    # For Docker Hub there are entries under several of its names, and about one of them the registry is asked.
    hub = {name for name in {c.registry for c in credentials} if DOCKER_HUB in {name, also_known_as(name)}}
    also = {c.login: check for c, check in found if c.registry in hub and check is not None}
    return tuple(
        dict.fromkeys(
            Entry(sys.intern(c.registry), check or (also.get(c.login) if c.registry in hub else None))
            for c, check in found
            if check is not None or c not in unasked
        )
    )


@dataclass(frozen=True)
class Judge:
    """`asked`: are all sources Secrets? If not, the credentials of an owner are not fully known here. `checks`: what
    registries said; None: that is not known here. `blind`: the pull secrets may not be read. `mirrors_of`: a namespace,
    by its name and region.
    """

    planner: Planner
    now: datetime
    warnings: RecentWarnings = field(default_factory=RecentWarnings)
    asked: bool = True
    checks: Checks | None = None
    why_unasked: str = "status cannot query sources other than Secrets"
    blind: bool = False
    mirrors_of: Callable[[str, str], Sequence[Mirror]] = lambda _name, _region: ()

    def __call__(
        self,
        namespace: Namespace,
        seen: Seen | None,
        known: Credentials | None,
        pods: Pods = Pods(),
        outlook: Outlook = NO_OUTLOOK,
    ) -> Line:
        """`known`: the owner's credentials for the namespace from source Secrets; None: one of them is broken, and
        `outlook` says which.
        """
        if self.checks is not None and known is not None:
            known = self.checks.marked(known)
        refused = self._refused(namespace, seen, known)
        line = self._line(namespace, seen, known, outlook.broken, refused=bool(refused))
        if refused:
            state: State = "refused" if line.state == "right" else line.state
            line = replace(line, state=state, problem="; ".join(filter(None, (line.problem, *refused))))
        if line.state == "none" and self.asked:
            line = replace(line, note=_why_none(namespace, outlook))
        trouble = issuedby.trouble(self.warnings, namespace.owner, namespace.name)
        note = "; ".join(filter(None, (line.note, trouble, namespace.mistakes)))
        line = replace(line, note=note, checks=tuple(map(Answer.of, self._all(seen, known))))
        about = self._about(namespace, seen, known, outlook)
        unknown = outlook.unknown if self.asked and line.state == "none" else ""
        why_none = line.problem or line.note
        about = replace(about, unknown_owner=unknown, why_none=why_none, unparsable=pods.unparsable)
        return _with_pods(line, pods, about, known)

    def _about(self, namespace: Namespace, seen: Seen | None, known: Credentials | None, outlook: Outlook) -> About:
        entries = None if seen is None else seen.registries
        return About(
            secret=self.planner.name,
            owner=namespace.owner or "",
            entries=entries,
            ours=seen is None or seen.existing.ours,
            refused=tuple(c.registry for c in known.items if c.left_out) if known is not None else (),
            limited=outlook.limited,
            blind=self.blind,
        )

    def _all(self, seen: Seen | None, known: Credentials | None) -> Iterable[Entry]:
        """Also those that are left out."""
        return dict.fromkeys((*(seen.entries if seen is not None else ()), *self._marked(known)))

    def _marked(self, known: Credentials | None) -> dict[Entry, Credential]:
        """Those of source Secrets that are refused."""
        if self.checks is None or known is None:
            return {}
        return {Entry(c.registry, self.checks.of(c)): c for c in known.items if c.refusal is not None}

    def _refused(self, namespace: Namespace, seen: Seen | None, known: Credentials | None) -> tuple[str, ...]:
        """Which credentials are refused, why, and what follows."""
        if self.checks is None:
            return ()
        marked, entries = self._marked(known), seen.entries if seen is not None else ()
        words = [f"{REFUSES} {refusal_words(c)}" for c in marked.values()]
        event = None if self.asked else self.warnings.refused.get(namespace.owner or "")
        if event is not None and _counts(event, seen):  # it also names those that are left out
            return few([*words, str(event)])
        words += [
            f"{REFUSES} {refused_at(one.registry, refusal)}"
            for one in entries
            if one not in marked and one.check is not None and (refusal := one.check.refusal) is not None
        ]
        return few(words)

    def _line(
        self, namespace: Namespace, seen: Seen | None, known: Credentials | None, broken: str, *, refused: bool
    ) -> Line:
        name, owner = namespace.name, namespace.owner
        if self.blind:
            return Line(name, owner, "unknown", note="the pull secret cannot be read with these rights")
        if seen is None:
            if problem := self._why_missing(namespace, known, broken):
                warning = self.warnings.of_namespace.get(name)
                withdrawn = warning is not None and warning.reason == WITHDRAWAL and not (known and known.items)
                return Line(name, owner, "withdrawn" if withdrawn else "wrong", problem=problem)
            if refused:
                return Line(name, owner, "refused", problem="there is no Secret")
            note = "" if self.asked else str(self.warnings.to_tenant.get(name) or self.why_unasked)
            return Line(name, owner, "none", note=note)
        problem = self._wrong(namespace, seen) or self._other(namespace, seen, known, broken)
        warning = self.warnings.of_namespace.get(name)
        if problem and warning is not None and warning.is_after(seen.written):
            problem += f"; {warning}"
        state: State = "wrong" if problem else "right"
        expiries = seen.existing.expiries
        expiry = next_expiry(expiries, self.now)
        expires = expiry or min(expiries, default=None)
        notes = ["a credential expires soon"] if expiry and has_expired(expiry, self.now + SOON) else []
        notes += self._unused(namespace, seen, known)
        line = Line(name, owner, state, (), expires, seen.written, problem, "; ".join(notes))
        if not seen.existing.ours:
            return line
        has = (*seen.registries, *(c.registry for c in (known.items if known is not None else ())))
        lacks = [one for one in self.mirrors_of(name, namespace.region) if not any(map(one.rule.covers, has))]
        unmirrored = tuple(f"{one.to} of {one.prefix}" for one in lacks)
        return replace(line, registries=seen.registries, unmirrored=unmirrored)

    def _unused(self, namespace: Namespace, seen: Seen, known: Credentials | None) -> list[str]:
        owner = namespace.owner or ""
        if not self.asked:
            return [*map(str, self.warnings.unused_of(owner))]
        plan = self.planner(namespace, known, seen.existing, self.now)
        return [notice.message for notice in plan.notices(owner) if notice.reason in UNUSED]

    def _why_missing(self, namespace: Namespace, known: Credentials | None, broken: str) -> str:
        owner, warning = namespace.owner or "", self.warnings.of_namespace.get(namespace.name)
        if known is None:
            return f"there is no Secret, and {broken}"
        written = known.accepted
        if written.unexpired(self.now).items:
            return f"the Secret is missing; {warning or RUNNING}"
        if written.items:
            return f"there is no Secret: the credential of {quoted(owner)} has expired; renew it"
        if warning is None and not self.asked:
            warning = self.warnings.about(owner)
        return f"there is no Secret; {warning}" if warning else ""

    def _wrong(self, namespace: Namespace, seen: Seen) -> str:
        existing = seen.existing
        if not existing.ours:
            return f"the Secret is not the webhook's; see pullsecret adopt -n {namespace.name} --dry-run"
        if existing.terminating:
            return "the Secret is being deleted, and a finalizer holds it"
        if not existing.dockerconfig:
            return f"the type of the Secret is {quoted(seen.type)}"
        if existing.owner != namespace.owner:
            return f"the Secret is for {f'owner {quoted(existing.owner)}' if existing.owner else 'no owner'}"
        if seen.namespace_uid != namespace.uid:
            return "the Secret is for an earlier namespace of this name"
        if seen.unreadable:
            return f"the content of the Secret is not usable: {seen.unreadable}"
        if expired := [expiry for expiry in existing.expiries if has_expired(expiry, self.now)]:
            return f"a credential of {quoted(namespace.owner or '')} expired at {to_the_minute(min(expired))}; renew it"
        return ""

    def _other(self, namespace: Namespace, seen: Seen, known: Credentials | None, broken: str) -> str:
        """Would the webhook change the Secret, as far as is known here?"""
        owner = namespace.owner or ""
        if not self.asked:
            return _stale(seen, self.warnings.of_owner.get(owner))
        if known is None:
            return f"{broken}; the pull secret stays unchanged"
        step = self.planner(namespace, known, seen.existing, self.now).step
        if isinstance(step, Leave):
            return ""
        if isinstance(step, Delete) and step.withdrawn:
            return (
                f"{quoted(owner)} has no credential any more: the Secret is deleted within seconds, or kept for a day "
                "if many owners have none"
            )
        return f"the Secret differs from the source Secrets of {quoted(owner)}; {RUNNING}"


def _why_none(namespace: Namespace, outlook: Outlook) -> str:
    if outlook.limited:
        return f"the credentials of {quoted(namespace.owner or '')} are limited to other namespaces"
    return f"no credential is known{outlook.unknown and f': {outlook.unknown}'}"


def _with_pods(line: Line, pods: Pods, about: About, known: Credentials | None) -> Line:
    """A pod without the reference counts if a credential is for one of its images. Others pull without one."""
    entries = {*(about.entries or ()), *(c.registry for c in (known.items if known is not None else ()))}
    need = [one for one in pods.lacking if any(matching(entries, image) for image in one.images)]
    barred = [one for one in need if one.account in pods.barring]
    return replace(
        line,
        pods_without=tuple(one.pod for one in need if one.account not in pods.barring),
        pods_barred=tuple(one.pod for one in barred),
        accounts_barring=tuple(sorted({one.account for one in barred})),
        pods_failing=tuple(failing(one, about) for one in pods.stuck),
    )


def unserved(namespace: Namespace, why: str, pods: Pods, secret: str) -> Line:
    """One that has no owner, or is opted out or excluded."""
    about = About(secret, namespace.owner or "", why or namespace.mistakes, unparsable=pods.unparsable)
    line = Line(namespace.name, namespace.owner, "unserved", problem=namespace.mistakes, note=why)
    return replace(line, pods_failing=tuple(failing(one, about) for one in pods.stuck))


def _counts(event: WarningEvent, seen: Seen | None) -> bool:
    """Is an Event about refused credentials about those that the owner has now?"""
    if seen is None:
        return True
    if seen.written is not None and event.at < seen.written - SPREAD:
        return False
    # One that works when it is asked about again was not known to work before: the Event was about that.
    checks = [one.check for one in seen.entries if one.check is not None]
    return not any(check.result == "works" and check.times > 1 and check.at > event.at.timestamp() for check in checks)


def _stale(seen: Seen, warning: WarningEvent | None) -> str:
    """Has a source failed since the Secret was written? A broken part of an answer counts always: no Secret has it."""
    if warning is None or warning.reason not in ("SourceUnavailable", "SourceAnswerBroken"):
        return ""
    if warning.reason == "SourceUnavailable" and not warning.is_after(seen.written):
        return ""
    return f"the Secret may be outdated; {warning}"
