"""Answers that the memory's own file could not take, in a file beside it that the next run takes in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from kullm.remote.calls import Ended


def save_rescue(path: Path | None, ended: Sequence[Ended]) -> str:
    """Write `ended` beside the memory; a sentence that says where the answers are, or that they are lost."""
    answers = sum(len(one.answers) for one in ended)
    lost = f"{answers} answer(s) that came with the last calls could not be kept; they may be billed again."
    if path is None:
        return lost
    file = _beside(path)
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as stream:
            stream.write("".join(json.dumps(asdict(one)) + "\n" for one in ended).encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        return lost
    return f"{answers} answer(s) that came with the last calls are kept in {file}; the next run takes them in."


def rescued(path: Path | None) -> Iterator[Ended]:
    """What a rescue file beside the memory holds; the file is deleted when all of it was taken. A torn last line is
    left out: its call stays open and is named as perhaps billed.
    """
    if path is None or not is_rescued(path):
        return
    file = _beside(path)
    for line in file.read_bytes().split(b"\n"):
        try:
            found = Ended(**json.loads(line))
        except (ValueError, TypeError):
            continue
        yield found
    file.unlink()


def is_rescued(path: Path | None) -> bool:
    """Whether a rescue file lies beside the memory."""
    return path is not None and _beside(path).exists()


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.rescued.jsonl")
