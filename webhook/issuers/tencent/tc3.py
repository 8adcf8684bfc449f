"""Tencent Cloud's signature of a request, TC3-HMAC-SHA256: a POST of JSON. Pure."""

import hashlib
import hmac
from datetime import datetime

from webhook.issuers.signing import AccessKey

ALGORITHM, MEDIA_TYPE = "TC3-HMAC-SHA256", "application/json"
_NAMES = "content-type;host"


def signed(key: AccessKey, host: str, service: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers that sign a POST of this body to the root of `host`. `at`: in UTC."""
    stamp, day = str(int(at.timestamp())), f"{at:%Y-%m-%d}"
    headers = f"content-type:{MEDIA_TYPE}\nhost:{host}\n"
    request = "\n".join(["POST", "/", "", headers, _NAMES, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{service}/tc3_request"
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signing = f"TC3{key.secret}".encode()
    for part in (day, service, "tc3_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, to_sign.encode(), "sha256").hex()
    return {
        "Authorization": f"{ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={_NAMES}, Signature={signature}",
        "X-TC-Timestamp": stamp,
        **({"X-TC-Token": key.token} if key.token else {}),
    }
