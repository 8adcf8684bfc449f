"""What `pullsecret config check` refuses of a SQL source, before a database is asked."""

from typing import Any

import msgspec
import pytest

from webhook.config.sourceconfig import SqlSource

ASK = "SELECT registry, username, password FROM t WHERE owner = %(owner)s"
MANY = "SELECT owner, registry, username, password FROM t WHERE owner = ANY(%(owners)s)"


def read(**more: Any) -> SqlSource:
    return msgspec.convert({"from": "sql", "urlFile": "/url"} | more, SqlSource)


@pytest.mark.parametrize(
    "given",
    [
        {"query": ASK},
        {"query": f"{ASK} AND name LIKE 'a%%'"},
        {"query": ASK.replace("%(owner)s", "'%%' || %(owner)s")},
        {"query": MANY},
        {"query": f"{ASK} ORDER BY registry LIMIT 6"},
        {"query": f"{MANY} AND t.limit > 0 AND \"limit\" > rate_limit AND fetch AND why <> 'limit'"},
        {"preset": "git-connections", "registries": {"azure": ""}, "decrypt": {"passphraseFile": "/p"}},
    ],
)
def test_what_is_taken(given: dict[str, Any]) -> None:
    assert read(**given).url_file == "/url"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "query and preset: set one"),
        ({"query": ASK, "preset": "git-connections"}, "query and preset: set one"),
        ({"preset": "other"}, "preset"),
        ({"query": "SELECT 1"}, r"must have %\(owners\)s once"),
        ({"query": f"{ASK} OR user = %(owner)s"}, r"must have %\(owners\)s once"),
        ({"query": ASK.replace("%(owner)s", "'%(owner)s'")}, "without quotes"),
        ({"query": ASK.replace("%(owner)s", "ANY('%(owners)s')")}, "without quotes"),
        ({"query": f"{ASK} OR owner = ANY(%(owners)s)"}, r"%\(owners\)s once, or %\(owner\)s once"),
        ({"query": ASK.replace("%(owner)s", "'%%(owner)s'")}, r"must have %\(owners\)s once"),
        ({"query": f"{ASK} AND name LIKE 'a%'"}, "write %% for a percent sign"),
        ({"query": f"{ASK} AND user = %s"}, "write %% for a percent sign"),
        ({"query": f"{ASK} AND user = %(user)s"}, "write %% for a percent sign"),
        (
            {"query": f"{MANY} ORDER BY owner LIMIT 10"},
            r"leave it out .*, or ask for one owner at a time with %\(owner\)s",
        ),
        ({"query": f"{MANY}\nlimit 10"}, "query has LIMIT or FETCH"),
        ({"query": f"{MANY} FETCH FIRST 10 ROWS ONLY"}, "query has LIMIT or FETCH"),
        ({"query": f"{MANY} fetch\nnext row only"}, "query has LIMIT or FETCH"),
        ({"query": MANY.replace("FROM t", "FROM (SELECT * FROM t LIMIT 5) AS t")}, "query has LIMIT or FETCH"),
        ({"preset": "git-connections", "decrypt": {}}, "decrypt names no file"),
        ({"preset": "git-connections", "listen": "x; y"}, "listen"),
        ({"preset": "git-connections", "timeout": 0}, "timeout"),
        ({"preset": "git-connections", "connections": 0}, "connections"),
        ({"preset": "git-connections", "url": "postgresql://u:p@h/d"}, "url"),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        read(**given)
