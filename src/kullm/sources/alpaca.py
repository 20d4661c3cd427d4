"""The Alpaca format: {"instruction", "input", "output"}; also that of GPT-4-LLM, KoAlpaca and KULLM v2."""

from __future__ import annotations

from collections.abc import Iterable

from kullm.rows import Failure
from kullm.sources.format import Format, Record, Row, Source, row, text


def _read(record: Record, id: str) -> Iterable[Row | Failure]:
    yield row(id, text(record, "instruction"), text(record, "input"), text(record, "output"))


FORMAT = Format("alpaca", ("instruction", "output"), _read)
"""One row a record; `input` may be missing."""

ALPACA = Source("alpaca", FORMAT, "CC BY-NC 4.0", hub="tatsu-lab/alpaca", rows=52_002)
"""Stanford Alpaca (tatsu-lab/stanford_alpaca, datasheet): 52,002 rows of text-davinci-003; not for commercial use."""

GPT4_LLM = Source("gpt4-llm", FORMAT, "CC BY-NC 4.0", hub="vicgalle/alpaca-gpt4", rows=52_002)
"""GPT-4-LLM (Peng et al. 2023): the instructions of Alpaca with outputs of GPT-4, 52,002 rows. Not for commercial use.

The authors publish it on GitHub; this is the copy on the hub.
"""
