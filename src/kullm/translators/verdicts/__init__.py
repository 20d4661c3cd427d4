"""Verdicts: what is wrong with a translated row, where, and the evidence."""

from kullm.translators.verdicts.rules import KINDS, RULES, Verdict, verdicts

__all__ = ["KINDS", "RULES", "Verdict", "verdicts"]
