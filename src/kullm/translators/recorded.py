"""A translator that knows recorded pairs: a translation memory in JSONL or TMX, answered word for word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kullm.errors import InputError
from kullm.remote import Limits
from kullm.translators.languages import code
from kullm.translators.pairs import read_pairs, short


@dataclass(frozen=True, init=False)
class Recorded:
    """Answers from files of recorded pairs; asks nobody. A text that it does not know is an `InputError` that names it.

    JSONL files hold {"source": …, "target": …} a line; TMX files hold units with a variant in each language.
    Two different translations of one text are an `InputError` that names both places.
    """

    files: tuple[str, ...]
    source: str
    target: str
    whole: ClassVar[bool] = True
    """The pairs are of whole texts: nothing is taken out of a text before it is looked up."""

    def __init__(self, *files: str | Path, source: str = "en", target: str = "ko") -> None:
        pairs: dict[str, str] = {}
        places: dict[str, str] = {}
        for file in files:
            for text, translation, place in read_pairs(Path(file), source, target):
                if pairs.setdefault(text, translation) != translation:
                    raise InputError(f"{place} translates a text otherwise than {places[text]}: {short(text)}")
                places.setdefault(text, place)
        if not pairs:
            raise InputError(
                f"No recorded pair from {source} to {target} in {', '.join(map(str, files)) or 'no file'}."
            )
        object.__setattr__(self, "files", tuple(map(str, files)))
        object.__setattr__(self, "source", code(source))
        object.__setattr__(self, "target", code(target))
        object.__setattr__(self, "_pairs", pairs)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def _known(self) -> dict[str, str]:
        pairs: dict[str, str] = self.__dict__["_pairs"]
        return pairs

    @property
    def identity(self) -> str:
        content = json.dumps(sorted(self._known.items())).encode()
        return f"recorded/{hashlib.sha256(content).hexdigest()[:16]}"

    @property
    def limits(self) -> Limits:
        return Limits(items=1000)

    def cost(self, text: str) -> int:
        """Nothing: nobody is asked."""
        return 0

    def knows(self, text: str) -> bool:
        """Whether there is a recorded translation of a text."""
        return text in self._known

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """The recorded translation of each text."""
        if (source, target) != (self.source, self.target):
            raise InputError(f"These pairs go from {self.source} to {self.target}; asked for {source} to {target}.")
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            raise InputError(
                f"{len(unknown)} text(s) have no recorded translation in {', '.join(self.files)}; "
                f"the first: {short(unknown[0])}",
                next="Add the pair, or translate with a service (DeepL: set DEEPL_AUTH_KEY).",
            )
        return [self._known[text] for text in texts]
