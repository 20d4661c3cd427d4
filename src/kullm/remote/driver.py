"""`run` and `stream`: the one place that paces, retries, remembers and pays.

A plug-in gives a plain function from a batch to a batch and knows its service; everything that all services need is
here. One thread decides, and it alone touches the memory; workers only call.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
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
from kullm.progress import track
from kullm.remote.budget import Budget, Price
from kullm.remote.calls import Begun, Ended
from kullm.remote.desk import Accept, Desk
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.pace import Pace
from kullm.remote.workers import Flight, Parcel, Workers
from kullm.rows import Failure

log = logging.getLogger("kullm")

_LOOK = 0.2
"""Seconds between two looks at whether an interrupt is wanted."""

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")


def _nothing(count: int) -> None:
    """Progress that nobody sees."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Tariff(Generic[T]):
    """What items cost: `cost` in the service's `unit`, its `price` where known, and the budget if there is one."""

    cost: Callable[[T], int]
    unit: str = "characters"
    price: Price | None = None
    budget: Budget | None = None


def run(call: Callable[[Sequence[T]], Sequence[R | Failure]], items: Sequence[T], **settings: Any) -> list[V | Failure]:
    """The results of all `items` as a list: `stream` for items that are all there. Takes the settings of `stream`."""
    return list(stream(call, items, **settings))


def stream(
    call: Callable[[Sequence[T]], Sequence[R | Failure]],
    items: Iterable[T],
    *,
    identity: str,
    limits: Limits,
    memory: Memory | str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    key: Callable[[T], str] = str,
    group: Callable[[T], Any] | None = None,
    within: Callable[[Any], Limits] | None = None,
    save: Callable[[R], Any] = _same,
    load: Callable[[Any], R] = _same,
    accept: Accept[T, R, V] = lambda item, answer: _same(answer),
    tariff: Tariff[T] | None = None,
    stage: str = "call",
    tries: int = 8,
    unknown_tries: int = 2,
    watch: bool = True,
) -> Iterator[V | Failure]:
    """The results of `items`, in their order, each paid for once; memory does not grow with their number.

    Equal items are sent once; what `memory` knows is not sent. `key` gives the text that, with `identity`, decides the
    result; items of different `group` share no call. `save` and `load` turn an answer into JSON values and back. The
    answer is committed as it came; then `accept` makes the result of it, a `Failure`, or `Instead`: other items to be
    asked, and how their results become this one's.

    `within` gives other limits of items and bytes for the calls of a group; `watch`: show how far it is.

    Calls keep to `limits`; a batch that the service refuses is halved until the bad item stands alone as a `Failure`
    (with an empty id: the caller knows whose it is). After a passing failure all calls wait, Retry-After is a floor,
    fewer are in flight, and `tries` in a row stop the run; an item that fails as often while others are answered is a
    `Failure`. A call that may have been billed without an answer is sent at most `unknown_tries` times. Every call
    reserves its cost from the tariff's budget first. A fatal error, a spent budget (`BudgetSpent`), or an interrupt
    lets the calls in flight finish, keeps their answers and is raised; running again goes on from there.
    """
    if tariff and tariff.budget:
        tariff.budget.check(tariff.unit, tariff.price)
    own = not isinstance(memory, Memory)
    store = Memory.of(memory)
    desk = Desk(iter(items), identity, limits, store, key, group, within, load, accept, stage)
    total = len(items) if isinstance(items, Sized) else None
    work = _Work(call, desk, identity, limits, store, about or {}, save, tariff, stage, tries, unknown_tries)
    try:
        with track(stage, total) if watch else nullcontext(_nothing) as advance:
            yield from work.flow(total, advance)
    finally:
        work.workers.close()
        if own:
            store.close()


class _Work(Generic[T, R, V]):
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
        self.answered = 0
        self.poor = False
        """Nothing more is affordable before a call in flight gives back what it reserved."""
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
        landed = self.workers.landed(0 if took or self.desk.more else self.pause())
        if landed:
            self.poor = False
        settled = [(flight, self.outcome(flight)) for flight in landed]
        starting = self.choose() if self.stop is None else []
        begun = [Begun(self.identity, len(parcel.keys), parcel.units) for parcel in starting]
        if settled or begun:
            numbers = self.memory.commit([ended for _, (ended, _) in settled], begun, self.about)
            for parcel, number in zip(starting, numbers, strict=True):
                self.workers.send(Flight(parcel, number, self.desk.items(parcel.keys)))
        for _, (_, results) in settled:
            self.answered += len(results)
            self.desk.deliver(results)
        if self.stop is not None:
            raise self.stop

    def pause(self) -> float:
        """The seconds to wait for an answer before something else is to be done."""
        free = len(self.workers) < int(self.pace.allowed)
        if free and not self.poor and (self.again or self.desk.anything):
            return min(_LOOK, max(0.0, self.pace.wait()))
        return _LOOK

    def choose(self) -> list[Parcel]:
        """The parcels that start now, each with its cost reserved."""
        starting: list[Parcel] = []
        while len(self.workers) + len(starting) < int(self.pace.allowed) and self.pace.wait() <= 0:
            parcel = self.again.popleft() if self.again else self.desk.next_parcel()
            if parcel is None:
                break
            parcel = self.afford(parcel)
            if parcel is None:
                break
            if not starting:
                self.memory.claim()
            self.pace.started()
            parcel.first = parcel.first or time.monotonic()
            starting.append(parcel)
        return starting

    def afford(self, parcel: Parcel) -> Parcel | None:
        """The parcel, or as much of its beginning as the budget covers; what is left over waits. None: nothing."""
        if self.tariff is None:
            return parcel
        tariff, items = self.tariff, self.desk.items(parcel.keys)
        costs = [tariff.cost(item) for item in items]
        if tariff.budget is None:
            parcel.units = sum(costs)
            return parcel
        for count in range(len(costs), 0, -1):
            if tariff.budget.reserve(sum(costs[:count]), tariff.unit, tariff.price):
                if count < len(costs):
                    self.again.appendleft(Parcel(parcel.keys[count:], 0, parcel.failed, parcel.unknown, parcel.first))
                return Parcel(parcel.keys[:count], sum(costs[:count]), parcel.failed, parcel.unknown, parcel.first)
        self.again.appendleft(parcel)
        self.poor = True
        if not self.workers:  # calls in flight may still give back what they reserved
            self.stop = BudgetSpent(
                f"{self.stage}: the budget is spent ({tariff.budget}); the next call would cost "
                f"{costs[0]} {tariff.unit}.",
                next="Raise the budget, then run it again: what is done is not paid for again.",
            )
        return None

    def outcome(self, flight: Flight) -> tuple[Ended, dict[str, R | Failure]]:
        """What is written down of a call, and its results by key; decides what follows."""
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
            self.pace.good()
            ended = Ended(flight.number, "answered" if error.billed else "failed")
            if len(parcel.keys) == 1:
                return ended, {parcel.keys[0]: Failure("", self.stage, error.what)}
            middle = len(parcel.keys) // 2
            self.again.extendleft((Parcel(parcel.keys[middle:]), Parcel(parcel.keys[:middle])))
            return ended, {}
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
        return self.answers(flight, dict(zip(parcel.keys, answers, strict=True)))

    def passing(self, flight: Flight, error: Passing) -> tuple[Ended, dict[str, R | Failure]]:
        parcel, ended = flight.parcel, Ended(flight.number, "failed")
        self.give_back(parcel)
        parcel.failed += 1
        others = self.pace.answered > parcel.first
        try:
            self.pace.bad(error, flight.began)
        except ServiceDown as down:
            self.stop = self.stop or down
            return ended, {}
        several = len(parcel.keys) > 1
        if not others or parcel.failed < (self.tries // 2 if several else self.tries):
            self.again.append(parcel)
        elif several:  # others are answered: it is something in this batch, and its halves need not fail as often
            middle, failed = len(parcel.keys) // 2, parcel.failed - 1
            self.again.extend(Parcel(keys, failed=failed) for keys in (parcel.keys[:middle], parcel.keys[middle:]))
        else:
            return ended, {parcel.keys[0]: Failure("", self.stage, f"failed {parcel.failed} times: {error.what}")}
        return ended, {}

    def unknown(self, flight: Flight, error: Exception) -> tuple[Ended, dict[str, R | Failure]]:
        parcel, ended = flight.parcel, Ended(flight.number, "unknown")
        parcel.unknown += 1
        if parcel.unknown < self.unknown_tries:
            self.again.append(parcel)
            return ended, {}
        words = f"sent {parcel.unknown} time(s) without a usable answer, which may have been billed: {error}"
        if self.pace.answered > parcel.first:  # the service answers others: it is this batch
            return ended, {key: Failure("", self.stage, words) for key in parcel.keys}
        down = ServiceDown(f"{self.stage}: {words}")
        down.__cause__ = error
        self.stop = self.stop or down
        return ended, {}

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
        return Ended(flight.number, "answered", self.identity, good), results

    def drain(self, stop: BaseException, total: int | None) -> None:
        """Let the calls in flight finish and keep what they bring; then say in the error what is safe."""
        while self.workers:
            settled = [self.outcome(flight) for flight in self.workers.landed(_LOOK)]
            try:
                self.memory.commit([ended for ended, _ in settled], (), self.about)
                self.answered += sum(len(results) for _, results in settled)
            except StorageFailed as error:
                log.warning("%s: while stopping: %s", self.stage, error)
        if self.stop is not None and self.stop is not stop:
            log.warning("%s: while stopping: %s", self.stage, self.stop)
        if isinstance(stop, GeneratorExit):
            return
        where = f" and kept in {self.memory.path}" if self.memory.path else ""
        done = self.desk.known + self.answered
        of = "" if total is None else f" of {total}"
        safe = f"{done}{of} items are done{where}."
        if isinstance(stop, KullmError):
            stop.safe = stop.safe or safe
            stop.next = stop.next or ((self.memory.path and "Run it again: it goes on from there.") or "")
        else:
            stop.add_note(f"{self.stage}: {safe}")


def _checked(answers: object, sent: int, stage: str) -> Sequence[Any]:
    """What a call gave, one answer an item. Another count may have been billed, and no row may be guessed from it."""
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise UsageError(f"{stage}: the plug-in gave {type(answers).__name__} and not a list of answers.")
    if len(answers) != sent:
        raise UnknownOutcome(f"sent {sent} item(s) and got {len(answers)} back")
    return answers
