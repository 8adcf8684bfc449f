"""`sources` in the configuration: what is refused, with what to write instead, and never with what may be a secret."""

from typing import Any

import pytest

from support import planted
from webhook.config import reading
from webhook.config.reading import ConfigError
from webhook.config.sourceconfig import HttpSource, SqlSource

TOKEN = planted.token()
HTTP: dict[str, Any] = {"from": "http", "url": "https://tokens.example.com/{owner}"}
SQL: dict[str, Any] = {"from": "sql", "urlFile": "/etc/url", "query": "SELECT 1 WHERE id = %(owner)s"}
PRESET: dict[str, Any] = {"from": "sql", "urlFile": "/etc/url", "preset": "git-connections"}
IS_NONE = "url is not valid: expected one such as https://tokens.example.com/v1/owners/{owner}"
ONCE = "url must have {owner} once, in its path or query, as in https://tokens.example.com/v1/owners/{owner}"
DOTS = "url has . or .. in its path; write the path that is meant"
IN_THE_CLEAR = "url is http:, so tokens would go in the clear; use https:, or set plain: true"
TOGETHER = "certFile and keyFile go together; name both or neither"
ONE_OF_THEM = "query and preset: set one of them"
OWNER_ONCE = (
    "query must have %(owners)s once, or %(owner)s once, without quotes; it is sent apart from the query. "
    "Write WHERE owner = ANY(%(owners)s), and a column owner"
)
BATCH = {"batchUrl": "https://tokens.example.com/v1/owners"}


def http(url: str, **changes: object) -> dict[str, Any]:
    return HTTP | {"url": url} | changes


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (http(f"https://u:{TOKEN}@tokens.example.com/{{owner}}"), "url has a user or password in it; use tokenFile"),
        (http(f"https://{TOKEN}@tokens.example.com/{{owner}}"), "url has a user or password in it; use tokenFile"),
        (http(f"{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"ftp://{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"https:///{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com:port/{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com/{TOKEN} /{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com/{TOKEN}\n/{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com/{TOKEN}é/{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com\\{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"https://[tokens/{TOKEN}/{{owner}}"), IS_NONE),
        (http(f"https://tokens.example.com/{TOKEN}"), ONCE),
        (http(f"https://{{owner}}.example.com/{TOKEN}"), ONCE),
        (http(f"https://tokens.example.com/{{owner}}/{{owner}}?k={TOKEN}"), ONCE),
        (http(f"https://{{owner}}.example.com/{{owner}}?k={TOKEN}"), ONCE),
        (http(f"https://tokens.example.com/{TOKEN}#{{owner}}"), ONCE),
        (http(f"https://tokens.example.com/{{owner}}#{TOKEN}"), "url has a #; leave it out, it is never sent"),
        (http("https://tokens.example.com/{owner}#"), "url has a #; leave it out, it is never sent"),
        (http(f"https://tokens.example.com/{TOKEN}/../{{owner}}"), DOTS),
        (http(f"https://tokens.example.com/{TOKEN}/%2e%2E/{{owner}}"), DOTS),
        (http(f"https://tokens.example.com/./{{owner}}?k={TOKEN}"), DOTS),
        (http(f"http://tokens.example.com/{{owner}}?k={TOKEN}"), IN_THE_CLEAR),
        (http(f"HTTP://tokens.example.com/{{owner}}?k={TOKEN}"), IN_THE_CLEAR),
        (http(f"http://localhost.example.com/{{owner}}?k={TOKEN}"), IN_THE_CLEAR),
        (HTTP | {"batchUrl": f"https://u:{TOKEN}@tokens.example.com/"}, "batchUrl has a user or password in it"),
        (
            HTTP | {"batchUrl": TOKEN},
            "batchUrl is not valid: expected one such as https://tokens.example.com/v1/owners",
        ),
        (HTTP | {"batchUrl": f"http://tokens.example.com/?k={TOKEN}"}, "batchUrl is http:, so tokens would go in the"),
        (HTTP | {"batchUrl": f"https://tokens.example.com/{{owner}}?k={TOKEN}"}, "the owners are sent in the body"),
        (HTTP | {"batchUrl": f"https://tokens.example.com/{TOKEN}/../"}, "batchUrl has . or .. in its path"),
        (HTTP | {"batchUrl": f"https://tokens.example.com/#{TOKEN}"}, "batchUrl has a #"),
        (BATCH | {"from": "http"}, "sources[0]: url is missing"),
        (HTTP | {"certFile": "/c"}, TOGETHER),
        (HTTP | {"keyFile": "/k"}, TOGETHER),
        (HTTP | {"maxAge": -1}, "sources[0].maxAge: write a number from 0.0 to 86400.0 (it is -1)"),
        (HTTP | {"timeout": 31}, "sources[0].timeout: write a number from 0.1 to 30.0 (it is 31)"),
        (HTTP | {"answer": {"itmes": "a"}}, "sources[0].answer.itmes: no such key; did you mean items?"),
        (HTTP | {"answer": "auth"}, "sources[0].answer"),
        ({"from": "http"}, "sources[0]: url is missing"),
        (SQL | {"preset": "git-connections"}, ONE_OF_THEM),
        ({"from": "sql", "urlFile": "/etc/url"}, ONE_OF_THEM),
        (SQL | {"query": f"SELECT '{TOKEN}'"}, OWNER_ONCE),
        (SQL | {"query": f"SELECT '{TOKEN}' WHERE a = %(owner)s OR b = %(owner)s"}, OWNER_ONCE),
        (SQL | {"query": f"SELECT '{TOKEN}' WHERE a = ANY(%(owners)s) OR b = %(owner)s"}, OWNER_ONCE),
        (PRESET | {"preset": "git"}, "sources[0].preset: write one of git-connections, git-connections-by-project"),
        (PRESET | {"listen": "a; DROP TABLE x"}, "sources[0].listen"),
        (PRESET | {"listen": ""}, "sources[0].listen"),
        (PRESET | {"listen": "x" * 64}, "sources[0].listen"),
        (PRESET | {"decrypt": {}}, "decrypt names no file; set passphraseFile or keysFile, or leave decrypt out"),
        (PRESET | {"decrypt": {"keysFile": ""}}, "decrypt names no file"),
        (PRESET | {"decrypt": {"passphrase": TOKEN}}, "sources[0].decrypt"),
        (PRESET | {"decrypt": TOKEN}, "sources[0].decrypt: expected a mapping, got a text"),
        (PRESET | {"connections": 0}, "sources[0].connections: write a number from 1 to 50 (it is 0)"),
        ({"from": "sql", "query": "%(owner)s"}, "sources[0]: urlFile is missing"),
        ({"from": "ldap"}, "sources[0].from: 'ldap' is not one of the kinds of sources; write one of"),
        ({"from": "secrets", "url": TOKEN}, "sources[0].url: no such key"),
    ],
)
def test_what_is_refused_is_said_in_one_line_without_a_secret(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        reading.convert({"sources": [source]})
    said = str(refused.value)
    assert message in said
    assert said.startswith("sources[0]")
    assert "\n" not in said
    assert not planted.leaks(said)


@pytest.mark.parametrize(
    "source",
    [
        HTTP,
        http("https://tokens.example.com/v1?owner={owner}"),
        http("https://tokens.example.com/a..b/{owner}?x=.."),
        http("http://127.0.0.1:8080/{owner}"),
        http("http://[::1]:8080/{owner}"),
        http("http://tokens.platform.svc/{owner}", plain=True),
        HTTP | BATCH | {"certFile": "/c", "keyFile": "/k", "answer": {"items": "data"}},
        HTTP | {"batchUrl": "http://localhost/owners?all=1"},
        SQL,
        SQL | {"query": "SELECT 1 AS owner WHERE id = ANY(%(owners)s)"},
        PRESET | {"listen": "owner_changed", "decrypt": {"keysFile": "/k"}},
    ],
)
def test_what_is_meant_is_taken(source: dict[str, Any]) -> None:
    (read,) = reading.convert({"sources": [source]}).sources
    assert isinstance(read, HttpSource | SqlSource)


def test_sources_are_some_and_secrets_are_named_once() -> None:
    for sources, message in (([], "sources is empty"), ([{"from": "secrets"}] * 2, "sources has secrets twice")):
        with pytest.raises(ConfigError, match=message):
            reading.convert({"sources": sources})


@pytest.mark.parametrize(
    ("source", "many"),
    [
        (SQL, False),
        (SQL | {"query": "SELECT 7 %%(owner)s AS owner WHERE id = ANY(%(owners)s)"}, True),
        (SQL | {"query": "SELECT 7 %%(owners)s WHERE id = %(owner)s"}, False),
        (PRESET, True),
    ],
)
def test_whether_one_query_answers_many_owners(source: dict[str, Any], *, many: bool) -> None:
    (read,) = reading.convert({"sources": [source]}).sources
    assert isinstance(read, SqlSource)
    assert read.many is many
    assert ("many owners" in read.in_short) is (many and read.query is not None)
