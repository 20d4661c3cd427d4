"""Files of pairs, a text and its translation: JSONL, and TMX, the exchange format of translation memories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from kullm.errors import InputError

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, slots=True)
class Units:
    """What a TMX file holds of two languages: its pairs, each with its place for error messages.

    `left_out` counts the units that have both languages, but a text with a gap, an inline element that says nothing of
    itself; `languages` are those of the file, as it spells them.
    """

    pairs: list[tuple[str, str, str]]
    left_out: int
    languages: list[str]


def read_pairs(file: Path, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    """The pairs of a file, each with its place for error messages."""
    return iter(read_tmx(file, source, target).pairs) if file.suffix.lower() == ".tmx" else _jsonl(file)


def _data(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} is not to be read: {error.strerror}.") from None


def _jsonl(file: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(_data(file).split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            pair = json.loads(line)
            text, translation = pair["source"], pair["target"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = translation = None
        if not isinstance(text, str) or not isinstance(translation, str):
            raise InputError(
                f'{place}: expected {{"source": "…", "target": "…"}}, got {short(line.decode("utf-8", "replace"))}'
            )
        yield text, translation, place


def read_tmx(file: Path, source: str, target: str) -> Units:
    """The units of a TMX file in two languages. A region counts as its language, unless another region is wanted."""
    root = _parsed(file)
    pairs: list[tuple[str, str, str]] = []
    left_out = 0
    languages: dict[str, None] = {}
    for number, unit in enumerate(_named(root, "tu"), 1):
        texts: dict[str, str | None] = {}
        for variant in _named(unit, "tuv"):
            language = variant.get(LANG) or variant.get("lang") or ""
            languages[language] = None
            for segment in _named(variant, "seg"):
                texts[language] = texts.get(language) or _text(segment)
        sides = [_best(texts, source), _best(texts, target)]
        if None in sides:
            continue
        text, said = (texts[side] for side in sides if side is not None)
        if text is None or said is None:
            left_out += 1
        else:
            pairs.append((text, said, f"{file}, unit {number}"))
    return Units(pairs, left_out, [language for language in languages if language])


def _parsed(file: Path) -> ElementTree.Element:
    def refuse(*_: object) -> None:
        raise InputError(f"{file}: a TMX file that declares entities is not read.")

    data = _data(file)
    look = expat.ParserCreate()
    look.EntityDeclHandler = refuse
    try:
        look.Parse(data, True)
        return ElementTree.fromstring(data)
    except expat.ExpatError as error:
        raise InputError(f"{file}:{error.lineno}: not a TMX file: {error}.") from None


def _text(segment: ElementTree.Element) -> str | None:
    """The text of a segment; None where it has a gap."""
    gap = any(not "".join(mark.itertext()) for mark in _named(segment, "ph"))
    return None if gap else "".join(segment.itertext())


def _best(texts: Mapping[str, str | None], wanted: str) -> str | None:
    """The language of a unit that is the wanted one: a whole text before one with a gap, then the very region."""
    parts = _parts(wanted)
    fit = [name for name in texts if all(one == other for one, other in zip(_parts(name), parts, strict=False))]
    return min(fit, key=lambda name: (texts[name] is None, _parts(name) != parts), default=None)


def _parts(language: str) -> list[str]:
    return language.lower().replace("_", "-").split("-")


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """The elements of that name, in whatever namespace the file puts them."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")
