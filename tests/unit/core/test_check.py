from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from support.steps import at_once
from webhook.core import check
from webhook.core.check import DIGEST_BYTES, KEY_BYTES, WORDS, Check, Checks, Why, decoded, encoded, forget_oldest
from webhook.core.credential import Credential, Credentials

CHECKS = st.builds(
    Check, st.sampled_from(Why), st.integers(0, 2**32 - 1), st.integers(1, 15), held=st.booleans(), single=st.booleans()
)
RECORDS = st.dictionaries(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), CHECKS, max_size=20)
KEY = bytes(KEY_BYTES)


@given(CHECKS)
def test_a_check_is_what_its_record_says(one: Check) -> None:
    assert Check.of_record(one.record) == one
    assert (one.result == "refused") == (one.refusal is not None)
    assert str(one) == WORDS[one.why]


@given(RECORDS)
def test_what_is_written_is_read(checks: dict[bytes, Check]) -> None:
    records = {digest: one.record for digest, one in checks.items()}
    assert decoded(at_once(encoded(records))) == records
    assert {digest: Checks(KEY, records).get(digest) for digest in records} == checks


@given(st.binary(max_size=200))
def test_whatever_is_in_the_secret_is_read(data: bytes) -> None:
    records = decoded(data)
    checks = Checks(KEY, records)
    assert all(found is None or found.why in Why for found in map(checks.get, records))
    assert decoded(at_once(encoded(records))) == records


def test_of_too_many_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MAX_CHECKS", 3)
    digests = [bytes([number]) * DIGEST_BYTES for number in range(5)]
    records = {digest: Check(Why.NONE, number).record for number, digest in enumerate(digests)}
    whole = at_once(encoded(records))
    assert [*decoded(whole)] == digests[2:]  # of a Secret that another version wrote
    forget_oldest(records)
    assert [*records] == [*decoded(at_once(encoded(records)))] == digests[2:]


def test_what_comes_while_checks_are_encoded_may_be_in_it() -> None:
    count = 3 * check.STEP_CHECKS + 1
    records = {number.to_bytes(DIGEST_BYTES): Check(Why.NONE, number).record for number in range(count)}
    before, first, new = dict(records), bytes(DIGEST_BYTES), b"n" * DIGEST_BYTES
    work = encoded(records)
    next(work)
    records[new] = records[first] = changed = Check(Why.UNAUTHORIZED, 1).record
    assert decoded(at_once(work)) in (before, {**before, first: changed})


def test_checks_are_encoded_in_steps() -> None:
    records = {number.to_bytes(DIGEST_BYTES): Check(Why.NONE, 1).record for number in range(10 * check.STEP_CHECKS)}
    assert sum(1 for _ in encoded(records)) == 10


def test_a_record_of_a_later_version_is_none() -> None:
    record = Check(Why.UNAUTHORIZED, 7).record
    assert Check.of_record(bytes([record[0], 99]) + record[2:]) is None


def test_a_digest_is_of_the_key_and_of_what_is_sent() -> None:
    one = Credential("ghcr.io", "alice", planted.token())
    same = replace(one, namespaces=("a",))
    others = [
        replace(one, registry="ghcr.io/acme"),
        replace(one, username="alic", password="e" + one.password),
        replace(one, password=planted.token()),
    ]
    checks = Checks(KEY)
    assert checks.digest(same) == checks.digest(one)
    assert len({checks.digest(c) for c in (one, *others)}) == 4
    assert Checks(b"1" * KEY_BYTES).digest(one) != checks.digest(one)
    assert Checks(b"somebody wrote another key, and a long one" * 9).digest(one)
    assert not planted.leaks(f"{checks!r} {Checks(KEY, {b'': one.password.encode()})!r}")
    assert str(KEY) not in repr(checks)


def test_only_what_is_refused_is_marked() -> None:
    known = Credentials(tuple(Credential("ghcr.io", name, planted.token()) for name in ("works", "bad", "new", "odd")))
    digests = [Checks(KEY).digest(c) for c in known.items]
    said = [Check(Why.NONE, 1), Check(Why.UNAUTHORIZED, 1, times=2), None, Check(Why.NO_ANSWER, 1, times=2)]
    records = {digest: one.record for digest, one in zip(digests, said, strict=True) if one is not None}
    marked = Checks(KEY, records).marked(known)
    assert marked == known
    assert [c.left_out for c in marked.items] == [False, True, False, False]
    assert Checks(KEY, {digests[0]: records[digests[0]]}).marked(known) is known
    assert Checks(KEY).marked(known) is known


@pytest.mark.parametrize("why", Why)
def test_how_often_is_asked(why: Why) -> None:
    """A refusal and what may pass are asked about again; then that is settled."""
    may_pass = {Why.NO_ANSWER, Why.NO_ADDRESS, Why.NO_CONNECTION, Why.CERTIFICATE, Why.HANDSHAKE, Why.BUSY, Why.BROKEN}
    again = may_pass | {Why.UNAUTHORIZED, Why.FORBIDDEN, Why.CA_FILE}
    assert Check(why, 1).settled == (why not in again)
    assert Check(why, 1, times=2).settled
    left_out = why in {Why.UNAUTHORIZED, Why.FORBIDDEN}
    refusal = Check(why, 1, times=2).refusal
    assert (refusal is not None and refusal.left_out) == left_out
    once, held = Check(why, 1).refusal, Check(why, 1, times=2, held=True).refusal
    assert once is None or not once.left_out
    assert held is None or (held.held and not held.left_out)
