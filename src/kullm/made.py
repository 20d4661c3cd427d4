"""What a file was made of: a mark beside it, so that a command that is given again finds its work done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; of a folder, or what is not there, its name."""
    if not path.is_file():
        return str(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_made(path: Path, settings: Mapping[str, Any], sources: Iterable[Path]) -> bool:
    """Whether `path` is, byte for byte, what was made there with these settings from these files by this kullm."""
    try:
        mark = json.loads(_beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(mark == _mark(path, settings, sources))


def mark_made(path: Path, settings: Mapping[str, Any], sources: Iterable[Path]) -> None:
    """Write down what `path`, which is finished, was made of."""
    part = _beside(path).with_suffix(".part")
    part.write_text(json.dumps(_mark(path, settings, sources), ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(_beside(path))


def _mark(path: Path, settings: Mapping[str, Any], sources: Iterable[Path]) -> dict[str, Any]:
    return {
        "kullm": version("kullm"),
        "settings": dict(settings),
        "sources": [digest(source) for source in sources],
        "result": digest(path),
    }


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.made.json")
