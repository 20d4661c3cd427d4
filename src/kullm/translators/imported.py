"""Translations that came from elsewhere: people's translation memories, asked before any service."""

from __future__ import annotations

from pathlib import Path

from kullm.remote import Memory
from kullm.translators.languages import code
from kullm.translators.spans import Layout


def identity_of(source: str, target: str) -> str:
    """The identity of imported pairs of two languages in a memory."""
    return f"imported {code(source)}>{code(target)}"


def newest_import(memory: Path, source: str, target: str) -> int:
    """What changes with every import of pairs of two languages into a memory; 0: there are none."""
    if not memory.exists():
        return 0
    with Memory(memory) as store:
        return store.newest(identity_of(source, target))


class Imported:
    """The imported pairs of a memory. Whole texts are looked up first, then what is between spans and line ends."""

    def __init__(self, memory: Memory, source: str, target: str) -> None:
        self._memory, self._identity = memory, identity_of(source, target)
        self._any = memory.has(self._identity)

    def whole(self, text: str) -> str | None:
        """The imported translation of a whole text."""
        if not self._any or not text.strip():
            return None
        found: str | None = self._memory.recall(self._identity, [text]).get(text)
        return found

    def fill(self, layout: Layout) -> tuple[Layout, int]:
        """The layout with the segments that are known put into its frames, and how many characters those had."""
        if not self._any or not layout.segments:
            return layout, 0
        known = self._memory.recall(self._identity, {segment.text for segment in layout.segments})
        count = sum(len(segment.text) for segment in layout.segments if segment.text in known)
        return layout.cut(lambda one: Layout((known[one.text],), ()) if one.text in known else None), count
