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

from kullm.translators.numbers import lost_numbers
from kullm.translators.swapped import swapped


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is wrong: its kind (one of `KINDS`), the field, and short evidence for people."""

    kind: str
    field: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and its translation, neither of them empty, white space around them removed, and the two languages."""

    source: str
    target: str
    languages: tuple[str, str]


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

_BANDS = {("en", "ko"): (0.28, 0.85)}
"""Characters of the target for one of the source: set on half of the real pairs, held on the other half."""
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
    if low * source - _SLACK[0] <= target <= high * source + _SLACK[1]:
        return None
    # What is rightly copied keeps its length, so it does not count: signs, digits, blanks, words in capitals, code.
    kept = sum(map(len, (Counter(_KEPT.findall(pair.source)) & Counter(_KEPT.findall(pair.target))).elements()))
    if target > source and kept > 0.5 * source and target - source < 0.2 * source:
        return None
    source, target = source - kept, target - kept
    if low * source - _SLACK[0] <= target <= high * source + _SLACK[1]:
        return None
    return f"ratio {target / max(source, 1):.2f}, usual {low:.2f}–{high:.2f}{remark}"


# Script, and source text that survived

_SCRIPTS = {
    "ko": r"\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "ja": r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\u3400-\u9fff",
    "zh": r"\u3400-\u9fff",
    "el": r"\u0370-\u03ff",
    "he": r"\u0590-\u05ff",
    "hi": r"\u0900-\u097f",
    "th": r"\u0e00-\u0e7f",
}
_SCRIPTS |= dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be"), r"\u0400-\u052f")
_SCRIPTS |= dict.fromkeys(("ar", "fa", "ur"), r"\u0600-\u06ff\u0750-\u077f")
_LETTERS = {language: re.compile(f"[{letters}]+") for language, letters in _SCRIPTS.items()}
_LATIN = re.compile("[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+")
_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ANY = re.compile(r"[^\W\d_]+")
_KEPT = re.compile(r"\b[A-Z][\w.-]*|[\d_]+|[^\w\s]+|\s\s+|\b\w+[(.=_]\w*")

_SPAN_SIGN = re.compile(r"[`<>{}\[\]\\@#_$=(/]|\w\.\w|[A-Z](?<=[a-z][A-Z])")
_SPAN = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|://\S+|\bwww\.\S+|\S+@\S+|</?[A-Za-z][^<>\n]{0,99}>|\{[^{}\n]{0,99}\}"
    r"|\\[A-Za-z]+|[@#]\w+|\b\w+\(\)|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*|\b[A-Za-z0-9]+_\w+|\b\w+[./]\w[\w./-]*",
    re.DOTALL,
)
_CODE_LINE = re.compile(
    r"\s*(?:[\w.]+\(.*|.*[;{}]|</?\w.*>|[^\W\d][\w.\[\]]*\s?[-+*/|]?=[^=].*|\\\w+\b.*|\$ .+|(?:import|from)\s[\w.]+.*"
    r"|(?:for|if|while|def|class|else|try|elif|return)\b.*[:()].*|.*[∀∃→].*)"
)
_LOWER = re.compile(r"(?<![\w'’.@-])[a-z]{3,}(?![\w@])")
_NAMES = re.compile(r"\b[A-Za-z]{3,}\b")
_RUN = re.compile(r"[A-Za-z][A-Za-z'’-]*(?:[,;:]? [A-Za-z][A-Za-z'’-]*)+")
_GLUE = frozenset(
    "a an the of to in on at for and or is are was were be been it this that these with by from as your you we they he "
    "she his her their our my me them not can will would should if which who what how when where has have had do does "
    "but so than then there about into any all some given".split()
)


def _prose(text: str) -> str:
    """`text` without code, addresses, identifiers and placeholders."""
    return _SPAN.sub(" ", text) if _SPAN_SIGN.search(text) else text


def _is_code(text: str) -> bool:
    """Whether every line looks like a line of a program or a formula."""
    return all(_CODE_LINE.fullmatch(line) for line in text.splitlines() if line.strip())


def _says_something(pair: Pair) -> bool:
    """Whether the source holds words to translate, and not just names, code and signs."""
    if pair.languages[0] in _LETTERS:
        return _LETTERS[pair.languages[0]].search(pair.source) is not None
    prose = _prose(pair.source)
    return bool(_LOWER.search(prose) or len(_NAMES.findall(prose)) > 4) and not _is_code(pair.source)


def _script(pair: Pair) -> str | None:
    """The share of letters of the target's script; English in a Latin script is for `_untranslated` to find."""
    language, target = pair.languages[1], pair.target
    if language == "ko" and len(target.encode(errors="replace")) > 2 * len(target) and not _HAN_OR_KANA.search(target):
        return None  # three bytes for most of its characters: fast, and true of nearly every text
    pattern = _LETTERS.get(language, _LATIN)
    words = _prose(target)
    total = sum(map(len, _ANY.findall(words)))
    share = sum(map(len, pattern.findall(words))) / total if total else 1.0
    if share >= 0.35 or not _says_something(pair):
        return None
    return f"{share:.0%} of the letters are {language}"


def _untranslated(pair: Pair) -> str | None:
    if pair.source == pair.target:
        return "a copy of the source" if _says_something(pair) else None
    if pair.languages[0] in _LETTERS:
        return _survived_script(pair)
    return _survived_words(pair) if pair.languages[1] in _LETTERS else _survived_run(pair)


def _survived_words(pair: Pair) -> str | None:
    """Latin source words that still stand together in a target of another script."""
    if not _RUN.search(pair.target):
        return None
    for match in _RUN.finditer(_prose(pair.target)):
        words = match[0].split()
        small = sum(word.islower() for word in words)
        glue = sum(word in _GLUE for word in words)
        if match[0] not in pair.source:
            if small >= 3 and glue:
                return f"not in the source: {_cut(match[0])}"
        elif (
            small >= 5 or (small >= 3 and glue) or (glue >= 2) or (small == len(words) and glue and _ends(match, pair))
        ):
            return f"still there: {_cut(match[0])}"
    return None


def _ends(match: re.Match[str], pair: Pair) -> bool:
    """Whether the stretch ends the target as it ends the source."""
    return match.string[match.end() :].strip(" .!?") == "" and pair.source.rstrip(" .!?").endswith(match[0])


def _survived_script(pair: Pair) -> str | None:
    """Letters of the source's script in a target of another one. Han letters are shared, so Japanese needs kana."""
    source, target = pair.languages
    if {source, target} <= {"ja", "zh"} or source == target:
        return None
    stretches = [run for run in _LETTERS[source].findall(_prose(pair.target)) if len(run) > 3 and run in pair.source]
    long = sum(map(len, stretches))
    return f"still there: {_cut(' '.join(stretches))}" if long > 0.1 * len(pair.target) or len(stretches) > 3 else None


def _survived_run(pair: Pair) -> str | None:
    """Six words in a row of the source in a target of the same script."""
    words, said = _prose(pair.source).split(), f" {' '.join(_prose(pair.target).split())} "
    for start in range(len(words) - 5):
        run = words[start : start + 6]
        if sum(word.islower() for word in run) >= 3 and f" {' '.join(run)} " in said:
            return f"still there: {_cut(' '.join(run))}"
    return None


def _numbers(pair: Pair) -> str | None:
    lost = lost_numbers(pair.source, pair.target)
    if not lost:
        return None
    return (
        f"{', '.join(map(_cut, lost[:3]))}{' …' if len(lost) > 3 else ''} {'is' if len(lost) == 1 else 'are'} missing"
    )


# Lines, loops, ends

_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*+•·]|\d{1,3}[.)]|\(?[a-zA-Z][.)]|[가나다라마바사아자차카타파하][.)])[ \t]")
_LABEL = re.compile(r"(?m)^[ \t]*[^\n:：`]{1,30}[:：](?=\s|$)")
_KEY = re.compile(r"(?m)^[ \t]*[\w /()#-]{1,30}: [^\n]*[^.!?\s][ \t]*$")
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n)")
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
    if len(words) - len(set(words)) > 3 and (said := _repeated(words)) and not _repeated(pair.source.split()):
        return f"again and again: {_cut(said)}"
    if len(target) > 12 * len(words) or len(target) > 1.5 * len(pair.source):  # no blanks to cut it at, or far too long
        if (match := _STUTTER.search(target)) and not _STUTTER.search(pair.source):
            return f"again and again: {_cut(match[1])}"
        ratio, usual = _squeezed(target), _squeezed(pair.source)
        if len(target) > 100 and ratio < 0.35 and ratio < 0.6 * usual:
            return f"it squeezes to {ratio:.2f} of its size, the source to {usual:.2f}"
    return _said_twice(pair)


def _repeated(words: list[str]) -> str | None:
    """One to eight words that come five times in a row."""
    for width in range(1, 9):
        run = 0
        for word, later in zip(words, words[width:], strict=False):
            run = run + 1 if word == later else 0
            if run >= 4 * width and word.isalpha() is not None and any(map(str.isalpha, word)):
                return " ".join(words[words.index(word) :][:width])
    return None


def _squeezed(text: str) -> float:
    data = text[:20_000].encode(errors="replace")
    return len(zlib.compress(data, 1)) / len(data)


def _said_twice(pair: Pair) -> str | None:
    if pair.target.count(".") + pair.target.count("\n") + pair.target.count("!") + pair.target.count("。") < 2:
        return None
    sentences = [part.strip() for part in _SENTENCE_END.split(pair.target)]
    long = [sentence for sentence in sentences if len(sentence) > 11]
    if len(set(long)) == len(long):
        return None
    sentence, count = Counter(long).most_common(1)[0]
    parts = Counter(part.strip() for part in _SENTENCE_END.split(pair.source) if len(part) > 11)
    often = max(parts.values(), default=1)
    return f"{count} times: {_cut(sentence)}" if count > often else None


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
    r"[\ufffd\ue000-\uf8ff\ud800-\udfff]|[\x00-\x08\x0e-\x1f\x7f-\x9f]|(?:[ÃÂâìíëêãäåæçð][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]){1}"
    r"|占쏙옙|\\u[0-9a-fA-F]{4}"
)
_MARK = re.compile(
    r"</?s>|<unk>|<pad>|<\|[\w ]+\|>|\[/?INST\]|⟦\d*|\d*⟧|<x id|</?t>|__PROTECTED|###\s|▁|@@"
    r"|(?i:^|\b)(?:Translation|Translated text|번역문?|한국어) ?:|[#@!%&*^$~]{4,}|(?![ㅋㅎㅠㅜㅡㅇㄱㄴ]{3})[ㄱ-ㅣ]{3,}"
)
_STRANGE = re.compile(
    r"[&\ufffd\ue000-\uf8ff\ud800-\udfff\x00-\x08\x0e-\x1f\x7f-\x9fÃÂâìíëêãäåæçð占\\<\[⟦⟧_#▁@:!%*^$~ㄱ-ㅣ]"
)
_BRACKETS = ("()", "[]", "{}", "“”", "「」", "（）")
_NUMBERED = re.compile(r"(?m)^[ \t]*\w{1,3}\)|[:;=^ㅠㅜ]-?[()]")
_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"'`)\]]+|\bwww\.[^\s<>\"'`)\]]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_HOLDER = re.compile(
    r"`[^`\n]+`|\{\{[^{}\n]{1,60}\}\}|\$?\{\w[^{}\n]{0,40}\}|%\(\w+\)[sd]|%[sd]\b|</?[A-Za-z][^<>\n]{0,60}>|\[[A-Za-z][^\[\]\n]{0,60}\](?!\()"
    r"|\\[A-Za-z]{2,}(?:\{\w+\})?|\b[a-z]{2,}(?:[A-Z][a-z0-9]+)+\b|\b[a-z]+(?:_[a-z0-9]+)+\b|\b(?:\w+\.)*\w+\(\)",
    re.ASCII,
)
_HOLDER_SIGN = re.compile(r"[`{<\[\\_@%(/A-Z](?:(?<=[`{<\[\\_@%])|(?<=\()\)|(?<=:/)/|(?<=[a-z][A-Z]))|\bwww\.")


def _entities(pair: Pair) -> str | None:
    """What neither language writes: entities, broken encodings, control characters, marks of a model or an engine."""
    source, target = pair.source, pair.target
    if not _STRANGE.search(target):
        return None
    for pattern, what in ((_ENTITY, "entity"), (_MOJIBAKE, "broken characters"), (_MARK, "a mark of the engine")):
        if match := pattern.search(target):
            added = Counter(pattern.findall(target)) - Counter(pattern.findall(source))
            if added:
                return f"{what}: {_cut(repr(next(iter(added)))[1:-1])}" if match else None
    return None


def _brackets(pair: Pair) -> str | None:
    """Brackets and double quotes that close in the source and do not in the target."""
    source, target = pair.source, pair.target
    for opening, closing in _BRACKETS:
        if (opening in target or closing in target) and target.count(opening) != target.count(closing):
            before, after = _NUMBERED.sub("", source), _NUMBERED.sub("", target)
            if after.count(opening) != after.count(closing) and before.count(opening) == before.count(closing):
                return f"{after.count(opening)} {opening} and {after.count(closing)} {closing}"
    if target.count('"') % 2 and source.count('"') % 2 == 0:
        return f'{target.count(chr(34))} "'
    return None


def _lost_span(pair: Pair) -> str | None:
    """Addresses, inline code, placeholders, commands and identifiers of the source that the target does not hold."""
    if not _HOLDER_SIGN.search(pair.source):
        return None
    spans = Counter(_URL.findall(pair.source)) + Counter(_HOLDER.findall(_URL.sub(" ", pair.source)))
    for span, count in spans.items():
        if pair.target.count(span.rstrip(".,;:!?")) < count and span.strip("`") not in pair.target:
            return f"{_cut(span)} is missing"
    return None


def _swapped(pair: Pair) -> str | None:
    """Another text's translation; what is not in the language at all is for `_script` and `_untranslated` to say."""
    letters = _LETTERS.get(pair.languages[1], _LATIN)
    return swapped(pair.source, pair.target, pair.languages) if letters.search(pair.target) else None


def _same(original: Mapping[str, str], translated: Mapping[str, str]) -> str | None:
    """Input and output that differed and do not any more: what was to be mended was mended in the input too."""
    one, other = translated.get("input", "").strip(), translated.get("output", "").strip()
    if one and one == other and original.get("input", "").strip() != original.get("output", "").strip():
        return "input and output are the same, and were not before"
    return None


def _cut(text: str) -> str:
    """`text` short enough for one line."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


RULES: dict[str, Callable[[Pair], str | None]] = {
    "length": _length,  # far shorter or longer than such a text usually gets
    "script": _script,  # the letters are not those of the language
    "untranslated": _untranslated,  # a copy, or a stretch of the source
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
