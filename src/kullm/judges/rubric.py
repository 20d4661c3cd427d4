"""What is judged: named criteria, each with its own range, and the words in which a judge is asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from kullm.errors import UsageError


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question about an answer and the range of its score. `label` is how the judge's form names it."""

    name: str
    low: float
    high: float
    question: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"The criterion {self.name!r} ranges from {self.low} to {self.high}.")

    @property
    def binary(self) -> bool:
        """Whether the range is 0–1."""
        return (self.low, self.high) == (0, 1)


@dataclass(frozen=True, slots=True)
class Rubric:
    """Criteria, and for a judge that reads: the system message and the item, with the places {instruction}, {input},
    {response}.
    """

    name: str
    criteria: tuple[Criterion, ...]
    system: str = ""
    item: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        names = [criterion.name for criterion in self.criteria]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"The rubric {self.name!r} needs criteria with different names.")

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with any word of the rubric."""
        return hashlib.sha256(json.dumps(asdict(self), ensure_ascii=False).encode()).hexdigest()[:12]

    def summary(self) -> str:
        """Name, hash and ranges as JSON: what a score must carry with it to be read later."""
        ranges = {criterion.name: [criterion.low, criterion.high] for criterion in self.criteria}
        return json.dumps({"name": self.name, "hash": self.hash, "criteria": ranges}, ensure_ascii=False)


KULLM_PAPER = Rubric(
    name="kullm-paper",
    source="KULLM paper, section 4.2; the form at the end of the item is that of the released code (eval.py)",
    criteria=(
        Criterion(
            "understandability", 0, 1, "입력 (Input)에 기반하여 응답 (Response)를 이해 할 수 있나요?", "이해 가능성"
        ),
        Criterion("naturalness", 1, 3, "사람이 자연스럽게 말할 법한 지시어 (Instruction) 인가요?", "자연스러움"),
        Criterion("context", 1, 3, "입력 (Input)을 고려했을 때 응답 (Response)가 맥락을 유지하나요?", "맥락 유지"),
        Criterion("interest", 1, 3, "응답 (Response)가 지루한가요, 아니면 흥미로운가요?", "흥미롭기"),
        Criterion(
            "instruction_use", 0, 1, "지시어 (Instruction)에 기반하여 응답 (Response)를 생성 했나요?", "지시어 사용"
        ),
        Criterion(
            "overall", 1, 5, "위의 답변을 바탕으로 이 발언의 전반적인 품질에 대한 인상은 어떤가요?", "전반적인 품질"
        ),
    ),
    system="""두 사람 간의 대화가 주어집니다. 다음의 지시어(Instruction), 입력(Input)을 받게 될 것입니다. \
그리고 지시어와 입력에 대한 응답(Response)이 제시됩니다.
당신의 작업은 응답을 평가 단계에 따라 응답을 평가하는 것입니다.
이 평가 기준을 꼼꼼히 읽고 이해하는 것이 중요합니다. 평가하는 동안 이 문서를 계속 열어두고 필요할 때 참조해 주세요.

평가 기준:
- 이해 가능성 (0 - 1): 입력 (Input)에 기반하여 응답 (Response)를 이해 할 수 있나요?
- 자연스러움 (1 - 3): 사람이 자연스럽게 말할 법한 지시어 (Instruction) 인가요?
- 맥락 유지 (1 - 3): 입력 (Input)을 고려했을 때 응답 (Response)가 맥락을 유지하나요?
- 흥미롭기 (1 - 3): 응답 (Response)가 지루한가요, 아니면 흥미로운가요?
- 지시어 사용 (0 - 1): 지시어 (Instruction)에 기반하여 응답 (Response)를 생성 했나요?
- 전반적인 품질 (1 - 5): 위의 답변을 바탕으로 이 발언의 전반적인 품질에 대한 인상은 어떤가요?

평가 단계:
1. Instruction, Input, 그리고 Response를 주의 깊게 읽습니다.
2. 위의 평가 기준에 따라 Response를 평가합니다.""",
    item="""Instruction: {instruction}
Input: {input}
Response: {response}

Result:
- 이해 가능성 (0 - 1):
- 자연스러움 (1 - 3):
- 맥락 유지 (1 - 3):
- 흥미롭기 (1 - 3):
- 지시어 사용 (0 - 1):
- 전반적인 품질 (1 - 5):""",
)
"""The paper's six criteria, its words, and the form by which the released code asks for the scores.

One fault of the paper's is kept: the question of `naturalness` is about the instruction, which is the same for every
model.
"""
