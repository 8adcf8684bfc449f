"""The answers to what questions.py has. `python -m certs.answers` reads a question in JSON from its standard input and
writes the answer.
"""

import sys
from datetime import datetime, timedelta

import msgspec

from certs import secrecy
from certs.authority import Authority
from certs.bundle import Bundle, Publish, Use, stale, step, trusted_everywhere
from certs.bundle import Write as WriteBundle
from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import certificates, private_key
from certs.questions import Answer, Files, Leaf, Look, Question, Refused, Serve, Write

HOLDS = timedelta(hours=1)
"""How long nothing is asked again, if by then nothing is to be done either."""


def answer(question: Question) -> Answer:
    return _look(question) if isinstance(question, Look) else _files(question)


def _look(look: Look) -> Write | Serve:
    now, published = look.now, look.published
    leaf = Pair(certificates(look.leaf, "the leaf"), private_key(look.leaf, "its key")) if look.leaf else None
    todo = step(look.data, published, leaf, now, Authority.create)
    bundle = todo.bundle
    if isinstance(todo, WriteBundle):
        return Write(bundle.data(), todo.why)
    trusted, issuer = trusted_everywhere(published or ()), bundle.issuer
    new = None
    if stale(leaf, bundle, now) and (published is None or issuer.certificate in trusted):
        new = issuer.issue(look.hosts, now)
    return Serve(
        leaf=_leaf(new) if new else None,
        publish=bundle.ca_bundle() if isinstance(todo, Publish) else b"",
        accepted=any(one in trusted for one in bundle.published),
        until=_until(look, bundle, new or leaf) if isinstance(todo, Use) else now,
    )


def _until(look: Look, bundle: Bundle, leaf: Pair | None) -> datetime:
    """How long nothing is to be done."""
    later = look.now + HOLDS
    then = step(look.data, look.published, leaf, later, Authority.create)
    return later if isinstance(then, Use) and not stale(leaf, bundle, later) else look.now


def _files(files: Files) -> Leaf | Refused:
    certificate, key = files.names
    try:
        chain, secret = certificates(files.certificate, certificate), private_key(files.key, key)
    except Unusable as e:
        return Refused(str(e))
    try:
        return _leaf(Pair(chain, secret))
    except Unusable as e:
        return Refused(f"{certificate} and {key}: {e}")


def _leaf(pair: Pair) -> Leaf:
    return Leaf(pair.pem(), pair.ends)


def main() -> None:
    secrecy.hide_memory()
    question: Question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(answer(question)))


if __name__ == "__main__":
    main()
