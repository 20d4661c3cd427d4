"""The table of an evaluation: models down, criteria across, each mean with its 95 % interval; and what made it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from kullm.errors import InputError, UsageError
from kullm.reports.html import page
from kullm.reports.statistics import Estimate, mean, paired
from kullm.reports.translation import TranslationReport, translation_report
from kullm.rows import Failure, need

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Report:
    """Estimates by model and criterion, paired differences against the first model, and notes on what made them.

    `print` shows the table; `markdown()` and `html()` give it as text; `save` writes .md, .html or .json by the suffix.
    """

    title: str
    criteria: dict[str, tuple[float, float]]
    cells: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    notes: tuple[str, ...] = ()
    answers: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def table(self) -> list[list[str]]:
        """Header and rows as text: each model, then each later model's difference to the first."""
        first = next(iter(self.cells), "")
        head = ["model", *(f"{name} ({low:g}–{high:g})" for name, (low, high) in self.criteria.items()), "n", "failed"]
        rows = [
            [model, *(_cell(row[name], of=_n(row)) for name in self.criteria), *_counts(row)]
            for model, row in self.cells.items()
        ]
        for model, row in self.differences.items():
            shown = [_cell(row[name], of=_n(row), sign=True) for name in self.criteria]
            rows.append([f"{model} − {first}", *shown, str(_n(row)), ""])
        return [head, *rows]

    def markdown(self) -> str:
        """The table and the notes as GitHub-flavoured Markdown."""
        head, *rows = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in self.table())
        lines = [f"# {_line(self.title)}", "", _pipes(head), _pipes(["---", *["---:"] * (len(head) - 1)])]
        return "\n".join([*lines, *map(_pipes, rows), "", *(f"- {_line(note)}" for note in self.notes), ""])

    def html(self) -> str:
        """One self-contained page: no script, no request to anywhere."""
        return page(self.title, self.table(), self.notes, self.answers)

    def __str__(self) -> str:
        import io

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        head, *rows = self.table()
        table = Table(title=Text(_plain(self.title)), title_justify="left")
        for place, name in enumerate(head):
            table.add_column(Text(_plain(name)), justify="right" if place else "left", no_wrap=False)
        for row in rows:
            table.add_row(*(Text(_plain(cell)) for cell in row))
        out = io.StringIO()
        Console(
            file=out, width=max(100, 18 * len(head)), force_terminal=False, force_jupyter=False, color_system=None
        ).print(table)
        return out.getvalue() + "\n".join(f"· {_plain(note)}" for note in self.notes)

    def save(self, path: str | Path) -> Path:
        """Write the report: .md, .html, or .json with every estimate."""
        path = Path(path)
        kinds = {".md": self.markdown, ".html": self.html, ".json": self._json}
        if path.suffix not in kinds:
            raise UsageError(f"A report is written as {', '.join(kinds)}; not {path.name!r}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kinds[path.suffix](), encoding="utf-8")
        return path

    def _json(self) -> str:
        def plain(rows: dict[str, dict[str, Estimate]]) -> dict[str, Any]:
            return {
                model: {
                    name: {key: _number(getattr(cell, key)) for key in ("mean", "low", "high", "n", "failures")}
                    for name, cell in row.items()
                }
                for model, row in rows.items()
            }

        content = {"title": self.title, "criteria": self.criteria, "cells": plain(self.cells)}
        return json.dumps(
            content | {"differences": plain(self.differences), "notes": self.notes}, ensure_ascii=False, indent=1
        )


@overload
def report(scores: Dataset, answers: Dataset | None = None, *, title: str = ...) -> Report: ...
@overload
def report(
    scores: Dataset,
    *,
    title: str = ...,
    source: str = ...,
    to: str,
    failures: Sequence[Failure] | str | Path | None = ...,
    limit: int = ...,
) -> TranslationReport: ...
def report(
    scores: Dataset, answers: Dataset | None = None, *, title: str | None = None, **translation: Any
) -> Report | TranslationReport:
    """The report of a scores data set, as `kullm.judge` gives it; with `answers` the HTML page shows them side by side.

    Failures are counted beside the means and never counted as scores. Scores by two rubrics are an `InputError`.

    Rows that `kullm.translate` gave (they have a column `original`, and no judge) make a `TranslationReport`; it takes
    `source`, `to`, `failures` and `limit` too, as `kullm.reports.translation_report` has them, whose type is exact:
    a type checker knows what this function gives for a translation only where `to` is named.
    """
    columns = getattr(scores, "column_names", None) or ()
    if "original" in columns and "judge" not in columns:
        if answers is not None:
            raise UsageError("Answers belong beside scores; these rows are a translation.")
        return translation_report(scores, title=title or "Translation", **translation)
    if translation:
        raise UsageError(f"{', '.join(translation)}: for the report of a translation; these rows have no original.")
    return _evaluation(scores, answers, title=title or "Evaluation")


def _evaluation(scores: Dataset, answers: Dataset | None, *, title: str) -> Report:
    need(scores, ("id", "model", "judge", "rubric", "failure"), stage="report")
    records: list[dict[str, Any]] = scores.to_list()
    rubrics = {record["rubric"] for record in records}
    if len(rubrics) != 1:
        raise InputError(f"A report takes scores by one rubric; these have {len(rubrics)}.")
    rubric = json.loads(rubrics.pop())
    pairs = Counter((record["id"], record["model"]) for record in records)
    (id, model), times = pairs.most_common(1)[0]
    if times > 1:
        raise InputError(f"The answer of {model} to the question {id} is scored {times} times.")
    criteria = {name: (float(low), float(high)) for name, (low, high) in rubric["criteria"].items()}
    models = list(dict.fromkeys(record["model"] for record in records))
    values = {
        model: {
            name: {r["id"]: r[name] for r in records if r["model"] == model and r[name] is not None}
            for name in criteria
        }
        for model in models
    }
    failed = {model: sum(r["model"] == model and r["failure"] is not None for r in records) for model in models}
    cells = {
        model: {
            name: mean(list(row.values()), within=criteria[name], failures=failed[model])
            for name, row in values[model].items()
        }
        for model in models
    }
    differences = {
        model: {name: paired(values[models[0]][name], values[model][name], within=criteria[name]) for name in criteria}
        for model in models[1:]
    }
    return Report(
        title, criteria, cells, differences, _notes(records, rubric, answers), _beside(records, criteria, answers)
    )


def _notes(records: list[dict[str, Any]], rubric: dict[str, Any], answers: Dataset | None) -> tuple[str, ...]:
    judges = sorted({record["judge"] for record in records})
    notes = [
        "Means with 95 % intervals: Wilson's for criteria of 0 and 1, Student's t for the others. "
        "Differences are paired by question (Agresti and Min's interval for criteria of 0 and 1).",
        f"Judge: {', '.join(judges)}; rubric {rubric['name']} ({rubric['hash']}).",
    ]
    if rubric["name"].startswith("kullm-reference-"):
        notes.append("This judge compares with a reference and checks rules; it is not the paper's GPT-4 judge.")
    failed = [record for record in records if record["failure"] is not None]
    if failed:
        notes.append(f"{len(failed)} of {len(records)} answers have no score; the first: {failed[0]['failure']}.")
    if answers is not None:
        engines = (
            dict(zip(answers["model"], answers["engine"], strict=True)) if "engine" in answers.column_names else {}
        )
        notes.extend(f"{model}: {engine}" for model, engine in engines.items())
    return tuple(notes)


def _beside(
    records: list[dict[str, Any]], criteria: dict[str, tuple[float, float]], answers: Dataset | None
) -> tuple[dict[str, Any], ...]:
    """Each question with the models' answers and their scores."""
    if answers is None:
        return ()
    scored = {(record["id"], record["model"]): record for record in records}
    items: dict[str, dict[str, Any]] = {}
    for row in answers.to_list():
        question = {name: row[name] or "" for name in ("id", "instruction", "input")} | {
            "reference": row.get("reference") or ""
        }
        item = items.setdefault(row["id"], question | {"answers": []})
        record = scored.get((row["id"], row["model"]), {})
        shown = [f"{name} {record[name]:g}" for name in criteria if record.get(name) is not None]
        said = row["answer"] if row["answer"] is not None else f"(no answer: {row.get('failure')})"
        item["answers"].append((row["model"], said, record.get("failure") or ", ".join(shown)))
    return tuple(items.values())


def _n(row: dict[str, Estimate]) -> int:
    """The answers that a row of the table is about."""
    return max(cell.n for cell in row.values())


def _cell(cell: Estimate, *, of: int, sign: bool = False) -> str:
    if math.isnan(cell.mean):
        return "–"
    digits = 1 if max(abs(cell.mean), abs(cell.high)) >= 10 else 2
    plus = "+" if sign else ""
    interval = "" if math.isnan(cell.low) else f" [{cell.low:{plus}.{digits}f}, {cell.high:{plus}.{digits}f}]"
    fewer = f" (n={cell.n})" if cell.n < of else ""
    return f"{cell.mean:{plus}.{digits}f}{interval}{fewer}"


def _counts(row: dict[str, Estimate]) -> list[str]:
    return [str(_n(row)), str(max(cell.failures for cell in row.values()))]


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Without control characters: a terminal obeys them."""
    return "".join(c for c in text if c.isprintable() or c == "\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
