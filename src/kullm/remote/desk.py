"""The order of things: which items are wanted, which wait for the same answer, and which results may go out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, cast

from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.packing import Box
from kullm.remote.workers import Parcel
from kullm.rows import Failure

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")

_CHUNK = 32
"""Items that are taken in, or handed out, before somebody looks at what has landed: a free place costs throughput."""
_LOOKED_UP = 128
"""Items that are looked up at once: for each look all threads may wait for each other."""
_CHUNKS = 4
"""Chunks that are taken in for one batch."""
_FAILED = 10_000
"""Failures that are remembered, so that an equal item is not sent again."""
_GROUPS = 64
"""Open batches of different groups; the oldest goes out unfilled when there are more."""


@dataclass(frozen=True, slots=True)
class Instead(Generic[T, V]):
    """What `accept` gives for an answer that will not do: ask `items`; `join` makes the result of their results.

    `join` may give `Instead` again. It is called once, with one result an item, in their order.
    """

    items: Sequence[T]
    join: Callable[[list[V | Failure]], V | Failure | Instead[T, V]]


@dataclass(frozen=True, slots=True)
class Settled(Generic[V]):
    """Stands among the items for a result that is known already; it comes out in its place."""

    result: V


Accept: TypeAlias = Callable[[T, R], "V | Failure | Instead[T, V]"]
"""What is made of an item's answer."""


class _Slot:
    """A place for one result; `parts` are the slots of the items that are asked instead."""

    __slots__ = ("above", "done", "join", "missing", "parts", "value")

    def __init__(self, above: _Slot | None = None) -> None:
        self.above = above
        self.done = False
        self.value: Any = None
        self.parts: list[_Slot] = []
        self.missing = 0
        self.join: Any = None


class Desk(Generic[T, R, V]):
    """Takes items in, gives parcels of those that nobody has answered, and results in the order of the items.

    At most `window` results wait for an earlier one, so memory is bounded whatever order the answers come in.
    """

    def __init__(
        self,
        items: Iterator[T | Settled[V]],
        identity: str,
        limits: Limits,
        memory: Memory,
        key: Callable[[T], str],
        group: Callable[[T], Any] | None,
        within: Callable[[Any], Limits] | None,
        load: Callable[[Any], R],
        accept: Accept[T, R, V],
        stage: str,
    ) -> None:
        self.load = load
        self.settled = 0
        """Items that have their result."""
        self._source, self._ended = items, False
        self._identity, self._limits, self._memory = identity, limits, memory
        self._key, self._group, self._within, self._accept, self._stage = key, group, within, accept, stage
        self._order: deque[_Slot] = deque()
        self._waiting: dict[str, list[tuple[T, _Slot]]] = {}
        self._failed: OrderedDict[str, Failure] = OrderedDict()
        self._fresh: list[tuple[str, T, _Slot]] = []
        self._boxes: OrderedDict[Hashable, Box] = OrderedDict()
        self._ready: deque[list[str]] = deque()
        self._window = max(2_000, 12 * limits.items * limits.in_flight)

    @property
    def finished(self) -> bool:
        return self._ended and not self._order

    @property
    def ahead(self) -> int:
        """Full batches that wait for a call."""
        return len(self._ready)

    @property
    def anything(self) -> bool:
        """Is there a batch that could go out, full or not?"""
        return bool(self._ready or self._boxes)

    def done(self) -> list[V | Failure]:
        """The next results that may go out; not all at once."""
        out: list[V | Failure] = []
        order = self._order
        while order and order[0].done and len(out) < _CHUNK:
            out.append(order.popleft().value)
        return out

    @property
    def more(self) -> bool:
        """May the next result go out?"""
        return bool(self._order) and self._order[0].done

    def wanted(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that somebody still waits for: a late answer may have served the others."""
        return [key for key in keys if key in self._waiting]

    def items(self, keys: Sequence[str]) -> list[T]:
        return [self._waiting[key][0][0] for key in keys]

    def take_in(self) -> bool:
        """Take in some more items, if there is room; False: nothing more to do before answers come."""
        room = not self._ended and len(self._order) < self._window
        if self._fresh and (not room or len(self._fresh) >= _LOOKED_UP):
            self._look_up()
            return True
        if not room:
            return False
        chunk = list(islice(self._source, _CHUNK))
        if len(chunk) < _CHUNK:
            self._ended = True
        for item in chunk:
            slot = _Slot()
            self._order.append(slot)
            if isinstance(item, Settled):
                self._fill(slot, item.result)
            else:
                self._fresh.append((self._key(item), item, slot))
        return True

    def next_parcel(self) -> Parcel | None:
        """A full batch, or where no item can be taken in before an answer comes, one that is not full."""
        for _ in range(_CHUNKS):
            if self._ready:
                break
            if not self.take_in():
                if self._boxes and not self.more:
                    return Parcel(self._boxes.popitem(last=False)[1].take())
                return None
        return Parcel(self._ready.popleft()) if self._ready else None

    def deliver(self, results: dict[str, R | Failure]) -> None:
        """Give the answers of a call to all who wait for them."""
        for key, result in results.items():
            failed = isinstance(result, Failure)
            if failed:
                self._failed[key] = cast("Failure", result)
                if len(self._failed) > _FAILED:
                    self._failed.popitem(last=False)
            for item, slot in self._waiting.pop(key, ()):
                self._fill(slot, result if failed else self._accept(item, cast("R", result)))

    def _look_up(self) -> None:
        fresh, self._fresh = self._fresh, []
        wanted: dict[str, None] = {}
        for key, _, _ in fresh:
            if key not in self._waiting and key not in self._failed:
                wanted[key] = None
        bad = {key for key in wanted if not _encodable(key)}
        known = self._memory.recall(self._identity, (key for key in wanted if key not in bad))
        for key, item, slot in fresh:
            if key in known:
                self._fill(slot, self._accept(item, self.load(known[key])))
            elif key in self._waiting:
                self._waiting[key].append((item, slot))
            elif key in bad:
                cause = "the text is not valid Unicode (a lone surrogate)"
                self._fill(slot, Failure("", self._stage, cause, "Mend or drop the row."))
            elif key in self._failed:
                self._fill(slot, self._failed[key])
            else:
                self._waiting[key] = [(item, slot)]
                self._put(key, item)

    def _put(self, key: str, item: T) -> None:
        group = self._group(item) if self._group else None
        box = self._boxes.get(group)
        if box is None:
            if len(self._boxes) >= _GROUPS:
                self._ready.append(self._boxes.popitem(last=False)[1].take())
            box = self._boxes[group] = Box(self._within(group) if self._within else self._limits)
        if full := box.put(key):
            self._ready.append(full)
        if len(box.texts) >= box.limits.items:
            self._ready.append(self._boxes.pop(group).take())

    def _fill(self, slot: _Slot, result: Any) -> None:
        """Put a result into its slot; where it is an `Instead`, ask for the parts first."""
        while isinstance(result, Instead):
            if result.items:
                slot.join, slot.missing = result.join, len(result.items)
                slot.parts = [_Slot(slot) for _ in result.items]
                self._fresh.extend(
                    (self._key(item), item, part) for item, part in zip(result.items, slot.parts, strict=True)
                )
                return
            result = result.join([])
        slot.done, slot.value = True, result
        self.settled += slot.above is None
        if (above := slot.above) is not None:
            above.missing -= 1
            if above.missing == 0:
                parts, join, above.parts = above.parts, above.join, []
                self._fill(above, join([part.value for part in parts]))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
