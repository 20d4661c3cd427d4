"""For plug-in authors and for kullm's own tests: contract checks, a fake translator, local DeepL and OpenAI servers.

The servers speak over a real socket to the official clients, keep a ledger of what was billed, and can be hostile.
Both take `key`, `quota`, `faults`, `delay` (seconds before the work), `port` and `ledger_file`, and tell `url`,
`requests`, `ledger` and `strays`. In a process of its own:

    python -m kullm.testing deepl --delay 0.1 --translate korean --ledger billed.jsonl
"""

from kullm.testing.checks import check_filter, check_judge, check_template, check_translator
from kullm.testing.deepl import Billed, DeepLServer
from kullm.testing.fakes import FakeTranslator, Translations, pseudo_korean
from kullm.testing.faults import Fault, Kind
from kullm.testing.openai import OpenAIServer
from kullm.testing.service import Stray, fingerprint

__all__ = [
    "Billed",
    "DeepLServer",
    "FakeTranslator",
    "Fault",
    "Kind",
    "OpenAIServer",
    "Stray",
    "Translations",
    "check_filter",
    "check_judge",
    "check_template",
    "check_translator",
    "fingerprint",
    "pseudo_korean",
]
