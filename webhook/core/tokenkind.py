"""What kind of token a password looks like: a hint in messages about one that a registry refuses, never a verdict.

Sources: the prefixes that GitHub, GitLab and Docker document for their tokens.
"""

import re
from collections.abc import Mapping, Sequence

from webhook.core.shown import quoted

_GITHUB = ("ghcr.io", "docker.pkg.github.com")
_CLASSIC = "GitHub's registry takes classic personal access tokens with the scope read:packages"
_KINDS: Sequence[tuple[str, str, str]] = (
    ("github_pat_", "GitHub", f"a fine-grained personal access token of GitHub; {_CLASSIC}"),
    ("ghp_", "GitHub", "a classic personal access token of GitHub: is it revoked, has it the scope read:packages?"),
    ("ghs_", "GitHub", f"an installation token of a GitHub App, which ends within an hour; {_CLASSIC}"),
    ("ghu_", "GitHub", f"a user token of a GitHub App, which may end within hours; {_CLASSIC}"),
    ("gho_", "GitHub", f"an OAuth token of GitHub; {_CLASSIC}"),
    ("glpat-", "GitLab", "a personal or project access token of GitLab, which needs the scope read_registry"),
    ("gldt-", "GitLab", "a deploy token of GitLab, which needs the scope read_registry"),
    ("dckr_pat_", "Docker Hub", "a personal access token of Docker Hub"),
    ("dckr_oat_", "Docker Hub", "an organization access token of Docker Hub"),
)
"""Prefix, vendor, and what it is."""
_UNFIT = frozenset({"github_pat_", "ghs_", "ghu_", "gho_"})
"""Those that the vendor's own registry does not take, or not for long."""
_VENDORS = {"GitHub": _GITHUB, "Docker Hub": ("docker.io",)}
"""Hosts that a vendor's tokens are for, where that is known: a GitLab has any host."""
READ_PACKAGES = frozenset({"read:packages", "write:packages", "delete:packages"})
_SCOPES, _ENDS = "X-OAuth-Scopes", "GitHub-Authentication-Token-Expiration"
_LIST = re.compile(r"[a-z_:, ]{1,200}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:UTC|[+-]\d{4})", re.ASCII)


def hint(registry: str, password: str) -> str:
    """Empty if nothing is known about such passwords."""
    return _looks(registry, password)[0]


def doubt(registry: str, password: str) -> str:
    """The hint, if the registry will probably refuse such a password; also of one that nobody has tried yet."""
    words, doubtful = _looks(registry, password)
    return words if doubtful else ""


def _looks(registry: str, password: str) -> tuple[str, bool]:
    for prefix, vendor, words in _KINDS:
        if password.startswith(prefix):
            hosts = _VENDORS.get(vendor)
            if hosts is not None and not any(host in registry for host in hosts):
                return f"it looks like a token of {vendor}; is it for this registry?", True
            return f"it looks like {words}", prefix in _UNFIT
    return "", False


def lacks_scope(scopes: str) -> bool:
    """`scopes`: GitHub's header X-OAuth-Scopes, separated by commas."""
    return bool(scopes) and not {one.strip() for one in scopes.split(",")} & READ_PACKAGES


def told(headers: Mapping[str, str]) -> list[str]:
    """What GitHub's headers tell of a token: only what cannot be one, or words that somebody wants an administrator to
    read.
    """
    scopes, ends, found = headers.get(_SCOPES, ""), headers.get(_ENDS, ""), []
    if _LIST.fullmatch(scopes) and lacks_scope(scopes):
        found.append(f"its scopes are {quoted(scopes)}; it needs read:packages")
    if _TIME.fullmatch(ends):
        found.append(f"GitHub says that it ends at {quoted(ends)}")
    return found
