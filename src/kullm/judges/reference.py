"""A judge that needs no key: it compares with the reference and looks for the faults that a machine can see.

It is not the paper's judge and its scores are not comparable with GPT-4's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

from kullm.filters import language_of
from kullm.judges.rubric import Criterion, Rubric
from kullm.remote import Limits
from kullm.rows import Answer, Failure, Judgment

_LOOP = re.compile(r"(.{2,40}?)\1{3,}", re.DOTALL)
_ENDED = {"stop": 1.0, "length": 0.0}
"""Whether a model ended by itself, by finish reason; of an answer from elsewhere that cannot be told."""

_NUMBER = re.compile(r"\d+")
_WINDOW, _TIMES = 20, 4


@dataclass(frozen=True)
class Reference:
    """Four measures: chrF against the reference (0–100, sacrebleu's chrF2), is the answer in `language` (langid),
    did it end by itself, is it free of loops (no text of 2–40 characters four times in a row, no 20 characters four
    times).

    An answer without a reference is a `Failure`.
    """

    language: str = "ko"

    @property
    def identity(self) -> str:
        return f"reference/{self.language} sacrebleu={version('sacrebleu')} langid={version('langid')}"

    @property
    def limits(self) -> Limits:
        return Limits(items=64)

    @cached_property
    def rubric(self) -> Rubric:
        return Rubric(
            name=f"kullm-reference-{self.language}",
            source="kullm: chrF by sacrebleu, language by langid, and two rules; not the paper's judge",
            criteria=(
                Criterion("chrF", 0, 100, "How many character n-grams does the answer share with the reference?"),
                Criterion("in_language", 0, 1, f"Is the answer in the language {self.language!r}?"),
                Criterion("ended", 0, 1, "Did the model end the answer by itself?"),
                Criterion("no_loops", 0, 1, "Is the answer free of loops?"),
            ),
        )

    def score(self, answers: Sequence[Answer]) -> list[Judgment | Failure]:
        """Scores without asking anybody."""
        return [self._score(answer) for answer in answers]

    def _score(self, answer: Answer) -> Judgment | Failure:
        if not answer.reference.strip():
            return Failure(answer.id, "judge", "the question has no reference")
        from sacrebleu import sentence_chrf

        return Judgment(
            {
                "chrF": float(sentence_chrf(answer.text, [answer.reference]).score),
                "in_language": float(language_of(answer.text) == self.language),
                "ended": _ENDED.get(answer.finish_reason),
                "no_loops": float(not loops(answer.text)),
            }
        )


def loops(text: str) -> bool:
    """Whether a text repeats itself the way a stuck model does; numbers that count on do not hide it.

    What repeats must hold a letter, or be the same numbers for 20 characters: rules and frames of tables may repeat.
    """
    plain = _NUMBER.sub("0", text)
    if any(any(map(str.isalpha, match[1])) for match in _LOOP.finditer(plain)):
        return True
    if any(any(map(str.isdigit, match[1])) and len(match[0]) >= _WINDOW for match in _LOOP.finditer(text)):
        return True
    windows = Counter(plain[start : start + _WINDOW] for start in range(len(plain) - _WINDOW + 1))
    return any(count >= _TIMES and any(map(str.isalpha, window)) for window, count in windows.items())
