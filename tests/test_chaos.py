"""Runs that are killed and interrupted at random moments lose nothing and pay for nothing in secret.

The same for longer: python -m tests.chaos translate --kills 200 --signals 100
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import kullm
from chaos import Job, prepared, server, translate
from kullm.sources import scan
from kullm.testing import FakeTranslator


def test_twenty_kills_and_ten_signals_lose_no_row_and_pay_for_nothing_in_secret(tmp_path: Path) -> None:
    killed, stopped = translate(tmp_path, kills=20, signals=10, rows=400, a_job=10, seed=random.randrange(2**32))
    assert killed.broken + stopped.broken == []
    assert killed.strikes == 20
    assert stopped.strikes == 10
    assert killed.rows_lost == stopped.rows_lost == 0
    assert killed.destroyed == stopped.destroyed == 0
    assert killed.gap_calls <= 16
    assert killed.again <= killed.listed
    assert stopped.again == stopped.listed == 0
    assert killed.busy, "no kill came while calls were under way: the test shows nothing"


def test_a_broken_promise_is_noticed(tmp_path: Path) -> None:
    setting = prepared(tmp_path, 60, 4, 0.0, random.Random(1))
    folder = tmp_path / "job"
    folder.mkdir()
    with server(folder, 0.0) as url:
        job = Job(setting, folder, url, random.Random(1))
        job.end()
        assert job.tally.broken == []
        with closing(sqlite3.connect(job.memory)) as db, db:
            db.execute("DELETE FROM answers WHERE rowid = 1")
        text = (folder / "out.jsonl").read_text(encoding="utf-8")
        (folder / "out.jsonl").write_text(text.partition("\n")[2], encoding="utf-8")
        job.look(0, 0)
        job.result()
        job.memory.write_bytes(b"not a database at all, and longer than the head of one would be" * 20)
        job.memory.with_name("m.sqlite-wal").unlink(missing_ok=True)
        job.look(0, 0)
    said = [what.partition(": ")[2] for what in job.tally.broken]
    for what in (
        "1 answer(s) are gone", "1 text(s) were billed and not kept; 0 are listed", "the output is not",
        "some rows are missing", "the final files are not", "the memory is damaged",
    ):  # fmt: skip
        assert any(re.match(re.escape(what), one) for one in said), (what, said)
    assert job.tally.rows_lost == 1
    assert job.tally.destroyed == 1


def test_a_stream_of_rows_with_and_without_earlier_turns_is_translated(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"id": "a", "source": "s", "licence": "l", "instruction": "Go.", "input": "", "output": "Yes."}
    turns = [{"instruction": "Where?", "output": "There."}]
    file.write_text("".join(json.dumps(row | {"history": one}) + "\n" for one in ([], turns)), encoding="utf-8")
    found = list(kullm.translate(scan(file), FakeTranslator(), memory=None))
    assert [row["history"] for row in found] == [[], [{"instruction": "Where? (ko)", "output": "There. (ko)"}]]
