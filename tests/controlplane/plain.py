"""Plain HTTP: for it httpx reads the certificates of all public authorities too, 50 ms of a core for each request."""

import ssl

import httpx

_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # over TLS it trusts nobody


def get(url: str) -> httpx.Response:
    return httpx.get(url, verify=_NO_AUTHORITIES, trust_env=False)


def put(url: str, content: str) -> None:
    httpx.put(url, content=content, verify=_NO_AUTHORITIES, trust_env=False).raise_for_status()
