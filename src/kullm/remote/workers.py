"""Threads that make calls, and nothing else: what came of a call goes back to the one thread that decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from kullm.errors import UnknownOutcome


@dataclass(slots=True, eq=False)
class Parcel:
    """A batch on its way: the keys of its items, these when it starts, what it may cost, and how often it failed."""

    keys: list[str]
    items: Sequence[Any] = ()
    units: int = 0
    failed: int = 0
    unknown: int = 0
    first: float = 0.0
    """When it was first sent (monotonic seconds)."""


@dataclass(slots=True, eq=False)
class Flight:
    """A parcel in the air: its call's number in the memory, and when it began (monotonic seconds).

    `lost`: it was given up, and what it brings comes late.
    """

    parcel: Parcel
    number: int
    began: float = 0.0
    result: Any = None
    error: BaseException | None = None
    lost: bool = False


class Workers:
    """Makes calls in threads that never hold up the end of the program.

    A call that outlives `deadline` is given up: it comes back as an `UnknownOutcome`, another thread takes the place,
    and what the old one still brings is handed over late.
    """

    def __init__(self, call: Callable[[Sequence[Any]], Any], deadline: float | None) -> None:
        self._call, self._deadline = call, deadline
        self._todo: SimpleQueue[Flight | None] = SimpleQueue()
        self._done: SimpleQueue[Flight] = SimpleQueue()
        self._flying: dict[Flight, None] = {}
        self._threads = self._started = 0

    def __len__(self) -> int:
        return len(self._flying)

    def send(self, flight: Flight) -> None:
        self._flying[flight] = None
        if self._threads < len(self._flying):
            self._start()
        flight.began = time.monotonic()
        self._todo.put(flight)

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name=f"kullm-{self._started}", daemon=True).start()
        except RuntimeError:
            if not self._threads:  # those that there are will do the work
                raise
            return
        self._threads += 1
        self._started += 1

    def landed(self, wait: float) -> list[Flight]:
        """The flights that ended, in the order in which they did; waits that many seconds for the first.

        One that was given up is given out with an error then, and may land once more, late.
        """
        ended: list[Flight] = []
        try:
            while True:
                flight = self._done.get(timeout=wait) if wait > 0 and not ended else self._done.get_nowait()
                self._flying.pop(flight, None)
                ended.append(flight)
        except Empty:
            pass
        return ended + self._overdue()

    def _overdue(self) -> list[Flight]:
        if self._deadline is None:
            return []
        latest = time.monotonic() - self._deadline
        late = [flight for flight in self._flying if flight.began < latest]
        for flight in late:
            flight.lost = True
            del self._flying[flight]
            self._threads -= 1
        error = UnknownOutcome(f"no answer within {self._deadline:g} s")
        return [Flight(flight.parcel, flight.number, flight.began, error=error) for flight in late]

    def close(self) -> None:
        for _ in range(self._started):
            self._todo.put(None)

    def _work(self) -> None:
        while (flight := self._todo.get()) is not None:
            try:
                flight.result = self._call(flight.parcel.items)
            except BaseException as error:  # noqa: BLE001 - the thread that decides raises it
                flight.error = error
            self._done.put(flight)
            if flight.lost:
                return
