"""What all models of the configuration share: names that are refused when they are none, keys that must be known."""

from typing import Annotated

import msgspec

DNS_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


def doc(description: str) -> msgspec.Meta:
    """What a key of the configuration is: for the JSON Schema, and after "write" in messages about its pattern."""
    return msgspec.Meta(description=description)


def named(what: str) -> msgspec.Meta:
    """`doc` for a Name."""
    return doc(f"{what}: lower-case letters, digits, - and .")


Name = Annotated[str, msgspec.Meta(pattern=DNS_NAME), named("the name of an object")]
Key = Annotated[
    str, msgspec.Meta(pattern=LABEL_KEY), doc("the key of a label or annotation, such as example.com/owner")
]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A message for what a model does not allow names what to write instead."""
