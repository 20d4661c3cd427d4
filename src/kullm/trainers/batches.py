"""From rows to token ids and to what the loss is taken on: prompt and answer are tokenised apart and joined, so the
mask is known and never searched for.

Nothing here needs torch; `kullm.trainers.packed` turns rows into tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from kullm.errors import InputError
from kullm.models.straddle import crossed
from kullm.models.tokens import Ids
from kullm.rows import Example, Failure, Turn
from kullm.rows import example as example_of
from kullm.templates import Exchange, PromptTemplate, exchanges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Token ids of one row, int32 of shape [n], and the stretches of them that are trained on: [start, stop)."""

    id: str
    ids: np.ndarray[Any, np.dtype[np.int32]]
    answers: tuple[Span, ...]

    @property
    def trained(self) -> int:
        """The number of tokens that the loss is taken on: the answers, each with its end of text."""
        return sum(stop - start for start, stop in self.answers)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Shortened:
    """A row that was too long: how many tokens it lost, and of what ("input" or "earlier turns")."""

    id: str
    tokens: int
    what: str


@dataclass(slots=True)
class Tokenised:
    """What became of the rows of a data set: those to train on, and all that was lost on the way.

    `covered` are rows of a conversation whose answer is trained in a later row of it, which holds them as earlier
    turns. `straddling` are rows in which a token would go across the border of prompt and answer, were they tokenised
    at once: what they teach to begin with, no text begins with.
    """

    rows: list[Encoded] = field(default_factory=list)
    shortened: list[Shortened] = field(default_factory=list)
    covered: list[str] = field(default_factory=list)
    straddling: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, more: Tokenised) -> None:
        """Take in what became of more rows."""
        for name in ("rows", "shortened", "covered", "straddling", "failures"):
            getattr(self, name).extend(getattr(more, name))

    @property
    def tokens(self) -> int:
        """The tokens of all rows, the prompts' and the answers'."""
        return sum(map(len, self.rows))

    @property
    def trained(self) -> int:
        """The tokens that the loss is taken on."""
        return sum(row.trained for row in self.rows)


def encode(
    records: Iterable[Mapping[str, Any]],
    template: PromptTemplate,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    everything: bool = False,
) -> Iterator[Tokenised]:
    """Rows as token ids, about 1,000 at a time; the loss is on each answer and its end of text (paper 3.2), or on
    `everything`.

    A row longer than `max_tokens` loses the end of its input, or else its oldest turns, never a part of its own
    answer. A row that is still too long, or has no answer, is a `Failure`. A row of a conversation (`parent`) that is
    an earlier turn of another row is trained there, once: the last rows of a conversation come first.
    """
    encoder = _Encoder(template, tokenizer, max_tokens, everything)
    rows = encoder.chats.latest_first(records)
    while batch := list(islice(rows, 1000)):
        yield encoder.encode(batch)


class _Encoder:
    """Makes ids of rows, and shortens a row until they are few enough."""

    def __init__(
        self, template: PromptTemplate, tokenizer: PreTrainedTokenizerBase, max_tokens: int, everything: bool
    ) -> None:
        self.template, self.max_tokens, self.everything = template, max_tokens, everything
        self.ids = Ids(tokenizer, bos_each_turn=getattr(template, "bos_each_turn", False))
        self.chats = _Chats()

    def encode(self, batch: Sequence[tuple[Example, str]]) -> Tokenised:
        """What becomes of rows, each with the conversation that it is of."""
        out = Tokenised()
        good = [(row, parent, turns) for row, parent in batch if (turns := self._turns(row, parent, out))]
        borders = [(row.id, turn) for row, _, turns in good for turn in turns]
        across = crossed([(turn.prompt, turn.answer) for _, turn in borders], self.ids.tokenizer)
        out.straddling += dict.fromkeys(id for (id, _), bad in zip(borders, across, strict=True) if bad)
        made = self.ids.conversations([turns for _, _, turns in good])
        for (row, parent, _), (ids, answers) in zip(good, made, strict=True):
            self._add(row, parent, ids, answers, out)
        return out

    def _turns(self, row: Example, parent: str, out: Tokenised) -> Sequence[Exchange]:
        """The turns of a row; none where it is not trained on, which is said in `out`."""
        if not row.output.strip():
            out.failures.append(Failure(row.id, "train", "no target token: the output is empty"))
            return []
        if self.chats.is_covered(row, parent):
            out.covered.append(row.id)
            return []
        try:
            return exchanges(self.template, row)
        except InputError as error:
            out.failures.append(Failure(row.id, "train", error.what, error.next))
            return []

    def _add(self, row: Example, parent: str, ids: list[int], answers: list[Span], out: Tokenised) -> None:
        if self.chats.is_covered(row, parent):  # by a row of this batch
            out.covered.append(row.id)
            return
        whole = len(ids)
        if whole > self.max_tokens:
            fitting = self._fitted(row, whole)
            if isinstance(fitting, Failure):
                out.failures.append(fitting)
                return
            short, ids, answers = fitting
            what = "input" if short.input != row.input else "earlier turns"
            out.shortened.append(Shortened(row.id, whole - len(ids), what))
            row = short
        wanted = self.chats.to_train(row, parent, answers)
        if self.everything:
            wanted = [(0, len(ids))]
        # Nothing stands before the first token, so nothing predicts it.
        spans = tuple((max(start, 1), stop) for start, stop in wanted)
        out.rows.append(Encoded(row.id, np.asarray(ids, dtype=np.int32), spans))

    def _fitted(self, row: Example, length: int) -> tuple[Example, list[int], list[Span]] | Failure:
        """A row of `length` tokens cut down to `max_tokens`: the end of its input goes, or else its oldest turns."""
        for short in chain(self._shorter(row, length - self.max_tokens), self._younger(row)):
            ids, answers = self.ids.conversations([exchanges(self.template, short)])[0]
            if len(ids) <= self.max_tokens:
                return short, ids, answers
        cause = f"longer than {self.max_tokens} tokens, and there is no input to shorten by that much"
        return Failure(row.id, "train", cause, "Raise max_tokens.")

    def _shorter(self, row: Example, over: int) -> Iterator[Example]:
        """The row without the last `over` tokens of its input, then without more, as long as something is left."""
        if not row.input.strip():
            return
        given: dict[str, Any] = {"add_special_tokens": False, "return_offsets_mapping": True}
        places: list[Span] = self.ids.tokenizer(row.input, **given)["offset_mapping"]
        keep, step = len(places) - over, 1
        while keep > 0:
            if cut := row.input[: places[keep - 1][1]].rstrip():
                yield replace(row, input=cut)
            keep = keep - step if keep > step else min(keep - 1, 1)
            step *= 2

    def _younger(self, row: Example) -> Iterator[Example]:
        """The row without its oldest turn, then without the next."""
        for first in range(1, len(row.history) + 1):
            yield replace(row, history=row.history[first:])


class _Chats:
    """Keeps account of which answers of a conversation have been trained, so that none is twice.

    Only rows with a `parent` are parts of a conversation that has other rows; the answers of all other rows, those of
    their earlier turns too, are trained where they stand.
    """

    def __init__(self) -> None:
        self._own: dict[str, set[Turn]] = {}

    def latest_first(self, records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Example, str]]:
        """Each row with the conversation it is of ("" for none); those of one conversation from its end."""
        waiting: list[tuple[int, Example, str]] = []
        for record in records:
            row, parent = example_of(record), str(record.get("parent") or "")
            if not parent:
                yield row, ""
            else:
                self._own.setdefault(parent, set()).add(Turn(row.instruction, row.output))
                waiting.append((_number(record.get("turn") or 0, row.id), row, parent))
        waiting.sort(key=lambda one: -one[0])
        for _, row, parent in waiting:
            yield row, parent

    def is_covered(self, row: Example, parent: str) -> bool:
        """Whether the row's answer has been trained in another row."""
        return bool(parent) and Turn(row.instruction, row.output) not in self._own[parent]

    def to_train(self, row: Example, parent: str, answers: Sequence[Span]) -> list[Span]:
        """Those of the row's answers, its own last, that have not been trained and are rows of the data set; and none
        that is empty.
        """
        said = [(turn, span) for turn, span in zip(row.history, answers, strict=False) if turn.output.strip()]
        if not parent:
            return [*(span for _, span in said), answers[-1]]
        open = self._own[parent]
        wanted = [span for turn, span in said if turn in open]
        open.difference_update(row.history, [Turn(row.instruction, row.output)])
        return [*wanted, answers[-1]]


def _number(turn: Any, id: str) -> int:
    """A row's place in its conversation."""
    try:
        return int(turn)
    except (TypeError, ValueError):
        cause = f"The turn of row {id} is {turn!r}; expected a number, its place in the conversation."
        raise InputError(cause) from None
