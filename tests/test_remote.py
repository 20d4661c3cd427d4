"""`kullm.remote.run` keeps order, money and time, whatever the call does."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kullm.errors import InputError, KeyRefused, Passing, Refused, ServiceDown, UnknownOutcome, UsageError
from kullm.remote import Limits, Memory, retry_after, run
from kullm.remote.packing import pack
from kullm.rows import Failure

ONE = Limits()
texts = st.lists(st.text(max_size=12), max_size=40)
limits = st.builds(
    Limits, items=st.integers(1, 7), bytes=st.none() | st.integers(1, 60), in_flight=st.integers(1, 5)
)  # fmt: skip
quick = settings(max_examples=60, deadline=None)


def upper(batch: Sequence[str]) -> list[str | Failure]:
    return [text.upper() for text in batch]


def written(batch: Sequence[str], sent: list[tuple[str, ...]]) -> list[str | Failure]:
    sent.append(tuple(batch))
    return upper(batch)


def outcomes(memory: Memory) -> list[str | None]:
    return [outcome for *_, outcome in memory.calls()]


# Order, equal items, packing


@quick
@given(texts, limits, st.randoms(use_true_random=False))
def test_results_stand_in_the_order_of_the_items(items: list[str], allowed: Limits, chance: random.Random) -> None:
    pauses = [chance.random() / 2000 for _ in range(8)]

    def call(batch: Sequence[str]) -> list[str | Failure]:
        time.sleep(pauses[len(batch) % 8])
        return upper(batch)

    assert run(call, items, identity="x", limits=allowed) == [item.upper() for item in items]


@quick
@given(texts, limits)
def test_equal_items_are_sent_once_and_within_the_limits(items: list[str], allowed: Limits) -> None:
    sent: list[tuple[str, ...]] = []
    run(lambda batch: written(batch, sent), items * 2, identity="x", limits=allowed)
    assert Counter(text for batch in sent for text in batch) == dict.fromkeys(items, 1)
    for batch in sent:
        assert len(batch) <= allowed.items
        assert allowed.bytes is None or len(batch) == 1 or sum(len(json.dumps(text)) for text in batch) <= allowed.bytes


@quick
@given(texts, limits)
def test_packing_keeps_all_texts_and_leaves_no_room_unused(items: list[str], allowed: Limits) -> None:
    batches = list(pack(items, allowed))
    assert [text for batch in batches for text in batch] == items
    assert all(batches)
    for batch, following in pairwise(batches):
        size = sum(len(json.dumps(text)) for text in [*batch, following[0]])
        assert len(batch) == allowed.items or (allowed.bytes is not None and size > allowed.bytes)


def test_no_item_makes_no_call() -> None:
    assert run(upper, [], identity="x", limits=ONE) == []


def test_items_of_any_kind_go_by_their_key_and_results_through_save_and_load(tmp_path: Path) -> None:
    def call(batch: Sequence[tuple[int, str]]) -> list[frozenset[str]]:
        return [frozenset(name) for _, name in batch]

    def ask() -> list[frozenset[str] | Failure]:
        return run(
            call, [(1, "ab"), (2, "c")], identity="x", limits=ONE, memory=tmp_path / "m.sqlite",
            key=lambda item: item[1], save=sorted, load=frozenset,
        )  # fmt: skip

    assert ask() == [frozenset("ab"), frozenset("c")]
    assert ask() == [frozenset("ab"), frozenset("c")]


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def call(batch: Sequence[str]) -> list[str | Failure]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return upper(batch)

    run(call, list(map(str, range(30))), identity="x", limits=Limits(in_flight=3))
    assert most <= 3


def test_calls_start_no_faster_than_allowed() -> None:
    start = time.monotonic()
    run(upper, list("abcde"), identity="x", limits=Limits(in_flight=5, per_second=20))
    assert time.monotonic() - start >= 4 / 20


@pytest.mark.parametrize("bad", [{"items": 0}, {"bytes": 0}, {"in_flight": 0}, {"per_second": 0.0}])
def test_limits_that_allow_nothing_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Limits(**bad)


# The memory


@settings(quick, max_examples=25)
@given(texts, limits)
def test_a_second_run_sends_nothing(
    tmp_path_factory: pytest.TempPathFactory, items: list[str], allowed: Limits
) -> None:
    path = tmp_path_factory.mktemp("memory") / "m.sqlite"
    first = run(upper, items, identity="x", limits=allowed, memory=path)
    sent: list[tuple[str, ...]] = []
    assert run(lambda batch: written(batch, sent), items, identity="x", limits=allowed, memory=path) == first
    assert sent == []


def test_another_identity_is_asked_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    run(upper, ["a"], identity="x", limits=ONE, memory=path)
    assert run(lambda batch: ["other"], ["a"], identity="y", limits=ONE, memory=path) == ["other"]
    assert run(upper, ["a"], identity="x", limits=ONE, memory=path) == ["A"]


def test_a_memory_that_is_given_stays_open() -> None:
    with Memory(None) as memory:
        run(upper, ["a", "b"], identity="x", limits=ONE, memory=memory)
        assert len(memory) == 2
        assert outcomes(memory) == ["answered", "answered"]


def test_only_the_owner_may_read_the_memory(tmp_path: Path) -> None:
    with Memory(tmp_path / "m.sqlite") as memory:
        run(upper, ["a"], identity="x", limits=ONE, memory=memory)
        files = list(tmp_path.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_is_no_memory_is_an_input_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a"}\n' * 100)
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        run(upper, ["a"], identity="x", limits=ONE, memory=path)
    assert path.read_text() == '{"instruction": "a"}\n' * 100


def test_a_database_of_another_program_is_an_input_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.sqlite"
    database = sqlite3.connect(path)
    database.executescript("CREATE TABLE places (url TEXT); INSERT INTO places VALUES ('a');")
    database.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"bookmarks\.sqlite is a database of another program"):
        run(upper, ["a"], identity="x", limits=ONE, memory=path)
    assert path.read_bytes() == before


def test_a_folder_where_the_memory_should_be_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path.name} is not to be opened as a memory"):
        run(upper, ["a"], identity="x", limits=ONE, memory=tmp_path)


def test_a_memory_of_another_version_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(InputError, match="version 99"):
        Memory(path)


# Items that fail


@quick
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60), max_size=9), limits)
def test_a_refused_item_is_found_and_all_others_are_answered_once(
    good: set[int], bad: set[int], allowed: Limits
) -> None:
    answered: list[str] = []

    def call(batch: Sequence[str]) -> list[str]:
        if any(int(text) in bad for text in batch):
            raise Refused("bad text")
        answered.extend(batch)
        return list(batch)

    items = list(map(str, good | bad))
    for item, result in zip(items, run(call, items, identity="x", limits=allowed), strict=True):
        assert result == (Failure("", "call", "bad text") if int(item) in bad else item)
    assert sorted(answered) == sorted(str(item) for item in good - bad)


def refusing(good: set[int], sent: list[int], pause: float = 0.0) -> Callable[[Sequence[str]], list[str]]:
    """A service that takes batches of good numbers alone, and says of any other what is wrong with it."""

    def call(batch: Sequence[str]) -> list[str]:
        sent.append(len(batch))
        if not good.issuperset(map(int, batch)):
            raise Refused(f"text {len(sent)} '{batch[0]}': bad model_type")
        time.sleep(pause)
        return list(batch)

    return call


@pytest.mark.parametrize("count", [10, 50, 5000])
@pytest.mark.parametrize("most", [1, 50])
def test_a_service_that_refuses_every_item_stops_the_run_with_its_words_after_few_calls(count: int, most: int) -> None:
    sent: list[int] = []
    with Memory(None) as memory:
        for _ in range(2):  # what was refused proves nothing to the next run
            with pytest.raises(ServiceDown, match=r"bad model_type[\s\S]*Check the settings of the plug-in"):
                run(refusing(set(), sent), [*map(str, range(count))], identity="x", limits=Limits(most), memory=memory)
    assert len(sent) <= 2 * 20
    assert sent.count(1) == 2 * 10


@pytest.mark.parametrize("most", [1, 4, 50])
def test_fewer_than_ten_items_that_are_all_refused_are_failures(most: int) -> None:
    found = run(refusing(set(), []), [*map(str, range(9))], identity="x", limits=Limits(most))
    assert [type(result) for result in found] == [Failure] * 9


@pytest.mark.parametrize(
    ("good", "limits"),
    [
        pytest.param({*range(20, 50)}, Limits(50), id="those after them in the batch"),
        pytest.param({49}, Limits(50, in_flight=50), id="one of a batch"),
        pytest.param({*range(15, 50)}, Limits(1, in_flight=16), id="one that is still in flight"),
    ],
)
def test_many_items_that_are_refused_at_first_stop_nobody(good: set[int], limits: Limits) -> None:
    items = [*map(str, range(50))]
    found = run(refusing(good, [], pause=0.05), items, identity="x", limits=limits)
    assert [result for result in found if not isinstance(result, Failure)] == [str(number) for number in sorted(good)]


def test_a_run_of_which_only_refused_items_are_left_ends_in_failures_again() -> None:
    items, good = [*map(str, range(50))], {*range(20)}
    with Memory(None) as memory:
        first, again = (run(refusing(good, []), items, identity="x", limits=Limits(5), memory=memory) for _ in range(2))
    assert [isinstance(result, Failure) for result in first] == [number not in good for number in range(50)]
    assert [isinstance(result, Failure) for result in again] == [number not in good for number in range(50)]


WRONG_COUNTS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "fewer": lambda batch: list(batch[1:]),
    "more": lambda batch: [*batch, "surplus"],
    "none": lambda batch: [],
}


@quick
@given(st.sets(st.integers(0, 40)), limits, st.sampled_from(sorted(WRONG_COUNTS)))
def test_a_wrong_count_is_asked_again_and_never_shifts_rows(items: set[int], allowed: Limits, how: str) -> None:
    lock, seen = threading.Lock(), set[tuple[str, ...]]()

    def call(batch: Sequence[str]) -> list[str]:
        with lock:
            first = tuple(batch) not in seen
            seen.add(tuple(batch))
        return WRONG_COUNTS[how](batch) if first else list(batch)

    wanted = list(map(str, items))
    with Memory(None) as memory:
        assert run(call, wanted, identity="x", limits=allowed, memory=memory) == wanted
        assert sorted(map(str, outcomes(memory))) == ["answered"] * len(seen) + ["unknown"] * len(seen)


@pytest.mark.parametrize("how", sorted(WRONG_COUNTS))
@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_count_that_stays_wrong_stops_the_run_and_nothing_is_guessed(how: str, most: int) -> None:
    sent: list[tuple[str, ...]] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.append(tuple(batch))
        return WRONG_COUNTS[how](batch)

    with Memory(None) as memory:
        with pytest.raises(ServiceDown, match=r"sent 3 item\(s\) and got \d back"):
            run(call, list("abc"), identity="x", limits=Limits(items=3), memory=memory, unknown_tries=most)
        assert sent == [("a", "b", "c")] * most
        assert memory.recall("x", "abc") == {}


@pytest.mark.parametrize("answer", [None, "ab", 3])
def test_a_plug_in_that_gives_no_list_is_a_usage_error_at_once(answer: object) -> None:
    sent: list[tuple[str, ...]] = []

    def call(batch: Sequence[str]) -> Any:
        sent.append(tuple(batch))
        return answer

    with pytest.raises(UsageError, match=f"gave {type(answer).__name__} and not a list"):
        run(call, ["a", "b"], identity="x", limits=Limits(items=2))
    assert sent == [("a", "b")]


def test_a_lone_surrogate_is_a_failure_and_is_not_sent() -> None:
    sent: list[tuple[str, ...]] = []
    results = run(lambda batch: written(batch, sent), ["a", "b\ud800", "c"], identity="x", limits=Limits(items=3))
    assert isinstance(results[1], Failure)
    assert (results[0], results[2], sent) == ("A", "C", [("a", "c")])


def test_an_answer_with_a_lone_surrogate_is_a_failure() -> None:
    with Memory(None) as memory:
        results = run(
            lambda batch: ["ok", "bad\ud800", "ok too"],
            list("abc"),
            identity="x",
            limits=Limits(items=3),
            memory=memory,
        )
        assert isinstance(results[1], Failure)
        assert (results[0], results[2], len(memory)) == ("ok", "ok too", 2)


def test_failures_are_handed_on_and_not_remembered(tmp_path: Path) -> None:
    path, sent = tmp_path / "m.sqlite", list[tuple[str, ...]]()
    cut = Failure("", "call", "cut off")
    first = run(lambda batch: ["A", cut, "C"], list("abc"), identity="x", limits=Limits(items=3), memory=path)
    assert first == ["A", cut, "C"]
    assert run(lambda batch: written(batch, sent), list("abc"), identity="x", limits=ONE, memory=path) == [
        "A",
        "B",
        "C",
    ]
    assert sent == [("b",)]


# Services that fail


def test_retry_after_is_a_floor_for_all_workers() -> None:
    lock, starts, failed = threading.Lock(), list[float](), list[float]()
    together = threading.Barrier(3, timeout=10)

    def call(batch: Sequence[str]) -> list[str | Failure]:
        with lock:
            starts.append(time.monotonic())
            early = len(starts) <= 3
        if early:
            together.wait()
        if batch[0] == "0" and not failed:
            failed.append(time.monotonic())
            raise Passing("slow down", retry_after=0.2)
        time.sleep(0.1)
        return upper(batch)

    items = list(map(str, range(9)))
    assert run(call, items, identity="x", limits=Limits(in_flight=3)) == items
    assert len(starts) == 10
    assert min(sorted(starts)[3:]) - failed[0] >= 0.2


def test_a_service_that_asks_for_a_wait_of_hours_stops_the_run_and_says_so() -> None:
    sent: list[tuple[str, ...]] = []

    def call(batch: Sequence[str]) -> list[str | Failure]:
        sent.append(tuple(batch))
        raise Passing("429", retry_after=7200)

    with pytest.raises(ServiceDown, match=r"asks to wait 7200 s.*429"):
        run(call, ["a"], identity="x", limits=ONE)
    assert sent == [("a",)]


def test_a_service_that_stays_down_stops_the_run_and_what_was_done_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"

    def call(batch: Sequence[str]) -> list[str | Failure]:
        if batch[0] >= "d":
            raise Passing("503")
        return upper(batch)

    with pytest.raises(ServiceDown, match=r"tried 2 times.*503") as caught:
        run(call, list("abcdef"), identity="x", limits=ONE, memory=path, tries=2)
    assert "3 of 6" in caught.value.safe
    assert str(path) in caught.value.safe
    assert caught.value.next
    sent: list[tuple[str, ...]] = []
    assert run(lambda batch: written(batch, sent), list("abcdef"), identity="x", limits=ONE, memory=path) == list(
        "ABCDEF"
    )
    assert sent == [("d",), ("e",), ("f",)]


@pytest.mark.parametrize("error", [UnknownOutcome("read timed out"), TimeoutError("timed out"), ConnectionResetError()])
@pytest.mark.parametrize("most", [1, 3])
def test_an_unknown_outcome_is_sent_no_more_often_than_allowed(error: Exception, most: int) -> None:
    sent: list[tuple[str, ...]] = []

    def call(batch: Sequence[str]) -> list[str | Failure]:
        sent.append(tuple(batch))
        raise error

    with Memory(None) as memory:
        with pytest.raises(ServiceDown, match="may have been billed"):
            run(call, ["a", "b"], identity="x", limits=Limits(items=2), memory=memory, unknown_tries=most)
        assert sent == [("a", "b")] * most
        assert outcomes(memory) == ["unknown"] * most


def test_an_unknown_outcome_is_tried_again_and_stays_on_record() -> None:
    lost = [UnknownOutcome("reset")]

    def call(batch: Sequence[str]) -> list[str | Failure]:
        if lost:
            raise lost.pop()
        return upper(batch)

    with Memory(None) as memory:
        assert run(call, ["a"], identity="x", limits=ONE, memory=memory) == ["A"]
        assert outcomes(memory) == ["unknown", "answered"]


@pytest.mark.parametrize("error", [KeyRefused("wrong key"), ZeroDivisionError("a bug in the plug-in")])
def test_a_fatal_error_stops_the_run_and_answers_in_flight_are_kept(error: Exception) -> None:
    flying = threading.Barrier(3, timeout=10)

    def call(batch: Sequence[str]) -> list[str | Failure]:
        flying.wait()
        if batch[0] == "b":
            raise error
        time.sleep(0.05)
        return upper(batch)

    with Memory(None) as memory:
        with pytest.raises(type(error)):
            run(call, list("abcdef"), identity="x", limits=Limits(in_flight=3), memory=memory)
        assert memory.recall("x", "abcdef") == {"a": "A", "c": "C"}
        ended = "failed" if isinstance(error, KeyRefused) else "unknown"  # of a bug nobody knows whether it was billed
        assert sorted(map(str, outcomes(memory))) == ["answered", "answered", ended]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_from_seconds_milliseconds_and_dates(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


# Runs that are stopped from outside: a child process pays, its ledger file says for what

CHILD = """
import os, signal, sys, time
from kullm.remote import Limits, run

ledger, memory, fatal, signum, pause = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def call(batch):
    os.write(file, "".join(text + "\\n" for text in batch).encode())
    time.sleep(pause)
    if fatal in batch:
        os.kill(os.getpid(), signum)
    time.sleep(pause)
    return [text + "!" for text in batch]

try:
    run(call, [str(i) for i in range(100)], identity="x", limits=Limits(items=5, in_flight=4), memory=memory)
except KeyboardInterrupt:
    sys.exit(130)
"""
ITEMS = [str(number) for number in range(100)]


def stopped(folder: Path, signum: int, pause: float) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A child that is sent a signal while the call with the item 52 is in flight; with what it had paid for by then."""
    ledger, memory = folder / "ledger", folder / "m.sqlite"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(ledger), str(memory), "52", str(signum), str(pause)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return child, ledger.read_text().split()


def test_an_interrupt_keeps_the_answers_in_flight(tmp_path: Path) -> None:
    child, paid = stopped(tmp_path, 2, 0.05)
    assert child.returncode == 130, child.stderr
    assert "in flight are finished and kept" in child.stderr
    assert len(paid) < 100
    with Memory(tmp_path / "m.sqlite") as memory:
        assert memory.recall("x", ITEMS) == {text: f"{text}!" for text in paid}
        assert set(outcomes(memory)) == {"answered"}
        sent: list[tuple[str, ...]] = []
        run(lambda batch: written(batch, sent), ITEMS, identity="x", limits=Limits(items=5), memory=memory)
    assert sorted([text for batch in sent for text in batch] + paid) == sorted(ITEMS)


def test_a_kill_loses_no_more_than_was_in_flight_and_says_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child, paid = stopped(tmp_path, 9, 0.01)
    assert child.returncode == -9, child.stderr
    with Memory(tmp_path / "m.sqlite") as memory:
        memory.claim()
        kept = memory.recall("x", ITEMS)
        lost = [items for _, items, _, outcome in memory.calls() if outcome == "unknown"]
        assert f"{len(lost)} call(s) with {sum(lost)} item(s) were in flight" in caplog.text
        assert "52" not in kept
        assert 1 <= len(lost) <= 4
        assert len(paid) - len(kept) <= sum(lost) <= 20
        again: list[str] = []

        def call(batch: Sequence[str]) -> list[str]:
            again.extend(batch)
            return [f"{text}!" for text in batch]

        results = run(call, ITEMS, identity="x", limits=Limits(items=5), memory=memory)
    assert results == [f"{text}!" for text in ITEMS]
    assert set(paid + again) == set(ITEMS)
    assert len(paid + again) - len(ITEMS) <= 20
    with Memory(tmp_path / "m.sqlite") as memory:
        assert memory.recall("x", ITEMS) == {text: f"{text}!" for text in ITEMS}
        assert None not in outcomes(memory)


RANDOM = """
import os, random, sys, threading, time
from kullm.remote import Limits, run

file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
first = threading.Event()

def call(batch):
    os.write(file, "".join(text + "\\n" for text in batch).encode())
    if not first.is_set():
        first.set()
        print("paying", flush=True)
    time.sleep(random.uniform(0, 0.03))
    return [text + "!" for text in batch]

try:
    run(call, [str(i) for i in range(800)], identity="x", limits=Limits(items=2, in_flight=8), memory=sys.argv[2])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_interrupts_at_random_times_lose_no_paid_answer_and_pay_nothing_twice(tmp_path: Path) -> None:
    ledger, path = tmp_path / "ledger", tmp_path / "m.sqlite"
    items = [str(number) for number in range(800)]
    codes: list[int] = []
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", RANDOM, str(ledger), str(path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.1))
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
        codes.append(child.returncode)
        paid = ledger.read_text().split()
        with Memory(path) as memory:
            assert memory.recall("x", items) == {text: f"{text}!" for text in paid}, said
            assert set(outcomes(memory)) == {"answered"}, said
        if len(paid) == len(items):
            break
    assert 130 in codes, "no child was interrupted while it paid: the test shows nothing"
    sent: list[tuple[str, ...]] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.append(tuple(batch))
        return [f"{text}!" for text in batch]

    assert run(call, items, identity="x", limits=Limits(items=9), memory=path) == [f"{text}!" for text in items]
    assert Counter([*ledger.read_text().split(), *(text for batch in sent for text in batch)]) == Counter(items)


LAST = """
import os, signal, sys
from kullm.remote import Limits, run

def call(batch):
    os.kill(os.getpid(), signal.SIGINT)
    return list(batch)

try:
    run(call, ["a"], identity="x", limits=Limits(), memory=sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_during_the_last_call_still_stops_the_program(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    child = subprocess.run(
        [sys.executable, "-c", LAST, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
    )
    with Memory(path) as memory:
        assert memory.recall("x", ["a"]) == {"a": "a"}
    assert "Stopping" in child.stderr
    assert child.returncode == 130, "it said that it stops, and went on"
