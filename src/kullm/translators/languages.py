"""Codes of languages, as people write them and as a memory keeps them."""

from __future__ import annotations


def code(language: str) -> str:
    """The code of a language in lower case, "pt-br"; a local model's own, such as kor_Hang, as it is."""
    return language if "_" in language else language.lower()
