"""What a tenant is told about the pull secret, in the tenant's own namespace: what is wrong, and what to do. Pure.

It says nothing of other owners, and nothing that the tenant could not see anyway but for the state of the own
credentials: why a source fails is for administrators.
"""

from collections.abc import Sequence

from webhook.core.credential import Credential
from webhook.core.notice import Notice, Reason
from webhook.core.pullsecret import (
    EXPIRED,
    FOREIGN,
    LIMITED,
    NO_CREDENTIAL,
    UNAVAILABLE,
    WITHDRAWN,
    ExistingSecret,
    Leave,
    Namespace,
    Plan,
)
from webhook.core.shown import quoted, some

NONE: Reason = "NoCredential"
ELSEWHERE: Reason = "CredentialElsewhere"
UNKNOWN: Reason = "CredentialUnknown"
NOT_OURS: Reason = "ForeignSecret"
_FOREIGN = {
    "takes": f"{FOREIGN}, so it stays as it is, and pods pull with what is in it; rename or delete it, or ask an "
    "administrator to hand it over (pullsecret adopt)",
    "passes over": f"private images cannot be pulled with it: {FOREIGN}, and the kubelet takes nothing from it; rename "
    "or delete it",
    "fails": f"{FOREIGN}, and the kubelet cannot parse it, or it is too large to find out; every pull would fail; "
    "rename or delete it",
}


def foreign(existing: ExistingSecret, secret: str) -> Notice:
    """About a Secret of our name that is not ours. Pods pull with one that the kubelet takes, so it is no log line."""
    message, quiet = _FOREIGN[existing.kubelet], existing.kubelet == "takes"
    return Notice(NOT_OURS, message, existing.namespace, "Secret", secret, quiet=quiet)


def trouble(namespace: Namespace, plan: Plan, existing: ExistingSecret | None, secret: str) -> Notice | None:
    """Why the pull secret of a served namespace is not what the tenant needs, where the plan leaves it as it is.

    That its registry refuses a credential is told by `Plan.refusals`. `secret`: the pull secret's name.
    """
    why = plan.step.why if isinstance(plan.step, Leave) else ""
    if why == FOREIGN and existing is not None:
        return foreign(existing, secret)
    owner = quoted(namespace.owner or "")
    words = _words(why, owner, plan, existing)
    return Notice(*words, namespace.name, "Secret", secret, quiet=True) if words is not None else None


def _words(why: str, owner: str, plan: Plan, existing: ExistingSecret | None) -> tuple[Reason, str] | None:
    if why == UNAVAILABLE and plan.outage:
        # With a Secret nothing is wrong in the namespace.
        wait = "the source of credentials does not answer, so there is no pull secret; it is written when it answers"
        return (UNKNOWN, wait) if existing is None else None
    if why == UNAVAILABLE:
        then = "there is no pull secret" if existing is None else "the pull secret stays as it is"
        return UNKNOWN, f"what the source has for owner {owner} is broken, so {then} until an administrator repairs it"
    if plan.expired:
        return EXPIRED, _expired(plan.expired, owner, existing)
    if why == LIMITED:
        return ELSEWHERE, (
            f"the credentials of owner {owner} are limited to other namespaces, so there is no pull secret; ask an "
            "administrator to add this namespace to them"
        )
    if why == NO_CREDENTIAL and not plan.refused:
        return NONE, (
            f"owner {owner} has no credential, so there is no pull secret, and private images cannot be pulled; ask an "
            "administrator to give the owner one, or to correct the owner of this namespace"
        )
    if why == WITHDRAWN:
        return NONE, (
            f"owner {owner} has no credential for this namespace any more, and the pull secret keeps the last one; ask "
            "an administrator for a new one"
        )
    return None


def _expired(credentials: Sequence[Credential], owner: str, existing: ExistingSecret | None) -> str:
    registries = [c.registry for c in credentials]
    stay = existing is not None and {*registries} <= {*existing.registries}
    then = "it stays in the pull secret" if stay else "it is not in the pull secret"
    return f"the credential of owner {owner} for {some(registries)} has expired; {then} until it is renewed"


def right(namespace: Namespace, secret: str) -> Notice:
    """The end of all of them, and of some that others tell (core/notice.py, OVER)."""
    message = f"the Secret has the credentials of owner {quoted(namespace.owner or '')}"
    return Notice("PullSecretRight", message, namespace.name, "Secret", secret, "Normal", quiet=True)
