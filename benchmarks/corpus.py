"""Rows like those of instruction data sets, as many as are wanted: the demo's own rows, each line made a line of its own."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import kullm

_WORD = re.compile(r"[a-z]{4,}")


def rows(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """`count` rows whose lines, code and lists as in the demo, are not those of another row."""
    demo = Path(kullm.__file__).parent / "demo"
    known = kullm.load(demo / "alpaca.json", demo / "dolly.jsonl", demo / "sharegpt.json").to_list()
    words = sorted({word for row in known for word in _WORD.findall(row["output"].lower())})
    chance = random.Random(seed)
    for number in range(count):
        row = known[number % len(known)]
        texts = {name: _other(row[name], words, chance) for name in ("instruction", "input", "output")}
        yield {"id": str(number), "source": "bench", "licence": "Apache-2.0", **texts}


def _other(text: str, words: list[str], chance: random.Random) -> str:
    lines = text.split("\n")
    return "\n".join(
        f"{line} {' '.join(chance.choices(words, k=3))}" if any(map(str.isalpha, line)) else line for line in lines
    )
