"""`kullm.remote.stream`: results in the order of the items, each paid for once, in memory that does not grow."""

from __future__ import annotations

import gc
import itertools
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm.errors import Refused, ServiceDown
from kullm.remote import Instead, Limits, Memory, Tariff, stream
from kullm.remote.packing import size
from kullm.rows import TEXT_FIELDS, Failure, dataset
from kullm.testing import FakeTranslator

quick = settings(max_examples=40, deadline=None, derandomize=True)


Stream: TypeAlias = Generator[Any, None, None]
Call: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]


def flowing(call: Call, items: Iterable[Any], limits: Limits, identity: str = "x", **more: Any) -> Stream:
    """The stream, as the generator that it is."""
    results: Any = stream(call, items, identity=identity, limits=limits, watch=False, **more)
    return cast("Stream", results)


def ran(call: Call, items: Iterable[Any], limits: Limits, identity: str = "x", **more: Any) -> list[Any]:
    return list(flowing(call, items, limits, identity, **more))


def same(batch: Sequence[str]) -> list[str]:
    return list(batch)


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


# A service with refusals, failures and pieces, and what must come of it, written down without threads and memory


@dataclass(frozen=True)
class World:
    """Items are numbers. `rounds`: what is asked instead of an item, round by round, always of smaller numbers."""

    rounds: Mapping[int, Sequence[Sequence[int]]]
    failing: frozenset[int]
    refused: frozenset[int]
    known: frozenset[int]

    def value(self, item: int) -> str | None:
        """The result of an item; None is a failure."""
        if item not in self.known and item in self.failing | self.refused:
            return None
        if item not in self.rounds:
            return f"<{item}>"
        return told(item, [self.value(part) for part in itertools.chain(*self.rounds[item])])

    def accept(self, item: int, answer: str) -> str | Failure | Instead[int, str]:
        assert answer == f"<{item}>"
        return self.round(item, 0, []) if item in self.rounds else answer

    def round(self, item: int, number: int, before: list[str | Failure]) -> str | Instead[int, str]:
        """The pieces of a round, then those of the next, then the result made of all of them."""
        if number == len(self.rounds[item]):
            return told(item, [None if isinstance(part, Failure) else part for part in before])
        return Instead(
            self.rounds[item][number], lambda results: self.round(item, number + 1, [*before, *results])
        )  # fmt: skip


def told(item: int, parts: Sequence[str | None]) -> str:
    return f"{item}({' '.join(part or '!' for part in parts)})"


numbers = st.integers(0, 30)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    rounds: dict[int, list[list[int]]] = {}
    for item in draw(st.sets(st.integers(1, 30), max_size=10)):
        below = st.integers(0, item - 1)
        rounds[item] = draw(st.lists(st.lists(below, max_size=3), max_size=3))
    some = st.frozensets(numbers, max_size=8)
    return World(rounds, draw(some), draw(some), draw(some))


@quick
@given(
    worlds(),
    st.lists(numbers, max_size=60),
    st.builds(Limits, items=st.integers(1, 6), in_flight=st.integers(1, 5)),
    st.lists(st.sampled_from([0.0, 0.0003, 0.001]), min_size=7, max_size=7),
)
def test_results_stand_in_order_whatever_lands_first_fails_is_known_or_is_asked_in_pieces(
    world: World, items: list[int], limits: Limits, pauses: list[float]
) -> None:
    lock, count, answered = threading.Lock(), itertools.count(), Counter[int]()

    def call(batch: Sequence[int]) -> list[str | Failure]:
        time.sleep(pauses[next(count) % 7])
        assert len(batch) <= limits.items
        assert len({item % 3 for item in batch}) == 1, "two groups share a call"
        if world.refused & set(batch):
            raise Refused("no")
        with lock:
            answered.update(batch)
        return [Failure("", "call", "bad") if item in world.failing else f"<{item}>" for item in batch]

    with Memory(None) as memory:
        memory.add("x", {}, {str(item): f"<{item}>" for item in world.known})
        results = ran(call, items, limits, memory=memory, group=lambda item: item % 3, accept=world.accept)
    assert [None if isinstance(result, Failure) else result for result in results] == list(map(world.value, items))
    assert set(answered.values()) <= {1}
    assert not set(answered) & world.known


def test_pieces_of_pieces_come_together_and_a_piece_that_two_items_want_is_asked_once() -> None:
    sent: list[str] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.extend(batch)
        return [text.upper() for text in batch]

    def accept(item: str, answer: str) -> str | Instead[str, str]:
        if " " not in item:
            return answer
        first, _, rest = item.partition(" ")
        return Instead([first, rest], lambda results: "+".join(str(result) for result in results))

    found = ran(call, ["a b c", "d b c", "b c"], Limits(items=2, in_flight=2), accept=accept)
    assert found == ["A+B+C", "D+B+C", "B+C"]
    assert Counter(sent) == dict.fromkeys(["a b c", "d b c", "b c", "a", "b", "c", "d"], 1)


def test_a_join_may_ask_again_and_what_asks_for_nothing_is_joined_at_once() -> None:
    def accept(item: str, answer: str) -> str | Instead[str, str]:
        if item != "all":
            return answer
        return Instead([], lambda _: Instead(["a"], lambda one: Instead(["b"], lambda two: f"{one[0]} {two[0]}")))

    with Memory(None) as memory:
        for _ in range(2):  # the second time all of it is known
            assert ran(same, ["all"], Limits(), memory=memory, accept=accept) == ["a b"]
        assert len(memory.calls()) == 3


def test_items_with_one_key_share_the_answer_and_each_makes_its_own_result_of_it() -> None:
    items = [("Press {}", "Enter"), ("Press {}", "Escape")]

    def ask(memory: Memory) -> list[str | Failure]:
        return ran(
            lambda batch: [sent for sent, _ in batch], items, Limits(items=5), memory=memory,
            key=lambda item: item[0], accept=lambda item, answer: answer.format(item[1]),
        )  # fmt: skip

    with Memory(None) as memory:
        assert ask(memory) == ["Press Enter", "Press Escape"]
        assert ask(memory) == ["Press Enter", "Press Escape"]


def test_two_rows_that_differ_only_in_what_is_protected_each_get_their_own_span() -> None:
    rows = texts("Please open the file `foo.py` now.", "Please open the file `bar.py` now.")
    done = kullm.translate(rows, FakeTranslator(lambda text: text.replace("Please open", "여세요")), memory=None)
    assert done["instruction"][:] == ["여세요 the file `foo.py` now.", "여세요 the file `bar.py` now."]


def texts(*instructions: str) -> Any:
    rows = [
        {"id": str(number), "instruction": text, "input": "", "output": ""} for number, text in enumerate(instructions)
    ]
    return dataset(rows, ["id", *TEXT_FIELDS])


# Groups and their limits


@quick
@given(st.lists(st.text("ab한", min_size=1, max_size=9), max_size=60), st.integers(1, 5))
def test_a_group_may_have_other_limits_and_every_call_keeps_to_those_of_its_group(
    items: list[str], in_flight: int
) -> None:
    of = {"a": Limits(items=1), "b": Limits(items=9, bytes=20), "한": Limits(items=3)}
    sent: list[Sequence[str]] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.append(batch)
        return list(batch)

    limits = Limits(items=9, in_flight=in_flight)
    found = ran(
        call, items, limits, group=lambda text: text[0], within=lambda first: of[first]
    )  # fmt: skip
    assert found == items
    for batch in sent:
        (first,) = {text[0] for text in batch}
        allowed = of[first]
        assert len(batch) <= allowed.items
        assert allowed.bytes is None or len(batch) == 1 or sum(map(size, batch)) <= allowed.bytes


def test_many_groups_at_once_lose_nothing_and_mix_nothing() -> None:
    items = [str(number) for number in range(3_000)]
    sent: list[Sequence[str]] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.append(batch)
        return list(batch)

    def group(item: str) -> int:
        return int(item) % 200

    assert ran(call, items, Limits(items=7, in_flight=3), group=group) == items
    assert all(len(set(map(group, batch))) == 1 for batch in sent)
    assert Counter(itertools.chain(*sent)) == Counter(items)


# Memory that does not grow


def most_ahead(limits: Limits) -> int:
    """The items that may have been pulled and not handed out: a stated window, and what is looked up together."""
    return max(2_000, 12 * limits.items * limits.in_flight) + 128


@pytest.fixture
def collector() -> Iterator[Callable[[], int]]:
    """After how many new objects Python's collector looks; put back afterwards."""
    before = gc.get_threshold()
    gc.set_threshold(700, *before[1:])
    yield lambda: gc.get_threshold()[0]
    gc.set_threshold(*before)


def test_the_collector_of_garbage_is_set_back_when_the_last_run_ends(collector: Callable[[], int]) -> None:
    one = flowing(same, map(str, itertools.count()), Limits(items=2))
    other = flowing(same, map(str, itertools.count()), Limits(items=2))
    assert (next(one), next(other)) == ("0", "0")
    assert collector() > 700
    one.close()
    assert collector() > 700, "the other one goes on"
    other.close()
    assert collector() == 700
    gc.set_threshold(0)
    assert ran(same, ["a"], Limits()) == ["a"]
    assert collector() == 0, "it is off, and stays off"


@pytest.mark.parametrize("limits", [Limits(), Limits(items=7, in_flight=3), Limits(items=50, in_flight=8)])
def test_an_endless_stream_is_pulled_no_further_ahead_than_the_window(limits: Limits) -> None:
    pulled = 0

    def endless() -> Iterator[str]:
        nonlocal pulled
        for pulled in itertools.count(1):
            yield str(pulled)

    results = flowing(same, endless(), limits)
    for number in range(1, 6_000):
        assert next(results) == str(number)
        assert pulled - number < most_ahead(limits)
    results.close()


def test_a_first_call_that_is_slow_holds_back_the_results_and_bounds_what_is_pulled() -> None:
    limits, pulled, most = Limits(items=10, in_flight=4), 0, 0
    quiet = threading.Event()

    def endless() -> Iterator[str]:
        nonlocal pulled
        for pulled in itertools.count(1):
            yield str(pulled)

    def call(batch: Sequence[str]) -> list[str]:
        nonlocal most
        if batch[0] == "1":
            before = -1
            while before != pulled:  # until nothing more is pulled
                before = pulled
                quiet.wait(0.15)
            most = pulled
        return list(batch)

    results = flowing(call, endless(), limits)
    assert list(itertools.islice(results, 5_000)) == [str(number) for number in range(1, 5_001)]
    results.close()
    assert 1_000 < most <= most_ahead(limits)


LONG = """
    import sys
    from pathlib import Path
    from kullm import Failure
    from kullm.remote import Limits, stream

    def items():
        for number in range(200_000):
            yield f"the item with the number {number} and some words to make it a text"

    def call(batch):
        return [Failure("", "x", "bad") if sys.argv[1:] else text + "!" for text in batch]

    def most():  # kilobytes; ru_maxrss would be that of the process that started this one
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

    sizes = []
    limits = Limits(items=50, in_flight=4)
    for count, _ in enumerate(stream(call, items(), identity="x", limits=limits, watch=False), 1):
        if count in (50_000, 200_000):
            sizes.append(most())
    print(count, sizes[1] - sizes[0])
"""
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of a process")


@linux
def test_200_000_items_take_no_more_memory_than_50_000(tmp_path: Path) -> None:
    said = python(LONG, tmp_path)
    count, grown = map(int, said.stdout.split())
    assert count == 200_000, said.stderr
    assert grown < 4_000, "kilobytes between 50,000 and 200,000"


@linux
def test_items_that_fail_take_no_more_memory_than_others(tmp_path: Path) -> None:
    said = python(LONG, tmp_path, "fail")
    count, grown = map(int, said.stdout.split())
    assert count == 200_000, said.stderr
    assert grown < 4_000, "kilobytes between 50,000 and 200,000"


def test_rows_that_need_no_translation_stream_through_as_others_do() -> None:
    from kullm.translators.driver import Job
    from kullm.translators.translator import engine

    pulled = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for pulled in itertools.count(1):
            if pulled > 20_000:
                raise OverflowError("20,000 rows were pulled before the first one was given")
            yield {"id": str(pulled), "instruction": str(pulled), "input": "", "output": ""}

    job = Job(engine(FakeTranslator()), "en", "ko", TEXT_FIELDS, True, "flag", True)
    with Memory(None) as memory:
        first = next(job.flow(endless(), memory, None))
    assert isinstance(first, dict)
    assert first["id"] == "1"


# Consumers that stop early, and calls that never return


def test_a_consumer_that_stops_early_leaves_the_answers_in_flight_in_the_memory(tmp_path: Path) -> None:
    paid: list[str] = []

    def call(batch: Sequence[str]) -> list[str]:
        paid.extend(batch)
        time.sleep(0.05)
        return list(batch)

    items = [str(number) for number in range(1_000)]
    results = flowing(call, items, Limits(items=5, in_flight=4), memory=tmp_path / "m.sqlite")
    assert next(results) == "0"
    results.close()
    before = len(paid)
    with Memory(tmp_path / "m.sqlite") as memory:
        assert memory.recall("x", items) == {item: item for item in paid}
        assert {outcome for *_, outcome in memory.calls()} == {"answered"}
    assert 5 < len(paid) < 100
    time.sleep(0.1)
    assert len(paid) == before, "a call was made after the end"


def test_a_translation_that_is_left_early_leaves_the_answers_in_flight_in_the_memory(tmp_path: Path) -> None:
    paid: list[str] = []

    def slow(text: str) -> str:
        paid.append(text)
        time.sleep(0.01)
        return text

    rows = texts(*(f"The word number {number} is here." for number in range(300)))
    translator = FakeTranslator(slow, limits=Limits(items=2, in_flight=4))
    path = tmp_path / "m.sqlite"
    for row in kullm.translate(rows.to_iterable_dataset(), translator, memory=path):
        assert row["id"] == "0"
        break
    gc.collect()
    with Memory(path) as memory:
        assert len(memory) == len(paid) < 300
        assert {outcome for *_, outcome in memory.calls()} == {"answered"}


def test_a_stream_that_nobody_reads_makes_no_call_and_takes_no_lock(tmp_path: Path) -> None:
    results = flowing(same, ["a"], Limits(), memory=tmp_path / "m.sqlite")
    del results
    assert list(tmp_path.iterdir()) == []


NEVER = """
    import threading, time
    from kullm.remote import Limits, Memory, run
    sent = []
    def call(batch):
        sent.extend(batch)
        if batch == ["3"]:
            threading.Event().wait()
        time.sleep(0.01)
        return list(batch)
    with Memory(None) as memory:
        found = run(call, [str(n) for n in range(100)], identity="x", memory=memory,
            limits=Limits(in_flight=2, deadline=0.2))
        print([str(number) for number, result in enumerate(found) if result != str(number)], sent.count("3"))
        print(found[3].cause)
        print([outcome for *_, outcome in memory.calls()].count("unknown"), flush=True)
"""


def test_a_call_that_never_returns_is_given_up_counted_as_unknown_and_holds_up_nothing(tmp_path: Path) -> None:
    said = python(NEVER, tmp_path)
    assert said.returncode == 0, said.stderr
    failed, cause, unknown = said.stdout.splitlines()
    assert failed == "['3'] 2"
    assert "may have been billed: no answer within 0.2 s" in cause
    assert unknown == "2"


def test_when_no_call_ever_returns_the_run_ends_and_says_so() -> None:
    never = threading.Event()
    sent: list[str] = []

    def call(batch: Sequence[str]) -> list[str]:
        sent.extend(batch)
        never.wait()
        return list(batch)

    with pytest.raises(ServiceDown, match=r"may have been billed: no answer within 0\.1 s"):
        ran(call, list("abcdef"), Limits(in_flight=2, deadline=0.1))
    never.set()
    assert len(sent) <= 4
    assert max(Counter(sent).values()) == 2


def test_an_answer_that_is_late_but_within_the_deadline_of_its_call_is_taken() -> None:
    def call(batch: Sequence[str]) -> list[str]:
        time.sleep(0.25)  # longer than the loop waits at a time
        return list(batch)

    items = list("abcdef")
    with Memory(None) as memory:
        found = ran(call, items, Limits(in_flight=3, deadline=20.0), memory=memory)
        assert {outcome for *_, outcome in memory.calls()} == {"answered"}
    assert found == items


# What the caller's own functions raise


class Boom(Exception):
    """What a function of the caller raises."""


def paid_and_kept(limits: Limits, items: Iterator[str] | Sequence[str], **more: Any) -> tuple[Counter[str], set[str]]:
    """Items that were paid for in a stream that ends with Boom, and those that the memory knows afterwards."""
    paid = Counter[str]()
    call: Callable[[Sequence[str]], Sequence[str]] = more.pop("call", same)

    def counted(batch: Sequence[str]) -> Sequence[str]:
        said = call(batch)
        paid.update(batch)
        return said

    with Memory(None) as memory:
        results = flowing(counted, items, limits, memory=memory, **more)
        with pytest.raises(Boom):
            list(results)
        assert None not in [outcome for *_, outcome in memory.calls()], "a call is left open"
        return paid, set(memory.recall("x", list(paid)))


def strikes_at(fatal: str, then: Callable[[str], Any]) -> Callable[..., Any]:
    """A function of an item that raises Boom at `fatal` when all calls in flight have had the time to end."""

    def strike(item: str, *_: Any) -> Any:
        if item == fatal:
            time.sleep(0.1)
            raise Boom
        return then(item)

    return strike


def numbered(last: int) -> list[str]:
    return [str(number) for number in range(last)]


def slowly(batch: Sequence[str]) -> list[str]:
    time.sleep(0.03)
    return list(batch)


@pytest.mark.parametrize("call", [same, slowly])
@pytest.mark.parametrize("what", ["accept", "key", "group"])
def test_what_the_callers_functions_raise_comes_out_as_it_is_and_no_paid_answer_is_lost(
    what: str, call: Callable[[Sequence[str]], list[str]]
) -> None:
    own = {what: strikes_at("137", lambda item: 0 if what == "group" else item)}
    paid, kept = paid_and_kept(Limits(items=2, in_flight=3), numbered(300), call=call, **own)
    assert paid
    assert kept == set(paid)


@pytest.mark.parametrize("call", [same, slowly])
def test_what_the_items_raise_comes_out_as_it_is_and_no_paid_answer_is_lost(
    call: Callable[[Sequence[str]], list[str]],
) -> None:
    def broken() -> Iterator[str]:
        yield from numbered(300)
        time.sleep(0.1)
        raise Boom

    paid, kept = paid_and_kept(Limits(items=2, in_flight=3), broken(), call=call)
    assert paid
    assert kept == set(paid)


def test_items_that_raise_while_a_batch_is_filled_lose_no_paid_answer() -> None:
    for more in (32, 64):

        def broken(more: int = more) -> Iterator[str]:
            yield from numbered(128 * 4)
            for number in range(more):
                time.sleep(0.005)  # the calls in flight end
                yield f"more {number}"
            raise Boom

        paid, kept = paid_and_kept(Limits(items=128, in_flight=4), broken())
        assert paid
        assert kept == set(paid)


def test_a_cost_that_raises_loses_no_paid_answer() -> None:
    tariff = Tariff(strikes_at("150", lambda _: 1))
    paid, kept = paid_and_kept(Limits(items=10, in_flight=4), numbered(300), tariff=tariff)
    assert paid
    assert kept == set(paid)


def test_an_answer_that_cannot_be_saved_loses_no_other() -> None:
    together = threading.Barrier(4, timeout=10)

    def call(batch: Sequence[str]) -> list[str]:
        together.wait()
        return list(batch)

    def save(answer: str) -> str:
        time.sleep(0.02)
        if answer == "0":
            raise Boom
        return answer

    paid, kept = paid_and_kept(Limits(items=10, in_flight=4), numbered(40), call=call, save=save)
    assert set(numbered(40)[10:]) <= kept
    assert set(paid) == set(numbered(40))


def test_the_error_does_not_call_done_what_waits_for_an_answer() -> None:
    def call(batch: Sequence[str]) -> list[str]:
        raise kullm.errors.KeyRefused("no")

    with pytest.raises(kullm.errors.KeyRefused) as caught:
        ran(call, ["a"] * 10, Limits())
    assert "0 of 10 items are done" in caught.value.safe


# Several streams


def test_one_memory_serves_two_streams_in_turns_and_keeps_the_answers_of_both(tmp_path: Path) -> None:
    items = numbered(500)
    with Memory(tmp_path / "m.sqlite") as memory:
        first = flowing(same, items, Limits(items=9, in_flight=3), memory=memory)
        second = flowing(
            lambda batch: [text + "!" for text in batch], items, identity="y", limits=Limits(items=7), memory=memory,
        )  # fmt: skip
        try:
            for item, one, two in zip(items, first, second, strict=True):
                assert (one, two) == (item, f"{item}!")
        finally:
            restore()
        assert len(memory) == 1_000
        assert memory.recall("x", items) == {item: item for item in items}
        assert memory.recall("y", items) == {item: f"{item}!" for item in items}


def test_a_memory_keeps_its_lock_from_one_run_to_the_next_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with Memory(path) as memory:
        for identity in ("x", "y"):
            ran(same, ["a"], identity=identity, limits=Limits(), memory=memory)
            with pytest.raises(kullm.errors.MemoryInUse):
                ran(same, ["b"], Limits(), memory=path)
    assert ran(same, ["b"], Limits(), memory=path) == ["b"]


def restore() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_after_two_streams_in_turns_an_interrupt_is_an_interrupt_again() -> None:
    restore()
    first, second = (flowing(same, "ab", identity=name, limits=Limits()) for name in "xy")
    try:
        assert [next(first), next(second), *first, *second] == ["a", "a", "b", "b"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        restore()


def test_a_memory_in_another_thread_works_or_is_one_clear_error() -> None:
    said: list[object] = []

    def work(memory: Memory) -> None:
        try:
            said.append(ran(same, ["a"], Limits(), memory=memory))
        except kullm.errors.KullmError as error:
            said.append(error)
        except Exception as error:  # noqa: BLE001 - looked at below
            said.append(type(error).__name__)

    with Memory(None) as memory:
        thread = threading.Thread(target=work, args=(memory,))
        thread.start()
        thread.join()
    assert said == [["a"]] or isinstance(said[0], kullm.errors.KullmError)


def test_several_runs_in_threads_each_with_a_memory_of_its_own_do_not_meddle() -> None:
    found: dict[int, list[str | Failure]] = {}
    chance = random.Random(1)
    pauses = [chance.random() / 500 for _ in range(50)]

    def work(number: int) -> None:
        def call(batch: Sequence[str]) -> list[str]:
            time.sleep(pauses[int(batch[0]) % 50])
            return [f"{text} of {number}" for text in batch]

        found[number] = ran(call, numbered(200), Limits(items=3, in_flight=4))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{text} of {number}" for text in numbered(200)] for number in range(4)}
