"""HTTP/1.1 on bare sockets: one thread with one event loop serves every connection, at little cost to its clients.

A small parser instead of the standard library's server: a thread for each connection costs several times the work
itself, and a hostile answer (half a body, one byte a second) has to be written byte by byte anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

_HEAD = 16 * 1024
"""The largest head of a request, in bytes."""
_BODY = 64 * 2**20
"""The largest body that is read, in bytes; a service has limits of its own below it."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: closing drops what was not sent and tells the other side by RST."""

Headers = Sequence[tuple[str, str]]
JSON: Headers = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def head(status: int, headers: Headers) -> bytes:
    """The status line and the headers, as they are sent."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n{lines}\r\n".encode("latin-1")


def answer(status: int, body: bytes, headers: Headers = JSON) -> bytes:
    """A whole answer, as it is sent."""
    return head(status, (*headers, ("Content-Length", str(len(body))))) + body


class Connection(asyncio.Protocol):
    """A client's connection. Its requests are served one after the other; each must be ended by one of `send`,
    `close`, `reset`, `drip` or `stream`, or waits for ever.
    """

    def __init__(self, serve: Callable[[Connection, Request], None], others: set[Connection]) -> None:
        self._serve, self._others = serve, others
        self._data = bytearray()
        self._waiting: tuple[str, str, dict[str, str], int] | None = None
        self._busy = self._last = False
        self._writable, self._block = True, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)
        self._data.clear()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._next()

    def _next(self) -> None:
        """Serve the next request, if it is whole and the one before it is answered."""
        if self._busy or self._transport.is_closing():
            return
        if self._waiting is None and not self._headed():
            return
        assert self._waiting is not None
        method, path, headers, length = self._waiting
        if len(self._data) < length:
            return
        body = bytes(memoryview(self._data)[:length])
        del self._data[:length]
        self._waiting, self._busy = None, True
        self._serve(self, Request(method, path, headers, body))

    def _headed(self) -> bool:
        """Take the head of a request off the data; False where it is not whole, or not to be served."""
        end = self._data.find(b"\r\n\r\n")
        if end > _HEAD or (end < 0 and len(self._data) > _HEAD):
            return self._refuse(431)
        if end < 0:
            return False
        first, *lines = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words, length = first.split(), headers.get("content-length", "0")
        if len(words) != 3 or not (length.isascii() and length.isdigit()):
            return self._refuse(400)
        if "transfer-encoding" in headers:
            return self._refuse(411)
        if int(length) > _BODY:
            return self._refuse(413)
        self._last = headers.get("connection", "").lower() == "close" or words[2] == "HTTP/1.0"
        self._waiting = words[0], words[1], headers, int(length)
        return True

    def _refuse(self, status: int) -> bool:
        self._busy = self._last = True
        self.send(answer(status, b""))
        return False

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Write the rest of an answer; `last` closes the connection after it. A client that has gone is no error."""
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if last or self._last:
            return self.close()
        self._busy = False
        if self._data:
            self._loop.call_soon(self._next)

    def write(self, data: bytes) -> None:
        """Write the beginning of an answer."""
        self._transport.write(data)

    def close(self) -> None:
        """Close after what was written has gone out (FIN)."""
        self._transport.close()

    def reset(self, first: bytes = b"") -> None:
        """Write `first`, let it go out, then reset the connection (RST)."""
        if first:
            self._transport.write(first)
            self._loop.call_later(0.02, self.reset)
        elif not self._transport.is_closing():
            sock = cast("socket.socket", self._transport.get_extra_info("socket"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def drip(self, data: bytes, seconds: float) -> None:
        """Write a byte every `seconds`."""
        if self._transport.is_closing():
            return
        if len(data) <= 1:
            return self.send(data)
        self._transport.write(data[:1])
        self._loop.call_later(seconds, self.drip, data[1:], seconds)

    def stream(self, block: bytes) -> None:
        """Write `block` over and over, as fast as it is read, until the client goes away."""
        self._block = block
        self._flow()

    def _flow(self) -> None:
        if self._writable and not self._transport.is_closing():
            self._transport.write(self._block)
            self._loop.call_soon(self._flow)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._block:
            self._loop.call_soon(self._flow)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it after `seconds`, at once where there is nothing to wait for; never after the listener has closed."""
        if seconds > 0:
            self._loop.call_later(seconds, call)
        else:
            call()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()


@dataclass(slots=True)
class Listener:
    """Ports of 127.0.0.1, one for each of `serves`, and the thread that serves them all.

    `ports`: where to listen, 0 for any free one; after the start, where it listens.
    """

    serves: Sequence[Callable[[Connection, Request], None]]
    ports: Sequence[int]
    _thread: threading.Thread | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _stop: asyncio.Event | None = field(default=None, init=False)

    def start(self) -> None:
        """Bind the ports, so that clients may connect, and serve. Raises OSError where a port is taken."""
        sockets: list[socket.socket] = []
        try:
            for port in self.ports:
                sockets.append(socket.create_server(("127.0.0.1", port), backlog=128))
        except OSError:
            for sock in sockets:
                sock.close()
            raise
        self.ports = [sock.getsockname()[1] for sock in sockets]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, ready), daemon=True, name="kullm-testing")
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        """Drop all connections, free the ports and end the thread."""
        if self._thread and self._loop and self._stop:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    def _run(self, sockets: Sequence[socket.socket], ready: threading.Event) -> None:
        asyncio.run(self._listen(sockets, ready))

    async def _listen(self, sockets: Sequence[socket.socket], ready: threading.Event) -> None:
        loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop = loop
        connections: set[Connection] = set()
        coming: set[asyncio.Task[Any]] = set()

        def accept(sock: socket.socket, serve: Callable[[Connection, Request], None]) -> None:
            with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionAbortedError):
                client, _ = sock.accept()
                client.setblocking(False)
                task = loop.create_task(loop.connect_accepted_socket(partial(Connection, serve, connections), client))
                coming.add(task)
                task.add_done_callback(coming.discard)

        # Not loop.create_server: closing it loses a connection that was accepted in the same turn of the loop.
        for serve, sock in zip(self.serves, sockets, strict=True):
            sock.setblocking(False)
            loop.add_reader(sock, accept, sock, serve)
        ready.set()
        await self._stop.wait()
        for sock in sockets:
            loop.remove_reader(sock)
            sock.close()
        await asyncio.gather(*coming, return_exceptions=True)
        for connection in [*connections]:
            connection.abort()
        while connections:
            await asyncio.sleep(0)
