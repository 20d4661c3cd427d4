"""The ShareGPT format: {"id", "conversations": [{"from": "human" or "gpt", "value"}]}."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kullm.rows import Failure
from kullm.sources.format import Format, Record, Row, Source, failure, identifier, objects, row, text, valid


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    value: str

    @property
    def fault(self) -> str:
        """Why this turn is part of no pair whatever stands beside it; "" where nothing is wrong with it."""
        if self.role == "system":
            return "system turn"
        if self.role not in ("human", "gpt"):
            return f"unknown role {self.role[:40]!r}"
        if not valid(self.value):
            return "not valid Unicode"
        return "" if self.value.strip() else "empty turn"

    def is_good(self, role: str) -> bool:
        return self.role == role and not self.fault


def _read(record: Record, id: str) -> Iterable[Row | Failure]:
    """Every turn is in a row or in a failure of its own, whose id is "<conversation id>-turn-<index of the turn>"."""
    id = identifier(record, id)
    turns = [
        _Turn(text(turn, "from", f"conversations[{n}].from"), text(turn, "value", f"conversations[{n}].value"))
        for n, turn in enumerate(objects(record, "conversations"))
    ]
    if not turns:
        yield failure(id, "empty conversation")
    pairs = 0
    answered = False
    for n, turn in enumerate(turns):
        if answered:
            answered = False
        elif turn.is_good("human") and n + 1 < len(turns) and turns[n + 1].is_good("gpt"):
            yield row(f"{id}-{pairs}", turn.value, "", turns[n + 1].value)
            pairs += 1
            answered = True
        else:
            yield failure(f"{id}-turn-{n}", turn.fault or _unpaired(turn, turns[:n]))


def _unpaired(turn: _Turn, earlier: list[_Turn]) -> str:
    if turn.role == "human":
        return "no answer"
    return "no question" if any(other.role == "human" for other in earlier) else "conversation starts with gpt"


FORMAT = Format("sharegpt", ("conversations",), _read)
"""One row a pair of a human turn and the gpt turn right after it, with the id "<conversation id>-<index of the pair>".

Every other turn is a `Failure`: "conversation starts with gpt", "no question" (a gpt turn without a good human turn
right before it), "no answer" (a human turn without a good gpt turn right after it), "empty turn", "system turn",
"unknown role …", "not valid Unicode".
"""

SHAREGPT = Source(
    "sharegpt",
    FORMAT,
    "CC0 1.0",
    hub="anon8231489123/ShareGPT_Vicuna_unfiltered",
    file="ShareGPT_V3_unfiltered_cleaned_split.json",
)
"""ShareGPT V3: conversations that users shared, as Markdown, long ones split. CC0 by its card.

The raw dump (RyokoAI/ShareGPT52K) has 90,665 conversations as HTML; this is made of it.
"""
