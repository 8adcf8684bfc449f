"""AWS Signature Version 4, for what the issuers send: a POST to the root of a host. Tests hold it to botocore's."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from webhook.issuers.signing import AccessKey


def signed(
    key: AccessKey, service: str, region: str, host: str, headers: Mapping[str, str], body: bytes, at: datetime
) -> dict[str, str]:
    """All headers of the request but Host, which is signed as `host`. Names are in small letters."""
    stamp = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    all_of_them = {name.lower(): " ".join(value.split()) for name, value in headers.items()} | {"x-amz-date": stamp}
    if key.token:
        all_of_them["x-amz-security-token"] = key.token
    lines = [f"{name}:{value}\n" for name, value in sorted({**all_of_them, "host": host}.items())]
    names = ";".join(sorted([*all_of_them, "host"]))
    canonical = "\n".join(["POST", "/", "", "".join(lines), names, _digest(body)])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, _digest(canonical.encode())])
    signing = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    login = f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**all_of_them, "authorization": login}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
