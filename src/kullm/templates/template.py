"""How an instruction becomes a prompt, and where an answer ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kullm.errors import InputError, UsageError
from kullm.rows import Example

_PLACE = re.compile(r"\{([^{}]*)\}")


@runtime_checkable
class PromptTemplate(Protocol):
    """Turns a row into the text that a model continues."""

    def prompt(self, example: Example) -> str:
        """The prompt, which ends where the answer begins. The row's output is not part of it."""
        ...

    def answer(self, completion: str) -> str:
        """The answer in what a model wrote after the prompt, cut where the answer ends."""
        ...


@dataclass(frozen=True)
class Template:
    """A template of two texts with the places `{instruction}` and `{input}`.

    `without_input` serves rows whose input is empty; where it is empty, `with_input` serves them too. Rows are put
    in in one pass, so braces in a row mean nothing. `stops` are texts at which a model's answer ends when it goes on
    to write the next prompt.
    """

    name: str
    with_input: str
    without_input: str = ""
    stops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.with_input, self.without_input):
            unknown = set(_PLACE.findall(text)) - {"instruction", "input"}
            if unknown:
                raise UsageError(f"The template {self.name!r} has the unknown place {{{sorted(unknown)[0]}}}.")
        if "{instruction}" not in self.with_input or "{input}" not in self.with_input:
            raise UsageError(f"The template {self.name!r} must have the places {{instruction}} and {{input}}.")

    def prompt(self, example: Example) -> str:
        """The prompt of a row. A row with earlier turns is an `InputError`: this template has no place for them."""
        if example.history:
            raise InputError(
                f"The row {example.id} has earlier turns; the template {self.name!r} has no place for them."
            )
        text = self.with_input if example.input.strip() or not self.without_input else self.without_input
        values = {"instruction": example.instruction, "input": example.input}
        return _PLACE.sub(lambda place: values[place[1]], text)

    def answer(self, completion: str) -> str:
        """`completion` up to the first of `stops`, without the white space around it."""
        text = f"\n{completion}"  # a header may be the first thing that a model writes
        ends = [text.find(stop) for stop in self.stops]
        return text[: min((end for end in ends if end >= 0), default=len(text))].strip()
