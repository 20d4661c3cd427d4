"""What was paid for, kept on disk: one SQLite file that answers a text it has seen before.

Write-ahead log with synchronous=FULL: an acknowledged answer survives a kill and a power cut. Before a call its
intent is committed, after it the answer; what happens at one moment is one commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kullm.errors import InputError, StorageFailed, UsageError
from kullm.remote.calls import Begun, Ended, Part
from kullm.remote.claim import Claim
from kullm.remote.rescue import is_rescued, rescued, save_rescue
from kullm.remote.seen import Seen

log = logging.getLogger("kullm")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identities (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, about TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, identity INTEGER NOT NULL, items INTEGER NOT NULL, units INTEGER NOT NULL DEFAULT 0,
    started TEXT NOT NULL, outcome TEXT
);
CREATE TABLE IF NOT EXISTS answers (
    key BLOB NOT NULL, identity INTEGER NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL, call INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS answers_key ON answers (key);
CREATE INDEX IF NOT EXISTS calls_open ON calls (id) WHERE outcome IS NULL;
"""
_VERSION = 2
HOME = ".kullm/memory.sqlite"
"""Where answers are kept unless another file is named."""
_MARK = 0x6B756C6D
"""SQLite's application id of our files: "kulm"."""
_IN = 500
_READ = 200_000
"""Keys that are read when a run begins to add to a memory; in a larger one every item is looked up."""
_LOG = 8_000
"""Pages of 4 KiB in the log before they go into the file: the index is random, and its pages are written many times."""
_dumps = json.JSONEncoder(ensure_ascii=False).encode
_quoted = json.encoder.encode_basestring_ascii
_COPY = """
INSERT OR IGNORE INTO identities (identity, about) SELECT identity, about FROM other.identities;
INSERT OR IGNORE INTO answers (key, identity, item, value, call)
    SELECT a.key, mine.id, a.item, a.value, NULL FROM other.answers a
    JOIN other.identities theirs ON theirs.id = a.identity JOIN identities mine ON mine.identity = theirs.identity;
"""
_FROM_1 = """
ALTER TABLE calls RENAME TO calls1; ALTER TABLE answers RENAME TO answers1; DROP INDEX answers_key;
"""
_FROM_1_ROWS = """
INSERT OR IGNORE INTO identities (identity) SELECT identity FROM calls1 UNION SELECT identity FROM answers1;
INSERT INTO calls (id, identity, items, started, outcome)
    SELECT c.id, i.id, c.items, c.started, c.outcome FROM calls1 c JOIN identities i USING (identity);
INSERT INTO answers SELECT a.key, i.id, a.item, a.value, a.call FROM answers1 a JOIN identities i USING (identity);
DROP TABLE calls1; DROP TABLE answers1;
"""


class Memory:
    """A store of answers by (identity, item). `Memory(None)` is a private one that is gone with the process.

    Many may read a file; one run at a time may add to it. Raises `InputError` where the file is not a memory.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        self._numbers: dict[str, int] = {}
        self._claim: Claim | None = None
        self._seen: Seen | None = None
        """What may be in the file, from when on nobody else adds to it."""
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise InputError(f"{self.path} is not to be opened as a memory: {error.strerror}.") from None
        # An empty name is a private file that SQLite deletes: it may grow past the main memory.
        self._db = sqlite3.connect(self.path or "", isolation_level=None, timeout=30, check_same_thread=False)
        self._lock = threading.RLock()
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
        if version not in (0, 1, _VERSION):
            raise InputError(f"{self.path} is a memory of version {version}; this kullm reads version {_VERSION}.")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG}")
        if version != _VERSION:
            self._whole(self._steps())

    def _steps(self) -> Iterator[str]:
        """What makes a new file, or one of the first version, one of this version; nothing if another did it by now."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == _VERSION:
            return
        old = version == 1
        yield from _FROM_1.split(";") if old else ()
        yield from _SCHEMA.split(";")
        yield from _FROM_1_ROWS.split(";") if old else ()
        yield from (f"PRAGMA application_id={_MARK}", f"PRAGMA user_version={_VERSION}")

    def _whole(self, steps: Iterable[str]) -> None:
        """Several statements as one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for step in steps:
                if step.strip():
                    self._db.execute(step)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @classmethod
    def of(cls, memory: Memory | str | Path | None) -> Memory:
        """`memory` itself, or the one at that path."""
        return memory if isinstance(memory, Memory) else cls(memory)

    @property
    def rescued(self) -> bool:
        """Are there answers that this file could not take, which `claim` will take in?"""
        return is_rescued(self.path)

    def claim(self) -> None:
        """Become the one run that adds to this file, until `close`. Raises `MemoryInUse` that says who is it now.

        Calls that an earlier run left open are named: they may have been billed.
        """
        if self._claim is not None or self.path is None:  # a private memory is nobody else's
            return
        claim = Claim(self.path)
        claim.take()
        self._claim = claim
        self._see()
        for ended in rescued(self.path):
            self.commit([ended])
        lost = self._db.execute("SELECT count(*), sum(items) FROM calls WHERE outcome IS NULL").fetchone()
        if lost[0]:
            log.warning(
                "%s: %d call(s) with %d item(s) were in flight when an earlier run ended; they may have been billed.",
                self.path, lost[0], lost[1],
            )  # fmt: skip
            self._db.execute("UPDATE calls SET outcome = 'unknown' WHERE outcome IS NULL")

    def recall(self, identity: str, items: Iterable[str]) -> dict[str, Any]:
        """What is known of `items`: a value for each item that was answered before."""
        hashed = keys_of(identity)
        keys = {hashed(item): item for item in items}
        known: dict[str, Any] = {}
        seen = self._seen
        wanted = list(keys) if seen is None else [key for key in keys if key in seen]
        with self._guarded():
            for start in range(0, len(wanted), _IN):
                part = wanted[start : start + _IN]
                marks = ",".join("?" * len(part))
                for found, value in self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part):
                    known[keys[found]] = json.loads(value)
        return known

    def _see(self) -> None:
        """Note which keys there are, where they are not too many to read."""
        if self._db.execute("SELECT coalesce(max(rowid), 0) FROM answers").fetchone()[0] > _READ:
            return
        self._seen = Seen()
        self._seen.add(key for (key,) in self._db.execute("SELECT key FROM answers"))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time; the database's errors as ours."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StorageFailed(f"{self.path or 'The private memory'} cannot be used: {error}.") from error

    def has(self, identity: str) -> bool:
        """Was anything ever kept under this identity?"""
        return self._db.execute("SELECT 1 FROM identities WHERE identity = ?", (identity,)).fetchone() is not None

    def newest(self, identity: str) -> int:
        """The number of the newest answer under this identity; 0: there is none."""
        wanted = "identity = (SELECT id FROM identities WHERE identity = ?)"
        found = self._db.execute(f"SELECT max(rowid) FROM answers WHERE {wanted}", (identity,)).fetchone()
        return int(found[0] or 0)

    def commit(
        self, ended: Sequence[Ended] = (), begun: Sequence[Begun] = (), about: Mapping[str, Any] | None = None
    ) -> list[int]:
        """Write down, in one transaction, how calls ended and that others are about to be made; their numbers.

        Raises `StorageFailed` where the disk takes no more: the answers are then in a file beside the memory, and the
        next run takes them in.
        """
        with self._lock:
            return self._surely(ended, begun, about or {})

    def _surely(self, ended: Sequence[Ended], begun: Sequence[Begun], about: Mapping[str, Any]) -> list[int]:
        try:
            return self._commit(ended, begun, about)
        except sqlite3.Error as error:
            if self._claim:
                self._claim.give_room()
            try:
                self._commit(ended, (), about)
                where = f"The answers that came are kept in {self.path}."
            except sqlite3.Error:
                where = save_rescue(self.path, ended)
            raise StorageFailed(
                f"{self.path or 'The private memory'} takes no more: {error}.",
                safe=where,
                next="Free some space, then run it again: it goes on from there.",
            ) from error

    def _commit(self, ended: Sequence[Ended], begun: Sequence[Begun], about: Mapping[str, Any]) -> list[int]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for one in ended:
                if one.answers:
                    number, hashed = self._number(one.identity, about), keys_of(one.identity)
                    rows = [(hashed(item), number, item, _dumps(said), one.call) for item, said in one.answers.items()]
                    self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)
                    if self._seen:
                        self._seen.add(row[0] for row in rows)
                self._db.execute("UPDATE calls SET outcome = ? WHERE id = ?", (one.outcome, one.call))
            calls = [
                self._db.execute(
                    "INSERT INTO calls (identity, items, units, started) VALUES (?, ?, ?, ?)",
                    (self._number(one.identity, about), one.items, one.units, now),
                ).lastrowid
                for one in begun
            ]
            self._db.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return [int(number or 0) for number in calls]

    def _number(self, identity: str, about: Mapping[str, Any]) -> int:
        """The number of an identity, which is written down when it is first seen."""
        if identity not in self._numbers:
            values = (identity, _dumps(about))
            self._db.execute("INSERT OR IGNORE INTO identities (identity, about) VALUES (?, ?)", values)
            found = self._db.execute("SELECT id FROM identities WHERE identity = ?", (identity,))
            self._numbers[identity] = int(found.fetchone()[0])
        return self._numbers[identity]

    def add(self, identity: str, about: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
        """Put in answers that no call of ours brought, such as an imported translation memory."""
        self.claim()
        self.commit([Ended(0, "answered", identity, answers)], about=about)

    def merge(self, other: str | Path) -> int:
        """Take in the answers of another memory that this one lacks; the number of them.

        Raises `UsageError` where the other is this one, by whatever name.
        """
        if not Path(other).exists():
            raise InputError(f"There is no memory {other}.")
        if self.path is not None and self.path.samefile(other):
            raise UsageError(f"{other} is the memory {self.path} itself.", next="Name the other one.")
        with Memory(other):  # it is one, and of this version
            pass
        self.claim()
        before = len(self)
        self._seen = None
        with self._guarded():
            self._db.execute("ATTACH ? AS other", (str(other),))
            try:
                self._whole(_COPY.split(";"))
            finally:
                self._db.execute("DETACH other")
        return len(self) - before

    def forget(self, identity: str) -> int:
        """Delete the answers of every identity that begins with `identity`; gives their number. Calls stay recorded."""
        self.claim()
        wanted = "identity IN (SELECT id FROM identities WHERE substr(identity, 1, ?) = ?)"
        with self._guarded():
            count = self._db.execute(f"DELETE FROM answers WHERE {wanted}", (len(identity), identity)).rowcount
            self._db.execute("VACUUM")
        return int(count)

    def stats(self) -> list[Part]:
        """What the memory holds, an identity each."""
        rows = self._db.execute(
            """SELECT i.identity, i.about, (SELECT count(*) FROM answers a WHERE a.identity = i.id), count(c.id),
            coalesce(sum(c.units) FILTER (WHERE c.outcome = 'answered'), 0),
            coalesce(sum(c.units) FILTER (WHERE c.outcome = 'unknown' OR c.outcome IS NULL), 0)
            FROM identities i LEFT JOIN calls c ON c.identity = i.id GROUP BY i.id ORDER BY i.id"""
        )
        return [Part(row[0], json.loads(row[1]), *row[2:]) for row in rows]

    def pairs(self, identity: str = "") -> Iterator[tuple[str, Mapping[str, Any], str, Any]]:
        """Every answer of the identities that begin with `identity`: identity, what it is about, item, value."""
        rows = self._db.execute(
            """SELECT i.identity, i.about, a.item, a.value FROM answers a JOIN identities i ON i.id = a.identity
            WHERE substr(i.identity, 1, ?) = ? ORDER BY a.rowid""",
            (len(identity), identity),
        )
        for name, about, item, value in rows:
            yield name, json.loads(about), item, json.loads(value)

    def calls(self) -> Sequence[tuple[str, int, str, str | None]]:
        """Every call that was ever begun: identity, items, start (UTC), outcome (None while in flight)."""
        return self._db.execute(
            "SELECT i.identity, c.items, c.started, c.outcome FROM calls c JOIN identities i ON i.id = c.identity "
            "ORDER BY c.id"
        ).fetchall()

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        self._db.close()
        if self._claim:
            self._claim.release()
            self._claim = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@lru_cache(maxsize=8)
def keys_of(identity: str) -> Callable[[str], bytes]:
    """What gives the key of an item: a 16-byte hash, of JSON, of who answers and what was asked."""
    start = hashlib.blake2b(f"[{_quoted(identity)}, ".encode(), digest_size=16)

    @lru_cache(maxsize=10_000)  # it is wanted when an item is looked up, and when its answer is kept
    def key(item: str) -> bytes:
        whole = start.copy()
        whole.update(f"{_quoted(item)}]".encode())
        return whole.digest()

    return key
