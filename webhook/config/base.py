"""What all models of the configuration share: the types of names and expressions, and that unknown keys are refused."""

from typing import Annotated

import msgspec

END = r"\Z"
DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LABEL_KEY = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

_ESCAPE = r"\\(?:[dDwWsS]|[^A-Za-z0-9])"
_CLASS = rf"\[\^?(?:[^\\\[^]|{_ESCAPE})(?:[^\\\[\]]|{_ESCAPE})*\]"
_NUMBER = r"(?:0|[1-9][0-9]{0,2})"
_REPETITION = rf"(?:[*+?]|\{{{_NUMBER}(?:,{_NUMBER}?)?\}})\??"
EXPRESSION = rf"(?:\((?:\?:)?|\||\)\??\??|(?:{_CLASS}|{_ESCAPE}|[^\\\[(){{^$|*+?])(?:{_REPETITION})?)*"
"""Regular expressions that match the same in Python and in the API server, which has RE2. It is one of them itself,
because Helm checks `config` by the same schema. It cannot say whether parentheses match.

Groups are not repeated: the two disagree about how often a group that may match nothing is repeated.
"""


def whole(expression: str) -> msgspec.Meta:
    """A text that matches from its beginning to its end. Not `$`, which in Python also matches before a line break at
    the end; in a JSON Schema it does not, and stands there instead (`reading.schema`).
    """
    return msgspec.Meta(pattern=f"^{expression}{END}")


def doc(description: str) -> msgspec.Meta:
    """What a key of the configuration is: for the JSON Schema, and after "write" in messages about its pattern."""
    return msgspec.Meta(description=description)


def named(what: str) -> msgspec.Meta:
    """`doc` for a Name."""
    return doc(f"{what}: lower-case letters, digits, - and .")


def matching(what: str) -> msgspec.Meta:
    """`doc` for an Expression."""
    return doc(
        f"a regular expression for {what}, in what Python and RE2 read alike: no ^ or $, no (? but (?:, no \\ before a"
        r" letter or digit but \d \w \s \D \W \S, no [ inside [...], no { but {2}, {2,} and {2,3}, up to 999, nothing"
        r" like a++, and no repeated group but (...)?; for such a character itself write \ before it"
    )


Name = Annotated[str, whole(DNS_NAME), msgspec.Meta(max_length=253), named("the name of an object")]
Key = Annotated[str, whole(LABEL_KEY), doc("the key of a label or annotation, such as example.com/owner")]
Expression = Annotated[str, whole(EXPRESSION)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The error messages of each model say what to write instead."""
