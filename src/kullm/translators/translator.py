"""What a translator is, and `translate`, the driver that owns everything that all of them need."""

from __future__ import annotations

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
    texts = list(dict.fromkeys(record[name] for record in records for name in fields if (record[name] or "").strip()))
    lost: list[Failure] = []

    def call(batch: Sequence[str]) -> list[str | Failure]:
        return [_usable(text) for text in engine.translate(batch, source=source, target=to)]

    results = run(
        call, texts, identity=f"{engine.identity} {source}>{to}", limits=engine.limits, memory=memory, stage="translate"
    )
    known = dict(zip(texts, results, strict=True))
    done: list[dict[str, Any]] = []
    for record in records:
        new = {name: known.get(record[name], record[name]) for name in fields}
        bad = {name: value for name, value in new.items() if isinstance(value, Failure)}
        lost.extend(replace(value, id=record["id"], cause=f"{name}: {value.cause}") for name, value in bad.items())
        if not bad:
            original = record.get("original") or {name: record.get(name) for name in TEXT_FIELDS}
            done.append(record | new | {"original": original})
    settle(lost, failures, stage="translate", kept=len(done))
    return dataset(done, list(dict.fromkeys([*rows.column_names, "original"])))


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
        return f"function/{self.translate.__module__}.{self.translate.__qualname__}"

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
