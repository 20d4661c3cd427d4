"""One run at a time adds to a memory: the lock, who holds it, and the room that is kept for the last answers."""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kullm.errors import MemoryInUse, StorageFailed

if TYPE_CHECKING:
    from filelock import FileLock

_ROOM = 4 * 1024 * 1024
"""Bytes that are taken at the start and given back when the disk is full: the answers in flight fit into them."""


class Claim:
    """The lock of a memory, in files beside it. The system drops it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holder = path.with_name(f"{path.name}.holder")
        self._room = path.with_name(f"{path.name}.room")
        self._lock: FileLock | None = None

    def take(self) -> None:
        """Raises `MemoryInUse` where another run has it, and `StorageFailed` where the disk has no room for answers."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._path.with_name(f"{self._path.name}.lock"), timeout=0, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise MemoryInUse(
                f"{self._path} is in use by another run{self._who()}.",
                next="Wait for it to end, or name another memory.",
            ) from None
        except OSError as error:
            raise StorageFailed(f"{self._path} cannot be locked: {error.strerror}.") from None
        self._lock = lock
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]][: 2 if "kullm" in sys.argv[0] else 1]),
        }
        try:
            _write(self._holder, json.dumps(about).encode())
            _write(self._room, bytes(_ROOM))
        except OSError as error:
            self.release()
            raise StorageFailed(
                f"There is no room for answers beside {self._path}: {error.strerror}.",
                safe="Nothing was asked and nothing was paid.",
                next="Free some space, then run it again.",
            ) from None

    def give_room(self) -> None:
        """Free the space that was kept: the disk is full, and answers that were paid for must be written."""
        self._room.unlink(missing_ok=True)

    def release(self) -> None:
        if self._lock:
            self.give_room()
            self._holder.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _who(self) -> str:
        try:
            about = json.loads(self._holder.read_text(encoding="utf-8"))
            return f": process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
