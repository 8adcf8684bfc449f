"""`sources` in the configuration: where credentials come from, one model a kind, told apart by `from`.

A new kind is a model here, in `Source`, and a line in webhook/sources/configured.py.
"""

import re
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from webhook.config.base import Model

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=30.0)]
Age = Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SecretsSource(Model, tag="secrets", tag_field="from", frozen=True):
    """Secrets in the webhook's own namespace that carry the label `pullsecret-webhook/owner`."""


class Fields(Model, frozen=True):
    """Where things are in a JSON answer, as keys with dots between them.

    `items`: the list of credentials, or a single one; empty: the whole answer. The others are within each of them.
    `defaultRegistry` and `defaultUsername` are for answers that do not say.
    """

    items: str = ""
    registry: str = "registry"
    username: str = "username"
    password: str = "password"  # noqa: S105  # a key's name
    expires: str = "expires"
    default_registry: str | None = None
    default_username: str | None = None


class HttpSource(Model, tag="http", tag_field="from", frozen=True):
    """A service that is asked with GET, as docs/http-source.openapi.yaml says.

    `url`: with `{owner}` where the owner goes, escaped: into the path, or into a value of the query.
    `answer`: `auths`, as in a dockerconfigjson, or where its fields are.
    `maxAge`: seconds that an answer is used which says nothing of that (Cache-Control).
    `plain`: allows http: to other hosts than this one; tokens then go in the clear.
    Files are read again when they change. Without `caFile`, the system's authorities are trusted.
    """

    url: str
    answer: Literal["auths"] | Fields = "auths"
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

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def in_path(self) -> bool:
        return "{owner}" in urlsplit(self.url).path


class Decrypt(Model, frozen=True):
    """Files with what opens encrypted tokens, read again when they change.

    `passphraseFile`: for `ivHex:tagHex:cipherHex`. `keysFile`: for `v1.KEYID.BASE64`, a line for each key.
    """

    passphrase_file: str | None = None
    keys_file: str | None = None

    def __post_init__(self) -> None:
        if not (self.passphrase_file or self.keys_file):
            raise ValueError("decrypt names no file; set passphraseFile or keysFile, or leave decrypt out")


class SqlSource(Model, tag="sql", tag_field="from", frozen=True):
    """PostgreSQL, asked with one query.

    `urlFile`: holds the connection string, `postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`.
    `query`: with `%(owner)s` once; its columns are registry, username, password, and perhaps expires, status and
    namespaces (a list). `preset`: instead of it, for a table of Git connections, with the owner as user or as project.
    `registries`: for the presets, the registry of a Git server's host or of a provider; "": it has none.
    `listen`: a channel on which NOTIFY says whose credentials have changed. `maxAge`: seconds that an answer is used.
    `plain`: allows a server other than this host that is not verified; tokens then go where they should not.
    """

    url_file: str
    query: str | None = None
    preset: Literal["git-connections", "git-connections-by-project"] | None = None
    registries: dict[str, str] = msgspec.field(default_factory=dict)
    decrypt: Decrypt | None = None
    listen: Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    max_age: Age = 300.0
    timeout: Seconds = 2.0
    connections: Annotated[int, msgspec.Meta(ge=1, le=50)] = 4
    plain: bool = False

    def __post_init__(self) -> None:
        if (self.query is None) == (self.preset is None):
            raise ValueError("query and preset: set one of them")
        marks = re.findall(r"%%|%\(owner\)s|%", self.query or "%(owner)s")
        if marks.count("%(owner)s") != 1 or re.search(r"""['"]%\(owner\)s|%\(owner\)s['"]""", self.query or ""):
            raise ValueError("query must have %(owner)s once, without quotes; it is sent apart from the query")
        if "%" in marks:
            raise ValueError("query has a % that is not of %(owner)s; write %% for a percent sign")


Source = SecretsSource | HttpSource | SqlSource


EXAMPLE = "https://tokens.example.com/v1/owners/{owner}"


def _checked(url: str, *, plain: bool) -> None:
    """No message quotes the address: somebody may have put a token there."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"} or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise ValueError(f"url is not valid: expected one such as {EXAMPLE}")
    if "@" in parts.netloc:
        raise ValueError("url has a user or password in it; use tokenFile, or certFile and keyFile")
    if url.count("{owner}") != 1 or "{owner}" not in parts.path + "?" + parts.query:
        raise ValueError(f"url must have {{owner}} once, in its path or query, as in {EXAMPLE}")
    if "#" in url:
        raise ValueError("url has a #; leave it out, it is never sent")
    if any(unquote(segment) in {".", ".."} for segment in parts.path.split("/")):
        raise ValueError(f"url has . or .. in its path; write the path that is meant, as in {EXAMPLE}")
    if parts.scheme == "http" and host not in LOOPBACK and not plain:
        raise ValueError("url is http:, so tokens would go in the clear; use https:, or set plain: true")
