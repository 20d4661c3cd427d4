"""Rows that several tests train on."""

from __future__ import annotations

from typing import Any

from kullm.rows import dataset

COLUMNS = ("id", "source", "licence", "instruction", "input", "output", "history")


def rows(count: int = 12, length: int = 4) -> Any:
    """Rows of different lengths, some with an input; an answer has up to `length` sentences."""
    return dataset(
        [
            {
                "id": f"row-{n}",
                "instruction": f"{n}번 문장을 써 주세요." + " 길게 써 주세요." * (n % 3),
                "input": "구름은 하늘에 있습니다." if n % 2 else "",
                "output": f"하늘에 구름이 {n}개 있습니다. " * (1 + n % length),
            }
            for n in range(count)
        ],
        COLUMNS,
    )
