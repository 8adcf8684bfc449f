"""Service accounts with enforce-mountable-secrets: the API server refuses their pods if one names a Secret that the
account does not list. What is said of such an account, in a review and when it becomes one.
"""

from dataclasses import dataclass

from webhook.core.notice import Notice, Record
from webhook.kube.views import Account, Namespaces

REASON = "AccountRefuses"


def left_alone(account: str, secret: str) -> str:
    """To whoever creates a pod or a template under this account: it gets no reference."""
    return (
        f"imagePullSecrets was left alone: service account {account} has enforce-mountable-secrets "
        f"and does not list {secret}; add it to the account's imagePullSecrets"
    )


@dataclass(frozen=True)
class Tightened:
    """Is to hear of each account that comes or changes and enforces its list. `secret`: the pull secret's name."""

    secret: str
    namespaces: Namespaces
    record: Record

    def __call__(self, key: str, before: Account | None, account: Account) -> None:
        """Said now: the API server refuses the pods of templates that were patched before, without asking us.

        Also with `deployments: supply`: they may have been patched before that was set.
        """
        namespace, _, name = key.partition("/")
        secret, seen = self.secret, self.namespaces.get(namespace)
        if seen is None or not seen.served or not account.refuses(secret) or (before and before.refuses(secret)):
            return
        message = (
            f"service account {name} now has enforce-mountable-secrets and does not list {secret}: pods of templates "
            f"that already refer to {secret} are refused; add it to the account's imagePullSecrets"
        )
        self.record(Notice(REASON, message, namespace, "ServiceAccount", name))
