"""A row as what is asked of a translator, and what came back as a row."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kullm.errors import InputError
from kullm.remote import Instead
from kullm.rows import Failure
from kullm.translators.numbers import lost_numbers
from kullm.translators.spans import Damage, Layout, Segment, Style, finer

_TURN = ("instruction", "output")
_LETTER = re.compile(r"[^\W\d_]")
_SCALES = "hundred|hundert|thousand|tausend|million|millionen|mio|billion|milliarden?|mrd|trillion"
_SHORT = "k|m|mn|b|bn"
_NUMBER_ENDS = rf"(?![0-9]|[\s-]?(?i:(?:{_SCALES})s?|{_SHORT})\b)"
"""Not before a scale word: "10 million" would keep an English word as a span; a verdict tells of it instead."""
_CONTEXT = 2_000
"""Characters of earlier turns that go with a text; a service does not bill them, but they fill its requests."""


@dataclass(slots=True)
class Request:
    """One text as it is sent. `segment` is what it was made of, None for a text that goes as it is."""

    sent: str
    segment: Segment | None = None
    xml: bool = False
    context: str = ""
    again: bool = True
    """May it be asked with its numbers protected, should one be lost?"""

    @property
    def key(self) -> str:
        """What decides the translation beside who translates: a plain text is its own key."""
        if not self.xml and not self.context and not self.sent.startswith("\x1e"):
            return self.sent
        context = hashlib.blake2b(self.context.encode("utf-8", "replace"), digest_size=8).hexdigest()
        return "\x1e" + json.dumps([self.sent, self.xml, context if self.context else ""], ensure_ascii=False)

    @property
    def group(self) -> tuple[bool, str]:
        """Requests of one group may share a call."""
        return self.xml, self.context


@dataclass(frozen=True, slots=True)
class Asker:
    """Makes requests of texts, and texts of answers: protect, verify, repair."""

    style: Style
    xml: bool
    protect: bool

    def request(self, segment: Segment, context: str = "", *, again: bool = True) -> Request:
        if not self.protect:
            return Request(segment.parts[0], None, False, context)
        spans = len(segment.parts) > 1
        return Request(self.style.write(segment), segment, spans and self.xml, context, again)

    def accept(self, request: Request, said: str) -> str | Failure | Instead[Request, str]:
        """The translation that an answer holds, whole; or smaller pieces to be asked instead; or the failure."""
        segment = request.segment
        if segment is None:
            return said if said.strip() else Failure("", "translate", "the translation is empty")
        text = self.style.read(said, segment)
        if isinstance(text, Damage):
            return self.smaller(request, segment, text)
        lost = lost_numbers(segment.text, text) if request.again else []
        if not lost or (safer := _as_spans(segment, lost)) == segment:
            return text
        return Instead(
            [self.request(safer, request.context, again=False)],
            lambda results: text if isinstance(results[0], Failure) else results[0],
        )

    def smaller(self, request: Request, segment: Segment, damage: Damage) -> Failure | Instead[Request, str]:
        pieces = finer(segment)
        if pieces is None:
            return Failure("", "translate", f"the translation is damaged: {damage.kind} ({damage.evidence})")
        layout = pieces

        def join(results: list[str | Failure]) -> str | Failure:
            return joined(layout, results)

        return Instead([self.request(part, request.context, again=False) for part in layout.segments], join)


def joined(layout: Layout, results: Sequence[str | Failure]) -> str | Failure:
    """The text of a layout with the results of its segments, or the first failure among them."""
    bad = next((result for result in results if isinstance(result, Failure)), None)
    return bad or layout.text([result for result in results if isinstance(result, str)])


def _as_spans(segment: Segment, numbers: Sequence[str]) -> Segment:
    """The segment with `numbers` protected too; as it is where no word would be left to translate."""
    bare = {number for number in numbers if not _LETTER.search(number)}
    if not bare:
        return segment
    which = "|".join(re.escape(number) for number in sorted(bare, key=len, reverse=True))
    cut = re.compile(rf"(?<![0-9])((?:{which}){_NUMBER_ENDS}(?:\s?%)?)")
    parts: list[str] = []
    for place, part in enumerate(segment.parts):
        parts += [part] if place % 2 else cut.split(part)
    return Segment(tuple(parts)) if any(map(_LETTER.search, parts[0::2])) else segment


def check_texts(record: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raise `InputError` where one of `fields` or an earlier turn holds something else than a text or nothing."""
    for name in fields:
        value = record.get(name)
        if value is not None and not isinstance(value, str):
            raise _no_text(record, name, value)
    for number, turn in enumerate(record.get("history") or ()):
        for name in _TURN:
            if not isinstance(turn[name], str | None):
                raise _no_text(record, f"history[{number}].{name}", turn[name])


def _no_text(record: Mapping[str, Any], name: str, value: object) -> InputError:
    return InputError(
        f"The row {record['id']}: {name} holds a value of the type {type(value).__name__}, and not a text.",
        next="Make texts of this column; a column of other values may only stay, outside `fields`.",
    )


def texts(record: Mapping[str, Any], fields: Sequence[str], *, turns: bool) -> Iterator[tuple[str, str, str]]:
    """Every text of a row that may be translated: its place, the text, and the earlier turns that it is said after."""
    before: list[str] = []
    for number, turn in enumerate(record.get("history") or ()):
        for name in _TURN:
            yield f"history[{number}].{name}", turn[name] or "", _tail(before) if turns else ""
        before += [turn[name] or "" for name in _TURN]
    for name in fields:
        yield name, record[name] or "", _tail(before) if turns else ""


def _tail(said: Sequence[str]) -> str:
    return "\n".join(said)[-_CONTEXT:]


def placed(record: Mapping[str, Any], new: Mapping[str, str], fields: Sequence[str]) -> dict[str, Any]:
    """The row with the texts of `new` in their places."""
    row = {**record, **{name: new[name] for name in fields if name in new}}
    if record.get("history"):
        row["history"] = [
            {name: new.get(f"history[{number}].{name}", turn[name]) for name in _TURN}
            for number, turn in enumerate(record["history"])
        ]
    return row
