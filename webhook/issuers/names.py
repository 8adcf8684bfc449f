"""Names that issuers give: of an owner's repositories, in the keys of credentials, and of what they mint.

An owner that does not fit is refused, never changed until it does: changed, it might be another owner's name.
"""

import hashlib
from collections.abc import Iterable

from webhook.config.issuers.base import OWNER_HERE
from webhook.core.credential import Credential
from webhook.core.errors import CredentialError
from webhook.core.imagename import is_repository
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, IssuerUnavailable

CHECK_NAME = "pullsecret-check"
"""In the logs of those who are asked; nothing has this name."""


def repositories(template: str, owner: str) -> str:
    """What the names of an owner's repositories begin with, without the slash behind. Raises IssueRefused."""
    found = template.replace(OWNER_HERE, owner)
    if OWNER_HERE in template and ("/" in owner or not is_repository(f"{found}/name")):
        raise DoesNotFit(
            f"the owner {quoted(owner)} cannot be part of a repository's name, which has lower-case letters, digits, "
            "and single . _ - between them; give the owner such a name, or leave it out of the issuer's owners"
        )
    return found


def credentials(who: str, registry: str, below: Iterable[str], username: str, password: str) -> tuple[Credential, ...]:
    """`who`: has given the login for what is `below` each of these names. Raises IssuerUnavailable.

    With a slash behind: without it the kubelet would send what is alice's for alice2/app, too.
    """
    try:
        return tuple(Credential(f"{registry}/{one}/", username, password) for one in dict.fromkeys(below))
    except CredentialError:  # its text is about what people write
        raise IssuerUnavailable(f"the name or the password in the answer of {who} is none that can be used") from None


def minted_name(cluster: str, called: str, owner: str, generation: int) -> str:
    """What a credential is called at the issuer: the same for the same generation, and nobody else's. `cluster`: the
    eight characters that no other one has. `called`: the issuer, which by another name is another one.

    Of all owners the digest: what fits and what does not are called alike. The generation stands inside, so that no
    name is the beginning or end of another one. At most 39 lower-case letters, digits and -.
    """
    digest = hashlib.sha256(f"{called} {owner}".encode()).hexdigest()[:16]
    return f"{cluster}-{generation}-{digest}"
