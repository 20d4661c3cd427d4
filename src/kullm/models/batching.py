"""Which prompts are generated together: as many as fit, by their tokens, and fewer after the memory ran out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger("kullm")

R = TypeVar("R")

_NO_MEMORY = re.compile(
    r"allocate memory|not enough memory|out of memory|could not create a (primitive|memory object)(?! descriptor)", re.I
)


@dataclass
class Room:
    """What a batch may hold: at most `rows` prompts, and at most `tokens` tokens of cache.

    A prompt takes as many as the longest of its batch, and as many as may be written after it, once for each beam.
    `tokens` falls when the memory does not suffice; so it is remembered.
    """

    rows: int
    tokens: int
    new: int
    beams: int

    def cost(self, width: int, count: int) -> int:
        """The tokens of `count` prompts, the longest of `width` tokens."""
        return (width + self.new) * self.beams * count

    def open(self) -> Batches:
        return Batches(self)


class Batches:
    """Numbers prompts by the batch that each goes into, as they come: the longest first, so that those of about one
    length share a batch. A prompt that is too large alone stands alone.
    """

    def __init__(self, room: Room) -> None:
        self.room, self.number, self.width, self.count = room, 0, 0, 0

    def place(self, tokens: int) -> int:
        """The number of the batch for the next prompt, of so many tokens."""
        width, room = max(self.width, tokens), self.room
        if self.count == room.rows or (self.count and room.cost(width, self.count + 1) > room.tokens):
            self.number, self.width, self.count = self.number + 1, tokens, 0
        self.width, self.count = max(self.width, tokens), self.count + 1
        return self.number


def in_batches(
    rows: Sequence[list[int]], room: Room, generate: Callable[[Sequence[list[int]]], Sequence[R]]
) -> list[R | None]:
    """What `generate` gives for the token ids of each row, in their order, the longest rows first.

    Where the memory runs out a batch is halved, which `room` remembers; None stands for a row that does not fit alone.
    """
    waiting = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    made: list[R | None] = [None] * len(rows)
    while waiting:
        batches = room.open()
        batch = [waiting[0]]
        first = batches.place(len(rows[waiting[0]]))
        for place in waiting[1:]:
            if batches.place(len(rows[place])) != first:
                break
            batch.append(place)
        done = within_memory(lambda batch=batch: generate([rows[place] for place in batch]))  # type: ignore[misc]
        if done is None and len(batch) > 1:
            room.tokens = room.cost(len(rows[batch[0]]), (len(batch) + 1) // 2)
            log.info("the memory does not hold %d prompts at once; going on with half as many", len(batch))
            continue
        for place, one in zip(batch, done or (), strict=False):
            made[place] = one
        waiting = waiting[len(batch) :]
    return made


def within_memory(call: Callable[[], R]) -> R | None:
    """What `call` gives; None where the memory of the GPU, or of this machine, does not suffice for it."""
    import torch

    try:
        return call()
    except (MemoryError, RuntimeError) as error:  # torch's own OutOfMemoryError is a RuntimeError
        if not lacks_memory(error):
            raise
    # Only here is the error gone, and with it the frames that hold the tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def lacks_memory(error: BaseException) -> bool:
    """Does this error say that the memory of the GPU, or of this machine, does not suffice?

    On a CPU torch has no class of its own for it, but a message of the allocator; oneDNN, which gets no memory for a
    kernel that it knows, says that it could not create it; and a file that cannot be mapped is an OSError.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and bool(_NO_MEMORY.search(str(error)))
