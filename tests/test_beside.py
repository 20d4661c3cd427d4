"""What a second process does is what this one would have done, in order, whatever happens to it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from kullm.beside import Beside
from kullm.translators.apart import judged, laid, opened

Texts: TypeAlias = tuple[dict[str, str], dict[str, str]]
COUNT = 1_003


def texts(number: int) -> Texts:
    """Texts of which every third has lost its number; every tenth row has nothing to judge."""
    if number % 10 == 9:
        return {}, {}
    said = "이 문장에는 숫자가 없습니다." if number % 3 == 0 else f"숫자 {number}이 여기 있습니다."
    return {"output": f"The number {number} stands here \ud800."}, {"output": said}


def wanted(count: int) -> list[tuple[int, Any]]:
    return [(number, judged(*texts(number), "en", "ko")) for number in range(count)]


def through(beside: Beside, count: int, *, ahead: bool = False) -> Iterator[tuple[int, Any]]:
    line = beside.line(judged, ahead=ahead)
    for number in range(count):
        yield from line.add(number, *texts(number), "en", "ko")
    yield from line.rest()


def children() -> list[int]:
    """The processes beside this one."""
    mine = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"kullm.beside" in command:
            mine.append(int(folder.name))
    return mine


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def up(beside: Beside) -> None:
    """Wait until the second process is there."""
    while not beside.there(judged):
        pass


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("after", [0, 45, 10_000])
def test_items_come_back_in_order_with_what_they_get_without_it(after: int, ahead: bool) -> None:
    with Beside(after) as beside:
        assert list(through(beside, COUNT, ahead=ahead)) == wanted(COUNT)
        assert bool(children()) == (after < 10_000)
    assert children() == []


@pytest.mark.parametrize("ahead", [False, True])
def test_a_second_process_that_dies_costs_nothing(ahead: bool) -> None:
    with Beside(0) as beside:
        up(beside)
        found = []
        for number, one in enumerate(through(beside, COUNT, ahead=ahead)):
            found.append(one)
            if number == 100:
                for child in children():
                    os.kill(child, signal.SIGKILL)
    assert found == wanted(COUNT)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_second_process_that_stands_still_holds_up_nothing_for_long(
    ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kullm.beside._LONGEST", 0.3)
    long = "A word. " * 40_000
    with Beside(0) as beside:
        up(beside)
        line = beside.line(judged, ahead=ahead)
        for child in children():
            os.kill(child, signal.SIGSTOP)
        found = [one for n in range(300) for one in line.add(n, {"output": long}, {"output": "말"}, "en", "ko")]
        found += line.rest()
    assert [number for number, _ in found] == list(range(300))
    assert all(said and said[0]["kind"] == "length" for _, said in found)


def test_another_kullm_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kullm.beside.__file__", "/elsewhere/kullm/beside.py")
    with Beside(0) as beside:
        assert list(through(beside, COUNT)) == wanted(COUNT)
        time.sleep(1)
        assert not beside.there(judged)


def test_two_lines_through_one_process_keep_their_own_order() -> None:
    with Beside(0) as beside:
        up(beside)
        one, other = beside.line(judged), beside.line(laid, ahead=True)
        found: list[Any] = []
        laid_out: list[Any] = []
        for number in range(COUNT):
            found += one.add(number, *texts(number), "en", "ko")
            laid_out += other.add(number, [f"Line {number}.\n`code`"], None, True)
        found += one.rest()
        laid_out += other.rest()
    assert found == wanted(COUNT)
    assert [(n, opened(*apart)) for n, apart in laid_out] == [
        (n, opened(*laid([f"Line {n}.\n`code`"], None, True))) for n in range(COUNT)
    ]


def test_without_a_python_to_start_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Beside(0) as beside:
        assert list(through(beside, 200)) == wanted(200)


def test_an_error_of_the_work_is_raised_here_and_not_lost_there() -> None:
    with Beside(0) as beside:
        up(beside)
        line = beside.line(int)
        with pytest.raises(ValueError, match="'x'"):
            list(line.add(0, "7")) + [one for _ in range(100) for one in line.add(1, "x")] + list(line.rest())


def test_nothing_stays_behind_when_the_items_are_left_early() -> None:
    with Beside(0) as beside:
        up(beside)
        items = through(beside, COUNT)
        assert next(items) == wanted(1)[0]
        assert children()
    assert children() == []
