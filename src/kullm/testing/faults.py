"""What can go wrong between a service and its client, on purpose: `Fault`, and how each kind is written to a socket."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

from kullm.errors import UsageError
from kullm.testing.wire import JSON, Connection, Headers, answer, head

Kind: TypeAlias = Literal[
    "status", "redirect",
    "reset", "fin", "hang", "slow", "slow-head", "slow-body", "torn", "cut", "chunks",
    "half", "empty", "html", "bomb", "flood", "odd-type", "two-types",
    "message", "error", "list", "number", "null",
    "short", "long", "none", "null-items", "null-item", "reversed",
    "empty-text", "null-text", "number-text", "surrogate", "no-cost", "null-cost",
]  # fmt: skip

Answer: TypeAlias = dict[str, Any]
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Fault:
    """A hostile mode of a test server for the calls numbered `requests`: from 0, in order of arrival, look-ups apart;
    `range(2, 5)` is a burst.

    Before the work, and nothing is billed:

    * `status`: the status `status` (503), with Retry-After where `retry_after` (seconds or a date) or retry-after-ms
      where `retry_after_ms` is given
    * `redirect`: `status` (307) to the server's second address, another origin; who follows stands in `strays`

    After the work was done and billed, the connection:

    * `reset`, `fin`: it is reset, or closed in peace, without an answer
    * `hang`: no answer ever comes
    * `slow`: the answer comes `seconds` later
    * `slow-head`, `slow-body`: a byte every `seconds`, from the first of the head, or of the body
    * `torn`, `cut`: it is reset, or closed in peace, in the middle of the body
    * `chunks`: a body in chunks of which the second is broken

    The body, with the status `status` (200):

    * `half`, `empty`, `html`: half of the JSON, nothing, a page
    * `bomb`: gzip that unpacks to `size` bytes (300 MiB) of zeros
    * `flood`: spaces without an end and without compression
    * `odd-type`, `two-types`: the right body under another Content-Type than JSON's, or under two

    The JSON:

    * `message`, `error`, `list`, `number`, `null`: another value altogether: {"message": …}, {"error": …}, [1, 2], 7
    * `short`, `long`, `none`: one item (translation, choice) fewer or more, no item
    * `null-items`, `null-item`: the list, or the last item, is null
    * `reversed`: the items in the wrong order, which no count can tell
    * `empty-text`, `null-text`, `number-text`, `surrogate`: the last item's text is "", null, 7, or ends in a lone
      surrogate
    * `no-cost`, `null-cost`: what was billed (billed_characters, usage) is absent or null

    `billed` says otherwise: a `status` after the work was billed (a gateway gave up), a `reset` before it. A request
    that the service refuses is refused as always. A refused connection is no fault of a server: close it.
    """

    kind: Kind
    requests: Collection[int] = (0,)
    status: int | None = None
    retry_after: str | None = None
    seconds: float = 1.0
    retry_after_ms: str | None = None
    size: int = 300 * _MIB
    billed: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"There is no fault {self.kind!r}; there are {', '.join(get_args(Kind))}.")

    @property
    def bills(self) -> bool:
        """Whether the work is billed before the fault strikes."""
        return self.kind not in ("status", "redirect") if self.billed is None else self.billed


def failure(message: str, code: str = "") -> Answer:
    """An error as both services' clients read it: DeepL's wants `message`, OpenAI's wants `error`."""
    return {"message": message, "error": {"message": message, "type": code, "param": None, "code": code}}


def strike(fault: Fault, connection: Connection, done: Answer, elsewhere: str) -> None:
    """Answer with `fault` in place of `done`, the service's whole answer; `elsewhere` is where a redirect leads."""
    if fault.kind == "status":
        waits = (("Retry-After", fault.retry_after), ("retry-after-ms", fault.retry_after_ms))
        asked = tuple((name, value) for name, value in waits if value is not None)
        body = json.dumps(failure("a fault of the test", "fault")).encode()
        return connection.send(answer(fault.status or 503, body, (*JSON, *asked)))
    if fault.kind == "redirect":
        return connection.send(answer(fault.status or 307, b"", (("Location", elsewhere),)))
    value = _SHAPES[fault.kind](done) if fault.kind in _SHAPES else done
    body, headers = _bodied(fault, json.dumps(value).encode())
    return _conducted(fault, connection, answer(fault.status or 200, body, headers), len(body))


def _conducted(fault: Fault, connection: Connection, whole: bytes, size: int) -> None:
    """Write an answer, of which the last `size` bytes are the body, the way that the fault wants it."""
    start, middle = len(whole) - size, len(whole) - size // 2
    match fault.kind:
        case "reset":
            connection.reset()
        case "fin":
            connection.close()
        case "hang":
            pass
        case "slow":
            connection.later(fault.seconds, lambda: connection.send(whole))
        case "slow-head":
            connection.drip(whole, fault.seconds)
        case "slow-body":
            connection.write(whole[:start])
            connection.drip(whole[start:], fault.seconds)
        case "torn":
            connection.reset(whole[:middle])
        case "cut":
            connection.send(whole[:middle], last=True)
        case "chunks":
            chunked = head(fault.status or 200, (*JSON, ("Transfer-Encoding", "chunked")))
            first, second = whole[start:middle], whole[middle:]
            connection.send(chunked + b"%x\r\n%b\r\nzz\r\n%b" % (len(first), first, second), last=True)
        case "flood":
            connection.write(head(fault.status or 200, (*JSON, ("Connection", "close"))))
            connection.stream(b" " * 65536)
        case _:
            connection.send(whole)


def _bodied(fault: Fault, body: bytes) -> tuple[bytes, Headers]:
    """The body that the fault sends, and the headers that go with it."""
    match fault.kind:
        case "half":
            return body[: len(body) // 2], JSON
        case "empty":
            return b"", JSON
        case "html":
            return b"<!DOCTYPE html><h1>Bad gateway</h1>", (("Content-Type", "text/html"),)
        case "bomb":
            return _zipped_zeros(fault.size), (*JSON, ("Content-Encoding", "gzip"))
        case "odd-type":
            return body, (("Content-Type", "text/plain; charset=utf-16"),)
        case "two-types":
            return body, (*JSON, ("Content-Type", "text/html; charset=latin-1"))
    return body, JSON


@lru_cache(maxsize=4)
def _zipped_zeros(size: int) -> bytes:
    """Gzip of `size` zeros, rounded up to whole MiB. One MiB is deflated: after a full flush it may be repeated."""
    zeros, blocks = bytes(_MIB), max(1, -(-size // _MIB))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(blocks):
        crc = zlib.crc32(zeros, crc)
    tail = crc.to_bytes(4, "little") + (blocks * _MIB % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * blocks + deflate.flush() + tail


def _items(done: Answer) -> str:
    return "translations" if "translations" in done else "choices"


def _listed(change: Callable[[list[Any]], Any]) -> Callable[[Answer], Answer]:
    """A shape with another list of items."""
    return lambda done: done | {_items(done): change(done[_items(done)])}


def _texted(change: Callable[[str], Any]) -> Callable[[Answer], Answer]:
    """A shape with another text of the last item."""

    def item(old: dict[str, Any]) -> dict[str, Any]:
        if "message" in old:
            return old | {"message": old["message"] | {"content": change(old["message"]["content"])}}
        return old | {"text": change(old["text"])}

    return _listed(lambda items: [*items[:-1], item(items[-1])])


def _costed(change: Callable[[dict[str, Any], str], dict[str, Any]]) -> Callable[[Answer], Answer]:
    """A shape that says otherwise what was billed: `change` gets what says it and the name under which it stands."""

    def shape(done: Answer) -> Answer:
        if "choices" in done:
            return change(done, "usage")
        return done | {"translations": [change(item, "billed_characters") for item in done["translations"]]}

    return shape


_SHAPES: Mapping[str, Callable[[Answer], Any]] = {
    "message": lambda _: {"message": "a fault of the test"},
    "error": lambda _: {"error": {"message": "a fault of the test"}},
    "list": lambda _: [1, 2],
    "number": lambda _: 7,
    "null": lambda _: None,
    "short": _listed(lambda items: items[:-1]),
    "long": _listed(lambda items: [*items, items[-1]]),
    "none": _listed(lambda _: []),
    "null-items": _listed(lambda _: None),
    "null-item": _listed(lambda items: [*items[:-1], None]),
    "reversed": _listed(lambda items: items[::-1]),
    "empty-text": _texted(lambda _: ""),
    "null-text": _texted(lambda _: None),
    "number-text": _texted(lambda _: 7),
    "surrogate": _texted(lambda text: text + "\ud800"),
    "no-cost": _costed(lambda old, name: {key: value for key, value in old.items() if key != name}),
    "null-cost": _costed(lambda old, name: old | {name: None}),
}
