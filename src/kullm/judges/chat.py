"""A judge that asks a chat model in the words of a rubric and reads the form that it fills in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kullm.judges.rubric import KULLM_PAPER, Criterion, Rubric
from kullm.models import Completion, Model, OpenAI, Prompt
from kullm.remote import Limits
from kullm.rows import Answer, Failure, Judgment

_PLACE = re.compile(r"\{(instruction|input|response)\}")
_SCORE = re.compile(r"([0-9]{1,3})(?:\s*/\s*([0-9]{1,3}))?\s*점?(?:[.,]\D*|\s*\(\D*|\s+[-–—]\s\D*)?")
"""A score, perhaps with its highest value, perhaps with words behind it; another number behind it makes it no score."""


@dataclass(frozen=True)
class ChatJudge:
    """Any `Model` as a judge. Each criterion must be scored exactly once, by name, within its range; everything else
    is a `Failure`.
    """

    model: Model
    rubric: Rubric = KULLM_PAPER

    @property
    def identity(self) -> str:
        return f"{self.model.identity} rubric={self.rubric.name}/{self.rubric.hash}"

    @property
    def limits(self) -> Limits:
        return self.model.limits

    def ask(self, answer: Answer) -> Prompt:
        """The question about one answer: the rubric as the system message, the item as the user's."""
        values = {"instruction": answer.instruction, "input": answer.input, "response": answer.text}
        return Prompt(_PLACE.sub(lambda place: values[place[1]], self.rubric.item), self.rubric.system)

    def read(self, completion: Completion) -> Judgment | Failure:
        """The scores in a reply. A reply that was cut, leaves a criterion out or scores it twice is a `Failure`."""
        if completion.finish_reason == "length":
            return Failure("", "judge", "the judge's reply was cut short")
        found: dict[str, set[float]] = {}
        for line in completion.text.split("\n"):
            label, colon, rest = line.strip(" \t\r-*").partition(":")
            criterion = self._named(label.partition("(")[0]) if colon else None
            score = _SCORE.fullmatch(rest.strip(" \t*")) if criterion else None
            if criterion and score and (score[2] is None or float(score[2]) == criterion.high):
                found.setdefault(criterion.name, set()).add(float(score[1]))
        missing = [criterion.name for criterion in self.rubric.criteria if criterion.name not in found]
        if missing:
            return Failure("", "judge", f"the judge's reply has no score for {', '.join(missing)}")
        twice = [name for name, scores in found.items() if len(scores) > 1]
        if twice:
            return Failure("", "judge", f"the judge's reply scores {', '.join(twice)} more than once, and differently")
        scores = {criterion.name: found[criterion.name].pop() for criterion in self.rubric.criteria}
        for criterion in self.rubric.criteria:
            if not criterion.low <= scores[criterion.name] <= criterion.high:
                return Failure("", "judge", f"the judge's reply gives {criterion.name} {scores[criterion.name]:g}")
        return Judgment(scores, completion.text)

    def score(self, answers: Sequence[Answer]) -> list[Judgment | Failure]:
        """Ask the model about each answer and read its replies."""
        replies = self.model.generate([self.ask(answer) for answer in answers])
        return [reply if isinstance(reply, Failure) else self.read(reply) for reply in replies]

    def _named(self, label: str) -> Criterion | None:
        bare = re.sub(r"[\s*]", "", label)
        return next((c for c in self.rubric.criteria if bare in (re.sub(r"\s", "", c.label), c.name)), None)


@dataclass(frozen=True)
class GPT4(ChatJudge):
    """The paper's judge (section 4.2): GPT-4 with the six criteria. `GPT4(OpenAI("gpt-4o"))` asks another model."""

    model: Model = field(default_factory=lambda: OpenAI("gpt-4"))
