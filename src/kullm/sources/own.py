"""Rows that kullm itself wrote, read back as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kullm.rows import TEXT_FIELDS, Failure
from kullm.sources.format import Format, Record, Row, identifier, objects, row, text, wrong


def _read(record: Record, id: str) -> Iterable[Row | Failure]:
    more: Row = {"source": text(record, "source"), "licence": text(record, "licence")}
    more["history"] = _turns(record, "history")
    if "original" in record:
        more["original"] = _original(record["original"])
    if "verdicts" in record:
        keys = ("kind", "field", "evidence")
        found = objects(record, "verdicts")
        more["verdicts"] = [
            {key: text(one, key, f"verdicts[{n}].{key}") for key in keys} for n, one in enumerate(found)
        ]
    if "bound" in record:
        more["bound"] = _bound(record["bound"])
    if "motivation_app" in record:
        more["motivation_app"] = text(record, "motivation_app") if record["motivation_app"] is not None else None
    texts = (text(record, key) for key in TEXT_FIELDS)
    yield row(identifier(record, id), *texts, reference=True, **more)


def _turns(record: Record, where: str) -> list[dict[str, str]]:
    return [
        {key: text(turn, key, f"{where}[{n}].{key}") for key in ("instruction", "output")}
        for n, turn in enumerate(objects(record, "history"))
    ]


def _original(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong("original", "an object", value)
    texts = {key: text(value, key, f"original.{key}") if value.get(key) is not None else None for key in TEXT_FIELDS}
    turns = _turns(value, "original.history") if value.get("history") is not None else None
    return {**texts, "history": turns}


def _bound(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong("bound", "an object", value)
    fields = value.get("fields")
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise wrong("bound.fields", "a list of texts", fields)
    return {key: text(value, key, f"bound.{key}") for key in ("kind", "evidence")} | {"fields": fields}


FORMAT = Format("kullm", ("id", "instruction", "output", "source", "licence"), _read)
"""One row a record, with its own id, source and licence, and with `history`, `original`, `motivation_app`, and what
`translate` found (`verdicts`, `bound`).

The output may be empty: questions for evaluation are rows too.
"""
