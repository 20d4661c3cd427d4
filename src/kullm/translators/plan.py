"""What a translation will cost, before the first request."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from kullm.errors import UsageError
from kullm.remote import Budget, Memory, Price
from kullm.remote.memory import HOME
from kullm.remote.packing import Box
from kullm.rows import TEXT_FIELDS, need, records
from kullm.translators.apart import laid
from kullm.translators.asking import Request
from kullm.translators.driver import BoundPolicy, Job, named
from kullm.translators.imported import Imported
from kullm.translators.translator import AnyTranslator, engine

if TYPE_CHECKING:
    from collections.abc import Hashable

    from datasets import Dataset, IterableDataset

_UNITS = re.compile(r"([0-9]+(?:_[0-9]{3})*)(?:\s+([A-Za-z]+))?")
_MONEY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s+([A-Za-z]{2,5})")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a translation will send. Counts are exact where every answer holds its spans: what has to be asked again
    in smaller pieces comes on top. `requests` are at least that many, as a run sends batches that are not full too.

    `characters` of all texts; `kept` of them are never sent: code, spans, structure, white space, fields that stay.
    `twice` and `known` are those of pieces that stand more than once, or that the memory knows. `billed` is in `unit`,
    and an upper bound where that is not characters; `seconds` at the stated rate; `money` in the price's currency;
    `months` of a free plan. None: unknown.
    """

    rows: int
    characters: int
    kept: int
    twice: int
    known: int
    texts: int
    requests: int
    billed: int
    unit: str
    seconds: float | None
    price: Price | None
    money: Decimal | None
    months: int | None

    def __str__(self) -> str:
        time = "unknown" if self.seconds is None else _time(self.seconds)
        if not self.billed:
            money = "nothing to pay"
        elif self.months is not None:
            money = f"none on the free plan, which allows 500,000 characters a month ({self.months} month(s) of it)"
        elif self.price is None or self.money is None:
            money = "unknown; give the price of a million"
        else:
            money = f"{self.money:.{2 if self.money >= 1 else 4}f} {self.price.currency} at {self.price}"
        rows = [
            ("rows", f"{self.rows:,} with {self.characters:,} characters"),
            ("never sent", f"{self.kept:,} characters (code, spans, structure, white space)"),
            ("sent once", f"{self.twice:,} characters stand there again"),
            ("known", f"{self.known:,} characters are in the memory"),
            ("to send", f"{self.texts:,} texts in {self.requests:,} requests"),
            ("billed", f"{self.billed:,} {self.unit}{'' if self.unit == 'characters' else ' at most'}"),
            ("time", f"{time} at the stated rate"),
            ("price", money),
        ]
        return "\n".join(f"{name:<11} {text}" for name, text in rows)


def plan_translation(
    rows: Dataset | IterableDataset,
    translator: AnyTranslator = "deepl",
    *,
    to: str = "ko",
    source: str = "en",
    fields: Sequence[str] = TEXT_FIELDS,
    protect: bool = True,
    bound: BoundPolicy = "flag",
    context: bool = True,
    memory: Memory | str | Path | None = HOME,
    price: Price | str | None = None,
) -> Plan:
    """What `translate` with the same arguments would send, counted without a request. `price`: another than the
    translator's own, as a `Price` or as "20 EUR" for a million units.
    """
    fields = named(fields)
    need(rows, ("id", *fields), stage="translate")
    job = Job(engine(translator, price), source, to, fields, protect, bound, context)
    if isinstance(memory, Memory):
        return _Count(job, memory).all(rows)
    there = memory is not None and Path(memory).exists()  # a plan leaves nothing behind
    with Memory(memory if there else None) as store:
        return _Count(job, store).all(rows)


def parse_budget(text: str | None, translator: AnyTranslator, price: Price | str | None = None) -> Budget | None:
    """The budget that a command line gives for a translator: "500000", "500_000" or "500000 characters" of its units,
    or "1.50 EUR" in its price's currency. Raises `UsageError` for every other form.
    """
    if text is None:
        return None
    asked = engine(translator, price)
    units, money = _UNITS.fullmatch(text.strip()), _MONEY.fullmatch(text.strip())
    if units and (units[2] or asked.unit).lower() == asked.unit:
        if asked.unit not in ("characters", "tokens"):
            raise UsageError(f"This translator bills {asked.unit}; give the budget in money, such as '20 EUR'.")
        return Budget(**{asked.unit: units[1]})
    if not money:
        unit = asked.unit if asked.unit in ("characters", "tokens") else ""
        forms = f"such as '500000', '500_000', '500000 {unit}' or '1.50 EUR'" if unit else "such as '1.50 EUR'"
        raise UsageError(f"{text!r} is not a budget for this translator.", next=f"Write it without commas, {forms}.")
    if asked.price is not None and asked.price.currency != money[2].upper():
        raise UsageError(f"The budget is in {money[2]}, and the price in {asked.price.currency}.")
    return Budget(money=money[1])


class _Count:
    """Walks through the rows as `translate` does, with nobody to ask."""

    def __init__(self, job: Job, memory: Memory) -> None:
        self.job, self.memory = job, memory
        self.seen: set[str] = set()
        self.boxes: dict[Hashable, Box] = {}
        self.rows = self.characters = self.asked = self.twice = self.known = 0
        self.texts = self.requests = self.billed = 0

    def all(self, rows: Dataset | IterableDataset) -> Plan:
        imported = Imported(self.memory, self.job.source, self.job.target)
        chunk: list[Request] = []
        for record in records(rows):
            self.rows += 1
            row, texts, task, protected = self.job.taken(record)
            self.job.open(row, laid(texts, task, protected), imported)
            self.characters += sum(len(text) for _, text, _ in row.texts)
            chunk += row.requests
            self.known += row.imported
            self.asked += row.imported
            if len(chunk) >= 500:
                self.look(chunk)
                chunk = []
        self.look(chunk)
        self.requests += sum(bool(box.texts) for box in self.boxes.values())
        engine = self.job.engine
        limits = engine.plugin.limits
        allowance: int | None = getattr(engine.plugin, "allowance", None) if engine.price is None else None
        return Plan(
            rows=self.rows, characters=self.characters, kept=self.characters - self.asked, twice=self.twice,
            known=self.known, texts=self.texts, requests=self.requests, billed=self.billed, unit=engine.unit,
            seconds=self.requests / limits.per_second if limits.per_second else None,
            price=engine.price, money=engine.price.money(self.billed) if engine.price else None,
            months=math.ceil(self.billed / allowance) if allowance else None,
        )  # fmt: skip

    def look(self, chunk: Sequence[Request]) -> None:
        """Count requests: those that were seen, those that the memory knows, and those that are to be sent."""
        keys = [request.key for request in chunk]
        known = self.memory.recall(self.job.identity, (key for key in keys if key not in self.seen))
        for request, key in zip(chunk, keys, strict=True):
            length = self.job.words(request)
            self.asked += length
            if key in self.seen:
                self.twice += length
            elif key in known:
                self.known += length
            else:
                self.texts += 1
                self.billed += self.job.cost(request)
                self.put(request, key)
            self.seen.add(key)

    def put(self, request: Request, key: str) -> None:
        group = request.group
        box = self.boxes.get(group)
        if box is None:
            box = self.boxes[group] = Box(self.job.within(group))
        if box.put(key):
            self.requests += 1


def _time(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
