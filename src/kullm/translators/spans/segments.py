"""A text as what is translated and what stays: segments, and the frames around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

MARKERS = frozenset(("**", "***", "*", "__", "_", "~~"))
"""Markdown's marks around words: two equal ones stand around what they mark."""


class Segment(NamedTuple):
    """One stretch that goes to a translator: words and protected spans in turns.

    `parts` has an odd length; `parts[0::2]` are words (may be ""), `parts[1::2]` are protected spans, verbatim. A
    segment has no line break and no white space at its ends, and its words hold a letter.
    """

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The stretch as it stood in the source."""
        return self.parts[0] if len(self.parts) == 1 else "".join(self.parts)


class Layout(NamedTuple):
    """A text as what stays and what is translated: `frames[0]`, a segment, `frames[1]`, a segment, … and a last frame.

    Frames are verbatim and never sent; there is one more of them than of segments.
    """

    frames: tuple[str, ...]
    segments: tuple[Segment, ...]

    def text(self, translations: Sequence[str]) -> str:
        """The whole text, with one translation in the place of each segment. Raises ValueError at another count."""
        if len(translations) != len(self.segments):
            raise ValueError(f"{len(self.segments)} segments, {len(translations)} translations")
        if not translations:
            return self.frames[0]
        return "".join([x for pair in zip(self.frames, translations, strict=False) for x in pair]) + self.frames[-1]

    def cut(self, pieces: Callable[[Segment], Layout | None]) -> Layout:
        """The layout with each segment for which `pieces` gives a layout in its place."""
        frames, segments = [self.frames[0]], list[Segment]()
        for segment, frame in zip(self.segments, self.frames[1:], strict=True):
            part = pieces(segment) or Layout(("", ""), (segment,))
            frames[-1] += part.frames[0]
            frames += part.frames[1:]
            frames[-1] += frame
            segments += part.segments
        return Layout(tuple(frames), tuple(segments))


def marks(parts: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of spans in `parts` that stand around words, each by its number among the spans: (opening, closing).

    Emphasis marks (`**`) and the two sides of a Markdown link. A mark without a partner is in no pair.
    """
    found: list[tuple[int, int]] = []
    waiting: list[tuple[str, int]] = []
    for number, span in enumerate(parts[1::2]):
        before, after = parts[2 * number], parts[2 * number + 2]
        link = "[" if span.startswith(("](", "][")) else ""
        if span not in MARKERS and not link and span not in ("[", "!["):
            continue
        opens = next((i for i in range(len(waiting) - 1, -1, -1) if waiting[i][0] == (link or span)), None)
        if opens is not None and span not in ("[", "![") and before[-1:] != " ":
            found.append((waiting[opens][1], number))
            del waiting[opens:]
        elif not link and after[:1] != " " and len(waiting) < 20:
            waiting.append(("[" if span == "![" else span, number))
    return found
