"""Why an HTTP request got no answer, in words. A library's own text may have addresses, and perhaps more."""

import os
import ssl
from collections.abc import Mapping

import aiohttp

_WORDS: Mapping[type[Exception], str] = {
    aiohttp.ClientConnectorCertificateError: "its certificate is not trusted, has expired, or is for another host",
    aiohttp.ClientConnectorSSLError: "the TLS handshake failed",
    aiohttp.ClientConnectorDNSError: "its host name cannot be resolved",
    aiohttp.ClientPayloadError: "its answer is incomplete",
    aiohttp.ServerDisconnectedError: "the connection was closed before the answer",
    aiohttp.InvalidURL: "its address is not valid",
    TimeoutError: "no answer in time",
}


def words(e: Exception) -> str:
    for kind, text in _WORDS.items():
        if isinstance(e, kind):
            return text
    if isinstance(e.__cause__, ssl.SSLError):  # its errno is a number of OpenSSL
        return _WORDS[aiohttp.ClientConnectorSSLError]
    if isinstance(e, OSError) and e.errno:  # such as "connection refused"
        return os.strerror(e.errno).lower()
    return (
        "it cannot be reached"
        if isinstance(e, aiohttp.ClientConnectorError)
        else f"the request failed: {type(e).__name__}"
    )
