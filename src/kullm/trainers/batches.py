"""From rows to token ids: prompt and answer are tokenised apart and joined, so the mask is known and never searched
for.

Nothing here needs torch; `kullm.trainers.sft` turns packs into tensors.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kullm.models.huggingface import prompt_ids
from kullm.rows import Example, Failure
from kullm.templates import PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one row, and how many of them, at the start, are the prompt: the rest is trained on."""

    id: str
    ids: tuple[int, ...]
    prompt: int

    @property
    def trained(self) -> int:
        """The number of tokens that the loss is taken on: the answer and the end of text."""
        return len(self.ids) - self.prompt


def encode(
    example: Example, template: PromptTemplate, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> Encoded | Failure:
    """Token ids of one row: the prompt, the answer and the end of text; the last two are trained on (paper 3.2).

    A row without an answer, or longer than `max_tokens`, is a `Failure`: nothing is cut out of an answer in silence.
    """
    if not example.output.strip():
        return Failure(example.id, "train", "no target token: the output is empty")
    prompt = prompt_ids(tokenizer, template.prompt(example))
    answer: list[int] = tokenizer(example.output, add_special_tokens=False)["input_ids"]
    ids = (*prompt, *answer, int(tokenizer.eos_token_id))
    if len(ids) > max_tokens:
        return Failure(example.id, "train", f"longer than {max_tokens} tokens", "Raise max_tokens.")
    return Encoded(example.id, ids, len(prompt))


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


def packs(rows: Sequence[Encoded], tokens: int) -> list[list[Encoded]]:
    """The rows of one optimiser step in packs of at most `tokens` tokens (a longer row stands alone), first fit
    decreasing.

    Rows only move within their step, so the step's gradient is that of the plain order.
    """
    out: list[list[Encoded]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        place = next((place for place, left in enumerate(room) if left >= len(row.ids)), None)
        if place is None:
            out.append([row])
            room.append(tokens - len(row.ids))
        else:
            out[place].append(row)
            room[place] -= len(row.ids)
    return out
