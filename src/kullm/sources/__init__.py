"""Instruction data of any published format as rows: load it, save it, and add a format or a source of your own."""

from kullm.sources.format import Format, Source
from kullm.sources.loading import load
from kullm.sources.tables import read, save, scan

__all__ = ["Format", "Source", "load", "read", "save", "scan"]
