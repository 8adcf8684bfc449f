"""A review that needs no waiting is answered as soon as its last byte is here: without a task, a scope or a router.

uvicorn starts a task for each request head, and Starlette routes it; together they cost more than the review itself
(tests/bench/README.md has the figures). So an ordinary POST of a review is held back until it is whole. If the answer
can be given at once it is written here; if not, uvicorn gets the request as if it had just arrived.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from webhook.core.review import Request
from webhook.serving.limits import LimitedProtocol

AtOnce = Callable[[bytes], bytes | Request | None]
"""A whole HTTP response; or the decoded review, which has to wait for something; or None."""

DECODED = "pullsecret_webhook.review"
"""Key in the ASGI scope: the review, if it was decoded already. Its body is not kept: a review may wait for long."""

PATH = b"/mutate"
LAST = b"\r\nconnection: close\r\n"
"""In the place of the end of the first line of an answer: there is none after it on this connection."""
MAX_HELD_BYTES = 1024 * 1024
"""Bytes. More is not ordinary, and the app counts what it reads."""
_ODD = frozenset({b"transfer-encoding", b"connection", b"expect", b"upgrade"})
"""Headers that an API server does not send with a review, and that ask for more than an answer."""


class ReviewProtocol(LimitedProtocol):
    def __init__(
        self,
        at_once: AtOnce,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._at_once = at_once
        self._held: list[bytes] | None = None

    def on_headers_complete(self) -> None:
        if self._is_ordinary():
            self._held = []
            self.head_is_complete()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self.arrives(len(body))
            self._held.append(body)

    def on_message_complete(self) -> None:
        if self._held is not None:
            body = b"".join(self._held)
            answer = self._at_once(body)
            stays = answer is None or self.review_came()  # None: perhaps it is none
            if isinstance(answer, bytes):
                self._held = None
                self.message_is_complete()
                self._gone()
                self.transport.write(answer if stays else answer.replace(b"\r\n", LAST, 1))
                if not stays:
                    self.transport.close()
                self._rest()
                return
            if isinstance(answer, Request):
                self._hand_over(b"")
                cast(dict[str, Any], self.scope)[DECODED] = answer  # ASGI allows keys of one's own
            else:
                self._hand_over(body)
        else:
            stays = not self._is_to_be_answered() or self.review_came()
        if not stays:
            self.cycle.keep_alive = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """uvicorn waits for requests that it knows of; one that is held is not lost for being half here."""
        if self._held is not None:
            self._hand_over(b"".join(self._held))
        super().shutdown()

    def _hand_over(self, body: bytes) -> None:
        self._held = None
        self._gone()  # it is counted again
        super().on_headers_complete()
        super().on_body(body)

    def _is_to_be_answered(self) -> bool:
        """Is it for us, whatever is in it?"""
        return bool(self.parser.get_method() == b"POST") and self.url.partition(b"?")[0] == PATH

    def _is_ordinary(self) -> bool:
        if not self._is_to_be_answered():
            return False
        # Nothing else is on its way: answers go out in the order of requests, and nobody lets them pile up unread.
        if self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and len(length) < 10  # Python reads no numbers of thousands of digits
            and int(length) <= MAX_HELD_BYTES
            and headers.get(b"content-type") == b"application/json"
            and _ODD.isdisjoint(headers)
            and self.parser.get_http_version() == "1.1"
        )

    def _rest(self) -> None:
        """What uvicorn does after a response."""
        self.server_state.total_requests += 1
        self._idle.begin()
