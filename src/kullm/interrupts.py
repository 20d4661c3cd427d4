"""An interrupt as a wish: finish what is in flight, keep it, then stop."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """While this is entered, the first Ctrl-C or SIGTERM only sets `wanted` and says `words`; the second stops at once.

    A KeyboardInterrupt may rise between any two instructions, also between an answer that was paid for and its
    commit; whoever must not lose anything looks at `wanted` where it is safe, and raises then. Outside the main
    thread nothing changes.
    """

    def __init__(self, words: str) -> None:
        self.wanted = False
        self._words = words
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        print(f"\nStopping: {self._words} (again: stop at once).", file=sys.stderr, flush=True)
