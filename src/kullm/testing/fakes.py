"""Translations that ask nobody: a fake translator, and functions of one text that the test servers know by name."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from kullm.errors import Refused
from kullm.remote import Limits

Translations: TypeAlias = Mapping[str, str] | Callable[[str], str]

_LETTERS = r"[^\W\d_²³¹¼-¾⁰-₉⅐-↉①-⓿]+"
"""Without the digits that are no \\d: powers, fractions, circled numbers."""
_KEPT_OR_WORD = re.compile(rf"<[^<>]*>|&#?\w+;|\{{[^{{}}]*\}}|%[sdif]\b|({_LETTERS}(?:['’]{_LETTERS})*)")


@dataclass(eq=False, repr=False)
class FakeTranslator:
    """A translator that asks nobody: "text" becomes "text (ko)", or what a mapping or a function says.

    A text that the mapping lacks is refused, as a service would. `calls` has the texts of every call. Fakes that
    translate differently need different identities where they share a memory. `options` names the further arguments
    ("context", "xml") that it takes, and `given` has those of every call; `placeholder` is how it wants spans shown.
    """

    known: Translations | None = None
    identity: str = field(default="fake", kw_only=True)
    limits: Limits = field(default=Limits(items=16), kw_only=True)
    options: tuple[str, ...] = field(default=(), kw_only=True)
    placeholder: str = field(default="⟦{}⟧", kw_only=True)
    calls: list[tuple[str, ...]] = field(default_factory=list, init=False)
    given: list[dict[str, Any]] = field(default_factory=list, init=False)

    def translate(self, texts: Sequence[str], *, source: str, target: str, **options: Any) -> list[str]:
        """One translation for each text, in order. Raises TypeError for an option that it was not told to take."""
        if unknown := [name for name in options if name not in self.options]:
            raise TypeError(f"translate() got an unexpected keyword argument {unknown[0]!r}")
        self.calls.append(tuple(texts))
        self.given.append(options)
        return translated((lambda text: f"{text} ({target})") if self.known is None else self.known, texts)


def translated(known: Translations, texts: Sequence[str]) -> list[str]:
    """The translation of each of `texts`. Raises Refused for one that a mapping lacks."""
    if not isinstance(known, Mapping):
        return [known(text) for text in texts]
    for text in texts:
        if text not in known:
            raise Refused(f"there is no translation of {text!r} here")
    return [known[text] for text in texts]


def pseudo_korean(text: str) -> str:
    """Hangul that means nothing, word for word and always the same, about half as long as the English.

    Numbers, punctuation, white space, lines, tags, entities and placeholders stay, and so do words in Hangul.
    """
    return _KEPT_OR_WORD.sub(lambda match: _hangul(match[1]) if match[1] else match[0], text)


@lru_cache(maxsize=65536)
def _hangul(word: str) -> str:
    """Two syllables for five letters, of those that are common: 14 consonants, 8 vowels, 4 endings."""
    if "가" <= word[0] <= "힣":
        return word
    state, said = zlib.crc32(word.encode("utf-8", "replace")), []
    for _ in range(max(1, round(len(word) * 0.4))):
        state = (state * 1664525 + 1013904223) % 2**32
        first, vowel = _FIRST[(state >> 8) % len(_FIRST)], _VOWELS[(state >> 16) % len(_VOWELS)]
        said.append(chr(0xAC00 + first * 588 + vowel * 28 + _LAST[(state >> 24) % len(_LAST)]))
    return "".join(said)


_FIRST = (0, 2, 3, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18)
_VOWELS = (0, 1, 4, 6, 8, 13, 18, 20)
_LAST = (0, 0, 4, 8)
"""Numbers of letters in Unicode's order of Hangul (The Unicode Standard, section 3.12)."""

TRANSLATIONS: Mapping[str, Callable[[str], str]] = {
    "identity": lambda text: text,
    "upper": str.upper,
    "korean": pseudo_korean,
}
"""The functions that `python -m kullm.testing --translate` knows by name."""


def reply_with(translate: Callable[[str], str]) -> Callable[[list[dict[str, Any]]], str]:
    """A `reply` for `OpenAIServer` that translates the last message.

    Where it holds a JSON list of {"id", "text"}, the reply is {"translations": [{"id", "text"}, …]} with their texts.
    """

    def reply(messages: list[dict[str, Any]]) -> str:
        asked = str(messages[-1].get("content"))
        items = _items(asked)
        if items is None:
            return translate(asked)
        said = [{"id": item["id"], "text": translate(str(item["text"]))} for item in items]
        return json.dumps({"translations": said}, ensure_ascii=False)

    return reply


def _items(text: str) -> list[dict[str, Any]] | None:
    """The first JSON list of objects with id and text that stands in `text`."""
    decode = json.JSONDecoder().raw_decode
    for match in re.finditer(r"\[\s*\{", text):
        try:
            found, _ = decode(text, match.start())
        except ValueError:
            continue
        if all(isinstance(item, dict) and {"id", "text"} <= item.keys() for item in found):
            return list(found)
    return None
