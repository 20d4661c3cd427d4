"""HTTP that cannot hang and cannot flood: for adapters of services that `requests` reaches."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kullm.errors import UnknownOutcome

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

_MOST = 16 * 1024 * 1024
"""Bytes of an answer, after decompression."""
_PIECE = 64 * 1024


class Wire:
    """What `requests` needs to be safe for paid calls: a deadline, a cap on the body, no redirects.

    `guard` makes a session so. `headers` are those of this thread's last answer, for clients that hide
    Retry-After. A body that is too large, too slow or broken off is an `UnknownOutcome`: the work may have been billed.
    """

    def __init__(self, connections: int, deadline: float) -> None:
        self._last = threading.local()
        self._connections, self._deadline = connections, deadline

    @property
    def headers(self) -> Mapping[str, str]:
        return getattr(self._last, "headers", {})

    def guard(self, session: requests.Session, url: str) -> None:
        """Make a session that calls `url` safe; the environment's proxies are looked up here, and not for each call."""
        from requests.utils import get_environ_proxies

        session.proxies, session.trust_env = get_environ_proxies(url), False
        for scheme in ("https://", "http://"):
            session.mount(scheme, self.adapter())

    def adapter(self) -> HTTPAdapter:
        """A transport adapter for one session. Every wait in it is bounded by the deadline; a call as a whole by
        `Limits.deadline`, for the head of an answer may drip.
        """
        from requests.adapters import HTTPAdapter

        last, deadline = self._last, self._deadline

        class Guarded(HTTPAdapter):
            def send(self, *args: Any, **settings: Any) -> requests.Response:
                last.headers = {}
                end = time.monotonic() + deadline
                settings |= {"stream": True, "timeout": (min(30.0, deadline), deadline)}
                response = super().send(*args, **settings)
                last.headers = dict(response.headers)
                if response.is_redirect:
                    response.close()
                    raise UnknownOutcome(f"redirected to {response.headers['location'][:200]}, which is not followed")
                read(response, end)
                return response

        return Guarded(pool_connections=2, pool_maxsize=self._connections)


def read(response: requests.Response, end: float) -> None:
    """Read the body of a streamed response into it, within a cap and until `end` (monotonic seconds)."""
    from urllib3.exceptions import HTTPError

    pieces: list[bytes] = []
    size, piece = 0, b""
    try:
        while piece := response.raw.read1(_PIECE, decode_content=True):  # what has arrived, so that time is looked at
            pieces.append(piece)
            size += len(piece)
            if size > _MOST:
                raise UnknownOutcome(f"the answer is larger than {_MOST // 2**20} MiB")
            if time.monotonic() > end:
                raise UnknownOutcome("the answer came too slowly")
    except HTTPError as error:
        raise UnknownOutcome(f"the answer broke off: {error}") from None
    finally:
        if size == 0 or piece:
            response.close()
    # What `requests` itself does when it does not stream.
    vars(response).update(_content=b"".join(pieces), _content_consumed=True)
