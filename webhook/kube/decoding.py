"""What the API server answers, decoded: in steps that a review can wait for, where it nests too deep for one go."""

from typing import TypeVar

import msgspec

from webhook.core.wire import Bytes, Unreadable, cut, decode_at_once
from webhook.fairness import in_steps

T = TypeVar("T")


async def decode(decoder: msgspec.json.Decoder[T], data: Bytes) -> T:
    """Raises Unreadable."""
    try:
        try:
            return decode_at_once(decoder, data)
        except RecursionError:
            return decoder.decode(await in_steps(cut(data)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        # Not what msgspec says of a value: it may be a tenant's text.
        raise Unreadable(f"it cannot be decoded ({type(e).__name__})") from None
