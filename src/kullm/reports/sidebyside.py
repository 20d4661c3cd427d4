"""A translation as one HTML file: original and translation side by side, the verdicts beside their fields.

The rows stand in the page as JSON, which its own script shows a hundred at a time and as text alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kullm.reports.assets import SCRIPT, STYLE

# What could end the script element that holds the data, or disturb whoever reads the file itself.
_UNSAFE = re.compile(
    "[<>&\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)

_QUOTED = re.compile(r"“([^”]+)”|‘([^’]+)’|\"([^\"]+)\"|`([^`]+)`|'([^']+)'")
_MISSING = re.compile(r"(.+?)(?: …)? (?:is|are) missing")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});|\ufffd")
_WORD = re.compile(r"\S+")
_RUN = 4
"""Words in a row that a translation shares with its original before they are marked as left over."""

_MARKS = 20
"""Texts of one field that are marked for one verdict."""


def page(title: str, table: Sequence[Sequence[str]], notes: Sequence[str], data: Mapping[str, Any]) -> str:
    """The page: title, notes, counts, and `data` with the languages, the rows, and where flags are kept."""
    items: Sequence[Mapping[str, Any]] = data["rows"]
    policy = (
        f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    head, *rows = ([escape(visible(cell)) for cell in row] for row in table)
    return _PAGE.format_map(
        {
            "policy": policy,
            "title": escape(visible(title)),
            "style": STYLE,
            "script": SCRIPT,
            "head": _cells(head, "th"),
            "table": "".join(_cells(row, "td") for row in rows),
            "notes": "".join(f"<li>{escape(note)}</li>" for note in notes),
            "kinds": _kinds(items),
            "sources": _options("", Counter(item["source"] for item in items if item["source"])),
            "data": _UNSAFE.sub(_escaped, json.dumps(data, ensure_ascii=False, separators=(",", ":"))),
        }
    )


def visible(text: str) -> str:
    """On one line, with characters that a terminal obeys, or that nobody sees, spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def marked(item: dict[str, Any]) -> dict[str, Any]:
    """The row with what its verdicts speak of added to each field: texts to mark in the original, and in the other."""
    for texts in item["fields"]:
        name, english, korean = texts
        found = [_marks(kind, said, english or "", korean) for kind, of, said in item["verdicts"] if of == name]
        if item["bound"]:
            found.append((_within(english or "", [item["bound"][1]]), []))
        sides = [sorted({text for pair in found for text in pair[side]}) for side in (0, 1)]
        if any(sides):
            texts.append(sides)
    return item


def _marks(kind: str, evidence: str, original: str, translation: str) -> tuple[list[str], list[str]]:
    """What a verdict speaks of, as it stands in the original ("60 is missing") and in the translation ("…: and so on").

    Evidence is written for people, so this is a help for the eye: what is not found is not marked.
    """
    quoted = [text for groups in _QUOTED.findall(evidence) for text in groups]
    missing = _MISSING.match(evidence)
    lost = [*quoted, *(missing[1].split(", ") if missing else ())]
    left = [*quoted, evidence.partition(": ")[2]]
    if kind == "entities":
        left += _ENTITY.findall(translation)
    elif kind == "untranslated" and original != translation:
        left += _left_over(original, translation)
    return _within(original, lost), _within(translation, left)


def _within(text: str, pieces: Sequence[str]) -> list[str]:
    bare = (piece.strip(" …") for piece in pieces)
    return [piece for piece in bare if piece and piece in text][:_MARKS]


def _left_over(original: str, translation: str) -> list[str]:
    """The stretches of a translation whose words stand in the same order in the original."""
    words = original.split()
    known = {tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)}
    found = list(_WORD.finditer(translation))
    runs: list[tuple[int, int]] = []
    for at in range(len(found) - _RUN + 1):
        here = found[at : at + _RUN]
        if tuple(word[0] for word in here) in known:
            start, end = here[0].start(), here[-1].end()
            if runs and start <= runs[-1][1]:
                start = runs.pop()[0]
            runs.append((start, end))
    return [translation[start:end] for start, end in runs]


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _cells(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def _kinds(items: Sequence[Mapping[str, Any]]) -> str:
    """What the page can be narrowed to: rows with a verdict, or bound rows, of any kind or of one."""
    verdicts = Counter(kind for item in items for kind in {verdict[0] for verdict in item["verdicts"]})
    bound = Counter(item["bound"][0] for item in items if item["bound"])
    damaged = sum(1 for item in items if item["verdicts"])
    every = [("+", "with a verdict", damaged), ("-", "without a verdict", len(items) - damaged)]
    every += [("b", "bound to the source language", sum(bound.values()))] if bound else []
    head = "".join(f'<option value="{value}">{name} ({count:,})</option>' for value, name, count in every)
    groups = (("Verdicts", "v:", verdicts), ("Bound", "b:", bound))
    return head + "".join(
        f'<optgroup label="{label}">{_options(start, counts)}</optgroup>' for label, start, counts in groups if counts
    )


def _options(start: str, counts: Counter[str]) -> str:
    return "".join(
        f'<option value="{escape(start + name)}">{escape(visible(name))} ({count:,})</option>'
        for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:200]
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<ul class="notes">{notes}</ul>
<details><summary>Counts</summary>
<div class="wide"><table><thead>{head}</thead><tbody>{table}</tbody></table></div></details>
<noscript><p>The rows are shown by the script of this page, and scripts are switched off here.</p></noscript>
<div class="bar" id="bar"><div class="tools">
<label class="search">Search in ids and texts
<input type="search" id="query" autocomplete="off" spellcheck="false"></label>
<label>Show<select id="by-kind"><option value="">all rows</option>{kinds}</select></label>
<label>Source<select id="by-source"><option value="">all sources</option>{sources}</select></label>
<label>Flag<select id="by-flag"><option value="">any</option><option value="+">flagged</option>
<option value="-">not flagged</option></select></label>
<button type="button" id="export" disabled>Export flags</button></div>
<div class="state"><p id="count" role="status"></p><p class="keys"><kbd>j</kbd> <kbd>k</kbd> next, previous ·
<kbd>f</kbd> flag · <kbd>n</kbd> note · <kbd>/</kbd> search</p></div>
<p id="warning" role="alert" hidden>This browser keeps no flags for this page: export them before you close it.</p>
<div class="heads"><span id="source"></span><span id="target"></span></div></div>
<main id="rows"></main>
<nav class="pages" aria-label="Pages"><button type="button" id="before">Previous</button><span id="page"></span>
<button type="button" id="after">Next</button></nav>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body></html>
"""
