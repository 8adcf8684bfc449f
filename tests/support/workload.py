"""What stand-ins for clouds share: whom a cluster says that a pod is, and keys."""

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


def cluster_token(audience: str, *, subject: str = SUBJECT, seconds: float = 3600, signer: int = 9) -> str:
    """Of a service account, as the cluster writes it into a projected volume."""
    now = datetime.now(UTC).timestamp()
    claims = {"iss": CLUSTER, "sub": subject, "aud": [audience], "iat": now, "exp": now + seconds}
    return jwt.encode(claims, key(signer), "RS256")
