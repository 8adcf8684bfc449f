"""The decision about one namespace's pull secret, as a total function of what is known.

`Planner` decides what happens, supply.py does it. Each row of the table of cases (docs/design.md) about the Secret is a
branch here. `may_refer` decides with fewer inputs whether a pod may *refer* to the Secret: a reference can never be
added later, a Secret can.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from webhook.core.credential import Credential, Credentials, Origin, Refusal
from webhook.core.dockerconfig import render
from webhook.core.merge import merged
from webhook.core.mirror import MirrorRule, mirrored, nameless
from webhook.core.names import (
    DISABLED,
    DOCKERCONFIG_KEY,
    DOCKERCONFIG_TYPE,
    EXPIRES,
    INJECT,
    MANAGED_BY,
    MANAGER,
    NAMESPACE_UID,
    OWNER,
)
from webhook.core.notice import Notice, Reason
from webhook.core.registry import MAX_SAME_KEY, why_unmatched
from webhook.core.shown import few, quoted, some
from webhook.core.tokenkind import hint

MAX_DATA_BYTES = 1024 * 1024
"""Bytes of data that the API server takes in a Secret."""
MAX_EXPIRIES = 50
"""Expiry times in a pull secret: the first ones."""
SOON = timedelta(days=7)
"""The expiry of a credential is reported when it is nearer than this."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """`left_alone`: why the webhook leaves it alone, if it is opted out or excluded. `version`: its resourceVersion.
    `mistakes`: what in its labels and annotations is probably meant for the webhook, and has no effect. `region`: whose
    mirrors are for its pods; empty: none is named.
    """

    name: str
    uid: str
    version: int
    owner: str | None
    left_alone: str = ""
    terminating: bool = False
    mistakes: str = ""
    region: str = ""

    @property
    def served(self) -> bool:
        return self.owner is not None and not self.left_alone


@dataclass(frozen=True, slots=True)
class ExistingSecret:
    """What is known of the Secret of our name in one namespace. Never its content: `digest` is keyed per process.

    `registries` and `expiries`: the registries and expiry times of its credentials, if it is ours. `kubelet`: what the
    kubelet makes of it: takes its credentials, passes over it, or fails every pull of a pod that refers to it.
    """

    namespace: str
    uid: str
    version: int
    ours: bool
    dockerconfig: bool
    immutable: bool
    terminating: bool
    owner: str | None
    digest: bytes
    registries: tuple[str, ...] = field(default=(), repr=False)
    expiries: tuple[datetime, ...] = ()
    kubelet: Literal["takes", "passes over", "fails"] = "takes"


@dataclass(frozen=True, slots=True)
class Leave:
    """`problem`: the webhook can do nothing, and a human must know."""

    why: str = ""
    problem: bool = False


Cause = Literal["created", "changed", "restored", "owner changed", "found different"]


@dataclass(frozen=True, slots=True)
class Write:
    """`over` None: create. `in_place`: apply onto `over`; else `over` is deleted first, so that the UID changes.
    `digest`: what that of the Secret is to become.
    """

    body: Mapping[str, Any] = field(repr=False)
    over: ExistingSecret | None = None
    in_place: bool = False
    digest: bytes = field(default=b"", repr=False, compare=False)

    @property
    def owner(self) -> str:
        return str(self.body["metadata"]["annotations"][OWNER])

    def news(self) -> Notice:
        """For the tenant, when the credentials have changed."""
        meta = self.body["metadata"]
        message = f"the credentials of owner {self.owner} have changed; the Secret has them as they are now"
        return Notice(UPDATED, message, meta["namespace"], "Secret", meta["name"], "Normal", news=True)

    def cause(self, right: bytes | None) -> Cause:
        """Why it is written. `right`: the digest of the last right Secret here; None: none was seen right.

        If it is to become what was right before, somebody else changed or deleted it. Without that knowledge, as after
        a start, it cannot be told whether the credentials changed or the Secret did.
        """
        if right is not None and right == self.digest:
            return "restored"
        if self.over is None:
            return "created"
        if self.over.owner != self.owner:
            return "owner changed"
        return "found different" if right is None else "changed"


@dataclass(frozen=True, slots=True)
class Delete:
    """`withdrawn`: the owner had a credential here, and has none any more."""

    over: ExistingSecret
    why: str = ""
    withdrawn: bool = False

    def notice(self, secret: str) -> Notice:
        """`secret`: the pull secret's name."""
        if self.withdrawn:
            return Notice(WITHDRAWAL, self.why, self.over.namespace, "Secret", secret)
        kind: Literal["Normal", "Warning"] = "Warning" if self.why in {ALL_REFUSED, TOO_LARGE} else "Normal"
        return Notice("PullSecretDeleted", self.why, self.over.namespace, "Secret", secret, kind)


Step = Leave | Write | Delete
Standing = Literal["right", "no_credential", "refused", "failed"]
"""Of the pull secret of a served namespace. `refused`: its owner has credentials, and the registries refuse all."""
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and `until` when that holds if nothing changes; None: always.

    For people: `left_out`, the credentials that are too many for one registry; `unmatched`, those that match no image;
    `expired`, the expired ones without a replacement; `refused`, those that their registries refuse; `nameless`, those
    that are not written for a mirror, because the owner cannot be part of a name. `outage`: no source can answer for
    anybody.
    """

    step: Step
    until: datetime | None = None
    left_out: tuple[Credential, ...] = ()
    unmatched: tuple[Credential, ...] = ()
    expired: tuple[Credential, ...] = ()
    refused: tuple[Credential, ...] = ()
    outage: bool = False
    nameless: tuple[tuple[MirrorRule, Credential], ...] = ()

    @property
    def standing(self) -> Standing | None:
        """Of the pull secret, where this plan leaves it as it is; None: the namespace is not served."""
        why = self.step.why if isinstance(self.step, Leave) else ""
        if why in {NO_CREDENTIAL, LIMITED, WITHDRAWN}:
            return "refused" if any(one.left_out for one in self.refused) else "no_credential"
        if why in {FOREIGN, UNAVAILABLE, TOO_LARGE}:
            return "failed"
        return None if why else "right"

    def notices(self, owner: str) -> Iterator[Notice]:
        """About the objects that the credentials come from."""
        for origin, ones in _by_origin(self.left_out):
            yield _notice(
                origin, TOO_MANY_FOR_ONE, f"{some([one.registry for one in ones])} is left out; {HOLDS}", owner
            )
        for origin, ones in _by_origin(self.unmatched):
            whys = [f"{quoted(one.registry)} matches hardly any image: {why_unmatched(one.registry)}" for one in ones]
            yield _notice(origin, UNMATCHED, "; ".join(few(whys)), owner)
        for origin in dict.fromkeys(one.origin for _, one in self.nameless):
            whys = [nameless_words(rule, one) for rule, one in self.nameless if one.origin == origin]
            yield _notice(origin, UNMATCHED, "; ".join(few(whys)), owner)
        for origin, ones in _by_origin(self.expired):
            message = f"{some([one.registry for one in ones])} has expired; renew it"
            yield _notice(origin, EXPIRED, message, owner)
        for origin, ones in _by_origin(self.refused):
            whys = [refusal_words(one, " is refused by the registry") for one in ones]
            yield _notice(origin, REFUSED, "; ".join(few(whys)), owner)

    def refusals(self, owner: str, namespace: str, secret: str) -> Iterator[Notice]:
        """For the tenant, about the pull secret."""
        for one in self.refused[:MAX_REFUSALS]:
            message = f"the registry refuses the credential of owner {owner} for {refusal_words(one)}"
            yield Notice(REFUSED, message, namespace, "Secret", secret)


def nameless_words(rule: MirrorRule, c: Credential) -> str:
    """Why it is not written for this mirror."""
    return (
        f"{quoted(c.registry)} is not written for the images of {rule.of}: no repository is called like this owner "
        f"(mirrors: path {quoted(rule.path)}); name a path in it, as in {rule.to}/PROJECT"
    )


def refusal_words(c: Credential, verb: str = "") -> str:
    """Its registry, why it is refused, and what follows. `verb`: says that it is refused, if nothing before does."""
    if c.refusal is None:
        return quoted(c.registry)
    return "; ".join(filter(None, (refused_at(c.registry, c.refusal, verb), hint(c.registry, c.password))))


def refused_at(registry: str, refusal: Refusal, verb: str = "") -> str:
    """The same without what the password looks like."""
    if refusal.held:
        then = "it stays in the pull secret, because the registry refuses many others too"
    elif refusal.single:
        then = "it stays in the pull secret, because only one of two answers was a refusal"
    elif refusal.left_out:
        then = "it is left out of the pull secret until it changes; write a new one at its source"
    else:
        then = "the registry is asked again in half a minute"
    return f"{quoted(registry)}{verb} ({refusal.why}); {then}"


def _by_origin(credentials: Sequence[Credential]) -> Iterator[tuple[Origin, list[Credential]]]:
    for origin in dict.fromkeys(one.origin for one in credentials):
        yield origin, [one for one in credentials if one.origin == origin]


def _notice(origin: Origin, reason: Reason, rest: str, owner: str) -> Notice:
    message = f"{origin}: the credential of owner {owner} for {rest}"
    return Notice(reason, message, origin.namespace, origin.kind, origin.name, owner=owner, source=origin.source)


UNOWNED = "the namespace has no owner any more"
OPTED_OUT = f"the namespace's label {INJECT}: {DISABLED} opts it out"
EXCLUDED = "the namespace is never served: it is the cluster's or the webhook's own, or in excludedNamespaces"
NO_CREDENTIAL = "the owner has no credential yet"
LIMITED = "the owner's credentials are limited to other namespaces"
ALL_REFUSED = "the registries refuse all credentials of the owner; write a new one at its source"
WITHDRAWN = "the owner has no credential for this namespace any more; private images cannot be pulled"
TOO_LARGE = "the owner's credentials are larger than 1 MiB together, which is more than a Secret holds"
UPDATED: Reason = "PullSecretUpdated"
"""Reason of the notice about a pull secret with other credentials than before."""
WITHDRAWAL: Reason = "PullSecretWithdrawn"
"""Reason of the notice about a pull secret that is deleted because its owner has no credential any more."""
TOO_MANY_FOR_ONE: Reason = "CredentialLeftOut"
UNMATCHED: Reason = "CredentialMatchesNothing"
REFUSED: Reason = "CredentialRefused"
EXPIRED: Reason = "CredentialExpired"
UNUSED = frozenset({TOO_MANY_FOR_ONE, UNMATCHED})
"""Reasons of notices about a credential that hardly any pod can use, whatever happens."""
MAX_REFUSALS = 5
"""Refused credentials that a tenant is told about."""
HOLDS = f"a pull secret holds {MAX_SAME_KEY} for one registry, and the owner has others"
UNAVAILABLE = "the source of credentials is unavailable"
FOREIGN = "a Secret of this name is not managed by pullsecret-webhook"


class Fingerprint:
    """A keyed digest of what we write into a Secret. Fields that others add to it do not count."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, fields: Sequence[str | None]) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=16)
        for text in fields:
            data = b"\xff" if text is None else text.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class Planner:
    """`name`: the Secret's. `when_unowned`: what happens to our Secret in a namespace that is not served;
    `when_withdrawn`: and in one whose owner has no credential any more. `mirrors`: that nodes ask before registries.
    """

    name: str
    fingerprint: Fingerprint
    when_unowned: Literal["delete", "keep"] = "delete"
    when_withdrawn: Literal["delete", "keep"] = "delete"
    mirrors: tuple[MirrorRule, ...] = ()

    def __call__(
        self, namespace: Namespace, known: Credentials | None, existing: ExistingSecret | None, now: datetime
    ) -> Plan:
        """`known` None: no source can answer."""
        if namespace.terminating:
            return Plan(Leave("the namespace is terminating"))
        if existing is not None and not existing.ours:
            return Plan(Leave(FOREIGN))
        if not namespace.served:
            why = UNOWNED if namespace.owner is None else namespace.left_alone
            return Plan(Delete(existing, why) if existing and self.when_unowned == "delete" else Leave(why))
        same = existing is not None and existing.owner == namespace.owner
        if known is None:
            return Plan(Delete(existing, "it has another owner") if existing and not same else Leave(UNAVAILABLE))
        # An expired credential stays in a Secret that has one for its registry (a container that restarts needs it)
        # until another one replaces it. It is written nowhere else.
        usable = known.usable_in(namespace.name).items
        if known.items and not usable and existing is None:
            return Plan(Leave(LIMITED))
        refused = tuple(c for c in usable if c.refusal is not None)
        owner = namespace.owner or ""
        found = merged(mirrored(known.accepted, self.mirrors, owner), namespace.name, now)
        present = existing.registries if existing is not None and same else ()
        items = [c for c in found.items if not c.expired(now) or c.registry in present]
        step = self._written(namespace, items, existing, same=same, refused=any(c.left_out for c in refused))
        unmatched = tuple(c for c in items if not c.copy_of and why_unmatched(c.registry))
        unnamed = nameless(known.accepted.usable_in(namespace.name), self.mirrors, owner) if self.mirrors else ()
        return Plan(step, found.until, found.left_out, unmatched, found.expired, refused, nameless=unnamed)

    def _written(
        self,
        namespace: Namespace,
        items: Sequence[Credential],
        existing: ExistingSecret | None,
        *,
        same: bool,
        refused: bool,
    ) -> Step:
        """`refused`: there are credentials that are left out because their registries refuse them."""
        if not items:
            if existing is None:
                return Leave(NO_CREDENTIAL)
            if refused:
                return Delete(existing, ALL_REFUSED)
            if same and self.when_withdrawn == "keep":
                return Leave(WITHDRAWN)
            return Delete(existing, WITHDRAWN, withdrawn=True) if same else Delete(existing, NO_CREDENTIAL)
        body = self.body(namespace, items)
        if len(body["data"][DOCKERCONFIG_KEY]) > MAX_DATA_BYTES * 4 // 3:  # of base64
            return Leave(TOO_LARGE, problem=True) if same or existing is None else Delete(existing, TOO_LARGE)
        digest = self.digest(body)
        if existing is None:
            return Write(body, digest=digest)
        in_place = same and existing.dockerconfig and not existing.immutable and not existing.terminating
        if in_place and existing.digest == digest:
            return Leave()
        return Write(body, existing, in_place, digest)

    def body(self, namespace: Namespace, items: Sequence[Credential]) -> dict[str, Any]:
        """The whole Secret as it is applied.

        It carries expiry times for expirynotices.py and `pullsecret status`, which cannot ask the sources: all of them,
        because the next one depends on the time, and a restart must find what it would write.
        """
        expiries = sorted({c.expiry.astimezone(UTC).replace(microsecond=0) for c in items if c.expiry is not None})
        metadata = {"name": self.name, "namespace": namespace.name, **marks(namespace)}
        if expiries:
            metadata["annotations"][EXPIRES] = ",".join(f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in expiries[:MAX_EXPIRIES])
        data = {DOCKERCONFIG_KEY: base64.b64encode(render(items)).decode()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG_TYPE, "data": data}

    def digest(self, body: Mapping[str, Any]) -> bytes:
        """Of what `body` makes, to be compared with that of the existing Secret."""
        meta, content = body["metadata"], body["data"][DOCKERCONFIG_KEY]
        uids = [one["uid"] for one in meta["ownerReferences"]]
        return self.fingerprint(fields(body["type"], content, meta["labels"], meta["annotations"], uids))


def marks(namespace: Namespace) -> dict[str, Any]:
    """The metadata that makes a Secret the pull secret of this namespace and its owner.

    By its owner reference the garbage collector deletes a misplaced one.
    """
    return {
        "labels": {MANAGED_BY: MANAGER},
        "annotations": {OWNER: namespace.owner, NAMESPACE_UID: namespace.uid},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": namespace.name, "uid": namespace.uid}],
    }


def fields(
    kind: str, content: str | None, labels: Mapping[str, str], annotations: Mapping[str, str], owner_uids: Iterable[str]
) -> list[str | None]:
    """The values in a Secret that we set, for Fingerprint. `owner_uids`: those in its owner references."""
    marks = [labels.get(MANAGED_BY), *(annotations.get(key) for key in (OWNER, NAMESPACE_UID, EXPIRES))]
    return [kind, content, *marks, *sorted(owner_uids)]


def may_refer(namespace: Namespace, existing: ExistingSecret | None) -> bool:
    """May a pod in this namespace refer to the Secret? What the kubelet passes over may still become right."""
    return namespace.served and (existing is None or existing.ours or existing.kubelet != "fails")
