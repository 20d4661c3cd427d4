"""Verdicts in a second process: they take a third of the time of the one that keeps the calls of a long run going.

python -m kullm.translators.verdicts.beside SOURCE TARGET    # a batch of texts a line in, their verdicts out
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeAlias, TypeVar

from kullm.translators.verdicts.rules import verdicts

_AFTER = 1_000
"""Rows that are judged in this process before a second one is worth its start."""
_BATCH = 32
_AHEAD = 16
"""Batches that may be on their way."""
_LONGEST = 60.0
"""Seconds for a batch, after which the second process counts as lost."""

R = TypeVar("R")
Texts: TypeAlias = tuple[Mapping[str, str], Mapping[str, str]]
"""The texts of a row by field, before and after."""
Found: TypeAlias = list[dict[str, str]]
"""Verdicts as they stand in a row."""


class Beside(Generic[R]):
    """Gives rows back with their verdicts, in order: at once, and in a long run from a process beside this one.

    What that process does not answer is judged here: what comes out never depends on it. `after`: so many rows are
    judged here first.
    """

    def __init__(self, source: str, target: str, after: int = _AFTER) -> None:
        self._languages, self._left = (source, target), after
        self._batch: list[tuple[R, Texts | None]] = []
        self._sent: deque[list[tuple[R, Texts | None]]] = deque()
        self._said: SimpleQueue[list[Found] | None] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._alone = _processors() < 2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def add(self, row: R, texts: Texts | None) -> Iterator[tuple[R, Found]]:
        """Take in a row, and its texts if there is anything to judge; gives the rows that are ready."""
        self._left -= 1
        if (self._alone or self._left >= 0) and not self._batch and not self._sent:
            yield row, _judged(texts, *self._languages)
            return
        self._batch.append((row, texts))
        if len(self._batch) >= _BATCH:
            self._send()
        yield from self._ready(_AHEAD)

    def rest(self) -> Iterator[tuple[R, Found]]:
        """The rows that are still on their way."""
        if self._batch:
            self._send()
        yield from self._ready(0)

    def _send(self) -> None:
        batch, self._batch = self._batch, []
        self._sent.append(batch)
        if self._alone:
            return
        try:
            if self._process is None:
                self._process = self._started()
            assert self._process.stdin is not None
            self._process.stdin.write(_line([texts for _, texts in batch]))
            self._process.stdin.flush()
        except OSError:
            self._stop()

    def _ready(self, ahead: int) -> Iterator[tuple[R, Found]]:
        while self._sent:
            found = self._answer(wait=len(self._sent) > ahead)
            if found is None:
                return
            for (row, _), one in zip(self._sent.popleft(), found, strict=True):
                yield row, one

    def _answer(self, *, wait: bool) -> list[Found] | None:
        """The verdicts of the oldest batch; None where they have not come yet."""
        if not self._alone:
            try:
                found = self._said.get(wait, _LONGEST)
            except Empty:
                if not wait:
                    return None
                found = None
            if found is not None:
                return found
            self._stop()
        return [_judged(texts, *self._languages) for _, texts in self._sent[0]]

    def _started(self) -> subprocess.Popen[bytes]:
        # -P: what lies in the working folder is not imported.
        command = [sys.executable, "-P", "-m", "kullm.translators.verdicts.beside", *self._languages]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._listen, args=(process,), daemon=True, name="kullm-verdicts").start()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stdout, suppress(OSError, ValueError):
            for line in stdout:
                self._said.put(_read(line))
        self._said.put(None)

    def _stop(self) -> None:
        """End the other process; from here on rows are judged in this one."""
        self._alone = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            with suppress(OSError):
                self._process.stdin.close()
            self._process = None


def _judged(texts: Texts | None, source: str, target: str) -> Found:
    if texts is None:
        return []
    found = verdicts(*texts, source=source, target=target)
    return [{"kind": one.kind, "field": one.field, "evidence": one.evidence} for one in found]


def _line(batch: Any) -> bytes:
    return f"{json.dumps(batch, ensure_ascii=False)}\n".encode("utf-8", "surrogatepass")


def _read(line: bytes) -> Any:
    return json.loads(line.decode("utf-8", "surrogatepass"))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    languages: Any = sys.argv[1:]
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(_line([_judged(texts, *languages) for texts in _read(line)]))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
