"""What OpenSSL's errors mean where a registry is asked by TLS. It names the CA before the name, and the name before the
time.
"""

from collections.abc import Mapping

from webhook.commands.doctor.evidence import Tls
from webhook.core.faults import Fault

FAULTS: Mapping[Tls, Fault] = {
    "wrong name": Fault.TLS_WRONG_NAME,
    "unknown CA": Fault.TLS_UNKNOWN_CA,
    "expired": Fault.TLS_EXPIRED,
    "not yet valid": Fault.TLS_NOT_YET_VALID,
    "no TLS": Fault.TLS_NONE,
    "silent": Fault.TLS_SILENT,
    "cut": Fault.TCP_CUT,
    "fails": Fault.TLS_FAILS,
}
_OF_CERTIFICATE: Mapping[int, Tls] = {9: "not yet valid", 10: "expired", 62: "wrong name", 64: "wrong name"}
_UNTRUSTED = frozenset({2, 7, 18, 19, 20, 21, 24, 27, 30})
"""No CA that we trust has signed the chain."""
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"}
)
"""The other side speaks something else."""


def of_certificate(verify_code: int) -> Tls:
    """`verify_code`: of the verification, X509_V_ERR_..."""
    return "unknown CA" if verify_code in _UNTRUSTED else _OF_CERTIFICATE.get(verify_code, "fails")


def of_handshake(reason: str) -> Tls:
    return "no TLS" if reason in _NOT_TLS else "cut" if reason == "UNEXPECTED_EOF_WHILE_READING" else "fails"
