"""Exit codes, and the errors that lead to them."""

from webhook.core.errors import PullsecretError

OK, FAILED, USAGE, UNSEEN, INTERRUPTED = 0, 1, 2, 3, 130
VIEW_EXIT_CODES = "Exit codes: 0 all fine; 1 something needs attention; 2 wrong arguments or configuration."
STATUS_EXIT_CODES = f"{VIEW_EXIT_CODES.removesuffix('.')}; 3 the cluster could not be looked at."


class UsageError(PullsecretError):
    """Wrong arguments, or a wrong file: exit code 2."""


class UnseenError(PullsecretError):
    """The cluster could not be looked at: exit code 3."""
