"""`sources` in the configuration: where credentials come from, one model a kind, told apart by `from`.

A new kind is a model here, in `Source`, and a line in webhook/sources/configured.py.
"""

import re
from collections.abc import Collection
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from webhook.config.base import Model, are_paths, doc, whole

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=30.0)]
Age = Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CUT_OFF = re.compile(r"""(?<!["'.])\b(?:limit|fetch\s+(?:first|next))\b(?!["'])""", re.IGNORECASE)
"""What SQL has to return fewer rows than there are. With quotes or after a dot it is a name or a text."""


class SecretsSource(Model, tag="secrets", tag_field="from", frozen=True):
    """Secrets in the webhook's own namespace that carry the label `pullsecret-webhook/owner`."""

    @property
    def in_short(self) -> str:
        """Here and below: what it comes to, for people."""
        return "Secrets in the webhook's namespace with the label pullsecret-webhook/owner, watched"

    @property
    def registries_named(self) -> Collection[str]:
        """Here and below: those that the configuration itself names."""
        return ()


class Fields(Model, frozen=True):
    """Where things are in a JSON answer, as keys with dots between them. All but `items` are within each credential."""

    items: Annotated[str, doc("the list of credentials, or a single one; empty: the whole answer")] = ""
    registry: Annotated[str, doc("where the registry is")] = "registry"
    username: Annotated[str, doc("where the user name is")] = "username"
    password: Annotated[str, doc("where the password or token is")] = "password"  # noqa: S105  # a key's name
    expires: Annotated[str, doc("where the time is at which the credential expires, RFC 3339")] = "expires"
    default_registry: Annotated[str | None, doc("the registry where the answer names none")] = None
    default_username: Annotated[str | None, doc("the user name where the answer names none")] = None


class HttpSource(Model, tag="http", tag_field="from", frozen=True):
    """A service that is asked with GET, and for many owners with POST, as in docs/http-source.openapi.yaml. Files are
    read again when they change.
    """

    url: Annotated[str, doc("its address, with {owner} where the owner goes: in the path, or in a value of the query")]
    batch_url: Annotated[
        str | None, doc("the address to which a POST with many owners goes; without it, they are asked for one by one")
    ] = None
    answer: Annotated[
        Literal["auths"] | Fields, doc("auths: as in a dockerconfigjson; else where things are in the answer")
    ] = "auths"
    token_file: Annotated[str | None, doc("a file with the bearer token that is sent")] = None
    ca_file: Annotated[str | None, doc("a file with the CA certificates to trust; else those of the system")] = None
    cert_file: Annotated[str | None, doc("a file with the client certificate, PEM")] = None
    key_file: Annotated[str | None, doc("a file with its private key, PEM")] = None
    max_age: Annotated[Age, doc("seconds for which an answer without Cache-Control is used")] = 300.0
    timeout: Annotated[Seconds, doc("seconds that an answer may take")] = 2.0
    plain: Annotated[bool, doc("allow http: to other hosts than this one; tokens are then sent in the clear")] = False

    def __post_init__(self) -> None:
        are_paths(tokenFile=self.token_file, caFile=self.ca_file, certFile=self.cert_file, keyFile=self.key_file)
        _checked("url", self.url, EXAMPLE, plain=self.plain)
        if self.batch_url is not None:
            _checked("batchUrl", self.batch_url, BATCH_EXAMPLE, plain=self.plain)
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile go together; name both or neither")

    @property
    def in_short(self) -> str:
        """Not the whole address: somebody may have put a token there."""
        sent = "the token of a file" if self.token_file else "a client certificate" if self.cert_file else "no login"
        many = f", and POST {urlsplit(self.batch_url).hostname} for many owners," if self.batch_url else ""
        return f"GET {urlsplit(self.url).hostname}{many} with {sent}; {_used(self.max_age)} without Cache-Control"

    @property
    def registries_named(self) -> Collection[str]:
        default = self.answer.default_registry if isinstance(self.answer, Fields) else None
        return () if default is None else (default,)

    @property
    def in_path(self) -> bool:
        return "{owner}" in urlsplit(self.url).path


class Decrypt(Model, frozen=True):
    """Files with what decrypts tokens, read again when they change."""

    passphrase_file: Annotated[str | None, doc("a file with the passphrase of tokens as ivHex:tagHex:cipherHex")] = None
    keys_file: Annotated[str | None, doc("a file with a line for each key of tokens as v1.KEYID.BASE64")] = None

    def __post_init__(self) -> None:
        if not (self.passphrase_file or self.keys_file):
            raise ValueError("decrypt names no file; set passphraseFile or keysFile, or leave decrypt out")
        are_paths(passphraseFile=self.passphrase_file, keysFile=self.keys_file)


class SqlSource(Model, tag="sql", tag_field="from", frozen=True):
    """PostgreSQL, asked with one query: `query` or a `preset`."""

    url_file: Annotated[
        str,
        doc("a file with the connection string, postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full"),
    ]
    query: Annotated[
        str | None,
        doc(
            "SQL with %(owners)s once, a list of texts; its columns are owner, registry, username, password, and "
            "perhaps expires, status and namespaces (a list). With %(owner)s instead, it is asked for one owner at a "
            "time, and needs no column owner"
        ),
    ] = None
    preset: Annotated[
        Literal["git-connections", "git-connections-by-project"] | None,
        doc("a query for a table of Git connections, with the owner as user or as project"),
    ] = None
    registries: Annotated[
        dict[str, str], doc('for the presets, the registry of a Git server\'s host or of a provider; "": it has none')
    ] = msgspec.field(default_factory=dict)
    decrypt: Annotated[Decrypt | None, doc("what decrypts tokens that are encrypted in the database")] = None
    listen: Annotated[
        Annotated[str, whole(r"[a-z_][a-z0-9_]{0,62}"), doc("a channel: lower-case letters, digits and _")] | None,
        doc("the channel on which NOTIFY says whose credentials have changed"),
    ] = None
    max_age: Annotated[Age, doc("seconds for which an answer is used")] = 300.0
    timeout: Annotated[Seconds, doc("seconds that an answer may take")] = 2.0
    connections: Annotated[
        int, msgspec.Meta(ge=1, le=50), doc("connections that a replica opens at most, and one more to listen")
    ] = 4
    plain: Annotated[bool, doc("allow other hosts than this one without verification; tokens may then be read")] = False

    def __post_init__(self) -> None:
        are_paths(urlFile=self.url_file)
        if (self.query is None) == (self.preset is None):
            raise ValueError("query and preset: set one of them")
        marks = re.findall(r"%%|%\(owners?\)s|%", self.query or "%(owners)s")
        names = [mark for mark in marks if len(mark) > 2]
        if len(names) != 1 or re.search(r"""['"]%\(owners?\)s|%\(owners?\)s['"]""", self.query or ""):
            raise ValueError(
                "query must have %(owners)s once, or %(owner)s once, without quotes; it is sent apart from the query. "
                "Write WHERE owner = ANY(%(owners)s), and a column owner"
            )
        if "%" in marks:
            raise ValueError(f"query has a % that is not of {names[0]}; write %% for a percent sign")
        if self.many and _CUT_OFF.search(self.query or ""):  # whose rows are cut off would seem to have no credentials
            raise ValueError(
                "query has LIMIT or FETCH, which would count the rows of all owners together; leave it out (200 rows "
                "of an owner are read at most), or ask for one owner at a time with %(owner)s"
            )

    @property
    def many(self) -> bool:
        """Does one query answer many owners?"""
        return self.query is None or "%(owner)s" not in self.query.replace("%%", "")

    @property
    def in_short(self) -> str:
        what = f"the preset {self.preset}" if self.preset else "a query for many owners" if self.many else "a query"
        news = f", or until NOTIFY on {self.listen}" if self.listen else ""
        return f"PostgreSQL of {self.url_file}, asked with {what}; {_used(self.max_age)}{news}"

    @property
    def registries_named(self) -> Collection[str]:
        return self.registries.values()


Source = SecretsSource | HttpSource | SqlSource


def _used(seconds: float) -> str:
    return f"an answer is used for {seconds:g} s"


EXAMPLE = "https://tokens.example.com/v1/owners/{owner}"
BATCH_EXAMPLE = "https://tokens.example.com/v1/owners"


def _checked(name: str, url: str, example: str, *, plain: bool) -> None:
    """No message quotes the address: somebody may have put a token there."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"} or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise ValueError(f"{name} is not valid: expected one such as {example}")
    if "@" in parts.netloc:
        raise ValueError(f"{name} has a user or password in it; use tokenFile, or certFile and keyFile")
    if example == EXAMPLE and (url.count("{owner}") != 1 or "{owner}" not in parts.path + "?" + parts.query):
        raise ValueError(f"url must have {{owner}} once, in its path or query, as in {EXAMPLE}")
    if example == BATCH_EXAMPLE and "{" in url:
        raise ValueError(f"batchUrl has a {{; the owners are sent in the body, so write it as in {BATCH_EXAMPLE}")
    if "#" in url:
        raise ValueError(f"{name} has a #; leave it out, it is never sent")
    if any(unquote(segment) in {".", ".."} for segment in parts.path.split("/")):
        raise ValueError(f"{name} has . or .. in its path; write the path that is meant, as in {example}")
    if parts.scheme == "http" and host not in LOOPBACK and not plain:
        raise ValueError(f"{name} is http:, so tokens would go in the clear; use https:, or set plain: true")
