"""A memory's answers to files and back: so that people's translation memories work here, and ours leave with them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr, unescape

from kullm.errors import InputError, UsageError
from kullm.remote import Memory
from kullm.translators.imported import identity_of
from kullm.translators.pairs import Units, read_tmx, short

_SPAN = re.compile(r'<x id="(\d+)"/>')
_BATCH = 1000
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4">
<header creationtool="kullm" creationtoolversion="{version}" segtype="block" o-tmf="kullm" adminlang="en"
 srclang="{source}" datatype="plaintext"/>
<body>
"""
_UNIT = """<tu><prop type="x-identity">{identity}</prop>
<tuv xml:lang="{source}"><seg>{text}</seg></tuv>
<tuv xml:lang="{target}"><seg>{said}</seg></tuv></tu>
"""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot hold."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What an export or import did: `done` pairs, and `left_out` ones that are empty or do not fit the format."""

    done: int
    left_out: int = 0


def export_memory(memory: Memory, path: str | Path, *, identity: str = "") -> Counted:
    """Write the answers whose identity begins with `identity` to a .jsonl or .tmx file.

    JSONL holds everything, and `import_memory` restores it in another memory. TMX holds translations, protected spans
    as empty <ph> elements, and leaves out what XML cannot hold. The file is there whole or not at all.
    """
    path = Path(path)
    writers = {".jsonl": _jsonl, ".tmx": _tmx}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"{path}: expected a name that ends in .jsonl or .tmx.")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="\n") as file:
            counted = write(memory.pairs(identity), file.write)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path} is not to be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    return counted


def _jsonl(pairs: Iterable[tuple[str, Mapping[str, Any], str, Any]], write: Any) -> Counted:
    done = 0
    for identity, about, item, value in pairs:
        shown: dict[str, Any] = {}
        if "target" in about and isinstance(value, str):
            shown = {"source": sent(item)[0], "target": value}
        line = shown | {"identity": identity, "about": about, "item": item, "value": value}
        write(json.dumps(line, ensure_ascii=False) + "\n")
        done += 1
    return Counted(done)


def _tmx(pairs: Iterable[tuple[str, Mapping[str, Any], str, Any]], write: Any) -> Counted:
    done = left_out = 0
    open_ = False
    for identity, about, item, value in pairs:
        text, xml = sent(item)
        if "target" not in about or not isinstance(value, str) or _CONTROL.search(text + value):
            left_out += 1
            continue
        languages = {"source": about["source"], "target": about["target"]}
        if not open_:
            write(_HEAD.format(version=version("kullm"), source=about["source"]))
            open_ = True
        shown = _marked if xml else escape
        write(_UNIT.format(identity=escape(identity), text=shown(text), said=shown(value), **languages))
        done += 1
    if not open_:
        write(_HEAD.format(version=version("kullm"), source="*all*"))
    write("</body>\n</tmx>\n")
    return Counted(done, left_out)


def _marked(xml: str) -> str:
    """A text with tags for spans, as XML of TMX: its words were escaped when they were sent."""
    parts = _SPAN.split(xml)
    return "".join(
        f"<ph x={quoteattr(part)}/>" if place % 2 else escape(unescape(part)) for place, part in enumerate(parts)
    )


def sent(item: str) -> tuple[str, bool]:
    """The text that was sent, and whether as XML, of an item of a translation."""
    if not item.startswith("\x1e"):
        return item, False
    text, xml, _ = json.loads(item[1:])
    return str(text), bool(xml)


def import_memory(memory: Memory, path: str | Path, *, source: str = "en", target: str = "ko") -> Counted:
    """Take the pairs of a .jsonl or .tmx file into a memory.

    What `export_memory` wrote as JSONL is restored as it was. Other pairs answer for every translator, before it is
    asked: a whole text, or what stands between line ends and spans. The languages are those of pairs that name none.
    Units of TMX with an inline element that says nothing of itself, as an empty <ph>, are left out.

    Raises `InputError` for a line that is no pair, and for a TMX file without a pair in these languages.
    """
    path = Path(path)
    done = left_out = 0
    found: Iterator[tuple[str, Mapping[str, Any], str, Any]]
    if path.suffix.lower() == ".tmx":
        units = _units(path, source, target)
        left_out = units.left_out
        about: Mapping[str, Any] = {"source": source, "target": target}
        found = ((identity_of(source, target), about, text, said) for text, said, _ in units.pairs)
    else:
        found = _lines(path, source, target)
    batches: dict[str, dict[str, Any]] = {}
    abouts: dict[str, Mapping[str, Any]] = {}
    for identity, about, item, value in found:
        if not item.strip() or (isinstance(value, str) and not value.strip()):
            left_out += 1
            continue
        batch = batches.setdefault(identity, {})
        abouts.setdefault(identity, about)
        batch[item] = value
        done += 1
        if len(batch) >= _BATCH:
            memory.add(identity, about, batch)
            batches[identity] = {}
    for identity, batch in batches.items():
        memory.add(identity, abouts[identity], batch)
    return Counted(done, left_out)


def _units(path: Path, source: str, target: str) -> Units:
    units = read_tmx(path, source, target)
    if not units.pairs and not units.left_out:
        there = f"It holds {', '.join(units.languages)}." if units.languages else "It holds no text in any language."
        raise InputError(f"{path} has no pair from {source} to {target}.", next=there)
    return units


def _lines(path: Path, source: str, target: str) -> Iterator[tuple[str, Mapping[str, Any], str, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _line(line, f"{path}:{number}", source, target)
    except OSError as error:
        raise InputError(f"{path} is not to be read: {error.strerror}.") from None


def _line(line: bytes, place: str, source: str, target: str) -> tuple[str, Mapping[str, Any], str, Any]:
    expected = '{"source": "…", "target": "…"}'
    try:
        pair = json.loads(line)
        json.dumps(pair, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        if "identity" in pair:
            expected = "identity and item as texts, about as an object, and a text (for a translation) as value"
            found = pair["identity"], pair["about"], pair["item"], pair["value"]
        else:
            about = {"source": source, "target": target}
            found = identity_of(source, target), about, pair["source"], pair["target"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if found is None or not _is_answer(*found):
        raise InputError(f"{place}: expected {expected}, got {short(line.decode('utf-8', 'replace').strip())}")
    return found


def _is_answer(identity: object, about: object, item: object, value: object) -> bool:
    """Whether this can be an answer of a memory: a text, or of a model or a judge also an object."""
    if not (isinstance(identity, str) and isinstance(about, dict) and isinstance(item, str)):
        return False
    translation = "target" in about or identity.startswith("imported ")
    return isinstance(value, str) or (isinstance(value, dict) and not translation)
