"""What all models of the configuration share: the types of names and expressions, and that unknown keys are refused."""

from typing import Annotated

import msgspec

from webhook.config.expressions import EXPRESSION

END = r"\Z"
DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAMESPACES = r"(\*-*)?[a-z0-9]([-a-z0-9*]*[a-z0-9*])?"
LABEL_KEY = rf"({DNS_NAME}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"


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


def labelled(what: str) -> msgspec.Meta:
    """`doc` for a Label."""
    return doc(f"{what}: at most 63 lower-case letters, digits and -")


def matching(what: str) -> msgspec.Meta:
    """`doc` for an Expression."""
    return doc(f"a regular expression for {what}, in what Python and RE2 read alike (docs/owners.md)")


Name = Annotated[str, whole(DNS_NAME), msgspec.Meta(max_length=253), named("the name of an object")]
Label = Annotated[str, whole(DNS_LABEL), labelled("the name of a namespace")]
"""What a namespace and a Service may be called."""
Namespaces = Annotated[
    str,
    whole(NAMESPACES),
    msgspec.Meta(max_length=63),
    doc('the name of a namespace, or a pattern such as "kube-*": at most 63 lower-case letters, digits, - and *'),
]
"""In a pattern `*` stands for any characters, also none. It is not alone: that would be all namespaces."""
Key = Annotated[
    str,
    whole(LABEL_KEY),
    msgspec.Meta(max_length=317),
    doc("the key of a label or annotation, such as example.com/owner"),
]
Expression = Annotated[str, whole(EXPRESSION)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The error messages of each model say what to write instead."""


def are_paths(**files: str | None) -> None:
    """No message quotes the text: somebody may have put the secret itself there."""
    for key, path in files.items():
        if path is not None and not path.startswith("/"):
            raise ValueError(f"{key} must be the path of a file, beginning with /; put the secret into that file")
