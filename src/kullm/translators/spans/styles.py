"""How an engine is shown a protected span, and how its answer is read.

Reading is tolerant where there is no doubt of what the engine did to a placeholder; everything else is `Damage`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kullm.errors import UsageError
from kullm.translators.spans.segments import Segment, marks
from kullm.translators.spans.sentences import MASK, ends


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a translation. `kind`: a short fixed word; `evidence`: the span or the words that show it.

    Kinds: "empty", "span lost", "span twice", "spans bunched", "span moved", "span glued", "stray placeholder",
    "stray tag".
    """

    kind: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Style:
    """How an engine is shown a span: `placeholder` with {} for the number, such as "⟦{}⟧".

    With `xml` the words are escaped and the placeholder is a tag: what is sent is well-formed XML content, and no
    span is part of it. A segment without a span is sent as its bare words in both ways, and never escaped.
    """

    placeholder: str
    xml: bool = False

    def __post_init__(self) -> None:
        before, hole, after = self.placeholder.partition("{}")
        if not (hole and before and after) or "{}" in after or before[-1].isdigit() or after[0].isdigit():
            raise UsageError(f"{self.placeholder!r} is no placeholder: it needs {{}} once, with a sign on either side.")

    def write(self, segment: Segment) -> str:
        """What is sent for `segment`."""
        parts = segment.parts
        if len(parts) == 1:
            return parts[0]
        first = _forms(self.placeholder, self.xml).first(parts)
        written = [_escaped(words) for words in parts[0::2]] if self.xml else list(parts[0::2])
        said = written[0]
        for number, words in enumerate(written[1:], first):
            said += self.placeholder.replace("{}", str(number)) + words
        return said

    def read(self, said: str, segment: Segment) -> str | Damage:
        """The translation `said` with the spans of `segment` back in it, each once and verbatim, or what is wrong."""
        parts = segment.parts
        if not said.isprintable():
            said = " ".join([line.strip() for line in said.splitlines() if line.strip()])
            said = _without_invisible(said, parts)
        said = said.strip()
        if (marker := _MARKER.match(said)) and not _MARKER.match(f"{parts[0]} "):  # no segment begins with one
            said = said[marker.end() :]
        if "`" in said and said.count("`") > sum(words.count("`") for words in parts[0::2]):
            return Damage("stray mark", "`")
        if "\ue000" in said:
            return Damage("stray placeholder", MASK)
        forms = _forms(self.placeholder, self.xml)
        if len(parts) == 1:
            words = [unescaped(said)]
            return _empty(words, parts) or forms.stray(words, parts, tags=False) or words[0]
        found, order = forms.split(said, forms.first(parts))
        words = [unescaped(x) for x in found] if "&" in said else found
        damage = (
            _miscounted(order, parts)
            or _empty(words, parts)
            or forms.stray(words, parts, tags=self.xml)
            or _misplaced(words, order, parts)
        )
        return damage or _whole(words, order, parts)


XML = Style('<x id="{}"/>', xml=True)
"""DeepL's tag_handling=xml: empty tags are not billed, and what they stand for is not sent."""

PLAIN = Style("⟦{}⟧")
"""Brackets that no source text holds: `protect` makes a span of any that it finds."""


_MARKER = re.compile(r"(?:(?:#{1,6}|[-*+•>])\s+)+(?=\S)")
"""What makes a heading, a list item or a quotation of a line."""
_INVISIBLE = "\u200b\u2060\ufeff"


def _without_invisible(said: str, parts: Sequence[str]) -> str:
    source = "".join(parts)
    return "".join(sign for sign in said if sign not in _INVISIBLE or sign in source)


_ENTITY = re.compile(r"&(?:amp;)*(?:(lt|gt|quot|apos|amp|nbsp)|#(\d{1,7})|#[xX]([0-9A-Fa-f]{1,6}));")
_NAMED = {"lt": "<", "gt": ">", "quot": '"', "apos": "'", "amp": "&", "nbsp": "\xa0"}


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescaped(words: str) -> str:
    """`words` without entities, however often they were escaped: the words of a segment hold none in the source."""
    while "&" in words and (plain := _ENTITY.sub(_character, words)) != words:
        words = plain
    return words


def _character(match: re.Match[str]) -> str:
    name, decimal, hexadecimal = match.groups()
    if name:
        return _NAMED[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    readable = code < 0x110000 and chr(code).isprintable()
    return chr(code) if readable else match[0]


_FULL = 0xFEE0  # from an ASCII sign to its full-width form
_QUOTE = r"""(?:["'“”„‟«»＂‘’＇\\]|&(?:amp;)*(?:quot|apos|\#34|\#39);)*"""
_LIKE = {
    "<": "(?:[<＜]|&(?:amp;)*lt;)", ">": "(?:[>＞]|&(?:amp;)*gt;)", '"': _QUOTE, "'": _QUOTE, " ": r"\s*",
    "⟦": "[⟦〚]", "⟧": "[⟧〛]",
}  # fmt: skip


def _like(text: str) -> str:
    """A pattern for `text` and for what engines make of it: case, width, quotes, white space, entities."""
    signs = []
    for sign in text:
        twins = _twins(sign)
        signs.append(_LIKE.get(sign) or f"[{''.join(map(re.escape, sorted(twins)))}]")
    return r"\s*".join(signs)


@dataclass(frozen=True, slots=True)
class _Forms:
    """The patterns of one style: a placeholder with its number, and what a broken one leaves behind."""

    pattern: re.Pattern[str]
    left: re.Pattern[str]
    gate: re.Pattern[str]

    def first(self, parts: Sequence[str]) -> int:
        """The number of the first span: 0, or past the numbers that the words themselves seem to show."""
        if not self.gate.search("".join(parts[0::2])):
            return 0
        return max((int(number) + 1 for words in parts[0::2] for number in self.pattern.findall(words)), default=0)

    def split(self, said: str, first: int) -> tuple[list[str], list[int]]:
        """The words between the placeholders, and the placeholders' numbers from 0 on; below `first` all is words."""
        found = self.pattern.split(said)
        words, order = found[:1], []
        shown = self.pattern.finditer(said) if first else None
        for number, after in zip(found[1::2], found[2::2], strict=True):
            literal = next(shown)[0] if shown else ""
            if int(number) < first:
                words[-1] += literal + after
            else:
                order.append(int(number) - first)
                words.append(after)
        return words, order

    def stray(self, words: Sequence[str], parts: Sequence[str], *, tags: bool) -> Damage | None:
        """What is left of a placeholder, or of a tag, that the source does not have."""
        said = MASK.join(words)
        if not self.gate.search(said):
            return None
        source = MASK.join(parts[0::2])
        if found := _more(self.left.findall(said), self.left.findall(source)):
            return Damage("stray placeholder", found)
        if "<" in said or ">" in said:
            if tags and (said.count("<") > source.count("<") or said.count(">") > source.count(">")):
                return Damage("stray tag", said)
            if found := _more(_TAG.findall(said), _TAG.findall(source)):
                return Damage("stray tag", found)
        return None


_TAG = re.compile(r"</?\s*[A-Za-z][^<>]{0,80}>")


@lru_cache(maxsize=64)
def _forms(placeholder: str, xml: bool) -> _Forms:
    before, after = placeholder.split("{}")
    opening, closing = _like(before), _like(after)
    left = [rf"{opening}\s*\d", rf"\d\s*{closing}" if len(after) > 1 or not after.isascii() else r"(?!)"]
    if xml:
        name, *attribute = re.findall(r"[A-Za-z]+", before)
        lt, gt, slash = _LIKE["<"], _LIKE[">"], "[/／]"
        closing = rf"{_QUOTE}\s*(?:{slash}\s*{gt}|{gt}(?:\s*{lt}\s*{slash}\s*{_like(name)}\s*{gt})?)"
        left += [rf"{lt}\s*{slash}?\s*{_like(name)}\b", rf"\b{_like(name)}\s+{_like(''.join(attribute[:1]))}\s*[=＝]"]
        left += [rf"\b{_like(''.join(attribute[:1]))}\s*[=＝]\s*{_QUOTE}\s*\d", rf"\d\s*{_QUOTE}\s*{slash}\s*{gt}"]
    odd = sorted({sign for sign in placeholder if not sign.isascii()})
    left += [_LIKE.get(sign) or re.escape(sign) for sign in odd]
    signs = "<>=" if xml else "<>" + "".join(placeholder.replace("{}", "").split())
    gate = {twin for sign in signs for twin in _twins(sign)}
    either = re.compile(f"[{re.escape(''.join(sorted(gate)))}]")
    return _Forms(re.compile(rf"{opening}\s*(\d{{1,6}})\s*{closing}"), re.compile("|".join(left)), either)


def _twins(sign: str) -> set[str]:
    """`sign` in either case and either width, and what engines write for our brackets."""
    twins = {sign.lower(), sign.upper(), *{"⟦": "〚", "⟧": "〛"}.get(sign, "")}
    return twins | {chr(ord(twin) + _FULL) for twin in twins if "!" <= twin <= "~"}


def _more(found: Sequence[str], source: Sequence[str]) -> str:
    """Something that `found` has more often than `source`, else ""."""
    return next(iter(Counter(found) - Counter(source)), "") if found else ""


_LETTER = re.compile(r"[^\W\d_]")
_SOMETHING = re.compile(r"[^\W_]")
# scripts that put no space between words
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def _empty(words: Sequence[str], parts: Sequence[str]) -> Damage | None:
    if any(map(_SOMETHING.search, words)) or not any(map(_SOMETHING.search, parts[0::2])):
        return None
    return Damage("empty", " ".join(words).strip())


def _miscounted(order: Sequence[int], parts: Sequence[str]) -> Damage | None:
    """Every span exactly once, and no other number."""
    count = len(parts) // 2
    seen = Counter(order)
    for number in range(count):
        if not seen[number]:
            return Damage("span lost", parts[2 * number + 1])
    for number, times in seen.items():
        if not 0 <= number < count:
            return Damage("stray placeholder", str(number))
        if times > 1:
            return Damage("span twice", parts[2 * number + 1])
    return None


def _misplaced(words: Sequence[str], order: Sequence[int], parts: Sequence[str]) -> Damage | None:
    """Spans where they cannot have stood: bunched, in another sentence, inside a word, marks turned round."""
    source = parts[0::2]
    if len(order) > 1:
        empty = sum(_LETTER.search(between) is None for between in words[1:-1])
        if empty > sum(_LETTER.search(between) is None for between in source[1:-1]):
            return Damage("spans bunched", "".join(words))
    place = {number: k for k, number in enumerate(order)}
    pairs = marks(parts)
    for opening, closing in pairs:
        here, there = place[opening], place[closing]
        if here > there or (there == here + 1 and not words[there].strip()):
            return Damage("span moved", parts[2 * opening + 1])
    paired = {number for pair in pairs for number in pair}
    for k, number in enumerate(order):
        sides = words[k][-1:], words[k + 1][:1], source[number][-1:], source[number + 1][:1]
        if number not in paired and _glued(*sides):
            return Damage("span glued", parts[2 * number + 1])
    return _elsewhere(words, order, parts)


def _glued(left: str, right: str, was_left: str, was_right: str) -> bool:
    """Whether a span now stands inside a word, or touches Latin letters that would become a part of it."""
    new = [now for now, was in ((left, was_left), (right, was_right)) if now.isalnum() and not was.isalnum()]
    inside = left.isalnum() and right.isalnum() and not (_SPACELESS.match(left) or _SPACELESS.match(right))
    return bool(new) and (inside or any(map(str.isascii, new)))


def _elsewhere(words: Sequence[str], order: Sequence[int], parts: Sequence[str]) -> Damage | None:
    """With as many sentences as in the source, every span stands in the sentence in which it stood."""
    source = parts[0::2]
    was = MASK.join(source)
    before = ends(was)
    if not before:
        return None
    now = MASK.join(words)
    after = ends(now)
    if len(before) != len(after):
        return None
    home = _sentences(was, before)
    for number, sentence in zip(order, _sentences(now, after), strict=True):
        if home[number] != sentence:
            return Damage("span moved", parts[2 * number + 1])
    return None


def _sentences(masked: str, cuts: Sequence[tuple[int, int]]) -> list[int]:
    """For each span of a masked text, the number of the sentence that it stands in."""
    found: list[int] = []
    start = 0
    for number, (end, begin) in enumerate([*cuts, (len(masked), 0)]):
        found += [number] * masked.count(MASK, start, end)
        start = begin
    return found


_OPEN_END = re.compile(r"(?:[#@]\w+|(?:://|www\.)\S*\w)\Z")
"""A tag, a mention, an address: a particle right behind it would be read as a part of it."""


def _whole(words: list[str], order: Sequence[int], parts: Sequence[str]) -> str:
    """The spans back among the words; marks stand against the words that they mark, as Markdown wants it."""
    for opening, closing in marks(parts):
        here, there = order.index(opening), order.index(closing)
        if (inner := words[here + 1])[:1].isspace():
            words[here] += inner[: len(inner) - len(inner.lstrip())]
            words[here + 1] = inner.lstrip()
        if (inner := words[there])[-1:].isspace():
            words[there + 1] = inner[len(inner.rstrip()) :] + words[there + 1]
            words[there] = inner.rstrip()
    for k, number in enumerate(order):
        behind, was = words[k + 1][:1], parts[2 * number + 2][:1]
        if behind.isalnum() and not was.isalnum() and _OPEN_END.search(parts[2 * number + 1]):
            words[k + 1] = " " + words[k + 1]
    said = words[0] + "".join([parts[2 * number + 1] + words[k + 1] for k, number in enumerate(order)])
    return said.strip()
