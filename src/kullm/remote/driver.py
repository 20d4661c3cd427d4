"""`run` and `stream`: the one place that paces, retries, remembers and pays.

A plug-in gives a plain function from a batch to a batch and knows its service; everything that all services need is
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from kullm.progress import track
from kullm.remote.budget import Tariff
from kullm.remote.desk import Accept, Desk, Settled
from kullm.remote.garbage import seldom
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.work import Work
from kullm.rows import Failure

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")


def _nothing(count: int) -> None:
    """Progress that nobody sees."""


def _same(value: Any) -> Any:
    return value


def _as_it_is(item: Any, answer: Any) -> Any:
    return answer


def run(
    call: Callable[[Sequence[T]], Sequence[R | Failure]],
    items: Sequence[T],
    *,
    identity: str,
    limits: Limits,
    memory: Memory | str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    key: Callable[[T], str] = str,
    save: Callable[[R], Any] = _same,
    load: Callable[[Any], R] = _same,
    tariff: Tariff[T] | None = None,
    stage: str = "call",
    tries: int = 8,
    unknown_tries: int = 2,
) -> list[R | Failure]:
    """The answers of `items` as a list: `stream` for items that are all there, and answers that are results."""
    same: Accept[T, R, R] = _as_it_is
    results = stream(
        call, items, identity=identity, limits=limits, memory=memory, about=about, key=key, save=save, load=load,
        accept=same, tariff=tariff, stage=stage, tries=tries, unknown_tries=unknown_tries,
    )  # fmt: skip
    return list(results)


def stream(
    call: Callable[[Sequence[T]], Sequence[R | Failure]],
    items: Iterable[T | Settled[V]],
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
    accept: Accept[T, R, V] | None = None,
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
    (with an empty id: the caller knows whose it is); ten items refused in the same words before anything was answered
    stop the run. After a passing failure all calls wait, Retry-After is a floor, fewer are in flight, and `tries` in a
    row stop the run; an item that fails as often while others are answered is a `Failure`. A call that may have been
    billed without an answer is sent at most `unknown_tries` times. Every call reserves its cost from the tariff's
    budget first. A fatal error, a spent budget (`BudgetSpent`), or an interrupt lets the calls in flight finish, keeps
    their answers and is raised; running again goes on from there.
    """
    if tariff and tariff.budget:
        tariff.budget.check(tariff.unit, tariff.price)
    own = not isinstance(memory, Memory)
    store = Memory.of(memory)
    if store.rescued:
        store.claim()
    desk = Desk(iter(items), identity, limits, store, key, group, within, load, accept or _as_it_is, stage)
    total = len(items) if isinstance(items, Sized) else None
    work = Work(call, desk, identity, limits, store, about or {}, save, tariff, stage, tries, unknown_tries)
    try:
        with seldom(), track(stage, total) if watch else nullcontext(_nothing) as advance:
            yield from work.flow(total, advance)
    finally:
        work.workers.close()
        if own:
            store.close()
