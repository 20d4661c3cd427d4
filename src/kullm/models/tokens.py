"""From texts to token ids, the same in training and in generation: prompt and answer are tokenised apart and joined,
so where an answer begins is known and never searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kullm.templates import Exchange

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Ids:
    """Makes token ids with one tokenizer.

    A special token that is written in a prompt is that token, as it is for every server that a prompt is sent to. In
    an answer it is text: `</s>` is a tag of HTML too. `bos_each_turn`: every turn begins with the tokenizer's
    beginning of text, not the first alone.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, bos_each_turn: bool = False) -> None:
        self.tokenizer, self.bos_each_turn = tokenizer, bos_each_turn
        self.eos = int(tokenizer.eos_token_id)
        added = {int(place) for place, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = frozenset(added | {int(one) for one in tokenizer.all_special_ids})
        self._bos = str(tokenizer.bos_token or "")
        bare, whole = (next(self._plain(["a"], start=start)) for start in (False, True))
        self._ends = whole[-1:] == [self.eos] != bare[-1:]  # it puts an end behind every text

    def conversations(self, rows: Sequence[Sequence[Exchange]]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """For each row's turns the token ids, and where in them each answer with its end stands: [start, stop).

        An answer ends with the tokenizer's end of text, unless the template's own end is a special token.
        """
        turns = [(place, turn) for row in rows for place, turn in enumerate(row)]
        prompts = self._prompts([(turn.prompt, not place) for place, turn in turns])
        answers = self._plain([turn.answer for _, turn in turns], split_special_tokens=True)
        closing = {end: self._closing(end) for end in {turn.end for _, turn in turns}}
        made: list[tuple[list[int], list[tuple[int, int]]]] = []
        for row in rows:
            ids: list[int] = []
            places: list[tuple[int, int]] = []
            for turn in row:
                ids += next(prompts)
                start = len(ids)
                ids += next(answers)
                ids += closing[turn.end]
                places.append((start, len(ids)))
            made.append((ids, places))
        return made

    def question(self, earlier: Sequence[Exchange], prompt: str) -> list[int]:
        """The token ids of `prompt` behind the `earlier` turns: what a model continues."""
        before = self.conversations([earlier])[0][0]
        return before + next(self._prompts([(prompt, not earlier)]))

    def _prompts(self, texts: Sequence[tuple[str, bool]]) -> Iterator[list[int]]:
        """Of each text, the first of its row or not: with the tokenizer's start, unless the text brings its own;
        without the tokenizer's end.
        """
        starts = [
            (first or self.bos_each_turn) and not (self._bos and text.startswith(self._bos)) for text, first in texts
        ]
        bare = self._plain([text for (text, _), start in zip(texts, starts, strict=True) if not start])
        full = self._plain([text for (text, _), start in zip(texts, starts, strict=True) if start], start=True)
        for start in starts:
            ids = next(full if start else bare)
            yield ids[:-1] if start and self._ends else ids

    def _closing(self, end: str) -> list[int]:
        ids = next(self._plain([end])) if end else []
        return ids if ids and ids[-1] in self.special else [*ids, self.eos]

    def _plain(self, texts: Sequence[str], *, start: bool = False, **settings: Any) -> Iterator[list[int]]:
        if not texts:
            return iter(())
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=start, **settings)["input_ids"]
        return iter(ids)
