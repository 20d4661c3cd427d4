"""Progress of a long step: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 10.0
"""Seconds between two plain lines."""


@contextmanager
def track(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a step is; the value is called with the number of items that were finished since the last call.

    `total` is None where nobody knows how many there will be.

    Goes to standard error, so that standard output stays the program's own.
    """
    if sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield from _lines(label, total)


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)


def _lines(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    done, start = 0, time.monotonic()
    of = "" if total is None else f"/{total}"
    said = start

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= _EVERY and done != total:
            said = now
            print(f"{label}: {done}{of} after {now - start:.0f} s", file=sys.stderr, flush=True)

    yield advance
    if done:
        print(f"{label}: {done}{of} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
