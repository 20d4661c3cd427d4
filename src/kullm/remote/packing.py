"""Items to batches, within what one call may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from kullm.remote.limits import Limits


def size(text: str) -> int:
    """The bytes of a text in a JSON body with ASCII escapes: a Korean syllable takes six."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return len(text) + 2
    return len(json.dumps(text))


def pack(texts: Sequence[str], limits: Limits) -> Iterator[list[str]]:
    """`texts` in batches within `limits.items` and `limits.bytes`; a text that is too large alone stands alone."""
    box = Box(limits)
    for text in texts:
        if full := box.put(text):
            yield full
    if box.texts:
        yield box.take()


class Box:
    """An open batch: `put` gives the batch that is full, if the text did not fit into it any more."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.texts: list[str] = []
        self.bytes = 0

    def put(self, text: str) -> list[str] | None:
        most = self.limits.bytes
        cost = size(text) if most is not None else 0
        full = bool(self.texts) and (
            len(self.texts) >= self.limits.items or (most is not None and self.bytes + cost > most)
        )
        batch = self.take() if full else None
        self.texts.append(text)
        self.bytes += cost
        return batch

    def take(self) -> list[str]:
        batch, self.texts, self.bytes = self.texts, [], 0
        return batch
