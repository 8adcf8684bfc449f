"""The errors. A message is one line, without a key and without the text of a foreign exception."""


class CertsError(Exception):
    """Base of all of these. `str()` may be shown to people as it is."""


class Unusable(CertsError):
    """A certificate or key cannot be used. The message says which one and why."""


class Unanswered(Unusable):
    """The process that knows about certificates gave no answer. It is asked again after a pause."""


class ApiTrouble(CertsError):
    """The API server refused a call, or its result is unknown. The call is retried after a pause."""


class Conflict(ApiTrouble):
    """Another client has changed the Secret or the webhook configuration since it was read."""


class NotOurs(ApiTrouble):
    """A Secret of that name exists that is not ours, or that cannot be changed: an administrator must look at it."""
