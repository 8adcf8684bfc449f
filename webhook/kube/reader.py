"""From objects of the API to the values in the views: which part of an object is kept, and how much of it at most."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, islice

from webhook.core.dockerconfig import of_kubelet, registries
from webhook.core.mistakes import of_namespace
from webhook.core.names import (
    DISABLED,
    DOCKERCONFIG_KEY,
    DOCKERCONFIG_TYPE,
    ENFORCE_MOUNTABLE,
    EXPIRES,
    INJECT,
    OWNER,
    REGION,
    TRUE,
    is_ours,
)
from webhook.core.owner import MAX_OWNER_CHARS, OwnerRule, find_owner
from webhook.core.pullsecret import EXCLUDED, MAX_EXPIRIES, OPTED_OUT, ExistingSecret, Fingerprint, Namespace, fields
from webhook.core.shown import few
from webhook.core.times import in_utc
from webhook.core.wire import Unreadable
from webhook.kube.cluster import AccountObject, Meta, NamespaceObject, SecretObject
from webhook.kube.listing import number
from webhook.kube.views import Account, AnyAccount, PlainAccount

MAX_SECRETS, MAX_NAMES_CHARS = 50, 1024
"""Pull secrets of an account that are kept, and characters of all their names. An account may list 75,000."""
MAX_CONTENT_CHARS, MAX_REGISTRIES_CHARS = 256 * 1024, 4096
"""Characters of a pull secret that is decoded, and of the names of its registries: enough for a hundred."""


@dataclass(frozen=True)
class Reader:
    """`secret`: the pull secret's name; `regions`: those that mirrors have. Owner rules are applied once, when an
    object comes in.
    """

    rules: Sequence[OwnerRule]
    excluded: Callable[[str], bool]
    fingerprint: Fingerprint
    secret: str
    regions: frozenset[str] = frozenset()

    def namespace(self, seen: NamespaceObject) -> Namespace:
        meta = seen.metadata
        labels, annotations = meta.labels or {}, meta.annotations or {}
        return Namespace(
            name=meta.name,
            uid=meta.uid,
            version=version(meta),
            owner=_once(find_owner(self.rules, meta.name, labels, annotations)),
            left_alone=EXCLUDED if self.excluded(meta.name) else OPTED_OUT if labels.get(INJECT) == DISABLED else "",
            terminating=meta.deletion_timestamp is not None,
            mistakes="; ".join(few(of_namespace(self.rules, labels, annotations, self.regions))),
            region=labels.get(REGION, "") if self.regions else "",
        )

    def existing(self, seen: SecretObject) -> ExistingSecret:
        meta = seen.metadata
        labels, annotations = meta.labels or {}, meta.annotations or {}
        content, expires = (seen.data or {}).get(DOCKERCONFIG_KEY), annotations.get(EXPIRES)
        owner, owner_uids = annotations.get(OWNER), [reference.uid for reference in meta.owner_references or ()]
        ours = is_ours(labels)
        return ExistingSecret(
            namespace=meta.namespace,
            uid=meta.uid,
            version=version(meta),
            ours=ours,
            dockerconfig=seen.type == DOCKERCONFIG_TYPE,
            immutable=bool(seen.immutable),
            terminating=meta.deletion_timestamp is not None,
            owner=_once(owner) if owner is not None and len(owner) <= MAX_OWNER_CHARS else None,
            digest=self.fingerprint(fields(seen.type, content, labels, annotations, owner_uids)),
            registries=_registries(content) if ours and content else (),
            expiries=_times(expires) if ours and expires else (),
            kubelet="takes" if ours else of_kubelet(seen.type, seen.data or {}),
        )

    def account(self, seen: AccountObject) -> AnyAccount:
        at, enforced = version(seen.metadata), (seen.metadata.annotations or {}).get(ENFORCE_MOUNTABLE) in TRUE
        names = dict.fromkeys(one.name for one in seen.image_pull_secrets or () if one.name and "/" not in one.name)
        lengths = zip(islice(names, MAX_SECRETS), accumulate(map(len, names)), strict=False)
        first = [name for name, together in lengths if together <= MAX_NAMES_CHARS]
        kept = sys.intern("/".join((*first, *({self.secret} & names.keys() - first))))
        return Account(at, kept, enforced) if kept or enforced else PlainAccount(at)


def _once(text: str | None) -> str | None:
    """One string for all that are equal: the same owner has many namespaces and Secrets."""
    return None if text is None else sys.intern(text)


def _registries(content: str) -> tuple[str, ...]:
    """Empty for a Secret that is larger than the webhook writes."""
    found = registries(content) if len(content) <= MAX_CONTENT_CHARS else ()
    return _shared(tuple(map(sys.intern, found))) if sum(map(len, found)) <= MAX_REGISTRIES_CHARS else ()


@lru_cache(maxsize=64)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first tuple of these names, for most that are equal: nearly all Secrets have the same registries."""
    return names


def _times(text: str) -> tuple[datetime, ...]:
    """Empty for a text in another form than ours."""
    if len(text) > MAX_EXPIRIES * len("2030-01-31T12:00:00Z,"):
        return ()
    try:
        return tuple(in_utc(expiry) for expiry in map(datetime.fromisoformat, text.split(",")) if expiry.tzinfo)
    except ValueError:
        return ()


def version(meta: Meta) -> int:
    """0 without one. Raises Unreadable."""
    at = number(meta.resource_version or "0")
    if at is None:
        raise Unreadable("its resourceVersion is not a number")
    return at
