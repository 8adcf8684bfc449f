"""What breaks on the way to a registry, from what a probe saw."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, Endpoint, HostSeen, Probed
from webhook.commands.doctor.reach import STUB, Clock, reach, rows
from webhook.core.faults import Fault

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
RIGHT_CLOCK = Clock(NOW)
DNS = "10.0.0.2:53"
GOOD: dict[str, Any] = {"tcp": "open", "tls": "right", "status": 401, "registry": True}
WRONG: dict[str, Any] = {"tcp": "open", "tls": "wrong name", "faults": ("wrong name",), "names": ("*.github.io",)}


def at(address: str, *given_by: str, **what: Any) -> Endpoint:
    return Endpoint(address, given_by or (DNS,), **(GOOD | what if what.get("tcp", "open") == "open" else what))


def seen(*what: Answer | Endpoint, **more: Any) -> HostSeen:
    answers = tuple(one for one in what if isinstance(one, Answer))
    endpoints = tuple(one for one in what if isinstance(one, Endpoint))
    return HostSeen("ghcr.io", 443, "registry", answers, endpoints, **more)


def answer(*addresses: str, server: str = DNS) -> Answer:
    return Answer(server, "addresses", addresses)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ([answer("1.1.1.1"), at("1.1.1.1")], None),
        ([answer("1.1.1.1"), at("1.1.1.1", **WRONG)], Fault.TLS_WRONG_NAME),
        ([answer("1.1.1.1"), at("1.1.1.1", **WRONG), at("2.2.2.2", HERE)], Fault.DNS_WRONG_ADDRESS),
        ([answer("1.1.1.1"), at("1.1.1.1", tcp="silent"), at("2.2.2.2", HERE)], Fault.DNS_WRONG_ADDRESS),
        # An address that is no registry's, such as a proxy's with a certificate for everything, is not right.
        ([answer("1.1.1.1"), at("1.1.1.1", **WRONG), at("2.2.2.2", HERE, registry=False)], Fault.TLS_WRONG_NAME),
        ([answer("1.1.1.1"), at("1.1.1.1", tcp="refused")], Fault.TCP_REFUSED),
        ([answer("1.1.1.1"), at("1.1.1.1", tcp="silent")], Fault.TCP_SILENT),
        ([answer("1.1.1.1"), at("1.1.1.1", tcp="no route")], Fault.TCP_NO_ROUTE),
        # The runtime takes the next address if TCP fails, and only then.
        ([answer("::1", "1.1.1.1"), at("::1", tcp="no route"), at("1.1.1.1")], None),
        ([answer("3.3.3.3", "1.1.1.1"), at("3.3.3.3", **WRONG), at("1.1.1.1")], Fault.TLS_WRONG_NAME),
        ([answer("1.1.1.1"), at("1.1.1.1", tls="unknown CA", faults=("unknown CA",))], Fault.TLS_UNKNOWN_CA),
        ([answer("1.1.1.1"), at("1.1.1.1", tls="no TLS")], Fault.TLS_NONE),
        ([answer("1.1.1.1"), at("1.1.1.1", tls="silent")], Fault.TLS_SILENT),
        ([answer("1.1.1.1"), at("1.1.1.1", tls="cut")], Fault.TCP_CUT),
        ([answer("1.1.1.1"), at("1.1.1.1", status=200, registry=False)], Fault.REGISTRY_NONE),
        ([answer("1.1.1.1"), at("1.1.1.1", status=403, registry=False)], Fault.REGISTRY_BLOCKED),
        ([answer("1.1.1.1"), at("1.1.1.1", status=429, registry=False)], Fault.REGISTRY_RATE_LIMIT),
        ([answer("1.1.1.1"), at("1.1.1.1", status=503, registry=False)], Fault.REGISTRY_BROKEN),
        ([answer("1.1.1.1"), at("1.1.1.1", status=0, registry=False)], Fault.TCP_CUT),
        # The hosts file alone counts if it has the name.
        ([answer("1.1.1.1", server=HOSTS_FILE), answer("2.2.2.2"), at("1.1.1.1"), at("2.2.2.2", **WRONG)], None),
        (
            [answer("1.1.1.1", server=HOSTS_FILE), answer("2.2.2.2"), at("1.1.1.1", **WRONG), at("2.2.2.2")],
            Fault.DNS_WRONG_ADDRESS,
        ),
        # The first server that does not fail counts; that of systemd-resolved before all.
        ([Answer(DNS, "fails"), answer("1.1.1.1", server="b:53"), at("1.1.1.1")], None),
        ([Answer(DNS, "silent"), answer("1.1.1.1", server="b:53"), at("1.1.1.1")], None),
        (
            [Answer(DNS, "no such name"), answer("1.1.1.1", server="b:53"), at("1.1.1.1", **WRONG)],
            Fault.DNS_NO_SUCH_NAME,
        ),
        ([Answer(DNS, "no such name")], Fault.DNS_NO_SUCH_NAME),
        ([Answer(DNS, "addresses")], Fault.DNS_NO_SUCH_NAME),
        ([Answer(DNS, "fails"), Answer("b:53", "silent")], Fault.DNS_FAILS),
        ([Answer(DNS, "silent"), Answer("b:53", "refused")], Fault.DNS_FAILS),
        ([Answer(DNS, "silent")], Fault.DNS_SILENT),
        ([answer("2.2.2.2"), answer("1.1.1.1", server=STUB), at("1.1.1.1"), at("2.2.2.2", **WRONG)], None),
        ([Answer(STUB, "nothing listens"), answer("1.1.1.1"), at("1.1.1.1")], None),
        ([Answer(DNS, "no such name"), Answer(STUB, "nothing listens")], Fault.DNS_NO_SUCH_NAME),
    ],
)
def test_the_fault_is_what_a_runtime_meets_first(what: list[Answer | Endpoint], fault: Fault | None) -> None:
    assert reach(seen(*what), RIGHT_CLOCK).fault is fault


def test_the_right_address_is_one_that_the_place_does_not_give() -> None:
    found = reach(seen(answer("1.1.1.1"), at("1.1.1.1", **WRONG), at("2.2.2.2", HERE)), RIGHT_CLOCK)
    assert found.used is not None
    assert found.right is not None
    assert (found.used.address, found.right.address) == ("1.1.1.1", "2.2.2.2")


def expired(**more: Any) -> HostSeen:
    dates = {"begins": NOW - timedelta(days=30), "ends": NOW - timedelta(days=1)}
    fault: dict[str, Any] = {"tls": "expired", "faults": ("expired",)}
    return seen(answer("1.1.1.1"), at("1.1.1.1", **(fault | dates | more)))


def test_a_wrong_clock_is_the_cause_only_if_the_certificate_is_valid_by_the_right_one() -> None:
    assert reach(expired(), RIGHT_CLOCK).fault is Fault.TLS_EXPIRED
    assert reach(expired(), Clock(NOW, -2 * 86400)).fault is Fault.CLOCK_WRONG
    assert reach(expired(), Clock(NOW, 2 * 86400)).fault is Fault.TLS_EXPIRED
    both = expired(faults=("expired", "unknown CA"))
    assert reach(both, Clock(NOW, -2 * 86400)).fault is Fault.TLS_EXPIRED


def test_the_clock_is_held_against_the_middle_of_all_registries() -> None:
    hosts = tuple(seen(at("1.1.1.1", ahead_seconds=one)) for one in (-3.0, 7200.0, 1.0))
    assert not Clock.of(Probed(NOW, hosts)).wrong
    slow = Clock.of(Probed(NOW, hosts[1:2]))
    assert slow.wrong
    assert slow.words == "its clock is 2:00:00 behind"
    assert Clock(NOW, 4 * 86400).words == "its clock is 4 days behind"
    assert Clock.of(Probed(NOW, ())).words == ""


def test_rows_name_who_gives_which_address_and_what_is_there() -> None:
    what = seen(
        answer("185.199.108.153"),
        Answer(STUB, "nothing listens"),
        at("185.199.108.153", **WRONG, issuer="DigiCert"),
        at("140.82.121.34", HERE, milliseconds=180),
    )
    assert rows(what) == [
        ("hosts file", "no line for ghcr.io"),
        (DNS, "185.199.108.153   port 443 answers; certificate of *.github.io (DigiCert): not ghcr.io's"),
        (STUB, "nothing listens"),
        ("not given here", "140.82.121.34   certificate right, HTTP 401 as it should, 180 ms"),
    ]


_ADDRESSES = st.sampled_from(["1.1.1.1", "2.2.2.2", "::1"])
_ANSWERS = st.builds(
    Answer,
    st.sampled_from([DNS, "b:53", STUB, HOSTS_FILE]),
    st.sampled_from(["addresses", "no such name", "fails", "refused", "silent", "nothing listens"]),
    st.lists(_ADDRESSES, max_size=2).map(tuple),
)
_TLS = st.sampled_from(
    ["right", "wrong name", "unknown CA", "expired", "not yet valid", "no TLS", "silent", "cut", "fails"]
)
_ENDPOINTS = st.builds(
    Endpoint,
    _ADDRESSES,
    st.just((DNS,)),
    st.sampled_from(["open", "refused", "silent", "no route"]),
    _TLS,
    st.lists(_TLS, max_size=2).map(tuple),
    status=st.sampled_from([0, 200, 401, 403, 503]),
    registry=st.booleans(),
)


@given(st.lists(_ANSWERS, max_size=4), st.lists(_ENDPOINTS, max_size=4, unique_by=lambda one: one.address))
def test_whatever_was_seen_there_is_a_verdict_and_a_line(answers: list[Answer], endpoints: list[Endpoint]) -> None:
    what = seen(*answers, *endpoints)
    found = reach(what, RIGHT_CLOCK)
    if found.fault is None:
        assert found.used is not None
        assert (found.used.tcp, found.used.tls) == ("open", "right")
    if found.right is not None:
        assert found.right.tls == "right"
    assert all("{" not in text for _, text in rows(what))


def test_a_place_without_ca_certificates_knows_nothing_of_cas() -> None:
    unknown = seen(answer("1.1.1.1"), at("1.1.1.1", tls="unknown CA", faults=("unknown CA",)))
    assert reach(unknown, RIGHT_CLOCK, knows_cas=False).fault is None
    assert reach(seen(answer("1.1.1.1"), at("1.1.1.1", **WRONG)), RIGHT_CLOCK, knows_cas=False).fault is not None


@pytest.mark.parametrize(("host", "port", "told"), [("::1", 5000, "[::1]:5000"), ("::1", 443, "[::1]")])
def test_an_address_of_ipv6_is_told_in_brackets(host: str, port: int, told: str) -> None:
    one = at("::1", HERE, tcp="refused")
    assert reach(HostSeen(host, port, "registry", (), (one,)), RIGHT_CLOCK).host == told
