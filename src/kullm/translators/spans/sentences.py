"""Where sentences end, in a text whose spans are masked by one sign each."""

from __future__ import annotations

import re

MASK = "\ue000"
"""Stands for a span; a private sign that `protect` makes a span of where a text holds it."""

_END = re.compile(r"[.!?。！？][\"'”’)\]]{0,3}(\s+)(?=[^a-z\s])")
_SHORT = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|e\.g|i\.e|No|Fig|Inc|Ltd|Co|Jr|Sr|approx)|\b[A-Z])\Z")


def ends(masked: str) -> list[tuple[int, int]]:
    """The white space between two sentences of `masked`, as (start, end), in order; none after the last sentence."""
    found: list[tuple[int, int]] = []
    for match in _END.finditer(masked):
        if masked[match.start()] == "." and _SHORT.search(masked, max(0, match.start() - 7), match.start()):
            continue
        found.append(match.span(1))
    return found
