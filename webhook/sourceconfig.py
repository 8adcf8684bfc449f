"""`sources` in the configuration: where credentials come from, one model a kind, told apart by `from`.

A new kind is a model here, in `Source`, and a line in webhook/sources/configured.py.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from webhook.model import Model

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=60.0)]
Age = Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SecretsSource(Model, tag="secrets", tag_field="from", frozen=True):
    """Secrets in the webhook's own namespace that carry the label `pullsecret-webhook/owner`."""


class HttpSource(Model, tag="http", tag_field="from", frozen=True):
    """A service that is asked with GET, as docs/http-source.openapi.yaml says.

    `url`: with `{owner}` where the owner goes, escaped: as one segment of the path, or as a value in the query.
    `answer`: `auths`, as in a dockerconfigjson, or `credentials`, a list of registry, username and password.
    `maxAge`: seconds that an answer is used which says nothing of that (Cache-Control).
    Files are read again when they change. `plain`: allows http: to other hosts than this one; tokens then go in the
    clear.
    """

    url: str
    answer: Literal["auths", "credentials"] = "auths"
    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    max_age: Age = 300.0
    timeout: Seconds = 2.0
    plain: bool = False

    def __post_init__(self) -> None:
        _checked(self.url, plain=self.plain)
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile go together; name both or neither")


# The model of the SQL source has its place here: SqlSource, tag="sql".


Source = SecretsSource | HttpSource


def _checked(url: str, *, plain: bool) -> None:
    """No message quotes the address: somebody may have put a token there."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("url is none; write one such as https://tokens.example.com/v1/owners/{owner}") from None
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("url is none; write one such as https://tokens.example.com/v1/owners/{owner}")
    if "@" in parts.netloc:
        raise ValueError("url has a user or password in it; use tokenFile, or certFile and keyFile")
    if "{owner}" in parts.netloc or parts.path.count("{owner}") + parts.query.count("{owner}") != 1:
        raise ValueError("url must have {owner} once, in its path or query, such as .../owners/{owner}")
    if parts.fragment or "#" in url:
        raise ValueError("url has a #; leave it out, it is never sent")
    if parts.scheme == "http" and host not in LOOPBACK and not plain:
        raise ValueError("url is http:, so tokens would go in the clear; use https:, or set plain: true")
