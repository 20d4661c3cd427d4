"""A report as one HTML file that runs nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #2a7; }
body { font: 16px/1.6 system-ui, "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .45rem .7rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
ul { padding-left: 1.2rem; font-size: .9rem; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .6rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; font-weight: 600; }
.answers { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
.text { background: var(--soft); border-radius: .3rem; overflow-wrap: anywhere; padding: .5rem .7rem;
  white-space: pre-wrap; }
.name { font-size: .85rem; margin: .6rem 0 .2rem; opacity: .75; }
"""


def page(title: str, table: Sequence[Sequence[str]], notes: Sequence[str], items: Sequence[dict[str, Any]]) -> str:
    """The page: the table, the notes, and each question with its answers. Every text is escaped."""
    head, *rows = table
    body = [f"<h1>{escape(title)}</h1>", '<div class="wide"><table><thead>', _row(head, "th"), "</thead><tbody>"]
    body += [_row(row, "td") for row in rows] + ["</tbody></table></div>", "<ul>"]
    body += [f"<li>{escape(note)}</li>" for note in notes] + ["</ul>"]
    if items:
        body += ["<h2>Answers</h2>", *map(_item, items)]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _item(item: dict[str, Any]) -> str:
    parts = [f"<details><summary>{escape(item['instruction'])}</summary>"]
    for name in ("input", "reference"):
        if item[name]:
            parts.append(_text(name, item[name]))
    parts.append('<div class="answers">')
    for model, answer, scores in item["answers"]:
        parts.append(f"<div>{_text(f'{model} · {scores}' if scores else model, answer)}</div>")
    return "\n".join([*parts, "</div></details>"])


def _text(name: str, text: str) -> str:
    return f'<p class="name">{escape(name)}</p><div class="text">{escape(text)}</div>'
