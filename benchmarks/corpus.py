"""Rows like those of instruction data sets, as many as are wanted: the demo's own, each line made one of its own.

And a server's translations of them: the demo's Korean where it is known, and made-up syllables for the rest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kullm
from kullm.testing import pseudo_korean
from kullm.translators import Recorded

DEMO = Path(kullm.__file__).parent / "demo"
_WORD = re.compile(r"[a-z]{4,}")
_LEAD = re.compile(r"^(?:\s|[-*+>#|]+\s|\d+[.)]\s)*")


def rows(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """`count` rows whose lines, code and lists are as in the demo, but no two the same."""
    known = _demo()
    words = sorted({word for row in known for word in _WORD.findall(row["output"].lower())})
    chance = random.Random(seed)
    for number in range(count):
        row = known[number % len(known)]
        texts = {name: _other(row[name], words, chance) for name in ("instruction", "input", "output")}
        yield {"id": str(number), "source": "bench", "licence": "Apache-2.0", **texts}


def korean(text: str) -> str:
    """The translation of a line of `rows`; tags for spans stay."""
    line, *words = text.rsplit(" ", 3)
    known = _lines().get(_LEAD.sub("", line)) if len(words) == 3 else None
    return f"{known} {pseudo_korean(' '.join(words))}" if known else pseudo_korean(text)


@cache
def _demo() -> list[dict[str, str]]:
    return list(kullm.load(DEMO / "alpaca.json", DEMO / "dolly.jsonl", DEMO / "sharegpt.json").to_list())


@cache
def _lines() -> dict[str, str]:
    """The demo's translations, line by line, without what leads a line."""
    recorded = Recorded(*sorted(DEMO.glob("*.ko.*")))
    texts = [row[name] for row in _demo() for name in ("instruction", "input", "output") if row[name]]
    pairs: dict[str, str] = {}
    for text, said in zip(texts, recorded.translate(texts, source="en", target="ko"), strict=True):
        old, new = text.split("\n"), said.split("\n")
        if len(old) == len(new):
            pairs |= {_LEAD.sub("", a): _LEAD.sub("", b) for a, b in zip(old, new, strict=True)}
    return pairs


def _other(text: str, words: list[str], chance: random.Random) -> str:
    lines = text.split("\n")
    return "\n".join(
        f"{line} {' '.join(chance.choices(words, k=3))}" if any(map(str.isalpha, line)) else line for line in lines
    )
