"""What can go wrong, in our own words. None of these ever carries a token, a body or a header."""

from webhook.core.shown import short

MAX_WHY_BYTES = 512
"""Bytes of what a source says: it is remembered for as many owners as fail."""


class PullsecretError(Exception):
    """Base of all errors that are shown to people: one line, and what to do next."""


class SourceUnavailable(PullsecretError):
    """Nobody could say which credentials an owner has. What stands in the namespaces stays.

    `everybody`: nor would asking for another owner help. `retry_after`: seconds that the source asked us to wait.
    """

    def __init__(self, message: str = "", *, everybody: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(short(message, MAX_WHY_BYTES))
        self.everybody, self.retry_after = everybody, retry_after


class MalformedReview(PullsecretError):
    """The request is no AdmissionReview that we can answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NamespaceUnknown(PullsecretError):
    """The API server could not be asked about a namespace: the cluster's failurePolicy decides."""


class WriteConflict(PullsecretError):
    """Somebody else wrote first, or owns a field: look at what stands now and plan anew."""


class WriteDenied(PullsecretError):
    """The write policy refused: our knowledge of the namespace was old. Look again and plan anew."""


class WriteRefused(PullsecretError):
    """Refused for a reason that planning anew does not change (RBAC, quota, a terminating namespace, no answer).

    `passing`: the reason lies with the API server, not in the namespace: all namespaces meet it, and it passes for all.
    """

    def __init__(self, message: str = "", *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing
