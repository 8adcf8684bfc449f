"""What can go wrong, one line each, never with a key or a foreign exception's text in it."""


class CertsError(Exception):
    """Base of all of these: `str()` may be shown to people as it is."""


class Unusable(CertsError):
    """A certificate or key can't be used; the message says which one and why."""


class ApiTrouble(CertsError):
    """The API server didn't do what was asked, or nobody knows whether it did. It is asked again after a pause."""


class Conflict(ApiTrouble):
    """The Secret or the webhook configuration isn't what it was when it was read: somebody else was faster."""


class NotOurs(ApiTrouble):
    """A Secret of that name stands there that isn't managed by us, or cannot be changed: a human has to look."""
