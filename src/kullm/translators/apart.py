"""What is done to a row without its translator, so that another process may do it: taken apart, and judged afterwards.

What goes in and comes out are values of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from kullm.translators.bound import Bound, bound
from kullm.translators.spans import Layout, Segment, protect
from kullm.translators.verdicts import verdicts

Plain: TypeAlias = Sequence[Any]
"""What `laid` gives and `opened` takes."""


def laid(texts: Sequence[str], task: Sequence[str] | None, protected: bool) -> Plain:
    """What binds a task (instruction, input, output) to English, and the layouts of texts."""
    tied = bound(*task) if task else None
    layouts = [_layout(text, protected) for text in texts]
    return (
        tied and (tied.kind, tied.evidence, tied.fields),
        [(layout.frames, [segment.parts for segment in layout.segments]) for layout in layouts],
    )


def opened(tied: Any, layouts: list[Any]) -> tuple[Bound | None, list[Layout]]:
    """The same as objects."""
    if tied:
        kind, evidence, fields = tied
        tied = Bound(kind, evidence, tuple(fields))
    return tied, [
        Layout(tuple(frames), tuple(Segment(tuple(parts)) for parts in segments)) for frames, segments in layouts
    ]


def judged(
    original: Mapping[str, str], translated: Mapping[str, str], source: str, target: str
) -> list[dict[str, str]]:
    """The verdicts on a row's texts as they stand in a row; none where nothing was translated."""
    if not translated:
        return []
    found = verdicts(original, translated, source=source, target=target)
    return [{"kind": one.kind, "field": one.field, "evidence": one.evidence} for one in found]


def _layout(text: str, protected: bool) -> Layout:
    """A text as what stays and what is asked; a text without a letter is not asked."""
    if not text or text.isspace():
        return Layout((text,), ())
    return protect(text) if protected else Layout(("", ""), (Segment((text,)),))
