"""The verdict on one namespace, from what `pullsecret status` has read: is its pull secret right?"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Literal

from webhook.commands.cluster_view import PullSecretObject
from webhook.core.credential import Credentials, has_expired, next_expiry
from webhook.core.names import NAMESPACE_UID
from webhook.core.pullsecret import SOON, UNUSED, WITHDRAWAL, Delete, ExistingSecret, Leave, Namespace, Planner
from webhook.core.shown import quoted
from webhook.kube.reader import Reader
from webhook.kube.recent_events import RecentWarnings, WarningEvent

State = Literal["right", "none", "withdrawn", "wrong", "unserved"]


@dataclass(frozen=True, slots=True)
class Line:
    """One namespace. `state` none: no credential is known, so there is no Secret. `problem`: what needs attention.

    `expires`: when the next of its credentials expires; if all have expired, when the first one did.
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
class Pods:
    """Running pods of one namespace without the reference. `pods_barred`: those whose service accounts forbid it."""

    pods_without: tuple[str, ...] = ()
    pods_barred: tuple[str, ...] = ()
    accounts_barring: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What `status` keeps of a Secret of our name."""

    existing: ExistingSecret
    type: str
    namespace_uid: str | None
    written: datetime | None
    registries: tuple[str, ...]
    unreadable: str

    @classmethod
    def of(cls, secret: PullSecretObject, reader: Reader) -> "Seen":
        uid = (secret.metadata.annotations or {}).get(NAMESPACE_UID)
        written, _ = secret.written or (None, "")
        return cls(reader.existing(secret), secret.type, uid, written, *secret.content)


@dataclass(frozen=True)
class Judge:
    """`asked`: are all sources Secrets? If not, the credentials of an owner are not fully known here."""

    planner: Planner
    now: datetime
    warnings: RecentWarnings = field(default_factory=RecentWarnings)
    asked: bool = True

    def __call__(self, namespace: Namespace, seen: Seen | None, known: Credentials | None, pods: Pods = Pods()) -> Line:
        """`known`: the owner's credentials for the namespace from source Secrets; None: one of them is broken."""
        line = self._line(namespace, seen, known)
        note = "; ".join(filter(None, (line.note, namespace.mistakes)))
        return replace(line, note=note, **asdict(pods))

    def _line(self, namespace: Namespace, seen: Seen | None, known: Credentials | None) -> Line:
        name, owner = namespace.name, namespace.owner
        if seen is None:
            if problem := self._why_missing(namespace, known):
                warning = self.warnings.of_namespace.get(name)
                withdrawn = warning is not None and warning.reason == WITHDRAWAL and not (known and known.items)
                return Line(name, owner, "withdrawn" if withdrawn else "wrong", problem=problem)
            note = "no credential is known" if self.asked else "status cannot query sources other than Secrets"
            return Line(name, owner, "none", note=note)
        problem = self._wrong(namespace, seen) or self._other(namespace, seen, known)
        warning = self.warnings.of_namespace.get(name)
        if problem and warning is not None and warning.is_after(seen.written):
            problem += f"; {warning}"
        state: State = "wrong" if problem else "right"
        expiries = seen.existing.expiries
        expiry = next_expiry(expiries, self.now)
        expires = expiry or min(expiries, default=None)
        notes = ["a credential expires soon"] if expiry and has_expired(expiry, self.now + SOON) else []
        notes += self._unused(namespace, seen, known)
        registries = seen.registries if seen.existing.ours else ()
        return Line(name, owner, state, registries, expires, seen.written, problem, "; ".join(notes))

    def _unused(self, namespace: Namespace, seen: Seen, known: Credentials | None) -> list[str]:
        owner = namespace.owner or ""
        if not self.asked:
            return [str(warning)] if (warning := self.warnings.unused.get(owner)) else []
        plan = self.planner(namespace, known, seen.existing, self.now)
        return [notice.message for notice in plan.notices(owner) if notice.reason in UNUSED]

    def _why_missing(self, namespace: Namespace, known: Credentials | None) -> str:
        owner, warning = namespace.owner or "", self.warnings.of_namespace.get(namespace.name)
        if known is None:
            return f"there is no Secret, and a source Secret of {quoted(owner)} is broken"
        if known.unexpired(self.now).items:
            return f"the Secret is missing; {warning or 'is the webhook running?'}"
        if known.items:
            return f"there is no Secret: the credential of {quoted(owner)} has expired; renew it"
        if warning is None and not self.asked:
            warning = self.warnings.of_owner.get(owner) or self.warnings.outage
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
            return f"a credential of {quoted(namespace.owner or '')} expired at {min(expired):%Y-%m-%d %H:%M}; renew it"
        return ""

    def _other(self, namespace: Namespace, seen: Seen, known: Credentials | None) -> str:
        """Would the webhook change the Secret, as far as is known here?"""
        owner = namespace.owner or ""
        if not self.asked:
            return _stale(seen, self.warnings.of_owner.get(owner))
        if known is None:
            return f"a source Secret of {quoted(owner)} is broken; the pull secret stays unchanged"
        step = self.planner(namespace, known, seen.existing, self.now).step
        if isinstance(step, Leave):
            return ""
        if isinstance(step, Delete) and step.withdrawn:
            return (
                f"{quoted(owner)} has no credential any more: the Secret is deleted within seconds, or kept for a day "
                "if many owners have none"
            )
        return f"the Secret differs from the source Secrets of {quoted(owner)}; is the webhook running?"


def _stale(seen: Seen, warning: WarningEvent | None) -> str:
    """Has a source failed since the Secret was written? A broken part of an answer counts always: no Secret has it."""
    if warning is None or warning.reason not in ("SourceUnavailable", "SourceAnswerBroken"):
        return ""
    if warning.reason == "SourceUnavailable" and not warning.is_after(seen.written):
        return ""
    return f"the Secret may be outdated; {warning}"
