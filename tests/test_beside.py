"""Verdicts from a second process are those of this one, in order, whatever happens to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from kullm.translators.verdicts import verdicts
from kullm.translators.verdicts.beside import Beside, Found

Texts: TypeAlias = tuple[dict[str, str], dict[str, str]]


def texts(number: int) -> Texts | None:
    """Texts of which every third has lost its number; every tenth row has nothing to judge."""
    if number % 10 == 9:
        return None
    said = "이 문장에는 숫자가 없습니다." if number % 3 == 0 else f"숫자 {number}이 여기 있습니다."
    return {"output": f"The number {number} stands here."}, {"output": said}


def wanted(count: int) -> list[tuple[int, Found]]:
    found: list[tuple[int, Found]] = []
    for number in range(count):
        pair = texts(number)
        judged = verdicts(*pair) if pair else []
        found.append((number, [{"kind": v.kind, "field": v.field, "evidence": v.evidence} for v in judged]))
    return found


def judged(beside: Beside[int], count: int) -> Iterator[tuple[int, Found]]:
    for number in range(count):
        yield from beside.add(number, texts(number))
    yield from beside.rest()


def children() -> list[int]:
    """The processes beside this one that judge."""
    mine = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"kullm.translators.verdicts.beside" in command:
            mine.append(int(folder.name))
    return mine


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.mark.parametrize("after", [0, 45, 10_000])
def test_rows_come_back_in_order_with_the_verdicts_that_they_get_without_it(after: int) -> None:
    with Beside[int]("en", "ko", after) as beside:
        assert list(judged(beside, 1_003)) == wanted(1_003)
        assert bool(children()) == (after < 10_000)
    assert children() == []


def test_a_second_process_that_dies_costs_no_row_and_no_verdict() -> None:
    with Beside[int]("en", "ko", 0) as beside:
        found = []
        for number, row in enumerate(judged(beside, 1_003)):
            found.append(row)
            if number == 100:
                for child in children():
                    os.kill(child, signal.SIGKILL)
    assert found == wanted(1_003)


def test_without_a_python_to_start_rows_are_judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Beside[int]("en", "ko", 0) as beside:
        assert list(judged(beside, 200)) == wanted(200)


def test_nothing_stays_behind_when_the_rows_are_left_early() -> None:
    with Beside[int]("en", "ko", 0) as beside:
        rows = judged(beside, 1_003)
        assert next(rows) == wanted(1)[0]
        assert children()
    assert children() == []
