"""How fast a service is asked, and what follows when it fails: fewer calls, pauses, one failure, or the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kullm.errors import Passing, ServiceDown, UnknownOutcome
from kullm.remote import Limits, Memory, run
from kullm.remote.pace import Pace
from kullm.rows import Failure

quick = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures a hundred times shorter than they are."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high / 200)


def numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def asked(call: Callable[[Sequence[str]], Sequence[str]], items: Sequence[str], **settings: Any) -> list[Any]:
    return run(call, items, identity="x", **settings)


# Calls in flight


def test_a_burst_of_refusals_halves_the_calls_in_flight_once() -> None:
    pace = Pace(Limits(in_flight=16), "call", 8)
    began = time.monotonic()
    for _ in range(16):
        pace.bad(Passing("429"), began)
    assert pace.allowed == 8


def test_refusals_of_calls_that_began_later_halve_again_down_to_one() -> None:
    pace = Pace(Limits(in_flight=16), "call", 99)
    seen = []
    for _ in range(7):
        pace.bad(Passing("429"), time.monotonic())
        seen.append(pace.allowed)
    assert seen == [8, 4, 2, 1, 1, 1, 1]


def test_calls_in_flight_grow_by_one_a_round_of_answers() -> None:
    pace = Pace(Limits(in_flight=16), "call", 8)
    pace.bad(Passing("429"), time.monotonic())
    for _ in range(8):  # a round: as many answers as calls are allowed
        pace.good()
    assert 8.9 <= pace.allowed <= 9
    for _ in range(200):
        pace.good()
    assert pace.allowed == 16


@quick
@given(st.integers(1, 20), st.lists(st.booleans(), max_size=100))
def test_calls_in_flight_are_never_below_one_nor_above_the_limit(most: int, answers: list[bool]) -> None:
    pace = Pace(Limits(in_flight=most), "call", 1_000)
    for good in answers:
        if good:
            pace.good()
        else:
            pace.bad(Passing("429"), time.monotonic())
        assert 1 <= pace.allowed <= most


class Watched:
    """A service that knows how many calls it has at once, and at which moments calls began (monotonic seconds)."""

    def __init__(self, work: Callable[[Sequence[str], int], Sequence[Any]]) -> None:
        self.work, self.lock = work, threading.Lock()
        self.now = 0
        self.starts: list[float] = []
        self.together: list[int] = []
        self.sent: list[tuple[str, ...]] = []

    def __call__(self, batch: Sequence[str]) -> Sequence[Any]:
        with self.lock:
            number = len(self.starts)
            self.starts.append(time.monotonic())
            self.sent.append(tuple(batch))
            self.now += 1
            self.together.append(self.now)
        try:
            return self.work(batch, number)
        finally:
            with self.lock:
                self.now -= 1


def test_after_a_burst_of_429_half_as_many_calls_are_in_flight_and_later_as_many_as_before(hurried: None) -> None:
    first = threading.Barrier(8, timeout=10)

    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        if number < 8:
            first.wait()
            raise Passing("429", retry_after=0.05)
        time.sleep(0.01)
        return batch

    service = Watched(work)
    assert asked(service, numbered(150), limits=Limits(in_flight=8)) == numbered(150)
    assert max(service.together[:8]) == 8
    assert max(service.together[8:12]) <= 4, "a round after the burst"
    assert max(service.together[-60:]) in (7, 8)
    assert max(service.together) <= 8


# The breaker


@pytest.mark.parametrize("in_flight", [1, 2, 8, 16])
@pytest.mark.parametrize("tries", [1, 3, 8])
def test_a_service_that_never_answers_stops_the_run_after_few_calls(hurried: None, in_flight: int, tries: int) -> None:
    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        raise Passing("503")

    service = Watched(work)
    with pytest.raises(ServiceDown, match=f"tried {tries} times, the last time: 503"):
        asked(service, numbered(500), limits=Limits(items=5, in_flight=in_flight), tries=tries)
    assert tries <= len(service.sent) < 2 * in_flight + tries, "each round has half of the calls of the one before"


def test_a_service_that_stops_answering_in_the_middle_is_asked_no_more_than_that(hurried: None) -> None:
    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        if number >= 40:
            raise Passing("503")
        return batch

    service = Watched(work)
    with Memory(None) as memory:
        with pytest.raises(ServiceDown, match="tried 4 times"):
            asked(service, numbered(500), limits=Limits(items=5, in_flight=8), tries=4, memory=memory)
        assert len(memory) == 200
    assert len(service.sent) - 40 < 2 * 8 + 4


def test_an_answer_between_failures_keeps_the_run_alive(hurried: None) -> None:
    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        if number % 3:
            raise Passing("503")
        return batch

    service = Watched(work)
    assert asked(service, numbered(20), limits=Limits(), tries=9) == numbered(20)
    assert len(service.sent) == 58


def poisoned(error: Exception, place: int, delay: float = 0.002, last: float = 0.002) -> Watched:
    """A service that answers everything after `delay` seconds, but fails calls with one item, after `last`."""

    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        bad = str(place) in batch
        time.sleep(last if bad else delay)
        if bad:
            raise error
        return batch

    return Watched(work)


@pytest.mark.parametrize("place", [0, 20, 199])
@pytest.mark.parametrize("items", [1, 50])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_one_item_that_the_service_fails_on_is_a_failure_and_all_others_are_answered(
    hurried: None, in_flight: int, items: int, place: int
) -> None:
    service = poisoned(Passing("500"), place)
    found = asked(service, numbered(200), limits=Limits(items=items, in_flight=in_flight))
    assert [number for number, result in enumerate(found) if result != str(number)] == [place]
    assert isinstance(found[place], Failure)
    assert "500" in found[place].cause
    assert sum(str(place) in batch for batch in service.sent) <= 20


@pytest.mark.parametrize("place", [0, 20, 199])
@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("items", [1, 50])
def test_a_call_that_always_breaks_off_is_sent_as_often_as_allowed_and_stops_no_other(
    place: int, most: int, items: int
) -> None:
    service = poisoned(UnknownOutcome("reset"), place, last=0.08)
    limits = Limits(items=items, in_flight=8)
    found = asked(service, numbered(200), limits=limits, unknown_tries=most)
    assert isinstance(found[place], Failure)
    assert "may have been billed: reset" in found[place].cause
    assert sum(str(place) in batch for batch in service.sent) == most
    failed = [number for number, result in enumerate(found) if result != str(number)]
    assert {number // items for number in failed} == {place // items}, "no other call failed"


def test_one_at_a_time_a_call_that_always_breaks_off_stops_no_other_either() -> None:
    service = poisoned(UnknownOutcome("reset"), 20)
    found = asked(service, numbered(200), limits=Limits())
    assert [number for number, result in enumerate(found) if isinstance(result, Failure)] == [20]
    assert sum("20" in batch for batch in service.sent) == 2


# Pauses


def waited(seconds: float | None) -> list[float]:
    """The pauses that six runs at the same time make after one failure that asks for `seconds`."""
    pauses: list[float] = []

    def one() -> None:
        ended: list[float] = []

        def work(batch: Sequence[str], number: int) -> Sequence[str]:
            if number == 0:
                ended.append(time.monotonic())
                raise Passing("429", retry_after=seconds)
            return batch

        service = Watched(work)
        asked(service, ["a"], limits=Limits(in_flight=4))
        pauses.append(service.starts[1] - ended[0])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pauses) == 6
    return pauses


@pytest.mark.parametrize("seconds", [None, 0.0, 0.8])
def test_no_two_runs_wait_equally_long_and_none_less_than_it_was_asked_to(seconds: float | None) -> None:
    pauses = waited(seconds)
    assert min(pauses) >= (seconds or 0.0) + 0.25
    assert max(pauses) - min(pauses) > 0.02, "clients that come back at the same moment fail at the same moment"


def test_pauses_grow_from_round_to_round_and_an_answer_ends_that() -> None:
    pace = Pace(Limits(in_flight=4), "call", 99)
    pauses = []
    for _ in range(9):
        pace.gate = 0.0
        pace.bad(Passing("503"), time.monotonic())
        pauses.append(pace.wait())
    for number, pause in enumerate(pauses):
        longest = min(60.0, 2.0**number)
        assert 0.4 * longest <= pause <= longest
    pace.good()
    pace.gate = 0.0
    pace.bad(Passing("503"), time.monotonic())
    assert pace.wait() <= 1


# Calls a second


def test_calls_start_no_faster_than_allowed_over_any_time() -> None:
    a_second, items = 80, numbered(100)
    service = Watched(lambda batch, number: batch)
    before = time.monotonic()
    asked(service, items, limits=Limits(in_flight=8, per_second=a_second))
    assert max(service.starts) - before >= (len(items) - 1) / a_second - 0.06, "on average"
    starts = sorted(service.starts)
    late = 0.25  # a thread may begin that much after its call was let go
    for first, start in enumerate(starts):
        for count, end in enumerate(starts[first:], 1):
            assert count <= (end - start + 0.05 + late) * a_second + 1


def test_a_run_that_stood_still_does_not_make_up_for_the_time() -> None:
    pace = Pace(Limits(in_flight=100, per_second=40), "call", 8)
    time.sleep(0.3)
    begun = 0
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        if pace.wait() <= 0:
            pace.started()
            begun += 1
        time.sleep(0.001)
    assert begun <= 0.1 * 40 + 0.05 * 40 + 2, "12 more were due while it stood"


def test_a_slow_reader_makes_no_burst_of_calls() -> None:
    from kullm.remote import stream

    service = Watched(lambda batch, number: batch)
    results = stream(
        service, numbered(60), identity="x", limits=Limits(in_flight=30, per_second=60), watch=False
    )  # fmt: skip
    for number, _ in enumerate(results):
        if number == 10:
            time.sleep(0.4)
            woken = time.monotonic()
    soon = [start for start in service.starts if woken <= start < woken + 0.1]
    assert len(soon) <= (0.1 + 0.05 + 0.1) * 60 + 1, "24 were due while nobody read"


# Waiting


def test_a_run_that_only_waits_takes_no_processor_time() -> None:
    never = threading.Event()

    def work(batch: Sequence[str], number: int) -> Sequence[str]:
        if number == 0:
            raise Passing("429", retry_after=0.5)
        never.wait(1.0)
        return batch

    before, start = time.process_time(), time.monotonic()
    asked(Watched(work), numbered(16), limits=Limits(in_flight=16))
    assert time.monotonic() - start > 1.5
    assert time.process_time() - before < 0.25
