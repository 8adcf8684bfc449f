"""What can be wrong with a pull: stable codes, each with an entry in docs/troubleshooting.md. Pure.

A pull goes through layers, and the lowest that is broken is the cause: what is said above it is a consequence.
"""

from enum import IntEnum, StrEnum, auto


class Layer(IntEnum):
    """The lowest first."""

    IMAGE = 0
    SECRET = 1
    RUNTIME = 2
    DNS = 3
    TCP = 4
    TLS = 5
    REGISTRY = 6
    TOKEN = 7
    ACCESS = 8
    CONTENT = 9
    UNKNOWN = 10


class Fault(StrEnum):
    """In the order of the layers. The code of NO_SUCH_NAME is `NO-SUCH-NAME`."""

    @staticmethod
    def _generate_next_value_(name: str, *_: object) -> str:
        return name.replace("_", "-")

    IMAGE_NAME_INVALID = auto()
    IMAGE_SHORT_NAME = auto()
    IMAGE_NEVER_PULLED = auto()
    IMAGE_NEEDS_CREDENTIAL = auto()
    SECRET_UNREADABLE = auto()
    SECRET_MISSING = auto()
    SECRET_WRONG_TYPE = auto()
    SECRET_NO_ENTRY = auto()
    SECRET_NO_REFERENCE = auto()
    NAMESPACE_NOT_SERVED = auto()
    POD_OPTED_OUT = auto()
    OWNER_UNKNOWN = auto()
    OWNER_LIMITED = auto()
    RUNTIME_PROXY = auto()
    RUNTIME_CA_FILE = auto()
    RUNTIME_FAILS = auto()
    NODE_BUSY = auto()
    NODE_DISK_FULL = auto()
    DNS_NO_SUCH_NAME = auto()
    DNS_FAILS = auto()
    DNS_SILENT = auto()
    DNS_WRONG_ADDRESS = auto()
    TCP_REFUSED = auto()
    TCP_SILENT = auto()
    TCP_NO_ROUTE = auto()
    TCP_CUT = auto()
    CLOCK_WRONG = auto()
    TLS_NONE = auto()
    TLS_SILENT = auto()
    TLS_WRONG_NAME = auto()
    TLS_EXPIRED = auto()
    TLS_NOT_YET_VALID = auto()
    TLS_UNKNOWN_CA = auto()
    TLS_FAILS = auto()
    REGISTRY_RATE_LIMIT = auto()
    REGISTRY_BROKEN = auto()
    REGISTRY_BLOCKED = auto()
    REGISTRY_NONE = auto()
    MIRROR_FAILS = auto()
    TOKEN_REFUSED = auto()
    TOKEN_ANONYMOUS = auto()
    TOKEN_FAILS = auto()
    CREDENTIAL_NONE = auto()
    CREDENTIAL_REFUSED = auto()
    TOKEN_NO_ACCESS = auto()
    IMAGE_NOT_FOUND = auto()
    PLATFORM_MISSING = auto()
    FORMAT_TOO_OLD = auto()
    BLOB_REFUSED = auto()
    CONTENT_GONE = auto()
    CONTENT_CUT = auto()
    CONTENT_DAMAGED = auto()
    SIGNATURE_REFUSED = auto()
    PULL_TIMED_OUT = auto()
    NOT_KNOWN = auto()


_FIRST = (
    (Fault.IMAGE_NAME_INVALID, Layer.IMAGE),
    (Fault.SECRET_UNREADABLE, Layer.SECRET),
    (Fault.RUNTIME_PROXY, Layer.RUNTIME),
    (Fault.DNS_NO_SUCH_NAME, Layer.DNS),
    (Fault.TCP_REFUSED, Layer.TCP),
    (Fault.CLOCK_WRONG, Layer.TLS),
    (Fault.REGISTRY_RATE_LIMIT, Layer.REGISTRY),
    (Fault.TOKEN_REFUSED, Layer.TOKEN),
    (Fault.CREDENTIAL_NONE, Layer.ACCESS),
    (Fault.IMAGE_NOT_FOUND, Layer.CONTENT),
    (Fault.PULL_TIMED_OUT, Layer.UNKNOWN),
)
"""The first fault of each layer."""
_ORDER = {fault: at for at, fault in enumerate(Fault)}


def layer(fault: Fault) -> Layer:
    return max((each for first, each in _FIRST if _ORDER[first] <= _ORDER[fault]), key=int)
