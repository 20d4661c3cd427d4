"""Which rows make which optimiser step, and how the rows of a step are divided into forward passes.

Rows only move within their step, so the gradient of each step is that of the plain order.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kullm.trainers.batches import Encoded

PADDING = 1.05
"""The most that padding may add to a padded pass: tokens computed to tokens of the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The rows of one forward pass. The first `shared` tokens are the same in all of them, and computed once."""

    rows: tuple[Encoded, ...]
    shared: int = 0
    packed: bool = True

    @property
    def tokens(self) -> int:
        """The tokens that are computed: padding counts, what is shared counts once."""
        if self.packed:
            return self.shared + sum(len(row) - self.shared for row in self.rows)
        return len(self.rows) * max(map(len, self.rows))


@dataclass(frozen=True, eq=False)
class Course:
    """All that is decided before the first step: the rows in the order of the run, and how each step is divided.

    `steps` are the numbers of the rows of each optimiser step; `aside` the rows that are held out; `tokens` the size
    of a forward pass; `prefixes` what rows begin with in common, computed once a pass where rows are `packed`.
    """

    rows: Sequence[Encoded]
    steps: Sequence[Sequence[int]]
    tokens: int
    aside: Sequence[Encoded] = ()
    packed: bool = True
    prefixes: Sequence[np.ndarray[Any, Any]] = ()

    def passes(self, rows: Sequence[Encoded]) -> list[Pass]:
        """The forward passes of the rows of one step."""
        return packed(rows, self.tokens, self.prefixes) if self.packed else padded(rows, self.tokens)

    def step(self, number: int) -> list[Encoded]:
        """The rows of an optimiser step, from 0."""
        return [self.rows[place] for place in self.steps[number]]

    @property
    def computed(self) -> int:
        """The tokens that are computed in the whole run: padding counts, what is shared counts once a pass."""
        return sum(one.tokens for number in range(len(self.steps)) for one in self.passes(self.step(number)))


def steps(rows: int, *, batch: int, epochs: int, seed: int) -> list[list[int]]:
    """The row numbers of every optimiser step: each epoch a new order, `batch` rows a step, the epoch's last may be
    smaller.
    """
    order = list(range(rows))
    plan: list[list[int]] = []
    for epoch in range(epochs):
        mixed = order.copy()
        random.Random(f"{seed}/{epoch}").shuffle(mixed)
        plan.extend(mixed[start : start + batch] for start in range(0, rows, batch))
    return plan


def packed(rows: Sequence[Encoded], tokens: int, prefixes: Sequence[np.ndarray[Any, Any]] = ()) -> list[Pass]:
    """The rows of one step in passes of at most `tokens` tokens (a longer row stands alone), best fit decreasing.

    Rows that begin with one of `prefixes` share it.
    """
    groups: dict[int, list[Encoded]] = defaultdict(list)
    for row in rows:
        groups[_prefix(row, prefixes)].append(row)
    made: list[Pass] = []
    for place, group in sorted(groups.items()):
        shared = len(prefixes[place]) if place >= 0 else 0
        several: list[list[Encoded]] = []
        room: list[int] = []
        for row in sorted(group, key=len, reverse=True):
            need = len(row) - shared
            fitting = [(left, number) for number, left in enumerate(room) if left >= need]
            if fitting:
                left, number = min(fitting)
                several[number].append(row)
                room[number] = left - need
            else:
                several.append([row])
                room.append(tokens - len(row))
        made.extend(Pass(tuple(pack), shared if len(pack) > 1 else 0) for pack in several)
    return made


def padded(rows: Sequence[Encoded], tokens: int) -> list[Pass]:
    """The rows of one step, sorted by length, in passes of at most `tokens` tokens with their padding (a longer row
    stands alone); padding adds at most five hundredths.
    """
    made: list[list[Encoded]] = []
    for row in sorted(rows, key=len, reverse=True):
        if made:
            longest, several = len(made[-1][0]), len(made[-1]) + 1
            real = sum(map(len, made[-1])) + len(row)
            if longest * several <= tokens and longest * several <= PADDING * real:
                made[-1].append(row)
                continue
        made.append([row])
    return [Pass(tuple(several), packed=False) for several in made]


def prefixes(rows: Sequence[Encoded], *, least: int = 8) -> list[np.ndarray[Any, Any]]:
    """The beginnings that many rows have in common, the longest first: a template's text before the first instruction,
    one for each of its forms.

    Each has at least `least` tokens and is had by a twentieth of the rows or more. The place where the first answer
    is predicted lies behind it.
    """
    found: list[np.ndarray[Any, Any]] = []

    def divide(group: list[Encoded], depth: int) -> None:
        common = depth + _common([row.ids[depth : row.answers[0][0] - 1] for row in group])
        apart: dict[int, list[Encoded]] = defaultdict(list)
        for row in group:
            if row.answers[0][0] - 1 > common:
                apart[int(row.ids[common])].append(row)
        large = [several for several in apart.values() if 20 * len(several) >= len(rows) and len(several) > 1]
        # The forms of a template are few; the first words of many instructions are no form.
        if 10 * sum(map(len, large)) >= 9 * len(group) and len(large) <= 4 and common < len(group[0]):
            for several in large:
                divide(several, common)
        elif common >= least:
            found.append(group[0].ids[:common])

    usable = [row for row in rows if row.answers and row.answers[0][0] > 1]
    if len(usable) > 1:
        divide(usable, 0)
    return sorted(found, key=len, reverse=True)


def divided(passes: Sequence[Pass], parts: int) -> list[list[Pass]]:
    """The passes of one step for `parts` processes: as many for each, their tokens as even as may be.

    Where there are too few, a part has fewer; its process repeats a pass without weight.
    """
    if parts == 1:
        return [list(passes)]
    shares: list[list[Pass]] = [[] for _ in range(parts)]
    most = -(-len(passes) // parts)
    for one in sorted(passes, key=lambda one: -one.tokens):
        open = [share for share in shares if len(share) < most]
        min(open, key=lambda share: sum(each.tokens for each in share)).append(one)
    return shares


def _prefix(row: Encoded, prefixes: Sequence[np.ndarray[Any, Any]]) -> int:
    """Which of `prefixes`, the longest first, the row begins with; -1 for none."""
    for place, prefix in enumerate(prefixes):
        size = len(prefix)
        if row.answers[0][0] - 1 >= size and np.array_equal(row.ids[:size], prefix):
            return place
    return -1


def _common(several: Sequence[np.ndarray[Any, Any]]) -> int:
    """The number of first elements that all arrays have in common."""
    first, size = several[0], min(map(len, several))
    for other in several:
        differ = np.nonzero(first[:size] != other[:size])[0]
        if len(differ):
            size = int(differ[0])
    return size
