"""What the pods of CoreDNS must answer, and what is said of a key; tests/e2e/test_doctor_dns.py has the rest."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from webhook.commands.clusterdns import dns
from webhook.commands.clusterdns.dns import Asker, Tried, Wanted
from webhook.commands.clusterdns.key import Host, Key, Resolver
from webhook.commands.doctor.evidence import Answer, Endpoint, HostSeen, Probed, Request, Tls

POD, MARKER = "10.42.0.5", "192.0.2.1"
INSIDE = "kubernetes.default.svc.cluster.local"
BY_ADDRESS = Key((Host("ghcr.io", ("140.82.121.34", "140.82.121.33")), Host("blobs.test", ("185.199.108.154",))))
BY_RESOLVER = Key((Host("ghcr.io"),), Resolver(("1.1.1.1",), "one.test"))
RIGHT = {
    BY_ADDRESS.marker: (MARKER,),
    BY_RESOLVER.marker: (MARKER,),
    INSIDE: ("10.43.0.1",),
    "ghcr.io": ("140.82.121.34",),
    "blobs.test": ("185.199.108.154",),
}


def wrong(key: Key, answers: Mapping[str, tuple[str, ...]], tls: Tls = "right") -> str:
    """What is said of a pod that answers so. `tls`: what is found at each address."""

    async def look(request: Request) -> Probed:
        assert request.cluster_dns == POD
        return Probed(datetime.now(UTC), tuple(map(seen, (one.host for one in request.targets))))

    def seen(host: str) -> HostSeen:
        found = answers.get(host, ())
        answer = Answer(f"{POD}:53", "addresses" if found else "fails", found)
        return HostSeen(host, 443, "blobs", (), tuple(Endpoint(one, (POD,), "open", tls) for one in found), answer)

    return asyncio.run(dns._wrong(POD, key, "cluster.local", Asker(look, print)))


@pytest.mark.parametrize("key", [BY_ADDRESS, BY_RESOLVER])
def test_all_is_right(key: Key) -> None:
    assert wrong(key, RIGHT) == ""


@pytest.mark.parametrize(
    ("key", "host", "found", "words"),
    [
        (BY_ADDRESS, BY_ADDRESS.marker, (), "has not read the key; its log says why"),
        (BY_ADDRESS, BY_ADDRESS.marker, ("185.199.108.153",), "has not read the key; its log says why"),
        (BY_ADDRESS, INSIDE, (), f"does not resolve {INSIDE}"),
        (BY_ADDRESS, "blobs.test", (), "does not resolve blobs.test"),
        (BY_ADDRESS, "ghcr.io", ("1.2.3.4",), "answers 1.2.3.4 for ghcr.io, which is not right"),
        (BY_ADDRESS, "ghcr.io", ("1.2.3.4", "140.82.121.34"), "answers 1.2.3.4, 140.82.121.34 for ghcr.io, which is"),
        (BY_RESOLVER, "ghcr.io", (), "does not resolve ghcr.io"),
    ],
)
def test_what_is_wrong(key: Key, host: str, found: tuple[str, ...], words: str) -> None:
    assert wrong(key, RIGHT | {host: found}).startswith(f"the pod {POD} of CoreDNS {words}")


def test_what_a_resolver_says_is_tried() -> None:
    assert "answers 140.82.121.34 for ghcr.io, which is not right" in wrong(BY_RESOLVER, RIGHT, "wrong name")
    assert wrong(BY_ADDRESS, RIGHT, "not tried") == ""  # they were tried before


def test_a_registry_may_name_a_token_service_that_is_no_name_for_a_dns() -> None:
    async def look(_: Request) -> Probed:
        hosts = ("ghcr.io", "Auth.Test", "10.0.0.7", "a_b.test", "localhost")
        seen = [HostSeen(one, 443, "realm", (), (Endpoint("1.2.3.4", (), "open", "right"),)) for one in hosts]
        return Probed(datetime.now(UTC), tuple(seen))

    found = asyncio.run(dns.tried(Wanted("ghcr.io"), look))
    assert found == Tried((Host("ghcr.io", ("1.2.3.4",)), Host("auth.test", ("1.2.3.4",))))


def names(*hosts: str) -> dns.Look:
    async def look(_: Request) -> Probed:
        found = (Endpoint("1.2.3.4", (), "open", "right"),)
        return Probed(datetime.now(UTC), tuple(HostSeen(one, 443, "realm", (), found) for one in hosts))

    return look


@pytest.mark.parametrize("resolver", [None, Resolver(("1.2.3.4",), "one.test")])
def test_a_node_chooses_no_names_for_the_whole_cluster(resolver: Resolver | None) -> None:
    """It may have been taken over, and says of a name what it likes."""
    wanted = Wanted("ghcr.io", resolver=resolver)
    asked = () if resolver is None else (resolver.name,)
    node = names("ghcr.io", "auth.test", "mirror.debian.test", *asked)
    found = asyncio.run(dns.tried(wanted, node, names("ghcr.io", "auth.test")))
    assert [one.name for one in found.hosts] == ["ghcr.io", "auth.test"]
    assert found.doubtful == ("mirror.debian.test",)
    assert dns.told(found, "node n-1")[-1] == (
        "mirror.debian.test: left out: only node n-1 names it, and this machine does not; if it is the token service, "
        "give --address mirror.debian.test=ADDRESS"
    )
    given = {"mirror.debian.test": ("1.2.3.4",)}
    if resolver is None:
        found = asyncio.run(dns.tried(Wanted("ghcr.io", addresses=given), node, names("ghcr.io")))
        assert [one.name for one in found.hosts] == ["ghcr.io", "mirror.debian.test"]


def test_what_is_said_of_a_key() -> None:
    first, *lines = dns.told(
        Tried((Host("ghcr.io", ("1.2.3.4", "1.2.3.5")), Host("a.test")), ("cdn.test",)), "node n-1"
    )
    assert "pulls do not change" in first
    assert lines == [
        "ghcr.io: 1.2.3.4, 1.2.3.5, with the right certificate as seen from node n-1",
        "a.test: asked at the resolver",
        "cdn.test: left out: no address with the right certificate is known",
    ]
