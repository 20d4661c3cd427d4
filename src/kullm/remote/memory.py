"""What was paid for, kept on disk: one SQLite file that answers a text it has seen before.

Write-ahead log with synchronous=FULL: an acknowledged answer survives a kill and a power cut. Before a call its
intent is committed, after it the answer, in one transaction a response.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kullm.errors import InputError

log = logging.getLogger("kullm")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, items INTEGER NOT NULL, started TEXT NOT NULL, outcome TEXT
);
CREATE TABLE IF NOT EXISTS answers (
    key BLOB NOT NULL, identity TEXT NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL, call INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS answers_key ON answers (key);
"""
_VERSION = 1
_MARK = 0x6B756C6D
"""SQLite's application id of our files: "kulm"."""
_IN = 500


class Memory:
    """A store of answers by (identity, item). `Memory(None)` lives in the process and is gone with it.

    Raises `InputError` where the file is not a memory of this version.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise InputError(f"{self.path} is not to be opened as a memory: {error.strerror}.") from None
        self._db = sqlite3.connect(self.path or ":memory:", isolation_level=None, timeout=30)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            busy = "locked" in str(error)
            raise InputError(
                f"{self.path} {'is in use by another run' if busy else 'is not a kullm memory'}: {error}.",
                next="Wait for the other run to end." if busy else "Name another file.",
            ) from error
        except InputError:
            self._db.close()
            raise

    def _open(self) -> None:
        mark = self._db.execute("PRAGMA application_id").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != _MARK and tables:
            raise InputError(f"{self.path} is a database of another program.", next="Name another file.")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise InputError(f"{self.path} is a memory of version {version}; this kullm reads version {_VERSION}.")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA application_id={_MARK}")
        self._db.execute(f"PRAGMA user_version={_VERSION}")
        self._db.executescript(_SCHEMA)
        self._name_lost_calls()

    @classmethod
    def of(cls, memory: Memory | str | Path | None) -> Memory:
        """`memory` itself, or the one at that path."""
        return memory if isinstance(memory, Memory) else cls(memory)

    def recall(self, identity: str, items: Iterable[str]) -> dict[str, Any]:
        """What is known of `items`: a value for each item that was answered before."""
        keys = {key(identity, item): item for item in items}
        known: dict[str, Any] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _IN):
            part = wanted[start : start + _IN]
            marks = ",".join("?" * len(part))
            for found, value in self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part):
                known[keys[found]] = json.loads(value)
        return known

    def intend(self, identity: str, items: int) -> int:
        """Write down that a call is about to be made; gives the call's number."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        cursor = self._db.execute(
            "INSERT INTO calls (identity, items, started) VALUES (?, ?, ?)", (identity, items, now)
        )
        return int(cursor.lastrowid or 0)

    def settle(self, call: int, outcome: str, identity: str = "", answers: Mapping[str, Any] | None = None) -> None:
        """Write down how a call ended ("answered", "failed", "unknown") and what it brought, in one transaction."""
        rows = [
            (key(identity, item), identity, item, json.dumps(value, ensure_ascii=False), call)
            for item, value in (answers or {}).items()
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("UPDATE calls SET outcome = ? WHERE id = ?", (outcome, call))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def calls(self) -> Sequence[tuple[str, int, str, str | None]]:
        """Every call that was ever begun: identity, items, start (UTC), outcome (None while in flight)."""
        return self._db.execute("SELECT identity, items, started, outcome FROM calls ORDER BY id").fetchall()

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _name_lost_calls(self) -> None:
        lost = self._db.execute("SELECT count(*), sum(items) FROM calls WHERE outcome IS NULL").fetchone()
        if lost[0]:
            log.warning(
                "%s: %d call(s) with %d item(s) were in flight when an earlier run ended; they may have been billed.",
                self.path, lost[0], lost[1],
            )  # fmt: skip
            self._db.execute("UPDATE calls SET outcome = 'unknown' WHERE outcome IS NULL")


def key(identity: str, item: str) -> bytes:
    """The key of an item: a 16-byte hash of who answers and what was asked."""
    return hashlib.blake2b(json.dumps([identity, item]).encode(), digest_size=16).digest()
