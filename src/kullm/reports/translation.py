"""The report of a translation: what was found in it, and a page on which people check it side by side."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError, UsageError
from kullm.reports.sidebyside import marked, page, visible
from kullm.rows import TEXT_FIELDS, Failure, need, records
from kullm.sources import files

if TYPE_CHECKING:
    from datasets import Dataset

WEIGHTS = {"swapped": 6, "untranslated": 5, "loop": 5, "truncated": 5, "lost span": 4, "same": 4, "numbers": 3}
"""How much a verdict counts when the worst rows are put first; kinds that are not named count 2."""

_LINES = 20
"""Kinds, or causes, that a table names."""

_COLUMNS = ("id", "source", *TEXT_FIELDS, "history", "original", "verdicts", "bound")
_TURN = ("instruction", "output")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class TranslationReport:
    """What a translation holds: rows, rows with a verdict and bound rows by kind, failures by cause.

    `verdicts` and `bound` are None where the data set was not looked at for them, and `failures` where none were
    given. `ratio` is the median of translated over original length in characters, over all texts; `items` are the rows
    of the page, the worst first. `print` shows the table; `save` writes .html, .md or .json by the ending.
    """

    title: str
    source: str
    target: str
    rows: int
    damaged: int
    verdicts: dict[str, int] | None
    bound: dict[str, int] | None
    failures: dict[str, int] | None
    ratio: float | None
    digest: str
    items: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def table(self) -> list[list[str]]:
        """Header and rows as text: what, how many rows, and their share of all rows."""
        lines = [["", "rows", "share"], ["translated", f"{self.rows:,}", ""]]
        if self.verdicts is not None:
            lines += self._counts("with a verdict", self.damaged, self.verdicts)
        if self.bound is not None:
            lines += self._counts("bound to the source language", sum(self.bound.values()), self.bound)
        if self.failures is not None:
            lines += [[*row[:2], ""] for row in self._counts("failed", sum(self.failures.values()), self.failures)]
        return lines

    def _counts(self, name: str, total: int, kinds: Mapping[str, int]) -> list[list[str]]:
        counted = {name: total} | {f"· {kind}": count for kind, count in list(kinds.items())[:_LINES]}
        rest = list(kinds.values())[_LINES:]
        counted |= {f"· {len(rest):,} other kinds": sum(rest)} if rest else {}
        return [[what, f"{count:,}", _share(count, self.rows)] for what, count in counted.items()]

    def notes(self) -> list[str]:
        """What the figures mean, and which rows the page shows."""
        parts = [f"{self.rows:,} rows translated"]
        if self.verdicts is not None:
            parts.append(f"{self.damaged:,} with a verdict")
        if self.bound is not None:
            parts.append(f"{sum(self.bound.values()):,} bound to the source language")
        if self.failures is not None:
            parts.append(f"{sum(self.failures.values()):,} failed")
        notes = [f"{', '.join(parts)}."]
        if self.ratio is not None:
            notes.append(
                f"Median length ratio {self.ratio:.2f}: characters of {self.target} for one of {self.source}, by text."
            )
        if self.verdicts is None:
            notes.append("No column verdicts: nobody looked for damage in these rows.")
        elif self.damaged:
            notes.append("A row may have verdicts of several kinds. A verdict is a reason to look, not a proof.")
        return [*notes, self._shown()]

    def _shown(self) -> str:
        shown, all_rows = len(self.items), self.rows
        if shown == all_rows:
            return f"The page shows all {all_rows:,} rows."
        worst = sum(1 for item in self.items if item["verdicts"])
        if worst < self.damaged:
            return f"The page shows {shown:,} of {all_rows:,} rows: the worst of {self.damaged:,} with a verdict."
        return (
            f"The page shows {shown:,} of {all_rows:,} rows: all {worst:,} with a verdict and {shown - worst:,} of the "
            f"{all_rows - worst:,} others, taken evenly."
        )

    def markdown(self) -> str:
        """The table and the notes as GitHub-flavoured Markdown."""
        head, *rows = [[_literal(cell) for cell in row] for row in self.table()]
        lines = [f"# {_literal(self.title)}", "", _pipes(head), "| --- | ---: | ---: |", *map(_pipes, rows)]
        return "\n".join([*lines, "", *(f"- {_literal(note)}" for note in self.notes()), ""])

    def html(self) -> str:
        """One self-contained page; its script is let in by its hash, and the page can ask nobody."""
        data = {"source": self.source, "target": self.target, "rows": self.items}
        data |= {"key": f"kullm flags {self.digest}", "file": f"flags-{self.digest[:8]}.jsonl"}
        return page(self.title, self.table(), self.notes(), data)

    def _json(self) -> str:
        names = ("title", "source", "target", "rows", "damaged", "verdicts", "bound", "failures", "ratio", "digest")
        content = {name: getattr(self, name) for name in names} | {"shown": len(self.items)}
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def __str__(self) -> str:
        import io

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        head, *rows = self.table()
        table = Table(title=Text(visible(self.title)), title_justify="left")
        for place, name in enumerate(head):
            table.add_column(Text(name), justify="right" if place else "left")
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))
        out = io.StringIO()
        Console(file=out, width=100, force_terminal=False, force_jupyter=False, color_system=None).print(table)
        return out.getvalue() + "\n".join(f"· {note}" for note in self.notes())

    def save(self, path: str | Path) -> Path:
        """Write the report, whole or not at all: the page (.html), a summary (.md) or the counts (.json).

        Folders that are missing are made. Raises `UsageError` for another ending, `InputError` for what cannot be
        written.
        """
        path = Path(path)
        kinds = {".html": self.html, ".md": self.markdown, ".json": self._json}
        if path.suffix.lower() not in kinds:
            raise UsageError(f"A report is written as {', '.join(kinds)}; not {files.name(path)!r}.")
        data = kinds[path.suffix.lower()]().encode("utf-8", "backslashreplace")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, data)
        except OSError as error:
            raise InputError(f"{files.name(path)} is not to be written: {error.strerror or error}.") from None
        return path


def translation_report(
    rows: Dataset,
    *,
    title: str = "Translation",
    source: str = "en",
    to: str = "ko",
    failures: Sequence[Failure] | str | Path | None = None,
    limit: int = 10_000,
) -> TranslationReport:
    """The report of a translated data set, as `kullm.translate` gives it: `id`, the texts, and `original`.

    `source` and `to` are the languages (BCP 47 codes, such as en or zh-Hant). `failures` are the rows that were not
    translated, as a list or as the JSONL file of them. The page shows at most `limit` rows: those with a verdict, the
    worst first, and of the others as many as there is room for, taken evenly.

    Raises `InputError` for rows that are no translation, `UsageError` for a language or a limit that is none.
    """
    need(rows, ("id", "original"), stage="report")
    for code in (source, to):
        if not _LANGUAGE.fullmatch(code):
            raise UsageError(f"{code!r} is not the code of a language, such as en, ko or zh-Hant.")
    if not hasattr(rows, "select"):
        raise InputError("A report goes through its rows twice, and a stream may be gone.", next="Save the rows first.")
    if limit < 1:
        raise UsageError(f"A page shows at least one row; not {limit}.")
    rows = rows.select_columns([name for name in _COLUMNS if name in rows.column_names])
    weights, kinds, bound, ratios, digest = array("H"), Counter[str](), Counter[str](), array("d"), hashlib.sha256()
    for record in records(rows):
        item = _item(record)
        weights.append(min(sum(WEIGHTS.get(kind, 2) for kind, _, _ in item["verdicts"]), 2**16 - 1))
        kinds.update({kind for kind, _, _ in item["verdicts"]})
        bound.update([item["bound"][0]] if item["bound"] else [])
        ratios.extend(len(target) / len(text) for _, text, target in item["fields"] if text and target)
        digest.update(json.dumps([item["id"], item["fields"]]).encode())
    places = _places(weights, limit)
    chosen = zip(places, records(rows.select(places)), strict=True)
    items = [_item(record) | {"number": place + 1} for place, record in chosen]
    return TranslationReport(
        title,
        source,
        to,
        rows=len(weights),
        damaged=sum(1 for weight in weights if weight),
        verdicts=_sorted(kinds) if "verdicts" in rows.column_names else None,
        bound=_sorted(bound) if "bound" in rows.column_names else None,
        failures=None if failures is None else _sorted(Counter(_causes(failures))),
        ratio=median(ratios) if ratios else None,
        digest=digest.hexdigest()[:32],
        items=tuple(map(marked, items)),
    )


def _item(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the page has it: `fields` are [name, original or None, translation], `verdicts` [kind, field, evidence]
    and `bound` [kind, evidence, fields] or None.
    """
    bound = record.get("bound")
    try:
        return {
            "id": str(record["id"]),
            "source": str(record.get("source") or ""),
            "fields": [[*texts] for texts in _fields(record) if texts[1] or texts[2]],
            "verdicts": [[v["kind"], v["field"] or "", v["evidence"] or ""] for v in record.get("verdicts") or ()],
            "bound": [bound["kind"], bound["evidence"] or "", list(bound["fields"] or ())]
            if bound and bound["kind"]
            else None,
        }
    except (TypeError, KeyError, AttributeError):
        raise InputError(
            f"The row {record['id']} is no translation: expected original as instruction, input and output, verdicts "
            "as a list of kind, field and evidence, and bound as kind, evidence and fields.",
            next="kullm.translate writes these columns.",
        ) from None


def _fields(record: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str]]:
    """Name, original (None where it was not kept) and translation of each text, in the order of the conversation."""
    original = record.get("original") or {}
    before = original.get("history") or ()
    for number, turn in enumerate(record.get("history") or ()):
        for name in _TURN:
            text = before[number][name] or "" if number < len(before) else None
            yield f"history[{number}].{name}", text, turn[name] or ""
    for name in TEXT_FIELDS:
        text = original[name] or "" if name in original else None
        yield name, text, record.get(name) or ""


def _places(weights: Sequence[int], limit: int) -> list[int]:
    """The rows of the page, at most `limit`: those with a weight, the heaviest first, then others at even steps."""
    worst = sorted((place for place, weight in enumerate(weights) if weight), key=lambda place: -weights[place])[:limit]
    others = [place for place, weight in enumerate(weights) if not weight]
    room = min(limit - len(worst), len(others))
    return worst + [others[(2 * step + 1) * len(others) // (2 * room)] for step in range(room)]


def _causes(failures: Sequence[Failure] | str | Path) -> Iterator[str]:
    if not isinstance(failures, str | Path):
        yield from (failure.cause for failure in failures)
        return
    path = Path(failures)
    if path.is_file() and not path.stat().st_size:
        return  # what a run without a failure writes
    for place, record in files.records(path):
        cause = record.get("cause")
        if not isinstance(cause, str):
            raise InputError(f"{place}: expected a failure with its cause, as kullm.translate writes it.")
        yield cause


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%}" if rows else "–"


def _literal(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", visible(text).strip())


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write(path: Path, data: bytes) -> None:
    """Under another name first, so that whoever opens the file finds all of it."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
