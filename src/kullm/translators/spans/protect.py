"""Protection of what must not be translated: a text becomes segments for a translator and frames that stay.

    layout = protect(text)                                   # code, tables, markers, line breaks: frames
    said = [engine(XML.write(s)) for s in layout.segments]   # names, addresses, placeholders in a sentence: spans
    whole = [XML.read(t, s) for t, s in zip(said, layout.segments)]   # each span once, in its place, or Damage
    layout.text(whole)

A segment whose translation is `Damage` is asked for again in the smaller pieces that `finer` gives. Everything here is
pure and deterministic.
"""

from __future__ import annotations

import re

from kullm.translators.spans.codelines import code_lines, may_hold
from kullm.translators.spans.inline import GATE, cut
from kullm.translators.spans.markdown import verbatim
from kullm.translators.spans.segments import Layout, Segment, marks
from kullm.translators.spans.sentences import MASK, ends

VERSION = "1"
"""Of the protection, and a part of the memory's key: whoever changes what is sent for any text must raise it."""


class _Draft:
    """A layout that grows: frames that touch become one."""

    __slots__ = ("frames", "pending", "segments")

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.segments: list[Segment] = []
        self.pending = ""

    def frame(self, text: str) -> None:
        self.pending += text

    def segment(self, parts: tuple[str, ...]) -> None:
        self.frames.append(self.pending)
        self.segments.append(Segment(parts))
        self.pending = ""

    def layout(self) -> Layout:
        return Layout((*self.frames, self.pending), tuple(self.segments))


def protect(text: str) -> Layout:
    """`text` as frames, which stay, and segments, which are translated.

    `protect(t).text([s.text for s in protect(t).segments]) == t` for every text, byte for byte.
    """
    draft = _Draft()
    start = 0
    for begin, end in verbatim(text):
        _stretch(text[start:begin], draft)
        draft.frame(text[begin:end])
        start = end
    _stretch(text[start:] if start else text, draft)
    return draft.layout()


_LEAD = re.compile(
    r"""(?: \#{2,}\s*(?:Instructions?|Inputs?|Response|Human|Assistant|System|User|Context|Output)\b:?
          | (?:USER|ASSISTANT|SYSTEM|HUMAN|BOT|GPT):(?=\s|\Z)
          | >  | \#{1,6}(?=\s) | [-*+•·▪◦‣●○■□–—](?=\s)(?:\s+\[[ xX]\](?=\s))?
          | \(?(?:\d{1,3}|[A-Za-z]|[ivx]{2,5})[.)](?=\s) | \d{1,2}[.)](?=[A-Z"*`]) | \s+ )*+""",
    re.VERBOSE,
)
_LETTER = re.compile(r"[^\W\d_]")
_MORE = re.compile(r"[|:：^=+*/<>√∀∃→\t]|\s{3}")


def _stretch(text: str, draft: _Draft) -> None:
    """Lines without a block among them: code lines are frames, each other line's content is translated by itself."""
    lines = text.splitlines(keepends=True)
    code = code_lines(lines) if may_hold(text) else None
    for number, line in enumerate(lines):
        if code and code[number]:
            draft.frame(line)
            continue
        begin = _LEAD.match(line).end()  # type: ignore[union-attr]  # it matches the empty string too
        content = line[begin:].rstrip()
        if not _LETTER.search(content):
            draft.frame(line)
            continue
        draft.pending += line[:begin]
        spans = GATE.search(content)
        if spans or _MORE.search(content):
            _content(cut(content) if spans else [content], draft)
        else:
            draft.segment((content,))
        draft.pending += line[begin + len(content) :]


_CELL = re.compile(r"(\s*\|\s*|\s*\t\s*|\s{3,})")
_WIDE = re.compile(r"(\s*\t\s*|\s{3,})")
_TABLE = re.compile(r"\s\|\s|\A\||\|\Z")


def _content(parts: list[str], draft: _Draft) -> None:
    """One line's content, cut at the cells of a table, at wide gaps, and behind a label such as "Name:"."""
    words = MASK.join(parts[0::2])
    group = parts[:1]
    group.clear()
    pattern = _CELL if "|" in words and _TABLE.search("".join(parts)) else _WIDE
    for place, part in enumerate(parts):
        if place % 2:
            group.append(part)
            continue
        first, *rest = pattern.split(part) if part else [part]
        group.append(first)
        for gap, following in zip(rest[0::2], rest[1::2], strict=True):
            _labelled(group, draft)
            draft.frame(gap)
            group = [following]
    _labelled(group, draft)


_COLON = re.compile(r"\s?[:：](?=\s|\Z)")
_NO_LABEL = re.compile(
    r"[.!?;]\s|[,;\"“]|\b(?:is|are|was|were|be|has|have|had|there|this|these|those|you|I|we|it|they|he|she|includes?"
    r"|including|following|follows|such|as|like|says?|said|asked|can|will|should|must|would|could)\b"
)


def _labelled(group: list[str], draft: _Draft) -> None:
    """A label, its colon as a frame, and its value."""
    before = ""
    for place in range(0, len(group), 2):
        words = group[place]
        if ":" in words or "：" in words:
            colon = _COLON.search(words)
            if colon is None or not _is_label(before + words[: colon.start()]):
                break
            rest = words[colon.end() :]
            if rest or place + 1 == len(group):
                value = rest.lstrip()
                _put([*group[:place], words[: colon.start()]], draft)
                draft.frame(words[colon.start() : len(words) - len(value)])
                _put([value, *group[place + 1 :]], draft)
                return
            if group[place + 1][:1] in "*_" and _closes(group, place // 2):
                return _bold_label(group, place, colon.start(), draft)
        before += "".join(group[place : place + 2])
        if len(before) > 60:
            break
    _put(group, draft)


def _closes(group: list[str], number: int) -> bool:
    return any(closing == number for _, closing in marks(group))


def _bold_label(group: list[str], place: int, colon: int, draft: _Draft) -> None:
    """`**Name:** John`: the marks stay around the label, and the colon stays inside them."""
    opening = next(first for first, closing in marks(group) if closing == place // 2)
    if opening:
        return _put(group, draft)
    following = group[place + 2]
    value = following.lstrip()
    _put(group[:1], draft)
    draft.frame(group[1])
    _put([*group[2:place], group[place][:colon]], draft)
    draft.frame(group[place][colon:] + group[place + 1] + following[: len(following) - len(value)])
    _put([value, *group[place + 3 :]], draft)


def _is_label(text: str) -> bool:
    """A few words that name what follows, and no sentence."""
    text = text.removesuffix(" are").removesuffix(" is")
    return len(text) <= 48 and text.count(" ") < 6 and not _NO_LABEL.search(text) and _LETTER.search(text) is not None


_TAGS = re.compile(r"(?:<[A-Za-z][^<>]*>\s*)+\Z")
_CLOSING_TAGS = re.compile(r"(?:</[A-Za-z][^<>]*>\s*)+\Z")
_EDGE_TAG = re.compile(r"(?:</?(?:br|p|li|ul|ol|div|t[dhr]|h[1-6]|hr|body|html|head|section|option)\b[^<>]*>\s*)+\Z")
_WORD = re.compile(r"[^\W\d_]{2}")
_FORMULA = re.compile(r"[=^+*/<>√∀∃→|]")


def _put(parts: list[str], draft: _Draft) -> None:
    """A segment without white space, a colon or enclosing marks at its ends; or a frame, where it has no words."""
    words = "".join(parts[0::2])
    if not _LETTER.search(words) or (not _WORD.search(words) and _FORMULA.search(words)):
        draft.frame("".join(parts))
        return
    tail = ""
    while True:
        size = len(parts), len(tail), len(draft.pending)
        first, last = parts[0], parts[-1]
        if first[:1].isspace():
            draft.frame(first[: len(first) - len(first.lstrip())])
            parts = [first.lstrip(), *parts[1:]]
            last = parts[-1]
        short = last.rstrip()
        short = short[:-1].rstrip() if short.endswith((":", "：")) else short
        if short != last:
            tail = last[len(short) :] + tail
            parts = [*parts[:-1], short]
        if len(parts) > 2:
            parts, tail = _unwrapped(parts, tail, draft)
        if size == (len(parts), len(tail), len(draft.pending)):
            break
    draft.segment(tuple(parts))
    draft.frame(tail)


def _unwrapped(parts: list[str], tail: str, draft: _Draft) -> tuple[list[str], str]:
    """Marks and tags around all of a segment, and tags of structure at its ends, are frames."""
    count = len(parts) // 2
    alone = not parts[0], not parts[-1]
    around = count > 1 and all(alone) and ((0, count - 1) in marks(parts) or (
        _TAGS.match(parts[1]) and _CLOSING_TAGS.match(parts[-2])
    ))  # fmt: skip
    if alone[0] and (around or _EDGE_TAG.match(parts[1])):
        draft.frame(parts[1])
        parts = parts[2:]
    if alone[1] and len(parts) > 2 and (around or _EDGE_TAG.match(parts[-2])):
        tail = parts[-2] + tail
        parts = parts[:-2]
    return parts, tail


def finer(segment: Segment) -> Layout | None:
    """The next smaller pieces of a segment whose translation came back damaged; None where there are none.

    First sentence by sentence, then cut at the spans, which become frames. Every piece is shorter than `segment`, so
    this comes to an end.
    """
    parts = segment.parts
    draft = _Draft()
    if cuts := ends(MASK.join(parts[0::2])):
        _sentences(parts, cuts, draft)
        if len(draft.segments) > 1 or (draft.segments and draft.segments[0] != segment):
            return draft.layout()
    if len(parts) == 1:
        return None
    draft = _Draft()
    for place, part in enumerate(parts):
        if place % 2:
            draft.frame(part)
            continue
        words = part.lstrip(_signs(part)) if place else part
        tail = words[len(words.rstrip(_signs(words))) :] if place + 1 < len(parts) else ""
        draft.frame(part[: len(part) - len(words)])
        _put([words[: len(words) - len(tail)]], draft)
        draft.frame(tail)
    return draft.layout()


def _signs(text: str) -> str:
    """Everything in `text` but letters and digits: next to a span it stays, so that no word can run into the span."""
    return "".join({sign for sign in text if not sign.isalnum()})


def _sentences(parts: tuple[str, ...], cuts: list[tuple[int, int]], draft: _Draft) -> None:
    """Put the sentences of `parts` apart; `cuts` are the places between them in the masked text."""
    masked = MASK.join(parts[0::2])
    start = 0
    span = 0
    for end, begin in [*cuts, (len(masked), len(masked))]:
        words = masked[start:end].split(MASK)
        piece = words[:1]
        for following in words[1:]:
            piece += (parts[2 * span + 1], following)
            span += 1
        _put(piece, draft)
        draft.frame(masked[end:begin])
        start = begin
