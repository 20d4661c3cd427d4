"""`run`: the one place that paces, retries, remembers and pays.

A plug-in gives a plain function from a batch to a batch and knows its service; everything that all services need is
here.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from kullm.errors import (
    InputError,
    KullmError,
    Passing,
    Refused,
    ServiceDown,
    ServiceError,
    UnknownOutcome,
    UsageError,
)
from kullm.interrupts import Interrupts
from kullm.progress import track
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.rows import Failure

log = logging.getLogger("kullm")

_LOOK = 0.2
"""Seconds between two looks at whether an interrupt is wanted."""
_LONGEST = 600.0
"""The longest wait, in seconds, that a service may ask for before the run stops and says so."""

T = TypeVar("T")
R = TypeVar("R")


def _same(value: Any) -> Any:
    return value


def run(
    call: Callable[[Sequence[T]], Sequence[R | Failure]],
    items: Sequence[T],
    *,
    identity: str,
    limits: Limits,
    memory: Memory | str | Path | None = None,
    key: Callable[[T], str] = str,
    save: Callable[[R], Any] = _same,
    load: Callable[[Any], R] = _same,
    stage: str = "call",
    tries: int = 8,
    unknown_tries: int = 2,
) -> list[R | Failure]:
    """The results of `items`, in their order, each paid for once.

    Equal items are sent once; what `memory` knows is not sent. `key` gives the text that, with `identity`, decides the
    result; `save` and `load` turn a result into JSON values and back. Calls keep to `limits`; a batch that the service
    refuses is halved until the bad item stands alone as a `Failure` (with an empty id: the caller knows whose it is).

    A passing failure is tried `tries` times, with Retry-After as a floor for all calls; a call that may have been
    billed without an answer is sent at most `unknown_tries` times. A fatal error, or an interrupt, lets the calls in
    flight finish, keeps their answers and is raised; running again goes on from there.
    """
    texts = [key(item) for item in items]
    distinct = dict(zip(texts, items, strict=True))
    results: dict[str, R | Failure] = {text: _unencodable(stage) for text in distinct if not _encodable(text)}
    own = not isinstance(memory, Memory)
    store = Memory.of(memory)
    try:
        known = store.recall(identity, (text for text in distinct if text not in results))
        results.update({text: load(value) for text, value in known.items()})
        todo = {text: item for text, item in distinct.items() if text not in results}
        if todo:
            work = _Work(call, todo, results, identity, limits, store, save, load, stage, tries, unknown_tries)
            work.finish(len(distinct))
    finally:
        if own:
            store.close()
    return [results[text] for text in texts]


@dataclass(slots=True)
class _Parcel:
    """A batch on its way: the texts of its items and how often it failed."""

    texts: list[str]
    failed: int = 0
    unknown: int = 0


@dataclass(slots=True)
class _Work(Generic[T, R]):
    call: Callable[[Sequence[T]], Sequence[R | Failure]]
    todo: dict[str, T]
    results: dict[str, R | Failure]
    identity: str
    limits: Limits
    memory: Memory
    save: Callable[[R], Any]
    load: Callable[[Any], R]
    stage: str
    tries: int
    unknown_tries: int
    gate: float = 0.0
    """No call starts before this moment (monotonic seconds); it holds back all workers."""

    def finish(self, total: int) -> None:
        """Send everything. Only this thread touches the memory and the results; workers only call."""
        queue = deque(_Parcel(texts) for texts in pack(list(self.todo), self.limits))
        flying: dict[Future[Sequence[R | Failure]], tuple[_Parcel, int]] = {}
        pool = ThreadPoolExecutor(self.limits.in_flight, thread_name_prefix="kullm")
        with (
            Interrupts("the calls in flight are finished and kept first") as interrupts,
            track(self.stage, total) as advance,
        ):
            advance(total - len(self.todo))
            try:
                while queue or flying:
                    if interrupts.wanted:
                        raise KeyboardInterrupt
                    pause = min(self.launch(queue, flying, pool), _LOOK)
                    if not flying:
                        time.sleep(pause)
                        continue
                    done, _ = wait(flying, timeout=pause, return_when=FIRST_COMPLETED)
                    for future in done:
                        advance(self.settle(future, *flying.pop(future), queue))
                if interrupts.wanted:
                    raise KeyboardInterrupt
            except BaseException as stop:
                self.drain(flying, stop)
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def launch(
        self,
        queue: deque[_Parcel],
        flying: dict[Future[Sequence[R | Failure]], tuple[_Parcel, int]],
        pool: ThreadPoolExecutor,
    ) -> float:
        """Start what may start now; gives the seconds until more may, if no answer frees a place before."""
        while queue and len(flying) < self.limits.in_flight:
            pause = self.gate - time.monotonic()
            if pause > 0:
                return pause
            if self.limits.per_second:
                self.gate = time.monotonic() + 1 / self.limits.per_second
            parcel = queue.popleft()
            number = self.memory.intend(self.identity, len(parcel.texts))
            flying[pool.submit(self.call, [self.todo[text] for text in parcel.texts])] = parcel, number
        return _LOOK

    def settle(self, future: Future[Sequence[R | Failure]], parcel: _Parcel, number: int, queue: deque[_Parcel]) -> int:
        """Write down how a call ended, then decide what follows. Gives the number of items that are finished."""
        try:
            answers = _checked(future.result(), len(parcel.texts), self.stage)
        except Passing as error:
            self.memory.settle(number, "failed")
            self.again(parcel, queue, error)
            return 0
        except ConnectionRefusedError as error:
            self.memory.settle(number, "failed")
            self.again(parcel, queue, Passing(str(error)))
            return 0
        except Refused as error:
            self.memory.settle(number, "failed")
            if len(parcel.texts) == 1:
                self.results[parcel.texts[0]] = Failure("", self.stage, error.what)
                return 1
            middle = len(parcel.texts) // 2
            queue.extendleft((_Parcel(parcel.texts[middle:]), _Parcel(parcel.texts[:middle])))
            return 0
        except (UnknownOutcome, OSError) as error:
            self.memory.settle(number, "unknown")
            parcel.unknown += 1
            if parcel.unknown >= self.unknown_tries:
                raise ServiceDown(
                    f"{self.stage}: sent {parcel.unknown} times without a usable answer, "
                    f"which may have been billed: {error}"
                ) from error
            queue.appendleft(parcel)
            return 0
        except BaseException as error:
            # A service that says no has not billed; of any other failure nobody knows.
            self.memory.settle(number, "failed" if isinstance(error, ServiceError | InputError) else "unknown")
            raise
        self.keep(dict(zip(parcel.texts, answers, strict=True)), number)
        return len(parcel.texts)

    def again(self, parcel: _Parcel, queue: deque[_Parcel], error: Passing) -> None:
        """Put a parcel back and hold all calls until the service may be asked again: what it asked for, and a jitter
        on top.
        """
        parcel.failed += 1
        if parcel.failed >= self.tries:
            raise ServiceDown(f"{self.stage}: tried {self.tries} times, the last time: {error.what}") from error
        asked = error.retry_after or 0.0
        if asked > _LONGEST:
            raise ServiceDown(f"{self.stage}: the service asks to wait {asked:.0f} s: {error.what}") from error
        pause = asked + random.uniform(0.5, 1.0) * min(60.0, 0.5 * 2**parcel.failed)
        if pause > 5:
            log.info("%s: waiting %.0f s, as %s", self.stage, pause, error.what)
        self.gate = max(self.gate, time.monotonic() + pause)
        queue.appendleft(parcel)

    def keep(self, answers: dict[str, R | Failure], number: int) -> None:
        """Commit the answers of one call, then hand them on. Failures are handed on and never stored as answers."""
        good: dict[str, Any] = {}
        for text, answer in answers.items():
            if isinstance(answer, Failure):
                self.results[text] = answer
                continue
            try:
                value = json.loads(json.dumps(self.save(answer), ensure_ascii=False).encode())
                self.results[text] = self.load(value)  # the same now as when it is remembered
                good[text] = value
            except UnicodeEncodeError:
                self.results[text] = Failure("", self.stage, "the answer holds text that is not valid Unicode")
            except (TypeError, ValueError) as error:
                self.results[text] = Failure("", self.stage, f"the answer cannot be kept: {error}")
        self.memory.settle(number, "answered", self.identity, good)

    def drain(self, flying: dict[Future[Sequence[R | Failure]], tuple[_Parcel, int]], stop: BaseException) -> None:
        """Let the calls in flight finish and keep what they bring; then say in the error what is safe."""
        wait(flying)
        for future, (parcel, number) in flying.items():
            try:
                self.settle(future, parcel, number, deque())
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the run ends with its first error; this one is written down
                log.warning("%s: while stopping: %s", self.stage, error)
        done = sum(text in self.results for text in self.todo)
        where = f" and kept in {self.memory.path}" if self.memory.path else ""
        safe = f"{done} of {len(self.todo)} new items are done{where}."
        if isinstance(stop, KullmError):
            stop.safe = stop.safe or safe
            stop.next = stop.next or ((self.memory.path and "Run it again: it goes on from there.") or "")
        else:
            stop.add_note(f"{self.stage}: {safe}")


def pack(texts: Sequence[str], limits: Limits) -> Iterator[list[str]]:
    """`texts` in batches within `limits.items` and `limits.bytes`; a text that is too large alone stands alone."""
    batch: list[str] = []
    size = 0
    for text in texts:
        cost = len(json.dumps(text)) if limits.bytes is not None else 0
        if batch and (len(batch) >= limits.items or (limits.bytes is not None and size + cost > limits.bytes)):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += cost
    if batch:
        yield batch


def _checked(answers: object, sent: int, stage: str) -> Sequence[Any]:
    """What a call gave, one answer an item. Another count may have been billed, and no row may be guessed from it."""
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise UsageError(f"{stage}: the plug-in gave {type(answers).__name__} and not a list of answers.")
    if len(answers) != sent:
        raise UnknownOutcome(f"sent {sent} item(s) and got {len(answers)} back")
    return answers


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unencodable(stage: str) -> Failure:
    return Failure("", stage, "the text is not valid Unicode (a lone surrogate)", "Mend or drop the row.")
