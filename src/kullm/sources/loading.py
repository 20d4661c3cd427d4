"""`load`: files and published data sets as rows, every record accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm import plugins
from kullm.errors import InputError
from kullm.rows import Failure, Failures, dataset, settle
from kullm.sources import alpaca, dolly, own, selfinstruct, sharegpt
from kullm.sources.files import SUFFIXES, Records, name, records
from kullm.sources.format import Format, Row, Source
from kullm.sources.published import published

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = (own.FORMAT, selfinstruct.FORMAT, sharegpt.FORMAT, dolly.FORMAT, alpaca.FORMAT)
"""The formats that are recognised by their keys; the one that asks for most comes first."""

COLUMNS = ("id", "source", "licence", "instruction", "input", "output", "history")
"""The columns of every loaded data set, in order."""

EXTRA = ("original", "verdicts", "bound", "motivation_app")
"""The columns that stand behind them where a row has them."""


@dataclass(frozen=True)
class _Origin:
    """One of the things to load: its records with their places, and what holds for all of its rows."""

    name: str
    licence: str
    format: Format | None
    records: Records


def load(
    *what: str | Path | Source,
    format: str | Format | None = None,
    licence: str = "",
    limit: int | None = None,
    failures: Failures = None,
) -> Dataset:
    """The rows of files (.json, .jsonl, .parquet) and of published data sets ("dolly", "sharegpt", …).

    The columns are id, source (stem of the file, or name of the source), licence, instruction, input, output, history,
    and `original` and `motivation_app` where a row has them. Ids are unique: one that comes again gets "#2", "#3".
    `format` is recognised by the keys of the first record unless it is given, as an object or as "alpaca", "dolly",
    "sharegpt", "self-instruct" or "kullm" (rows that `save` wrote). `limit` is the most rows of each of `what`.

    What becomes no row is a `Failure` in `failures`: a record, or a turn of a conversation. Raises `InputError`, with
    file and line, for a file that is not what it should be, and for a name that is neither a file nor a source.
    """
    if not what:
        raise InputError("There is nothing to load.", next="Give a file, or the name of a source.")
    if limit is not None and limit < 0:
        raise InputError(f"The limit is {limit}; expected 0 or more rows.")
    forced = _format(format) if isinstance(format, str) else format
    kept: list[Row] = []
    rejected: list[Failure] = []
    seen: dict[str, int] = {}
    for thing in what:
        origin = _origin(thing, forced, licence)
        with closing(origin.records):
            for row in _rows(origin, limit):
                if isinstance(row, Failure):
                    rejected.append(row)
                else:
                    row["id"] = _unique(row["id"], seen)
                    kept.append(row)
    settle(rejected, failures, stage="load", kept=len(kept))
    return dataset(kept, (*COLUMNS, *(column for column in EXTRA if any(column in row for row in kept))))


def _rows(origin: _Origin, limit: int | None) -> Iterator[Row | Failure]:
    """The rows and failures of one origin, record by record, until `limit` rows are there."""
    shared = {"source": origin.name, "licence": origin.licence, "input": "", "output": "", "history": []}
    form = origin.format
    count = 0
    for number, (place, record) in enumerate(origin.records):
        if count == limit:
            return
        form = form or _detect(record, place)
        if not form.matches(record):
            raise InputError(
                f"{place}: expected a record of the format {form.name!r} ({', '.join(form.keys)}); "
                f"there stands one with {_keys(record)}."
            )
        try:
            rows = list(form.rows(record, f"{origin.name}-{number}"))
        except InputError as error:
            raise InputError(f"{place}: {error.what}", next=error.next) from None
        for row in rows:
            if count == limit:
                return
            count += not isinstance(row, Failure)
            yield row if isinstance(row, Failure) else shared | row


def _origin(what: str | Path | Source, format: Format | None, licence: str) -> _Origin:
    if isinstance(what, str):
        what = _path_or_source(what)
    if isinstance(what, Source):
        return _Origin(what.name, licence or what.licence, format or what.format, published(what))
    if not _exists(what):
        raise InputError(f"There is no file {name(what)!r}.")
    return _Origin(name(Path(what.stem)), licence or "unknown", format, records(what))


def _path_or_source(what: str) -> Path | Source:
    """A file that is there, else the source of that name; a name with the ending of a data file is always a file."""
    path = Path(what)
    if path.suffix.lower() in SUFFIXES and _exists(path):
        return path
    known = plugins.available("sources")
    if what in known:
        source = plugins.find("sources", what)
        if not isinstance(source, Source):
            raise InputError(f"The source {what!r} of the package {known[what].package} is not a kullm.sources.Source.")
        return source
    if _exists(path):
        return path
    raise InputError(
        f"{name(path)!r} is neither a file that exists nor the name of a source.",
        next=f"The sources are: {', '.join(known) or 'none'}.",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder that is not to be entered
        return False


def _format(wanted: str) -> Format:
    for form in FORMATS:
        if form.name == wanted:
            return form
    raise InputError(
        f"There is no format {wanted!r}.", next=f"The formats are: {', '.join(form.name for form in FORMATS)}."
    )


def _detect(record: dict[str, Any], place: str) -> Format:
    for form in FORMATS:
        if form.matches(record):
            return form
    known = "; ".join(f"{form.name} ({', '.join(form.keys)})" for form in FORMATS)
    raise InputError(f"{place}: expected a record of a known format: {known}; there stands one with {_keys(record)}.")


def _keys(keys: Iterable[str]) -> str:
    names = [repr(key[:40]) for key in keys]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "no keys"


def _unique(id: str, seen: dict[str, int]) -> str:
    """`id`, or with "#2", "#3" behind it where it was given before."""
    number = seen.get(id, 0) + 1
    wanted = id if number == 1 else f"{id}#{number}"
    while number > 1 and wanted in seen:
        number += 1
        wanted = f"{id}#{number}"
    seen[id] = number
    seen.setdefault(wanted, 1)
    return wanted
