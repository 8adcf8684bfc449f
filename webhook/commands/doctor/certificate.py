"""A registry's certificate: what it says, and what is wrong with it by itself."""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from webhook.commands.doctor.evidence import Tls
from webhook.commands.doctor.resolving import is_address
from webhook.core.shown import shown

MAX_NAMES, MAX_NAME_CHARS = 10, 100
"""Of a certificate, as they are told."""
_NO_NAMES = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, slots=True)
class About:
    """Without `begins` and `ends`: there is none that can be read."""

    names: tuple[str, ...] = ()
    issuer: str = ""
    begins: datetime | None = None
    ends: datetime | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        return tuple(shown(name, MAX_NAME_CHARS) for name in self.names[:MAX_NAMES])

    def wrong(self, host: str) -> list[Tls]:
        """What it is by itself, whoever has signed it."""
        if self.begins is None or self.ends is None:
            return []
        now, found = datetime.now(UTC), list[Tls]()
        if now > self.ends:
            found.append("expired")
        if now < self.begins:
            found.append("not yet valid")
        if not any(covers(name, host) for name in self.names):
            found.append("wrong name")
        return found


def covers(name: str, host: str) -> bool:
    """Is a name of a certificate that of the host? `*` is one whole label, the first."""
    name, host = name.lower().removesuffix("."), host.lower()
    if is_address(host):
        return name == host
    first, dot, rest = name.partition(".")
    return name == host or (first == "*" and bool(dot) and host.partition(".")[2] == rest)


def about(der: bytes) -> About:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of a serial number, say, to standard error
        return _parsed(der)


def _parsed(der: bytes) -> About:
    try:
        one = x509.load_der_x509_certificate(der)
        issuer = [
            str(each.value)
            for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
            for each in one.issuer.get_attributes_for_oid(oid)
        ]
        begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
    except (ValueError, TypeError, x509.InvalidVersion):
        return About()
    try:
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
    except (ValueError, TypeError, *_NO_NAMES):
        found = ()
    return About(found, shown(", ".join(dict.fromkeys(issuer)), MAX_NAME_CHARS), begins, ends)
