"""Translators: DeepL (the default), chat models, local models, recorded pairs, and any object or function of yours."""

from kullm.translators.chat import Chat
from kullm.translators.deepl import DeepL
from kullm.translators.driver import translate
from kullm.translators.exchange import export_memory, import_memory
from kullm.translators.fallback import Fallback
from kullm.translators.imported import newest_import
from kullm.translators.plan import Plan, parse_budget, plan_translation
from kullm.translators.recorded import Recorded
from kullm.translators.seq2seq import Seq2Seq
from kullm.translators.translator import Translator

__all__ = [
    "Chat",
    "DeepL",
    "Fallback",
    "Plan",
    "Recorded",
    "Seq2Seq",
    "Translator",
    "export_memory",
    "import_memory",
    "newest_import",
    "parse_budget",
    "plan_translation",
    "translate",
]
