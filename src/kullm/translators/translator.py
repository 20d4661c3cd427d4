"""What a translator is, and `translate`, the driver that owns everything that all of them need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from kullm import plugins
from kullm.errors import UsageError
from kullm.remote import Limits, Memory, run
from kullm.rows import TEXT_FIELDS, Failure, Failures, dataset, need, settle

if TYPE_CHECKING:
    from datasets import Dataset


@runtime_checkable
class Translator(Protocol):
    """Translates texts and knows one service; order, money, time and retries are `translate`'s."""

    @property
    def identity(self) -> str:
        """Same identity + same text = same translation: part of the key of the memory."""
        ...

    @property
    def limits(self) -> Limits:
        """What one call may hold, and how many there may be."""
        ...

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> Sequence[str]:
        """One translation for each text, in order. `source` and `target` are ISO 639-1 codes in lower case."""
        ...


_TURN = ("instruction", "output")

AnyTranslator: TypeAlias = Translator | Callable[..., Sequence[str]] | str


def translate(
    rows: Dataset,
    translator: AnyTranslator = "deepl",
    *,
    to: str = "ko",
    source: str = "en",
    fields: Sequence[str] = TEXT_FIELDS,
    memory: Memory | str | Path | None = "kullm-memory.sqlite",
    failures: Failures = None,
) -> Dataset:
    """`rows` with `fields` translated, in their order, and the texts that they had in the new column `original`.

    `translator` is a plug-in, its name, or a plain function `(texts, *, source, target)`. Each distinct text is paid
    for once and kept in `memory` (a file; None keeps nothing). A row with a text that cannot be translated goes to
    `failures`.

    Raises `ServiceError` where the service stops the run: what was translated is in the memory, and the same call
    goes on.
    """
    need(rows, ("id", *fields), stage="translate")
    engine = _engine(translator)
    records: list[dict[str, Any]] = rows.to_list()
    places = [_texts(record, fields) for record in records]
    texts = list(dict.fromkeys(text for found in places for text in found.values() if text.strip()))
    lost: list[Failure] = []

    def call(batch: Sequence[str]) -> Sequence[str | Failure]:
        said = engine.translate(batch, source=source, target=to)
        return [_usable(text) for text in said] if isinstance(said, list | tuple) else said  # run says what is wrong

    results = run(
        call, texts, identity=f"{engine.identity} {source}>{to}", limits=engine.limits, memory=memory, stage="translate"
    )
    known = dict(zip(texts, results, strict=True))
    done: list[dict[str, Any]] = []
    for record, found in zip(records, places, strict=True):
        new = {name: known.get(text, text) for name, text in found.items()}
        bad = {name: value for name, value in new.items() if isinstance(value, Failure)}
        lost.extend(replace(value, id=record["id"], cause=f"{name}: {value.cause}") for name, value in bad.items())
        if not bad:
            original = record.get("original") or {name: record.get(name) for name in TEXT_FIELDS}
            done.append(_placed(record, new, fields) | {"original": original})
    settle(lost, failures, stage="translate", kept=len(done))
    return dataset(done, list(dict.fromkeys([*rows.column_names, "original"])), like=rows)


def _texts(record: dict[str, Any], fields: Sequence[str]) -> dict[str, str]:
    """Every text of a row that is to be translated, by its place: the fields, and the turns before it."""
    found = {name: record[name] or "" for name in fields}
    for number, turn in enumerate(record.get("history") or ()):
        found |= {f"history[{number}].{name}": turn[name] or "" for name in _TURN}
    return found


def _placed(record: dict[str, Any], new: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The row with the texts of `new` in their places."""
    row = record | {name: new[name] for name in fields}
    if record.get("history"):
        turns = range(len(record["history"]))
        row["history"] = [{name: new[f"history[{number}].{name}"] for name in _TURN} for number in turns]
    return row


def _usable(text: object) -> str | Failure:
    if not isinstance(text, str):
        return Failure("", "translate", f"the translator gave {type(text).__name__} and not a text")
    if not text.strip():
        return Failure("", "translate", "the translation is empty")
    return text


@dataclass(frozen=True)
class _Function:
    """A plain function as a translator."""

    translate: Callable[..., Sequence[str]]

    @property
    def identity(self) -> str:
        """Its name, and a hash of what it does: two functions of one name translate differently."""
        does = self.translate
        code = getattr(does, "__code__", None)
        parts = [code.co_code, code.co_consts, code.co_names] if code else [repr(does)]
        cells = [cell.cell_contents for cell in getattr(does, "__closure__", None) or ()]
        what = repr([*parts, cells, getattr(does, "__defaults__", None), getattr(does, "__kwdefaults__", None)])
        return f"function/{does.__module__}.{does.__qualname__}/{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    @property
    def limits(self) -> Limits:
        return Limits(items=16)


def _engine(translator: AnyTranslator) -> Translator:
    if isinstance(translator, str):
        translator = plugins.find("translators", translator)
    if isinstance(translator, Translator) and not isinstance(translator, type):
        return translator
    if callable(translator) and hasattr(translator, "__qualname__") and not isinstance(translator, type):
        return _Function(translator)
    raise UsageError(
        f"{translator!r} is not a translator: it needs identity, limits and translate(texts, *, source, target).",
        next="An object is wanted, not its class; kullm.testing.check_translator says what is missing.",
    )
