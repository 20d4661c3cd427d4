"""A local DeepL. Its limits and refusals are those of https://developers.deepl.com/docs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from kullm.errors import Refused
from kullm.testing.fakes import Translations, translated
from kullm.testing.faults import Answer
from kullm.testing.service import Done, Rejected, Service

_FORMAL = frozenset(["DE", "ES", "ES-419", "FR", "IT", "JA", "NL", "PL", "PT", "PT-BR", "PT-PT", "RU"])
"""The targets that know `formality`."""
_VALUES: Mapping[str, tuple[str, ...]] = {
    "formality": ("default", "more", "less", "prefer_more", "prefer_less"),
    "tag_handling": ("xml", "html"),
    "tag_handling_version": ("v1", "v2"),
    "model_type": ("latency_optimized", "quality_optimized", "prefer_quality_optimized"),
}
_TAG = re.compile(
    r"""<!--.*?-->|<\?.*?\?>|<!\[CDATA\[(.*?)\]\]>|<(?:[^<>"']|"[^"]*"|'[^']*')*>""",
    re.DOTALL,
)
_SUSPECT = re.compile("[<&\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|]]>")
"""Without one of these a text is XML content as it stands."""


@dataclass(frozen=True, slots=True)
class Billed:
    """One request whose work was done: its texts, and its cost in code points of the source.

    `context` came along and is free, as is what stands in tags where `tags` were handled; `options` are all the other
    fields of the request, by the service's names: source_lang, target_lang, model_type, …
    """

    texts: tuple[str, ...]
    characters: int
    context: str = ""
    tags: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(eq=False, repr=False)
class DeepLServer(Service):
    """A local server that speaks DeepL's v2 to the official client: `with DeepLServer({"Hello.": "안녕."}) as server:`.

    `translate` maps a text, as it was sent, to its translation; a mapping that lacks it answers 400. DeepL's limits:
    50 texts (400), 128 KiB (413), the key (403), `quota` in characters (456); the values of its options, strict XML
    where tags are handled by version v2, which is the default (400). `ledger`: a `Billed` for each request that was
    worked on; `characters`: all that was billed.
    """

    translate: Translations
    ledger: list[Billed] = field(default_factory=list, init=False)

    scheme, path, wrong_key = "DeepL-Auth-Key", "/v2/translate", 403
    spent = 456, "Quota Exceeded", ""

    @property
    def characters(self) -> int:
        """All that was billed, in code points."""
        return self._used

    def look_up(self, path: str) -> Answer | None:
        """The usage of the account, where that is asked for."""
        limit = 1_000_000_000_000 if self.quota is None else self.quota  # 10^12 is how DeepL says "no limit"
        return {"character_count": self.characters, "character_limit": limit} if path == "/v2/usage" else None

    def work(self, request: dict[str, Any], size: int) -> Done:
        """Translate the texts of a request, tell the cost of each, and note what came with them."""
        if size > 128 * 1024:
            raise Rejected(413, "Request Entity Too Large")
        options = dict(request)
        texts, context = options.pop("text", None), options.pop("context", None) or ""
        if not isinstance(texts, list) or not 1 <= len(texts) <= 50 or not all(isinstance(text, str) for text in texts):
            raise Refused("'text', a list of 1 to 50 texts, is wanted")
        _check(options, context)
        tags = options.get("tag_handling") is not None
        if options.get("tag_handling") == "xml" and options.get("tag_handling_version") != "v1":
            _check_xml(texts)
        lang = options.get("source_lang") or "EN"
        costs = [_billable(text) if tags else len(text) for text in texts]
        items = [
            {"text": new, "billed_characters": cost, "detected_source_language": lang}
            for new, cost in zip(translated(self.translate, texts), costs, strict=True)
        ]
        entry = Billed(tuple(texts), sum(costs), context, tags, options)
        return Done({"translations": items}, entry.characters, entry, texts)


def _check(options: Mapping[str, Any], context: object) -> None:
    """Raise Refused where DeepL would not take the options of a request."""
    target = options.get("target_lang")
    if not isinstance(target, str) or not target:
        raise Refused("Value for 'target_lang' not supported.")
    if not isinstance(context, str):
        raise Refused("Value for 'context' not supported.")
    for name, values in _VALUES.items():
        if options.get(name) is not None and options[name] not in values:
            raise Refused(f"Value for '{name}' not supported.")
    if options.get("formality") in ("more", "less") and target.upper() not in _FORMAL:
        raise Refused(f"Target language '{target.upper()}' doesn't support formality")
    _check_glossaries(options)
    orders = options.get("custom_instructions") or []
    if not isinstance(orders, list) or len(orders) > 10:
        raise Refused("'custom_instructions' is a list of at most 10")
    if not all(isinstance(order, str) and len(order) <= 300 for order in orders):
        raise Refused("each of 'custom_instructions' is a text of at most 300 characters")


def _check_glossaries(options: Mapping[str, Any]) -> None:
    one, several = options.get("glossary_id"), options.get("glossary_ids")
    if one is not None and several is not None:
        raise Refused("'glossary_id' and 'glossary_ids' exclude each other")
    if several is not None and not (isinstance(several, list) and 1 <= len(several) <= 5):
        raise Refused("'glossary_ids' is a list of 1 to 5")
    if (one is not None or several is not None) and not options.get("source_lang"):
        raise Refused("a glossary needs 'source_lang'")


def _check_xml(texts: list[str]) -> None:
    for number, text in enumerate(texts):
        if not _SUSPECT.search(text):
            continue
        try:
            expat.ParserCreate().Parse(f"<t>{text}</t>", True)
        except (expat.ExpatError, UnicodeEncodeError) as error:
            raise Refused(f"Tag handling parsing failed, please check input: text {number}: {error}") from None


def _billable(text: str) -> int:
    """The code points of a text outside its tags; an entity counts as it is written."""
    return len(_TAG.sub(r"\1", text)) if "<" in text else len(text)
