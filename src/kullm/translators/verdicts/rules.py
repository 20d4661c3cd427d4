"""A verdict per translated row: what is wrong with it, where, and the evidence, found without a reference.

`verdicts` looks at every field with each rule of `RULES`, and at the row as a whole. A rule is a small function from a
`Pair` to its evidence, or None. The thresholds from English to Korean were set on real pairs; other pairs of languages
get wide bands derived from their scripts, and the evidence says so.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from kullm.translators.numbers import lost_numbers
from kullm.translators.verdicts.leftover import LATIN, LETTERS, Pair, cut, script, untranslated
from kullm.translators.verdicts.swapped import swapped


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is wrong: its kind (one of `KINDS`), the field, and short evidence for people."""

    kind: str
    field: str
    evidence: str


def verdicts(
    original: Mapping[str, str], translated: Mapping[str, str], *, source: str = "en", target: str = "ko"
) -> list[Verdict]:
    """What is wrong with one translated row; an empty list where nothing was found.

    Both mappings go from a field's name to its text. Fields that stand in one of them alone are not looked at, so leave
    out what was not meant to be translated. `source` and `target` are language codes; of "pt-BR" the "pt" counts.
    """
    languages = source.lower().partition("-")[0], target.lower().partition("-")[0]
    found: list[Verdict] = []
    for field, text in original.items():
        said = translated.get(field)
        if said is None:
            continue
        pair = Pair(text.strip(), said.strip(), languages)
        if pair.source and pair.target:
            found += [Verdict(kind, field, why) for kind, rule in RULES.items() if (why := rule(pair)) is not None]
        elif pair.source or pair.target:
            why = "the translation is empty" if pair.source else "a translation of nothing"
            found.append(Verdict("length", field, why))
    why = _same(original, translated)
    return [*found, Verdict("same", "output", why)] if why else found


# Length

_KEPT = re.compile(r"\b[A-Z][\w.-]*|[\d_]+|[^\w\s]+|\s\s+|\b\w+[(.=_]\w*")
_BANDS = {("en", "ko"): (0.28, 0.85)}
"""Characters of the target for one of the source, what the texts of 40 and more of 460 DeepL pairs span."""
_DENSITY = {"ko": 0.5, "ja": 0.47, "zh": 0.33}
"""Characters that say the same, where a Latin script needs 1."""
_SLACK = (3, 8)
"""Characters that a text may be below or above its band: a title of two words obeys no ratio."""


def _band(pair: Pair) -> tuple[float, float, str]:
    """The usual ratio of characters, and a remark where it is not calibrated."""
    if band := _BANDS.get(pair.languages):
        return (*band, "")
    source, target = pair.languages
    usual = _DENSITY.get(target, 1.0) / _DENSITY.get(source, 1.0)
    return usual * 0.4, usual * 2.5, f" (not calibrated for {source} to {target})"


def _length(pair: Pair) -> str | None:
    low, high, remark = _band(pair)
    source, target = len(pair.source), len(pair.target)
    if low * source - _SLACK[0] <= target <= high * source + _SLACK[1] or pair.source == pair.target:
        return None
    # What is rightly copied keeps its length, so it does not count: signs, digits, blanks, words in capitals, code.
    kept = sum(map(len, (Counter(_KEPT.findall(pair.source)) & Counter(_KEPT.findall(pair.target))).elements()))
    if target > source and kept > 0.5 * source and target - source < 0.2 * source:
        return None
    source, target = source - kept, target - kept
    if low * source - _SLACK[0] <= target <= high * source + _SLACK[1]:
        return None
    return f"ratio {target / max(source, 1):.2f}, usual {low:.2f}–{high:.2f}{remark}"


def _numbers(pair: Pair) -> str | None:
    lost = lost_numbers(pair.source, pair.target)
    if not lost:
        return None
    shown = ", ".join(map(cut, lost[:3])) + (" …" if len(lost) > 3 else "")
    return f"{shown} {'is' if len(lost) == 1 else 'are'} missing"


# Lines, loops, ends

_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*+•·]|\d{1,3}[.)]|\(?[a-zA-Z][.)]|[가나다라마바사아자차카타파하][.)])[ \t]")
_LABEL = re.compile(r"(?m)^[ \t]*[^\n:：`]{1,30}[:：](?=\s|$)")
_KEY = re.compile(r"(?m)^[ \t]*[\w /()#-]{1,30}: [^\n]*[^.!?\s][ \t]*$")
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n)")
_STOP = re.compile(r"[.!?。！？\n]+")
_CLOSED = re.compile(r"[^\w\s,]\Z|(?:[다요죠까오니라자음함됨임기세네지군]|습니)\Z")
_STUTTER = re.compile(r"(\w[^\n]{1,11}?)\1{5,}")
_FINISHED = re.compile(r"[.!?:。！？：][\"'”’)\]]*\Z")
_ABBREVIATED = re.compile(r"\b(?:[A-Z]|Inc|Co|Ltd|etc|Jr|Sr|St|vs|al|a\.m|p\.m|U\.S)\.\Z")


def _lines(pair: Pair) -> str | None:
    """Lines, list items, table cells, fences and "Key:" labels are counted; empty lines are not."""
    source, target = pair.source, pair.target
    if "\n" in source or "\n" in target:
        before, after = (sum(not line.isspace() and line != "" for line in t.splitlines()) for t in (source, target))
        if before != after:
            return f"{before} lines became {after}"
    if "\n" in source or _ITEM.match(target):
        before, after = len(_ITEM.findall(source)), len(_ITEM.findall(target))
        if before != after:
            return f"{before} list items became {after}"
    for sign, what in (("|", "table cells"), ("```", "fences")):
        if (before := source.count(sign)) != (after := target.count(sign)):
            return f"{before} marks of {what} became {after}"
    if ":" not in source:
        return None
    before, after = len(_LABEL.findall(source)), len(_LABEL.findall(target))
    if before > after and (before > 1 or _KEY.search(source)):
        return f"{before} labels with a colon became {after}"
    return None


def _loop(pair: Pair) -> str | None:
    """Something said again and again, or a sentence twice that the source says once."""
    target = pair.target
    words = target.split()
    blanks = len(target) < 12 * len(words)
    again = len(words) - len(set(words))
    if blanks and again < 2:
        return None
    if again > 3 and (said := _repeated(words)) and not _repeated(pair.source.split()):
        return f"again and again: {cut(said)}"
    if not blanks or len(target) > 1.5 * len(pair.source):
        if (match := _STUTTER.search(target)) and not _STUTTER.search(pair.source):
            return f"again and again: {cut(match[1])}"
        ratio, usual = _squeezed(target), _squeezed(pair.source)
        if len(target) > 100 and ratio < 0.35 and ratio < 0.6 * usual:
            return f"it squeezes to {ratio:.2f} of its size, the source to {usual:.2f}"
    return _said_twice(pair)


def _repeated(words: list[str]) -> str | None:
    """One to eight words that come five times in a row."""
    for width in range(1, 9):
        run = 0
        for place, (word, later) in enumerate(zip(words, words[width:], strict=False), 1):
            run = run + 1 if word == later else 0
            if run >= 4 * width and any(map(str.isalpha, word)):
                return " ".join(words[place - run :][:width])
    return None


def _squeezed(text: str) -> float:
    data = text[:20_000].encode(errors="replace")
    return len(zlib.compress(data, 1)) / len(data)


def _said_twice(pair: Pair) -> str | None:
    long = [part.strip() for part in _STOP.split(pair.target) if len(part) > 11]
    if len(long) < 2 or len(set(long)) == len(long):
        return None
    sentence, count = Counter(long).most_common(1)[0]
    parts = Counter(part.strip() for part in _STOP.split(pair.source) if len(part) > 11)
    often = max(parts.values(), default=1)
    return f"{count} times: {cut(sentence)}" if count > often else None


def _truncated(pair: Pair) -> str | None:
    source, target = pair.source, pair.target
    if _FINISHED.search(source[-5:]) and not _CLOSED.search(target[-2:]) and not _ABBREVIATED.search(source[-9:]):
        return f"ends in mid-sentence: …{target[-20:]}"
    if len(target) < 1.5 * _band(pair)[0] * len(source):
        before, after = len(_SENTENCE_END.findall(source)), len(_SENTENCE_END.findall(target))
        if before > after + before // 8:
            return f"{before} sentences became {after}, at a ratio of {len(target) / len(source):.2f}"
    return None


# Encoding, brackets, spans

_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_MOJIBAKE = re.compile(
    r"[\ufffd\ue000-\uf8ff\ud800-\udfff\x00-\x08\x0e-\x1f\x7f-\x9f]|[ÃÂ][\x80-\xbf]|占쏙옙|\\u[0-9a-fA-F]{4}"
    r"|[âãäåæçðêëìí][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2}"
)
_MARK = re.compile(
    r"</?s>|<unk>|<pad>|<\|[\w ]+\|>|\[/?INST\]|⟦\d*|\d*⟧|<x id|</?t>|__PROTECTED|###\s|▁|@@"
    r"|[#@!%&*^$~]{4,}|(?![ㅋㅎㅠㅜㅡㅇㄱㄴ]{3})[ㄱ-ㅣ]{3,}"
)
_PREFACE = re.compile(r"\b(?:Translation|Translated text|번역문?|한국어) ?:")
_STRANGE = re.compile(
    r"[&\ufffd\ue000-\uf8ff\ud800-\udfff\x00-\x08\x0e-\x1f\x7f-\x9fÃÂâìíëêãäåæçð占\\<\[⟦⟧_#▁@%*^$~ㄱ-ㅣ]|번역|[Tt]ranslat"
)
_BRACKETS = ("()", "[]", "{}", "“”", "「」", "（）")
_NUMBERED = re.compile(r"(?m)^[ \t]*\w{1,3}\)|[:;=^ㅠㅜ]-?[()]")
_URL = re.compile(
    r"\b(?:https?|ftp)://[^\s<>\"'`)\]]+|\bwww\.[^\s<>\"'`)\]]+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", re.ASCII
)
_HOLDER_SIGN = re.compile(r"[`{<\[\\%]")
_HOLDER = re.compile(
    r"`[^`\n]+`|\{\{[^{}\n]{1,60}\}\}|\$?\{\w[^{}\n]{0,40}\}|%\(\w+\)[sd]|%[sd]\b|</?[A-Za-z][^<>\n]{0,60}>"
    r"|\[[A-Za-z][^\[\]\n]{0,60}\](?!\()|\\[A-Za-z]{2,}(?:\{\w+\})?",
    re.ASCII,
)
_HUMP = re.compile(r"[A-Z_](?<=[a-z][A-Z_])")
_IDENTIFIER = re.compile(
    r"\b[a-z]{2,}(?:[A-Z][a-z0-9]+)+\b|\b[a-z]+(?:_[a-z0-9]+)+\b|(?<![\w.])\.?(?:\w+\.)*\w+\(\)", re.ASCII
)


def _entities(pair: Pair) -> str | None:
    """What neither language writes: entities, broken encodings, control characters, marks of a model or an engine."""
    source, target = pair.source, pair.target
    if not _STRANGE.search(target):
        return None
    for pattern, what in ((_ENTITY, "entity"), (_MOJIBAKE, "broken characters"), (_MARK, "a mark of the engine")):
        added = Counter(pattern.findall(target)) - Counter(pattern.findall(source))
        if added:
            return f"{what}: {cut(repr(next(iter(added)))[1:-1])}"
    if (match := _PREFACE.search(target)) and "번역" not in source and "ranslat" not in source:
        return f"the engine speaks: {match[0]}"
    return None


def _brackets(pair: Pair) -> str | None:
    """Brackets and double quotes that close in the source and do not in the target."""
    source, target = pair.source, pair.target
    for opening, closing in map(tuple, _BRACKETS):
        if (opening in target or closing in target) and target.count(opening) != target.count(closing):
            before, after = _NUMBERED.sub("", source), _NUMBERED.sub("", target)
            if after.count(opening) != after.count(closing) and before.count(opening) == before.count(closing):
                return f"{after.count(opening)} {opening} and {after.count(closing)} {closing}"
    if target.count('"') % 2 and source.count('"') % 2 == 0:
        return f'{target.count(chr(34))} "'
    return None


def _lost_span(pair: Pair) -> str | None:
    """Addresses, inline code, placeholders, commands and identifiers of the source that the target does not hold."""
    source, spans = pair.source, list[str]()
    if "://" in source or "@" in source or "www." in source:
        spans += _URL.findall(source)
        source = _URL.sub(" ", source)
    if _HOLDER_SIGN.search(source):
        spans += _HOLDER.findall(source)
    if _HUMP.search(source) or "()" in source:
        spans += _IDENTIFIER.findall(source)
    if not spans:
        return None
    for span, count in islice(Counter(spans).items(), 200):  # each costs a look at the whole target
        if pair.target.count(span.rstrip(".,;:!?")) < count and span.strip("`") not in pair.target:
            return f"{cut(span)} is missing"
    return None


def _swapped(pair: Pair) -> str | None:
    """Another text's translation; what is not in the language at all is for `script` and `untranslated` to say."""
    letters = LETTERS.get(pair.languages[1], LATIN)
    return swapped(pair.source, pair.target, pair.languages) if letters.search(pair.target) else None


def _same(original: Mapping[str, str], translated: Mapping[str, str]) -> str | None:
    """Input and output that differed and do not any more: what was to be mended was mended in the input too."""
    one, other = translated.get("input", "").strip(), translated.get("output", "").strip()
    if one and one == other and original.get("input", "").strip() != original.get("output", "").strip():
        return "input and output are the same, and were not before"
    return None


RULES: dict[str, Callable[[Pair], str | None]] = {
    "length": _length,  # far shorter or longer than such a text usually gets
    "script": script,  # the letters are not those of the language
    "untranslated": untranslated,  # a copy, or a stretch of the source
    "numbers": _numbers,  # a number of the source is missing
    "lines": _lines,  # lines, list items, table cells, fences, labels
    "loop": _loop,  # the same again and again, or a sentence twice
    "truncated": _truncated,  # ends in mid-sentence, or its last sentences are not there
    "entities": _entities,  # &amp;, broken encodings, marks of the engine
    "brackets": _brackets,  # opened and not closed
    "lost span": _lost_span,  # an address, code, a placeholder, an identifier
    "swapped": _swapped,  # the translation of another text
}
"""The rules for one field, by kind."""

KINDS = (*RULES, "same")
"""Every kind of verdict."""
