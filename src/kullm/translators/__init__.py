"""Translators: DeepL (the default), recorded pairs, and any object or function of your own."""

from kullm.translators.deepl import DeepL
from kullm.translators.recorded import Recorded
from kullm.translators.translator import Translator, translate

__all__ = ["DeepL", "Recorded", "Translator", "translate"]
