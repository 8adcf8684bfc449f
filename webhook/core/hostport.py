"""A host and its port in one word. An IPv6 address stands in brackets there."""

import re

_PORT = re.compile(r"\d{1,5}", re.ASCII)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def joined(host: str, port: int) -> str:
    return f"{bracketed(host)}:{port}"


def split(text: str) -> tuple[str, str]:
    """The host without brackets, and the port. Empty: it has none."""
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or (":" in host and not host.endswith("]")):
        host, port = text, ""
    return host.removeprefix("[").removesuffix("]"), port
