"""What mallory does, and nsmaker, with nothing but the API."""

from contextlib import ExitStack

from attacks.hostile import DEEPEST, create, deep
from attacks.platform import Platform
from controlplane.objects import SECRET

CHANGED = "changed Secret"
PATCHED = 2_000
"""Levels of a change: the API server works for many seconds on one that is much deeper."""
DEEP = ("ServiceAccount", "Secret", CHANGED, "Namespace")


def poison(platform: Platform, kind: str, stack: ExitStack, depth: int = DEEPEST) -> None:
    """By whoever may. The Secret that is changed is her pull secret."""
    if kind == "Namespace":
        create(platform.nsmaker, kind, None, deep(kind, f"deep-{depth}", None, depth))
        stack.callback(platform.cluster.api.delete, kind, f"deep-{depth}")
    elif kind == CHANGED:
        space = stack.enter_context(platform.space(stands=True))
        path, headers = f"/api/v1/namespaces/{space}/secrets/{SECRET}", {"Content-Type": "application/merge-patch+json"}
        platform.mallory.raw("PATCH", path, content=deep("Secret", SECRET, space, min(depth, PATCHED)), headers=headers)
    else:
        space = stack.enter_context(platform.space(owner=None))
        create(platform.mallory, kind, space, deep(kind, SECRET, space, depth))
