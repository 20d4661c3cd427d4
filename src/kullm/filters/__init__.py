"""Filters: which rows stay, and why the others do not."""

from kullm.filters.filter import Filter, keep
from kullm.filters.language import LangId, language_of
from kullm.filters.length import MinLength
from kullm.filters.pairs import Flagged, Verdicts

__all__ = ["Filter", "Flagged", "LangId", "MinLength", "Verdicts", "keep", "language_of"]
