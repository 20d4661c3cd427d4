"""Spans: what must not be translated, found before a text is sent and verified when its translation comes back."""

from kullm.translators.spans.protect import VERSION, finer, protect
from kullm.translators.spans.segments import Layout, Segment
from kullm.translators.spans.styles import PLAIN, XML, Damage, Style

__all__ = ["PLAIN", "VERSION", "XML", "Damage", "Layout", "Segment", "Style", "finer", "protect"]
