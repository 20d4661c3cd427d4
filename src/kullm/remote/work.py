"""The loop of a run: take in items, start calls, write down how they ended, hand out results in order.

One thread decides, and it alone touches the memory; workers only call.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from kullm.errors import (
    BudgetSpent,
    InputError,
    KullmError,
    Passing,
    Refused,
    ServiceDown,
    ServiceError,
    StorageFailed,
    UnknownOutcome,
    UsageError,
)
from kullm.interrupts import Interrupts
from kullm.remote.budget import Tariff
from kullm.remote.calls import Begun, Ended
from kullm.remote.desk import Desk
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.pace import Pace
from kullm.remote.workers import Flight, Parcel, Workers
from kullm.rows import Failure

log = logging.getLogger("kullm")

_LOCAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of the system that say nothing about a service."""
_ALIKE = 10
"""Items that are refused in the same words before anything is answered, after which the run stops."""
_ALL = 100
"""The same where the words differ, or where the memory holds answers: then the settings were right once."""
_APART = re.compile(r"""[0-9]+|"[^"]*"|'[^']*'|`[^`]*`|“[^”]*”|«[^»]*»""")
"""What differs between two refusals for one reason: numbers, and what is quoted."""
_YIELD = 2e-5
"""Seconds in which another thread wakes up and takes over; after 0 this one is on again first."""
_LOOK = 0.2
"""Seconds between two looks at whether an interrupt is wanted."""

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")


class Work(Generic[T, R, V]):
    """The loop: take in items, start calls, write down how they ended, hand out results in order."""

    def __init__(
        self,
        call: Callable[[Sequence[T]], Sequence[R | Failure]],
        desk: Desk[T, R, V],
        identity: str,
        limits: Limits,
        memory: Memory,
        about: Mapping[str, Any],
        save: Callable[[R], Any],
        tariff: Tariff[T] | None,
        stage: str,
        tries: int,
        unknown_tries: int,
    ) -> None:
        self.desk, self.identity, self.memory, self.about = desk, identity, memory, about
        self.save, self.tariff, self.stage = save, tariff, stage
        self.tries, self.unknown_tries = tries, unknown_tries
        self.workers = Workers(call, limits.deadline)
        self.pace = Pace(limits, stage, tries)
        self.again: deque[Parcel] = deque()
        self.limits = limits
        self.fresh_first = self.useful = False
        self.doubt = False
        """Does the service refuse whatever it is asked? A call was refused, and nothing was answered yet."""
        self.refused, self.why = Counter[str](), ""
        """How many single items were refused before anything was answered, by the words; those of the last."""
        self.poor = False
        """Nothing more starts before a call in flight has landed."""
        self.stop: BaseException | None = None

    def flow(self, total: int | None, advance: Callable[[int], None]) -> Generator[V | Failure, None, None]:
        words = "the calls in flight are finished and kept first"
        with Interrupts(words) as interrupts:
            try:
                while True:
                    done = self.desk.done()
                    yield from done
                    advance(len(done))
                    if interrupts.wanted:
                        raise KeyboardInterrupt
                    if self.desk.finished and not self.workers:
                        return
                    self.turn()
            except BaseException as stop:
                self.drain(stop, total)
                raise

    def turn(self) -> None:
        """One step: what landed is written down together with what starts; only then is either used."""
        took = self.desk.ahead < self.limits.in_flight and self.desk.take_in()
        time.sleep(_YIELD)  # a thread whose answer has come need not wait for this one
        landed = self.workers.landed(0 if took or self.desk.more else self.pause())
        if landed:
            self.poor = False
        settled = [(flight, self.outcome(flight)) for flight in landed]
        starting: list[Parcel] = []
        try:
            if self.stop is None:
                self.choose(starting)
        except BaseException as error:  # noqa: BLE001 - raised when what landed is written down
            self.stop = error
        if self.stop is not None:
            self.never(starting)
        begun = [Begun(self.identity, len(parcel.keys), parcel.units) for parcel in starting]
        if settled or begun:
            try:
                numbers = self.memory.commit([ended for _, (ended, _) in settled if ended], begun, self.about)
            except BaseException:
                self.never(starting)
                raise
            for parcel, number in zip(starting, numbers, strict=True):
                self.workers.send(Flight(parcel, number))
            time.sleep(_YIELD)  # the calls start before this thread goes on
        for _, (_, results) in settled:
            self.desk.deliver(results)
        if self.stop is not None:
            raise self.stop

    def never(self, starting: list[Parcel]) -> None:
        """Give up parcels that were about to start: what was reserved for them is not spent."""
        for parcel in starting:
            self.give_back(parcel)
        starting.clear()

    def pause(self) -> float:
        """The seconds to wait for an answer before something else is to be done."""
        free = len(self.workers) < int(self.pace.allowed)
        if free and not self.poor and (self.again or self.desk.anything):
            return min(_LOOK, max(0.0, self.pace.wait()))
        return _LOOK

    def choose(self, starting: list[Parcel]) -> None:
        """Put the parcels that start now into `starting`, each with its cost reserved."""
        if (down := self.refuses_all()) is not None:
            self.poor = True
            if not self.workers:  # a call in flight may still be answered
                self.stop = down
            return
        while len(self.workers) + len(starting) < int(self.pace.allowed) and self.pace.wait() <= 0:
            parcel = self.next_parcel()
            if parcel is None:
                return
            self.memory.claim()
            parcel = self.afford(parcel, starting)
            if parcel is None:
                return
            self.pace.started()
            parcel.first = parcel.first or time.monotonic()
            starting.append(parcel)

    def next_parcel(self) -> Parcel | None:
        """A parcel that failed, or a fresh one: in turns, so that one bad parcel does not look like a bad service."""
        while self.again:
            if self.fresh_first and (fresh := self.desk.next_parcel()):
                self.fresh_first = False
                return fresh
            parcel = self.again.popleft()
            self.fresh_first = True
            parcel.keys = self.desk.wanted(parcel.keys)
            if self.doubt and len(parcel.keys) > 1:  # single items from all over tell soonest
                parcel, rest = _cut(parcel, 1)
                self.again.append(rest)
            if parcel.keys:
                return parcel
        return self.desk.next_parcel()

    def afford(self, parcel: Parcel, starting: Sequence[Parcel]) -> Parcel | None:
        """The parcel, or as much of its beginning as the budget covers; what is left over waits. None: nothing."""
        parcel.items = items = self.desk.items(parcel.keys)
        if self.tariff is None:
            return parcel
        tariff = self.tariff
        costs = [tariff.cost(item) for item in items]
        if tariff.budget is None:
            parcel.units = sum(costs)
            return parcel
        for count in range(len(costs), 0, -1):
            if tariff.budget.reserve(sum(costs[:count]), tariff.unit, tariff.price):
                parcel, rest = _cut(parcel, count)
                if rest.keys:
                    self.again.appendleft(rest)
                parcel.items, parcel.units = items[:count], sum(costs[:count])
                return parcel
        self.again.appendleft(parcel)
        self.poor = True
        if not self.workers and not starting:  # calls in flight may still give back what they reserved
            kept = "what is done is not paid for again" if self.memory.path else "without a memory all is paid again"
            self.stop = BudgetSpent(
                f"{self.stage}: the budget is spent ({tariff.budget}); the next call would cost "
                f"{costs[0]} {tariff.unit}.",
                next=f"Raise the budget, then run it again: {kept}.",
            )
        return None

    def outcome(self, flight: Flight) -> tuple[Ended | None, dict[str, R | Failure]]:
        """What is written down of a call, and its results by key; decides what follows."""
        if flight.lost:
            return self.late(flight)
        parcel = flight.parcel
        try:
            if flight.error is not None:
                raise flight.error
            answers = _checked(flight.result, len(parcel.keys), self.stage)
        except (Passing, ConnectionRefusedError) as error:
            return self.passing(flight, error if isinstance(error, Passing) else Passing(str(error)))
        except Refused as error:
            if not error.billed:
                self.give_back(parcel)
                self.doubt = not self.useful
            self.pace.good()
            ended = Ended(flight.number, "answered" if error.billed else "failed")
            if len(parcel.keys) == 1:
                if not self.useful:
                    self.refused[_APART.sub("", error.what)] += 1
                    self.why = error.what
                return ended, {parcel.keys[0]: Failure("", self.stage, error.what)}
            middle = len(parcel.keys) // 2
            self.again.extendleft((Parcel(parcel.keys[middle:]), Parcel(parcel.keys[:middle])))
            return ended, {}
        except _LOCAL as error:  # of the plug-in itself: nothing was sent
            self.stop = self.stop or error
            self.give_back(parcel)
            return Ended(flight.number, "failed"), {}
        except (UnknownOutcome, OSError) as error:
            return self.unknown(flight, error)
        except BaseException as error:  # noqa: BLE001 - raised when what else landed is written down
            self.stop = self.stop or error
            # A service that says no has not billed; of any other failure nobody knows.
            unbilled = isinstance(error, ServiceError | InputError)
            if unbilled:
                self.give_back(parcel)
            return Ended(flight.number, "failed" if unbilled else "unknown"), {}
        self.pace.good()
        self.useful, self.doubt = True, False
        return self.answers(flight, dict(zip(parcel.keys, answers, strict=True)))

    def refuses_all(self) -> ServiceDown | None:
        """The error for a service that refuses whatever it is asked: it is not asked for all items."""
        alike, count = max(self.refused.values(), default=0), self.refused.total()
        if self.useful or (count < _ALL and (alike < _ALIKE or self.answered_before)):
            return None
        return ServiceDown(
            f"{self.stage}: the service refused each of the first {count} items: {self.why}",
            next="Check the settings of the plug-in.",
        )

    @cached_property
    def answered_before(self) -> bool:
        """Does the memory hold an answer of this service?"""
        return self.memory.newest(self.identity) > 0

    def late(self, flight: Flight) -> tuple[Ended | None, dict[str, R | Failure]]:
        """A call that was given up and landed after all: its answers were paid for."""
        try:
            if flight.error is None:
                answers = _checked(flight.result, len(flight.parcel.keys), self.stage)
                return self.answers(flight, dict(zip(flight.parcel.keys, answers, strict=True)))
        except (UnknownOutcome, UsageError) as error:
            log.info("%s: an answer that came late is of no use: %s", self.stage, error)
        return None, {}

    def passing(self, flight: Flight, error: Passing) -> tuple[Ended, dict[str, R | Failure]]:
        parcel, ended = flight.parcel, Ended(flight.number, "failed")
        self.give_back(parcel)
        parcel.failed += 1
        several = len(parcel.keys) > 1
        if (
            not several and parcel.failed >= self.tries and self.pace.answered
        ):  # it is the item, as others were answered
            self.pace.bad(error, flight.began, last=False)
            return ended, {parcel.keys[0]: Failure("", self.stage, f"failed {parcel.failed} times: {error.what}")}
        try:
            self.pace.bad(error, flight.began)
        except ServiceDown as down:
            down.what += self.asked(parcel)
            self.stop = self.stop or down
            return ended, {}
        if several and parcel.failed >= self.tries // 2:  # it may be something in this batch: its halves say
            middle, failed = len(parcel.keys) // 2, parcel.failed - 1
            self.again.extend(Parcel(keys, failed=failed) for keys in (parcel.keys[:middle], parcel.keys[middle:]))
        else:
            self.again.append(parcel)
        self.fresh_first = True
        return ended, {}

    def unknown(self, flight: Flight, error: Exception) -> tuple[Ended, dict[str, R | Failure]]:
        parcel, ended = flight.parcel, Ended(flight.number, "unknown")
        parcel.unknown += 1
        if parcel.unknown < self.unknown_tries:
            self.again.append(parcel)
            self.fresh_first = True
            return ended, {}
        words = f"sent {parcel.unknown} time(s) without a usable answer, which may have been billed: {error}"
        if self.pace.answered > parcel.first:  # the service answers others: it is this batch
            return ended, {key: Failure("", self.stage, words) for key in parcel.keys}
        down = ServiceDown(f"{self.stage}: {words}{self.asked(parcel)}")
        down.__cause__ = error
        self.stop = self.stop or down
        return ended, {}

    def asked(self, parcel: Parcel) -> str:
        """What a call held, for an error: one bad item may be the cause, and only the caller can drop it."""
        first = parcel.keys[0]
        return f" (the call held {len(parcel.keys)} item(s), the first: {first[:60]!r}{'…' * (len(first) > 60)})"

    def give_back(self, parcel: Parcel) -> None:
        if self.tariff and self.tariff.budget:
            self.tariff.budget.release(parcel.units, self.tariff.unit, self.tariff.price)

    def answers(self, flight: Flight, answers: Mapping[str, R | Failure]) -> tuple[Ended, dict[str, R | Failure]]:
        """The answers of one call as they are kept. Failures are handed on and never stored as answers."""
        good: dict[str, Any] = {}
        results: dict[str, R | Failure] = {}
        for text, answer in answers.items():
            if isinstance(answer, Failure):
                results[text] = answer
                continue
            try:
                value = self.save(answer)
                if not isinstance(value, str):
                    value = json.loads(json.dumps(value, ensure_ascii=False))
                (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
                results[text] = self.desk.load(value)  # the same now as when it is remembered
                good[text] = value
            except UnicodeEncodeError:
                results[text] = Failure("", self.stage, "the answer holds text that is not valid Unicode")
            except (TypeError, ValueError) as error:
                results[text] = Failure("", self.stage, f"the answer cannot be kept: {error}")
            except Exception as error:  # noqa: BLE001 - the plug-in's own: raised when the other answers are kept
                self.stop = self.stop or error
        return Ended(flight.number, "answered", self.identity, good), results

    def drain(self, stop: BaseException, total: int | None) -> None:
        """Let the calls in flight finish and keep what they bring; then say in the error what is safe."""
        late = 0
        while self.workers:
            settled = [self.outcome(flight) for flight in self.workers.landed(_LOOK)]
            if not settled:
                continue
            try:
                self.memory.commit([ended for ended, _ in settled if ended], (), self.about)
                late += sum(not isinstance(one, Failure) for _, results in settled for one in results.values())
            except StorageFailed as error:
                log.warning("%s: while stopping: %s", self.stage, error)
        if self.stop is not None and self.stop is not stop:
            log.warning("%s: while stopping: %s", self.stage, self.stop)
        if isinstance(stop, GeneratorExit):
            return
        where = f" and kept in {self.memory.path}" if self.memory.path else ""
        done = self.desk.settled + late
        of = "" if total is None else f" of {total}"
        safe = f"{done}{of} items are done{where}."
        if isinstance(stop, KullmError):
            stop.safe = stop.safe or safe
            stop.next = stop.next or ((self.memory.path and "Run it again: it goes on from there.") or "")
        else:
            stop.add_note(f"{self.stage}: {safe}")


def _cut(parcel: Parcel, count: int) -> tuple[Parcel, Parcel]:
    """The first `count` items of a parcel, and the others."""
    first, others = parcel.keys[:count], parcel.keys[count:]
    return replace(parcel, keys=first, items=(), units=0), replace(parcel, keys=others, items=(), units=0)


def _checked(answers: object, sent: int, stage: str) -> Sequence[Any]:
    """What a call gave, one answer an item. Another count may have been billed, and no row may be guessed from it."""
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise UsageError(f"{stage}: the plug-in gave {type(answers).__name__} and not a list of answers.")
    if len(answers) != sent:
        raise UnknownOutcome(f"sent {sent} item(s) and got {len(answers)} back")
    return answers
