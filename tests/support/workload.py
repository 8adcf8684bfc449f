"""What stand-ins for clouds share: whom a cluster says that a pod is, keys, and faults of single requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

CLUSTER = "https://cluster.example.com"
"""Who issues the tokens of the cluster's service accounts."""
SUBJECT = "system:serviceaccount:pullsecret-webhook:pullsecret-webhook-issuer"


@cache
def key(number: int) -> RSAPrivateKey:
    """A key takes a while."""
    return generate_private_key(65537, 2048 + 8 * number)


@dataclass
class Fault:
    """What happens to one request. `lost`: it has its effect, and the answer does not arrive."""

    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False


def cluster_token(audience: str, *, subject: str = SUBJECT, seconds: float = 3600, signer: int = 9) -> str:
    """Of a service account, as the cluster writes it into a projected volume."""
    now = datetime.now(UTC).timestamp()
    claims = {"iss": CLUSTER, "sub": subject, "aud": [audience], "iat": now, "exp": now + seconds}
    return jwt.encode(claims, key(signer), "RS256")
