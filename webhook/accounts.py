"""Service accounts with enforce-mountable-secrets: the API server refuses their pods if one names a Secret that the
account does not list. This module has the notices about them, in a review and when an account changes.
"""

from dataclasses import dataclass

from webhook.core.notice import Notice, Reason, Record
from webhook.kube.views import AnyAccount, State

REASON: Reason = "AccountRefuses"


def left_alone(account: str, secret: str) -> str:
    """For the user who creates a pod or a template under this account: it gets no reference."""
    return (
        f"imagePullSecrets was left alone: service account {account} has enforce-mountable-secrets "
        f"and does not list {secret}; add it to the account's imagePullSecrets"
    )


@dataclass(frozen=True)
class Tightened:
    """To be called for each account that changes. `secret`: the pull secret's name."""

    secret: str
    state: State
    record: Record

    def __call__(self, key: str, before: AnyAccount | None, account: AnyAccount | None) -> None:
        """Reported now: the API server refuses pods of templates that were patched before, without calling the webhook.

        Also with `deployments: supply`: templates may have been patched before that was set. Not for the first list:
        the process that ran before has seen those.
        """
        namespace, _, name = key.partition("/")
        secret, seen = self.secret, self.state.namespaces.get(namespace)
        if not self.state.accounts.synced.is_set() or seen is None or not seen.served:
            return
        if account is None or not account.refuses(secret) or (before and before.refuses(secret)):
            return
        message = (
            f"service account {name} now has enforce-mountable-secrets and does not list {secret}: the API server "
            f"refuses pods of templates that already refer to {secret}; add it to the account's imagePullSecrets"
        )
        self.record(Notice(REASON, message, namespace, "ServiceAccount", name))
