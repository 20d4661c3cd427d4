"""Blocks that are never sent: fenced and indented code, displayed maths, scripts, comments, front matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_MAY_HOLD = re.compile(
    r"```|~~~|\$\$|\\\[|\\begin\{|<[sSpP!]|\n[ \t]*\n[ \t>]*(?: {4}|\t)|\n[ \t]*(?:[-*+]|\d+[.)]) {5}"
)
_CODE = re.compile(r"```|~~~|(?:\A|\n[ \t]*\n)[ \t>]*(?: {4}|\t)|(?:[-*+]|\d[.)]) {5}")
_OPENING = re.compile(r"\$\$|\\\[|\\begin\{(\w{1,30}\*?)\}|<(script|style|pre|SCRIPT|STYLE|PRE)\b[^<>]{0,200}>|<!--")
_FRONT = re.compile(r"---[ \t]*\n(?:[\w-]{1,40}:[^\n]*\n|[ \t-][^\n]*\n){1,100}?---[ \t]*(?=\n|\Z)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")


def verbatim(text: str) -> list[tuple[int, int]]:
    """The stretches of `text` that are never sent, as (start, end), in order and apart from each other."""
    if text[:1] not in " \t-" and not _MAY_HOLD.search(text):
        return []
    found: list[tuple[int, int]] = []
    if text.startswith("---") and (front := _FRONT.match(text)):
        found.append(front.span())
    if _CODE.search(text):
        late = list(_late_fences(text))
        found += late + _blocks(_blanked(text, late))
    found = _merged(found)
    if _OPENING.search(text):
        found = _merged(found + list(_displayed(text, found)))
    return found


def _late_fences(text: str) -> Iterator[tuple[int, int]]:
    """Code that begins with ``` behind words of its line and ends some lines below, which is no fence in CommonMark."""
    late: int | None = None
    inside = False
    done = 0
    while (place := text.find("```", done)) >= 0:
        start = text.rfind("\n", done, place) + 1 or done
        done = text.find("\n", place) + 1 or len(text)
        line = text[start:done]
        if late is not None:
            yield late, place + 3
            late = None
            continue
        lead = line.lstrip(" \t>-*+0123456789.)")
        if inside:
            inside = not (lead.startswith("```") and not lead.strip("`").strip())
        elif lead.startswith("```"):
            inside = "```" not in lead.lstrip("`")
        elif line.count("```") % 2:
            late = start + line.rindex("```")


def _blanked(text: str, stretches: list[tuple[int, int]]) -> str:
    """`text` with other signs in the place of those of `stretches`, line for line."""
    for start, end in stretches:
        text = text[:start] + re.sub(r"[^\r\n]", "x", text[start:end]) + text[end:]
    return text


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _blocks(text: str) -> list[tuple[int, int]]:
    """Fenced and indented code, whole lines each, as CommonMark sees it."""
    starts = [match.start() for match in _LINE.finditer(text)]
    places = [token.map for token in _parser().parse(text) if token.type in ("fence", "code_block") and token.map]
    ends = [*starts, len(text), len(text)]
    return [(starts[first], ends[min(last, len(starts))]) for first, last in places]


def _displayed(text: str, taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Displayed maths, LaTeX environments, scripts, styles, preformatted text and comments that are closed."""
    absent: set[str] = set()
    walls = iter([*taken, (len(text), len(text))])
    wall = next(walls)
    place = 0
    while match := _OPENING.search(text, place):
        while match.start() >= wall[1] and wall[0] < len(text):
            wall = next(walls)
        if match.start() >= wall[0]:
            place = wall[1]
            continue
        close = _closing(match)
        end = -1 if close in absent else text.find(close, match.end())
        if end < 0 and len(absent) < 1000:
            absent.add(close)
        inside = text[match.end() : end] if 0 <= end <= wall[0] else ""
        alone = match[1] or match[2] or "\n" in inside or "\r" in inside  # one on a line is a span of its sentence
        within = 0 <= end <= wall[0] and alone and not (match[0] == "$$" and "\n\n" in inside)
        if within:
            yield match.start(), end + len(close)
        place = end + len(close) if within else match.end()


def _closing(match: re.Match[str]) -> str:
    if match[1]:
        return rf"\end{{{match[1]}}}"
    if match[2]:
        return f"</{match[2]}>"
    return {"$$": "$$", "\\[": "\\]"}.get(match[0], "-->")


def _merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
