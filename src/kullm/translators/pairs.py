"""Files of pairs, a text and its translation: JSONL, and TMX, the exchange format of translation memories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from kullm.errors import InputError

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def read_pairs(file: Path, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    """The pairs of a file, each with its place for error messages."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} is not to be read: {error.strerror}.") from None
    return _tmx(file, data, source, target) if file.suffix.lower() == ".tmx" else _jsonl(file, data)


def _jsonl(file: Path, data: bytes) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(data.split(b"\n"), 1):
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


def _tmx(file: Path, data: bytes, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    def refuse(*_: object) -> None:
        raise InputError(f"{file}: a TMX file that declares entities is not read.")

    look = expat.ParserCreate()
    look.EntityDeclHandler = refuse
    try:
        look.Parse(data, True)
        root = ElementTree.fromstring(data)
    except expat.ExpatError as error:
        raise InputError(f"{file}:{error.lineno}: not a TMX file: {error}.") from None
    for number, unit in enumerate(_named(root, "tu"), 1):
        texts: dict[str, str] = {}
        for variant in _named(unit, "tuv"):
            language = (variant.get(LANG) or variant.get("lang") or "").lower().replace("_", "-").split("-")[0]
            for segment in _named(variant, "seg"):
                if not any(not "".join(mark.itertext()) for mark in _named(segment, "ph")):  # it says nothing of itself
                    texts.setdefault(language, "".join(segment.itertext()))
        if source in texts and target in texts:
            yield texts[source], texts[target], f"{file}, unit {number}"


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """The elements of that name, in whatever namespace the file puts them."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")
