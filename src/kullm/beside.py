"""Work in a second process: the one that keeps the calls of a long run going has little time for anything else.

python -m kullm.beside    # lines of JSON in: a function and a batch of its arguments; out: what it gives
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import IO, Any, Generic, Self, TypeVar

_AFTER = 500
"""Items that are worked on in this process before a second one is worth its start."""
_BATCH = 32
_AHEAD = 8
"""Batches of a line that are kept on their way, so that the next is there when it is wanted."""
_MOST = 12
"""Batches that the second process has before it; what comes then is done here."""
_LONGEST = 10.0
"""Seconds for a batch, after which the second process counts as lost."""
_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode

X = TypeVar("X")
D = TypeVar("D")


class Beside:
    """A second process for the pure work of a long run.

    A function of a module and its arguments go there, and what it gives comes back; both are values of JSON. Nothing
    depends on that process: what it does not answer is done here, as is everything before `after` items, and where
    there is one processor.
    """

    def __init__(self, after: int = _AFTER) -> None:
        self._left = after
        self._process: subprocess.Popen[bytes] | None = None
        self._told: SimpleQueue[_Batch[Any, Any] | None] = SimpleQueue()
        self._asked: SimpleQueue[_Batch[Any, Any]] = SimpleQueue()
        self._alone = _processors() < 2
        self._up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def line(self, work: Callable[..., D], *, ahead: bool = False) -> Line[Any, D]:
        """A line through the process: `work` is done to what is put in, and comes out in that order.

        `ahead`: what is put in comes out some batches later, when it is done; else as soon as it is done.
        """
        return Line(self, work, _AHEAD if ahead else 0)

    def there(self, work: Callable[..., Any]) -> bool:
        """Is the second process up? Starts it when it is time to; it is up when it has loaded `work`."""
        self._left -= 1
        if self._left < 0 and self._process is None and not self._alone:
            self._start(work)
        return self._up and not self._gone()

    def ask(self, batch: _Batch[Any, Any]) -> None:
        """Send a batch there; or do it here, where the process is gone or has enough to do."""
        if self._gone() or self._asked.qsize() >= _MOST:
            batch.done = batch.do()
            batch.answered.set()
            return
        self._asked.put(batch)
        self._told.put(batch)
        if self._gone():  # it ended meanwhile, and nobody looks at what was put in since
            self._let_go()

    def _gone(self) -> bool:
        """Is there nobody beside this process (any more)?"""
        return self._alone

    def results(self, batch: _Batch[Any, D]) -> list[D]:
        """What came of a batch, waiting for it; done here, where nothing came."""
        if not batch.answered.wait(_LONGEST):
            self._stop()
        return batch.do() if batch.done is None else batch.done

    def _start(self, work: Callable[..., Any]) -> None:
        # -P: what lies in the working folder is not imported.
        command = [sys.executable, "-P", "-m", "kullm.beside"]
        try:
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            self._alone = True
            return
        self._told.put(_Batch(work, [], []))
        threading.Thread(target=self._speak, args=(process,), daemon=True, name="kullm-beside-in").start()
        threading.Thread(target=self._listen, args=(process,), daemon=True, name="kullm-beside").start()

    def _speak(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread of its own: a process that does not read holds up nobody."""
        assert process.stdin is not None
        with suppress(OSError), process.stdin as stdin:
            while (batch := self._told.get()) is not None:
                _write(stdin, (batch.work.__module__, batch.work.__name__, batch.arguments))

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stdout, suppress(OSError, ValueError):
            if _read(stdout) != __file__:  # another kullm than this one
                raise ValueError
            _read(stdout)
            self._up = True
            while True:
                done = _read(stdout)
                batch = self._asked.get()
                batch.done = done
                batch.answered.set()
        self._alone = True
        self._let_go()

    def _let_go(self) -> None:
        """What was asked gets no answer any more."""
        with suppress(Empty):
            while True:
                self._asked.get_nowait().answered.set()

    def _stop(self) -> None:
        """End the other process; from here on all is done in this one."""
        self._alone = True
        self._told.put(None)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Line(Generic[X, D]):
    """What is on its way through a second process: items with what is done to their arguments, in order."""

    def __init__(self, beside: Beside, work: Callable[..., D], keep: int) -> None:
        self._beside, self._work = beside, work
        self._keep, self._most = keep, keep or 2 * _MOST
        self._items: list[tuple[X, Sequence[Any]]] = []
        self._sent: deque[_Batch[X, D]] = deque()

    def add(self, item: X, *arguments: Any) -> Iterator[tuple[X, D]]:
        """Put in an item; gives those that come out."""
        if not self._items and not self._sent and not self._beside.there(self._work):
            yield item, self._work(*arguments)
            return
        self._items.append((item, arguments))
        if len(self._items) >= _BATCH:
            self._send()
            yield from self._out(self._keep, self._most)

    def rest(self) -> Iterator[tuple[X, D]]:
        """The items that are still on their way."""
        if self._items:
            self._send()
        yield from self._out(0, 0)

    def _send(self) -> None:
        batch = _Batch(self._work, [item for item, _ in self._items], [arguments for _, arguments in self._items])
        self._items.clear()
        self._sent.append(batch)
        self._beside.ask(batch)

    def _out(self, keep: int, most: int) -> Iterator[tuple[X, D]]:
        """The batches beyond `keep`, where they are done; beyond `most` they are waited for."""
        while len(self._sent) > keep and (len(self._sent) > most or self._sent[0].answered.is_set()):
            batch = self._sent.popleft()
            yield from zip(batch.items, self._beside.results(batch), strict=True)


class _Batch(Generic[X, D]):
    """Items, what is to be done to the arguments of each, and what came of it."""

    def __init__(self, work: Callable[..., D], items: list[X], arguments: list[Sequence[Any]]) -> None:
        self.work, self.items, self.arguments = work, items, arguments
        self.done: list[D] | None = None
        self.answered = threading.Event()

    def do(self) -> list[D]:
        """Do it in this process."""
        return [self.work(*arguments) for arguments in self.arguments]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(pipe: IO[bytes], message: Any) -> None:
    pipe.write(f"{_dumps(message)}\n".encode("utf-8", "surrogatepass"))
    pipe.flush()


def _read(pipe: IO[bytes]) -> Any:
    """Raises ValueError where a message is not whole."""
    return json.loads(pipe.readline().decode("utf-8", "surrogatepass"))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    if hasattr(os, "nice"):
        os.nice(5)  # the calls come first
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what somebody prints is no answer
    _write(out, __file__)
    with suppress(ValueError):
        while True:
            module, name, batch = _read(sys.stdin.buffer)
            work = getattr(import_module(module), name)
            _write(out, [work(*arguments) for arguments in batch])


if __name__ == "__main__":
    main()
