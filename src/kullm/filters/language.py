"""The paper's language filter: langid.py over all its 97 languages (paper 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from kullm.rows import Batch

if TYPE_CHECKING:
    from langid.langid import LanguageIdentifier


@dataclass(frozen=True)
class LangId:
    """Rejects a row when one of `fields` is in another language than `language` (ISO 639-1) by langid.py.

    A text without a letter (numbers, emoji) has no language and is not rejected. langid.py chooses among its 97
    languages; restricting it to two would force the others into one of them.
    """

    language: str = "ko"
    fields: tuple[str, ...] = ("instruction", "output")

    @property
    def identity(self) -> str:
        return f"langid/{self.language}/{','.join(self.fields)}"

    def reject(self, rows: Batch) -> Sequence[str | None]:
        """ "<field> is <language>, not <wanted>" or None, a row each."""
        return [self._reason([(name, getattr(row, name)) for name in self.fields]) for row in rows]

    def _reason(self, texts: Sequence[tuple[str, str]]) -> str | None:
        for name, text in texts:
            found = language_of(text)
            if found not in (None, self.language):
                return f"{name} is {found}, not {self.language} (langid)"
        return None


def language_of(text: str) -> str | None:
    """The language of a text by langid.py (ISO 639-1), or None where it has no letter."""
    if not any(character.isalpha() for character in text):
        return None
    found: str = _identifier().classify(text.encode("utf-8", "replace").decode())[0]
    return found


@cache
def _identifier() -> LanguageIdentifier:
    from langid.langid import LanguageIdentifier, model

    return LanguageIdentifier.from_modelstring(model, norm_probs=False)
