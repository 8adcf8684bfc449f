"""A ClientHello, and nothing of TLS after it."""

import ssl

_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_CONTEXT.check_hostname, _CONTEXT.verify_mode = False, ssl.CERT_NONE


def hello(server_name: bytes) -> bytes:
    """With this name, be it text or not: OpenSSL writes one of the same length, which is put in another's place."""
    stand_in = ".".join(["x" * 60] * 4)[: len(server_name)].rstrip(".").ljust(len(server_name), "x")
    outgoing = ssl.MemoryBIO()
    client = _CONTEXT.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=stand_in)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        written = outgoing.read()
    assert stand_in.encode() in written
    return written.replace(stand_in.encode(), server_name)
