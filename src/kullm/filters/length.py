"""The paper's length rule: nothing shorter than 10 characters (paper 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kullm.rows import Batch


@dataclass(frozen=True)
class MinLength:
    """Rejects a row when one of `fields` has fewer than `characters` characters, white space around it not counted."""

    characters: int = 10
    fields: tuple[str, ...] = ("instruction", "output")

    def __post_init__(self) -> None:
        object.__setattr__(self, "characters", int(self.characters))

    @property
    def identity(self) -> str:
        return f"min-length/{self.characters}/{','.join(self.fields)}"

    def reject(self, rows: Batch) -> Sequence[str | None]:
        """ "<field> has fewer than <n> characters" or None, a row each."""
        reasons: list[str | None] = []
        for row in rows:
            short = [name for name in self.fields if len(getattr(row, name).strip()) < self.characters]
            reasons.append(f"{short[0]} has fewer than {self.characters} characters" if short else None)
        return reasons
