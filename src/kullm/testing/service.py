"""What the test servers have in common: a key, a quota, faults, a delay, a count of requests and a ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from io import TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar, Self

from kullm.errors import Refused, UsageError
from kullm.testing.faults import Answer, Fault, failure, strike
from kullm.testing.wire import Connection, Listener, Request, answer


class Rejected(Exception):
    """The service does not do this request: the status, and why."""

    def __init__(self, status: int, what: str, code: str = "invalid_request") -> None:
        self.status, self.answer = status, failure(what, code)
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Done:
    """Work that was done: the answer, the cost in the quota's unit, the ledger's entry, and the texts of the source."""

    answer: Answer
    cost: int
    entry: Any
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Stray:
    """A request that followed a redirect to the other origin. `key`: its header Authorization, or None."""

    method: str
    path: str
    key: str | None
    body: bytes


def fingerprint(text: str) -> str:
    """16 hexadecimal digits that stand for a text in a ledger file."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(kw_only=True, eq=False, repr=False)
class Service:
    """A local server on a thread of its own, between `with` and its end; it may be started again on the same port.

    `delay`: seconds from a request, which is billed at once, to its answer. `port`: where to listen, 0 for any free
    one. `requests` counts all that came, look-ups and refused ones too. `strays`: what followed a redirect fault.
    `ledger_file` gets a line of JSON for each billed request, {"texts": [their `fingerprint`s], "cost": …}, before it
    is answered, and `ledger` then stays empty: so it outlives both sides, and memory does not grow.

    A test's own function is called on the server's one thread: it must not wait (`delay` does). If it raises, the
    answer is 500 and says so. A client that goes away during the delay is billed all the same.
    """

    key: str = "test-key"
    quota: int | None = None
    faults: Sequence[Fault] = ()
    delay: float = 0.0
    port: int = 0
    ledger_file: Path | None = None
    requests: int = field(default=0, init=False)
    strays: list[Stray] = field(default_factory=list, init=False)

    ledger: list[Any] = field(default_factory=list, init=False)
    scheme: ClassVar[str]
    path: ClassVar[str]
    wrong_key: ClassVar[int]
    spent: ClassVar[tuple[int, str, str]]
    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self._calls = self._used = 0
        self._elsewhere = 0
        self._listener: Listener | None = None
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        listener = Listener((self._serve, self._stray), (self.port, self._elsewhere))
        listener.start()
        self._listener, (self.port, self._elsewhere) = listener, listener.ports
        if self.ledger_file is not None:
            self._file = self.ledger_file.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def url(self) -> str:
        """Where the server is, as the official client wants it."""
        if not self.port:
            raise UsageError("The server has no address before it is started.", next="Write: with … as server:")
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def look_up(self, path: str) -> Answer | None:
        """The answer to what costs nothing, or None where that is not a look-up."""
        raise NotImplementedError

    def work(self, request: dict[str, Any], size: int) -> Done:
        """Do a request whose body has `size` bytes. Raises Rejected or Refused."""
        raise NotImplementedError

    def _serve(self, connection: Connection, request: Request) -> None:
        self.requests += 1
        if request.headers.get("authorization") != f"{self.scheme} {self.key}":
            return _send(connection, self.wrong_key, failure("wrong API key", "invalid_api_key"))
        if (found := self.look_up(request.path)) is not None:
            return _send(connection, 200, found)
        if (request.method, request.path) != ("POST", self.path):
            return _send(connection, 404, failure(f"no {request.method} {request.path} here", "not_found"))
        number, self._calls = self._calls, self._calls + 1
        fault = next((fault for fault in self.faults if number in fault.requests), None)
        if fault and fault.kind in ("status", "redirect") and not fault.bills:
            return strike(fault, connection, {}, self._other(request))
        began = time.monotonic()
        answer = self._answered(connection, request, fault)
        return connection.later(self.delay - (time.monotonic() - began), answer)

    def _answered(self, connection: Connection, request: Request, fault: Fault | None) -> Callable[[], None]:
        """Do and bill a request; gives what sends the answer."""
        try:
            done = self._do(request)
            if fault is None or fault.bills:
                self._bill(done)
        except Rejected as refusal:
            return partial(_send, connection, refusal.status, refusal.answer)
        except Exception as error:  # noqa: BLE001 - the test's own function failed: say so where it is seen
            return partial(_send, connection, 500, failure(f"{type(error).__name__}: {error}", "test"))
        if fault is None:
            return partial(connection.send, answer(200, json.dumps(done.answer).encode()))
        return partial(strike, fault, connection, done.answer, self._other(request))

    def _do(self, request: Request) -> Done:
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise Rejected(400, f"the body is not JSON: {error}") from None
        if not isinstance(asked, dict):
            raise Rejected(400, "the body is not an object of JSON")
        try:
            return self.work(asked, len(request.body))
        except Refused as error:
            raise Rejected(400, str(error)) from None

    def _bill(self, done: Done) -> None:
        if self.quota is not None and self._used + done.cost > self.quota:
            raise Rejected(*self.spent)
        self._used += done.cost
        if self._file is None:
            self.ledger.append(done.entry)
        else:
            self._file.write(json.dumps({"texts": [*map(fingerprint, done.texts)], "cost": done.cost}) + "\n")

    def _other(self, request: Request) -> str:
        return f"http://127.0.0.1:{self._elsewhere}{request.path}"

    def _stray(self, connection: Connection, request: Request) -> None:
        """The other origin: it takes what comes and answers as the service would, so that nothing gives it away."""
        self.strays.append(Stray(request.method, request.path, request.headers.get("authorization"), request.body))
        try:
            return _send(connection, 200, self._do(request).answer)
        except Exception:  # noqa: BLE001 - a GET has no body to work on, and the test's own function may fail
            return _send(connection, 200, {})


def _send(connection: Connection, status: int, content: Answer) -> None:
    connection.send(answer(status, json.dumps(content).encode()))
