"""Our errors. None of them ever contains a token, a body or a header."""

from webhook.core.shown import short

MAX_WHY_BYTES = 512
"""Bytes of a source's error, which is remembered for each owner that fails."""


class PullsecretError(Exception):
    """Base of all errors that are shown to people: one line, and what to do next."""


class CredentialError(PullsecretError):
    """What cannot be used as a credential, or as a list of them, and what to write instead; never with its content."""


class SourceUnavailable(PullsecretError):
    """No source can answer which credentials an owner has. The existing pull secrets stay unchanged.

    `everybody`: no other owner would get an answer. `retry_after`: seconds that the source asked us to wait. `about`:
    the owners of the query that failed, if they were several; each of them may be the reason. From a remote, without
    `everybody`: the owners who are the reason.
    """

    def __init__(
        self,
        message: str = "",
        *,
        everybody: bool = False,
        retry_after: float = 0.0,
        about: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(short(message, MAX_WHY_BYTES))
        self.everybody, self.retry_after, self.about = everybody, retry_after, about


class MalformedReview(PullsecretError):
    """The request is not an AdmissionReview that the webhook can answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NamespaceUnknown(PullsecretError):
    """A namespace could not be read from the API server: the cluster's failurePolicy decides."""

    passing = True
    """As in WriteRefused."""


class WriteConflict(PullsecretError):
    """Another client wrote first, or owns a field: read the Secret and plan again. `by`: who, if it is known."""

    def __init__(self, message: str = "", *, by: str = "") -> None:
        super().__init__(message)
        self.by = by


class WriteDenied(PullsecretError):
    """The write policy refused, because what we knew of the namespace was old: read it and plan again."""


class WriteRefused(PullsecretError):
    """Refused for a reason that a new plan does not change (RBAC, quota, a terminating namespace, no answer).

    `passing`: the reason is the API server, not the namespace: it affects all namespaces, and passes for all.
    """

    def __init__(self, message: str = "", *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing
