"""Aliyun's signature of a request, ACS3-HMAC-SHA256: RPC calls, whose parameters are all in the query. Pure."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from webhook.issuers.signing import AccessKey

ALGORITHM = "ACS3-HMAC-SHA256"
_NO_BODY = hashlib.sha256(b"").hexdigest()


def query_text(query: Mapping[str, str]) -> str:
    """As it is signed, and sent: sorted, and all but unreserved characters escaped."""
    return "&".join(f"{_escaped(name)}={_escaped(query[name])}" for name in sorted(query))


def signed(
    key: AccessKey, host: str, action: str, version: str, query: Mapping[str, str], at: datetime, nonce: str
) -> dict[str, str]:
    """The headers of a POST without a body to the root of `host`. `nonce`: of this request alone."""
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": _NO_BODY,
        "x-acs-date": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
        **({"x-acs-security-token": key.token} if key.token else {}),
    }
    lines = [f"{name}:{headers[name].strip()}\n" for name in sorted(headers)]
    names = ";".join(sorted(headers))
    request = "\n".join(["POST", "/", query_text(query), "".join(lines), names, _NO_BODY])
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key.secret.encode(), to_sign.encode(), "sha256").hex()
    return {**headers, "Authorization": f"{ALGORITHM} Credential={key.id},SignedHeaders={names},Signature={signature}"}


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")
