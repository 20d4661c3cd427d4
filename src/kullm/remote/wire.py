"""HTTP that cannot hang and cannot flood: for adapters of services whose calls cost money."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kullm.errors import Passing, ServiceDown, UnknownOutcome, UsageError

if TYPE_CHECKING:
    import urllib3

_MOST = 16 * 1024 * 1024
"""Bytes of an answer, after decompression."""
_PIECE = 64 * 1024
_CONNECT = 30.0
"""Seconds to reach a service at most."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered; the names of `headers` have no case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """The way to one service: a deadline for each call, a cap on its answer, no redirects, nothing sent twice.

    Proxies and certificates are those of the environment (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE), as `requests`
    finds them, once. `connections` are kept open; `deadline`: seconds for a call.
    """

    def __init__(self, url: str, connections: int, deadline: float) -> None:
        from requests import Request, RequestException
        from requests.adapters import HTTPAdapter
        from requests.utils import get_environ_proxies

        self._url, self._deadline = url, deadline
        self._state = threading.local()
        """`sent`: has anything of this thread's request gone out?"""
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        try:
            first, proxies = Request("GET", url).prepare(), get_environ_proxies(url)
            pool: Any = adapter.get_connection_with_tls_context(first, bundle, proxies)
            plain = adapter.request_url(first, proxies).startswith("http")
        except (ValueError, RequestException) as error:
            raise UsageError(
                f"{url!r} is not to be reached: {error}", next="Check the address, and the proxies of the environment."
            ) from None
        pool.ConnectionCls = _at_once(pool.ConnectionCls, self._state)
        self._pool = pool
        self._before = "{0.scheme}://{0.netloc}".format(urlsplit(url)) if plain else ""
        """What stands before a path in a request: nothing, or for a plain proxy the service's address."""

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """One request to a path of the service.

        Raises `Passing` where nothing was sent, as the service or a proxy was not reached; `ServiceDown` where it is
        not the one that it says it is, or a proxy wants a password; and `UnknownOutcome` for an answer that is too
        large, too slow, broken off or a redirect: it may be billed. The head of an answer may come slowly for longer
        than the deadline; `Limits.deadline` ends such a call.
        """
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        end = time.monotonic() + self._deadline
        self._state.sent = False
        try:
            response = self._pool.urlopen(
                method,
                self._before + path,
                body,
                {"Accept-Encoding": "gzip, deflate", **headers},
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=min(_CONNECT, self._deadline), read=self._deadline),
                preload_content=False,
            )
        except HTTPError as error:
            raise UnknownOutcome(f"no answer: {_words(error)}") if self._state.sent else self._unsent(error) from None
        try:
            if location := response.get_redirect_location():
                raise UnknownOutcome(f"redirected to {location[:200]}, which is not followed")
            return Reply(response.status, response.headers, _read(response, end))
        except BaseException:
            response.close()
            raise

    def _unsent(self, error: Exception) -> Exception:
        """The error of ours for one before anything was sent."""
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ServiceDown(
                f"No secure connection to {self._url}: {_words(error)}",
                next="Behind a proxy that opens connections, name its certificate in REQUESTS_CA_BUNDLE.",
            )
        if "failed: 407 " in str(error):
            return ServiceDown(f"The proxy of the environment wants a user: {_words(error)}", next="Check HTTPS_PROXY.")
        return Passing(f"the service is not reached: {_words(error)}")

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool.close()


def _at_once(connection: Any, state: threading.local) -> Any:
    """A class of connections that sends a request's head together with its body, and notes in `state` that it did."""

    class AtOnce(connection):  # type: ignore[misc]
        _asking, _waits, _head = False, False, b""

        def request(self, method: str, url: str, body: bytes | None = None, *more: Any, **settings: Any) -> None:
            self._asking, self._waits, self._head = True, bool(body), b""
            try:
                super().request(method, url, body, *more, **settings)
            finally:
                self._asking = False

        def send(self, data: bytes) -> None:
            if self._asking and self.sock is None:
                self._asking = False  # what a proxy is asked first is not the request
                self.connect()
                self._asking = True
            if self._asking:
                if self._waits:
                    self._waits, self._head = False, data
                    return
                data, self._head = self._head + data, b""
                state.sent = True
            super().send(data)

    return AtOnce


def _read(response: urllib3.BaseHTTPResponse, end: float) -> bytes:
    """The body of an answer, within a cap and until `end` (monotonic seconds)."""
    from urllib3.exceptions import HTTPError

    pieces: list[bytes] = []
    size = 0
    try:
        while piece := response.read1(_PIECE, decode_content=True):  # what has arrived, so that time is looked at
            pieces.append(piece)
            size += len(piece)
            if size > _MOST:
                raise UnknownOutcome(f"the answer is larger than {_MOST // 2**20} MiB")
            if time.monotonic() > end:
                raise UnknownOutcome("the answer came too slowly")
    except HTTPError as error:
        raise UnknownOutcome(f"the answer broke off: {_words(error)}") from None
    return b"".join(pieces)


def _words(error: Exception) -> str:
    """What an error of `urllib3` says, without the objects in it."""
    return str(error).rpartition("object at ")[2].partition(">: ")[2] or str(error)
