"""Filters: which rows stay, and why the others do not."""

from kullm.filters.filter import Filter, keep
from kullm.filters.language import LangId, language_of
from kullm.filters.length import MinLength

__all__ = ["Filter", "LangId", "MinLength", "keep", "language_of"]
