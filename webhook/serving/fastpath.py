"""Answers a review that needs no waiting as soon as its last byte arrives: without a task, an ASGI scope or a router.

uvicorn starts a task for each request head, and Starlette routes it; both together cost more than the review itself
(tests/bench/README.md has the figures). So an ordinary POST of a review is held until it is complete. If its answer
needs no waiting, it is written here. If not, uvicorn gets the request as if it had just arrived.
"""

from collections.abc import Callable
from typing import Any, cast

from webhook.core.review import Request
from webhook.serving.limits import LimitedProtocol

AtOnce = Callable[[bytes], bytes | Request | None]
"""From the body to the whole HTTP response; or to the decoded review, which must wait; or to None: ask the app."""

DECODED = "pullsecret_webhook.review"
"""Key in the ASGI scope: the review if it is already decoded, or None. Its body is not kept: a review may wait long."""

PATH = b"/mutate"
LAST = b"\r\nconnection: close\r\n"
"""Replaces the end of the status line in the last answer on a connection."""
MAX_HELD_BYTES = 1024 * 1024
"""Bytes of a body. A larger one goes to the app, which limits it."""
_ODD = frozenset({b"transfer-encoding", b"connection", b"expect", b"upgrade"})
"""Headers that ask for more than an answer. An API server does not send them with a review."""


class ReviewProtocol(LimitedProtocol):
    def __init__(self, at_once: AtOnce, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._at_once = at_once
        self._held: list[bytes] | None = None

    def on_headers_complete(self) -> None:
        if self._is_ordinary():
            self._held = []
            self._in_head = False
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
            stays = answer is None or self.review_came()  # None: it may be no review
            if isinstance(answer, bytes):
                self._held = None
                self.message_is_complete()
                self._gone()
                self.transport.write(answer if stays else answer.replace(b"\r\n", LAST, 1))
                if not stays:
                    self.transport.close()
                # What uvicorn does after a response:
                self.server_state.total_requests += 1
                self._idle.begin()
                return
            self._hand_over(b"" if answer else body)
            cast(dict[str, Any], self.scope)[DECODED] = answer  # ASGI allows keys of one's own
        else:
            stays = not self._is_post_of_review() or self.review_came()
        if not stays:
            self.cycle.keep_alive = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """uvicorn waits only for requests that it knows. So it gets the held one, even if it is not complete."""
        if self._held is not None:
            self._hand_over(b"".join(self._held))
        super().shutdown()

    def _hand_over(self, body: bytes) -> None:
        self._held = None
        self._gone()  # `on_body` counts the bytes again
        super().on_headers_complete()
        super().on_body(body)

    def _is_post_of_review(self) -> bool:
        return bool(self.parser.get_method() == b"POST") and self.url.partition(b"?")[0] == PATH

    def _is_ordinary(self) -> bool:
        if not self._is_post_of_review():
            return False
        # Answers go out in the order of requests, and a client that does not read gets no more of them.
        if self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and len(length) < 10  # Python does not convert numbers of thousands of digits
            and int(length) <= MAX_HELD_BYTES
            and headers.get(b"content-type") == b"application/json"
            and _ODD.isdisjoint(headers)
            and self.parser.get_http_version() == "1.1"
        )
