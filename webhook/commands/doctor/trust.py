"""What certificates of registries are verified with: the public CAs, and those that an administrator gives."""

import re
import ssl
from pathlib import Path

_NO_CHECK_TIME = 0x200000
"""Of OpenSSL: X509_V_FLAG_NO_CHECK_TIME."""
_PEM = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


def certificates(file: Path) -> str:
    """Those of a file, in PEM. What else is in it, such as a private key or comments, is left out: probes are given
    this text. Raises OSError, and ValueError if there are none that can be read.
    """
    found = b"\n".join(one[0] for one in _PEM.finditer(file.read_bytes())).decode("ascii")
    if not found:
        raise ValueError("there is no certificate in PEM")
    Trust(found)
    return found


class Trust:
    """What certificates are verified with. `public`: there are CAs beside those of `ca_pem`. Raises ValueError if that
    cannot be read.
    """

    def __init__(self, ca_pem: str) -> None:
        self.strict, self.chain, self.none = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(3))
        # Not what newer versions of Python demand of CAs by themselves: container runtimes do not.
        usual = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        self.strict.verify_flags = usual
        self.strict.hostname_checks_common_name = False
        self.chain.check_hostname = self.none.check_hostname = False
        self.chain.verify_flags = usual | ssl.VerifyFlags(_NO_CHECK_TIME)
        self.none.verify_mode = ssl.CERT_NONE
        for one in (self.strict, self.chain):
            one.load_default_certs()
            if ca_pem:
                try:
                    one.load_verify_locations(cadata=ca_pem)
                except (ssl.SSLError, ValueError):
                    raise ValueError("ca_pem is no certificate in PEM") from None
        self.public = _has_public()


def _has_public() -> bool:
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return True
    try:
        return bool(paths.capath) and any(Path(paths.capath).iterdir())
    except OSError:
        return False
