"""A translator that knows recorded pairs: a translation memory in JSONL or TMX, answered word for word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from kullm.errors import InputError
from kullm.remote import Limits

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, init=False)
class Recorded:
    """Answers from files of recorded pairs; asks nobody. A text that it does not know is an `InputError` that names it.

    JSONL files hold {"source": …, "target": …} a line; TMX files hold units with a variant in each language.
    Two different translations of one text are an `InputError` that names both places.
    """

    files: tuple[str, ...]
    source: str
    target: str

    def __init__(self, *files: str | Path, source: str = "en", target: str = "ko") -> None:
        pairs: dict[str, str] = {}
        places: dict[str, str] = {}
        for file in files:
            for text, translation, place in _pairs(Path(file), source, target):
                if pairs.setdefault(text, translation) != translation:
                    raise InputError(f"{place} translates a text otherwise than {places[text]}: {_short(text)}")
                places.setdefault(text, place)
        if not pairs:
            raise InputError(
                f"No recorded pair from {source} to {target} in {', '.join(map(str, files)) or 'no file'}."
            )
        object.__setattr__(self, "files", tuple(map(str, files)))
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "target", target)
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

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """The recorded translation of each text."""
        if (source, target) != (self.source, self.target):
            raise InputError(f"These pairs go from {self.source} to {self.target}; asked for {source} to {target}.")
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            raise InputError(
                f"{len(unknown)} text(s) have no recorded translation in {', '.join(self.files)}; "
                f"the first: {_short(unknown[0])}",
                next="Add the pair, or translate with a service (DeepL: set DEEPL_AUTH_KEY).",
            )
        return [self._known[text] for text in texts]


def _pairs(file: Path, source: str, target: str) -> Iterator[tuple[str, str, str]]:
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
                f'{place}: expected {{"source": "…", "target": "…"}}, got {_short(line.decode("utf-8", "replace"))}'
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
            language = (variant.get(_LANG) or variant.get("lang") or "").lower().replace("_", "-").split("-")[0]
            for segment in _named(variant, "seg"):
                texts.setdefault(language, "".join(segment.itertext()))
        if source in texts and target in texts:
            yield texts[source], texts[target], f"{file}, unit {number}"


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """The elements of that name, in whatever namespace the file puts them."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")
