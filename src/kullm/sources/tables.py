"""Data sets to files and back: rows, answers and scores alike."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError
from kullm.rows import NESTED, of_table, pa_table
from kullm.rows import records as row_records
from kullm.sources.files import name, records
from kullm.sources.format import valid

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


STREAMED = ("id", "source", "licence", "instruction", "input", "output", "history", "original", "verdicts", "bound")
"""The columns of a row that `scan` knows; the first six are texts that every row has."""


def save(rows: Dataset | IterableDataset, path: str | Path) -> Path:
    """Write a data set as .jsonl (UTF-8, one row a line) or .parquet, and give the path back: `load(save(rows, path))`.

    The file is there whole or not at all: it is written under another name in the same folder and then renamed.
    Raises `InputError` for another ending, for a folder that cannot be written, and for values that JSON does not have.
    """
    import pyarrow as pa

    path = Path(path)
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{name(path)}: expected a name that ends in .jsonl or .parquet.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as temporary:
            write(rows, temporary)
    except OSError as error:
        raise InputError(f"{name(path)} is not to be written: {error.strerror or error}.") from None
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"{name(path)} is not to be written: {error}.", next="A .parquet file holds values of every type."
        ) from None
    return path


def streams(path: str | Path) -> bool:
    """Whether `scan` can read a file: .jsonl or .parquet whose first row is one that kullm wrote."""
    path = Path(path)
    if path.suffix.lower() not in (".jsonl", ".parquet"):
        return False
    with closing(records(path)) as found:
        _, first = next(found)
        return all(column in first for column in STREAMED[:6])


def scan(path: str | Path) -> IterableDataset:
    """The rows of a .jsonl or .parquet file that `save` wrote, as a stream: memory does not grow with their number.

    Raises `InputError` with file and line, when the stream comes to it, for what is not such a row.
    """
    import datasets

    path = Path(path)
    with closing(records(path)) as found:
        place, first = next(found)
    missing = [column for column in STREAMED[:6] if column not in first]
    if missing:
        raise InputError(f"{place}: expected a row that kullm wrote; it lacks {', '.join(missing)}.")
    columns = [column for column in STREAMED if column in first]
    columns += [column for column in first if column not in STREAMED]

    def rows() -> Iterator[dict[str, Any]]:
        with closing(records(path)) as found:
            for place, record in found:
                if not valid(record):
                    raise InputError(f"{place}: expected valid Unicode; half of a surrogate pair stands in a text.")
                if not all(isinstance(record.get(column), str) for column in STREAMED[:6]):
                    raise InputError(f"{place}: expected texts in {', '.join(STREAMED[:6])}.")
                yield {column: record.get(column) for column in columns}

    features = datasets.Features.from_arrow_schema(pa_table([], columns).schema)
    return datasets.IterableDataset.from_generator(rows, features=features)


def read(path: str | Path) -> Dataset:
    """The table of a .jsonl, .json or .parquet file as it is: its own columns, types and nulls; nothing is recognised.

    The columns of JSON stand in the order in which they come first; a row that lacks one has null there.
    Raises `InputError` with file and line for a file that is not what it should be.
    """
    import pyarrow as pa

    path = Path(path)
    rows: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    with closing(records(path)) as found:
        for place, record in found:
            if not valid(record):
                raise InputError(f"{place}: expected valid Unicode; half of a surrogate pair stands in a text.")
            columns |= dict.fromkeys(record)
            rows.append(record)
    known = pa_table([], [column for column in columns if column in NESTED]).schema
    arrays = {}
    for column in columns:
        kind = known.field(column).type if column in known.names else None
        try:
            arrays[column] = pa.array([row.get(column) for row in rows], type=kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError) as error:
            raise InputError(f"{name(path)}: expected values of one type in the column {column!r}: {error}") from None
    if not arrays:
        raise InputError(f"{name(path)}: expected records with fields; all of them are empty.")
    return of_table(pa.table(arrays))


def _read_parquet(path: Path) -> Dataset:
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            table = pq.ParquetFile(stream).read()
        table.validate(full=True)  # texts that are not UTF-8 would fail only where they are used
        return of_table(table)
    except Exception as error:  # noqa: BLE001 - a broken file makes both libraries raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name(path)} is not to be read; expected a Parquet file: {reason}") from None


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place at the end, and is gone if that end is not reached."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_jsonl(rows: Dataset | IterableDataset, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_parquet(rows: Dataset | IterableDataset, path: Path) -> None:
    import pyarrow.parquet as pq

    schema = rows.features.arrow_schema
    found = row_records(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while part := list(islice(found, 10_000)):
            writer.write_table(pa_table(part, schema.names, like=rows).cast(schema))
