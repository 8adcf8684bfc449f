"""Names to addresses: the files of a node, and real DNS servers on loopback of which each fails in its way."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ports import free_port
from support.nameserver import Say, refusing, serving, table, too_long
from webhook.commands.doctor import resolving
from webhook.commands.doctor.evidence import HERE, Answer
from webhook.commands.doctor.resolving import asked, by_the_system, in_hosts, is_address, nameservers

KNOWN = table({"ghcr.io": ["140.82.121.34", "2001:db8::1"], "six.example": ["2001:db8::6"]})


def run(scenario: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(scenario)


def said(say: Say, host: str = "ghcr.io", by_tcp: Say | None = None) -> Answer:
    async def scenario() -> Answer:
        port = free_port()
        async with serving(say, "127.0.0.1", port, by_tcp=by_tcp):
            answer = await asked("127.0.0.1", host, port)
        assert answer.server == f"127.0.0.1:{port}"
        return answer

    return run(scenario())


# -- files --


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.2\n", ("10.0.0.2",)),
        ("# nameserver 10.0.0.1\n;nameserver 10.0.0.1\nsearch a.b\noptions ndots:5\n\tnameserver\t::1 # x\n", ("::1",)),
        ("nameserver fe80::1%eth0\nnameserver 10.0.0.2\nnameserver 10.0.0.2\n", ("fe80::1%eth0", "10.0.0.2")),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
         ("10.0.0.1", "10.0.0.2", "10.0.0.3")),
        ("nameserver dns.example\nnameserver\n", ("127.0.0.1",)),
        ("", ("127.0.0.1",)),
    ],
)  # fmt: skip
def test_a_resolv_conf_is_read_as_glibc_reads_it(text: str, servers: tuple[str, ...]) -> None:
    assert nameservers(text) == servers


def test_a_hosts_file() -> None:
    text = (
        "127.0.0.1 localhost\n# 10.0.0.1 ghcr.io\n185.199.108.153\tx GHCR.io. # ghcr\n::1 ghcr.io\nghcr.io 1.2.3.4\n\n"
    )
    assert in_hosts(text, "ghcr.io") == ("185.199.108.153", "::1")
    assert in_hosts(text, "ghcr") == ()


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(map(is_address, (*nameservers(text), *in_hosts(text, "ghcr.io"))))


@given(st.lists(st.ip_addresses().map(str), max_size=3, unique=True), st.text(alphabet="# \t", max_size=3))
def test_what_is_written_is_read(addresses: list[str], space: str) -> None:
    space = space.replace("#", " ")
    conf = "".join(f"{space}nameserver {space}{one}{space}\n" for one in addresses)
    assert nameservers(conf) == (tuple(addresses) or ("127.0.0.1",))
    assert in_hosts("".join(f"{one} {space}a b{space}\n" for one in addresses), "b") == tuple(addresses)


@pytest.mark.parametrize(
    "text", ["1.2.3", "", "fe80::1%a b", "fe80::1%" + "a" * 16, "ghcr.io", "1.2.3.4\n", "1٢.2.3.4"]
)
def test_what_is_no_address(text: str) -> None:
    assert not is_address(text)


# -- resolvers --


def test_both_kinds_of_addresses_are_asked_for() -> None:
    answer = said(KNOWN)
    assert (answer.result, answer.addresses) == ("addresses", ("140.82.121.34", "2001:db8::1"))
    assert said(KNOWN, "six.example").addresses == ("2001:db8::6",)


def test_no_more_addresses_than_bounded() -> None:
    many = table({"ghcr.io": [f"10.0.0.{number}" for number in range(1, 30)]})
    assert len(said(many).addresses) == resolving.MAX_ADDRESSES


@pytest.mark.parametrize(
    ("say", "result"),
    [
        (table({}), "no such name"),
        (table({"ghcr.io": []}), "no such name"),
        (refusing(dns.rcode.SERVFAIL), "fails"),
        (refusing(dns.rcode.REFUSED), "refused"),
        (refusing(dns.rcode.FORMERR), "fails"),
    ],
)
def test_how_a_resolver_refuses(say: Say, result: str) -> None:
    answer = said(say)
    assert (answer.result, answer.addresses) == (result, ())


def test_a_long_answer_comes_by_tcp() -> None:
    assert said(too_long(KNOWN), by_tcp=KNOWN).addresses == ("140.82.121.34", "2001:db8::1")
    assert said(too_long(KNOWN), by_tcp=lambda _: None).result == "fails"


def test_an_answer_to_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "TRY_SECONDS", (0.2, 0.2))

    def other(query: dns.message.Message) -> bytes:
        query.id ^= 1
        return KNOWN(query) or b""

    assert said(other).result == said(lambda _: b"\0").result == "silent"


def test_a_lost_datagram_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "TRY_SECONDS", (0.2, 2.0))
    seen = list[str]()

    def say(query: dns.message.Message) -> bytes | None:
        kind = query.question[0].rdtype.name
        seen.append(kind)
        return KNOWN(query) if seen.count(kind) > 1 else None

    assert said(say).result == "addresses"


def test_nothing_listens_there() -> None:
    assert run(asked("127.0.0.1", "ghcr.io", free_port())).result == "nothing listens"


def test_a_resolver_on_ipv6() -> None:
    async def scenario() -> Answer:
        port = free_port()
        async with serving(KNOWN, "::1", port):
            answer = await asked("::1", "ghcr.io", port)
        assert answer.server == f"[::1]:{port}"
        return answer

    assert run(scenario()).result == "addresses"


@pytest.mark.parametrize(
    ("broken", "result"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "no such name"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "fails"),
        (UnicodeError(), "fails"),
    ],
)
def test_the_systems_own_resolver(monkeypatch: pytest.MonkeyPatch, broken: Exception, result: str) -> None:
    assert run(by_the_system("localhost", 443)) in (
        Answer(HERE, "addresses", ("127.0.0.1",)),
        Answer(HERE, "addresses", ("::1", "127.0.0.1")),
        Answer(HERE, "addresses", ("127.0.0.1", "::1")),
    )

    def fail(*_: object, **__: object) -> None:
        raise broken

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert run(by_the_system("ghcr.io", 443)) == Answer(HERE, result)  # type: ignore[arg-type]
