"""What of a text is words and what is code, and what of a source text survived in its translation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from kullm.translators.verdicts.swapped import has_common_word


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and its translation, neither of them empty, white space around them removed, and the two languages."""

    source: str
    target: str
    languages: tuple[str, str]


def cut(text: str) -> str:
    """`text` short enough for one line."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


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
LETTERS = {language: re.compile(f"[{letters}]+") for language, letters in _SCRIPTS.items()}
LATIN = re.compile("[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+")
_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ANY = re.compile(r"[^\W\d_]+")

_SPAN_SIGN = re.compile(r"[`<>{}\[\]\\@#_$=(/]|\w\.\w|[A-Z](?<=[a-z][A-Z])")
_SPAN = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|://\S+|\bwww\.\S+|(?<![\w.+-])[\w.+-]{1,64}@[\w.-]+"
    r"|</?[A-Za-z][^<>\n]{0,99}>|\{[^{}\n]{0,99}\}|\\[A-Za-z]+|[@#]\w+|\b\w+\(\)|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*|\b[A-Za-z0-9]+_\w+|\b\w+[./]\w[\w./-]*",
    re.DOTALL,
)
_CODE_LINE = re.compile(
    r"\s*(?:[\w.]+\(.*|.*[;{}]|</?\w.*>|[^\W\d][\w.\[\]]*\s?[-+*/|]?=[^=].*|\\\w+\b.*|\$ .+|(?:import|from)\s[\w.]+.*"
    r"|(?:for|if|while|def|class|else|try|elif|return)\b.*[:()].*|.*[∀∃→].*)"
)
_LOWER = re.compile(r"(?<![\w'’.@-])[a-z]{3,}(?![\w@])")
_NAMES = re.compile(r"\b[A-Za-z]{3,}\b")
_RUN = re.compile(r"(?<![A-Za-z'’-])[A-Za-z][A-Za-z'’-]*(?:[,;:]? [A-Za-z][A-Za-z'’-]*)+")
_TWO_WORDS = re.compile(r"[A-Za-z][,;:]? [A-Za-z]")
_SMALL_WORDS = """
a an the of to in on at for and or is are was were be been it this that these with by from as your you we they he she
his her their our my me them not can will would should if which who what how when where has have had do does but so than
then there about into any all some given
"""
_GLUE = frozenset(_SMALL_WORDS.split())


def _prose(text: str) -> str:
    """`text` without code, addresses, identifiers and placeholders."""
    return _SPAN.sub(" ", text) if _SPAN_SIGN.search(text) else text


def _is_code(text: str) -> bool:
    """Whether every line looks like a line of a program or a formula."""
    return all(_CODE_LINE.fullmatch(line) for line in text.splitlines() if line.strip())


def _says_something(pair: Pair) -> bool:
    """Whether the source holds words to translate, and not just names, code and signs."""
    if pair.languages[0] in LETTERS:
        return LETTERS[pair.languages[0]].search(pair.source) is not None
    prose = _prose(pair.source)
    told = _LOWER.search(prose) or len(_NAMES.findall(prose)) > 4 or has_common_word(prose, pair.languages)
    return bool(told) and not _is_code(pair.source)


def script(pair: Pair) -> str | None:
    """The share of letters of the target's script; a text in another language of the same script passes."""
    language, target = pair.languages[1], pair.target
    if pair.source == target:
        return None  # `untranslated` says it
    if (
        language == "ko"
        and len(target.encode(errors="replace")) > 1.7 * len(target)
        and not _HAN_OR_KANA.search(target)
    ):
        return None  # more than 0.35 of its characters take three bytes: fast, and true of nearly every text
    pattern = LETTERS.get(language, LATIN)
    words = _prose(target)
    total = sum(map(len, _ANY.findall(words)))
    share = sum(map(len, pattern.findall(words))) / total if total else 1.0
    if share >= 0.35 or not _says_something(pair):
        return None
    return f"{share:.0%} of the letters are {language}"


def untranslated(pair: Pair) -> str | None:
    """A copy of the source, or stretches of it that stayed; names, titles and code may be copied."""
    if pair.source == pair.target:
        return "a copy of the source" if _says_something(pair) else None
    if pair.languages[0] in LETTERS:
        return _survived_script(pair)
    return _survived_words(pair) if pair.languages[1] in LETTERS else _survived_run(pair)


def _survived_words(pair: Pair) -> str | None:
    """Latin source words that still stand together in a target of another script."""
    if not _TWO_WORDS.search(pair.target):
        return None
    for match in islice(_RUN.finditer(_prose(pair.target)), 100):  # each is looked for in the whole source
        words = match[0].split()
        small = sum(word.islower() for word in words)
        glue = sum(word in _GLUE for word in words)
        told = small >= 3 and glue > 0
        if match[0] not in pair.source:
            if told:
                return f"not in the source: {cut(match[0])}"
        elif told or small > 4 or glue > 1 or (small == len(words) and glue and _ends(match, pair)):
            return f"still there: {cut(match[0])}"
    return None


def _ends(match: re.Match[str], pair: Pair) -> bool:
    """Whether the stretch ends the target as it ends the source."""
    return match.string[match.end() :].strip(" .!?") == "" and pair.source.rstrip(" .!?").endswith(match[0])


def _survived_script(pair: Pair) -> str | None:
    """Letters of the source's script in a target of another one. Han letters are shared, so Japanese needs kana."""
    source, target = pair.languages
    if {source, target} <= {"ja", "zh"} or source == target:
        return None
    there = set(LETTERS[source].findall(pair.source))
    stretches = [run for run in LETTERS[source].findall(_prose(pair.target)) if len(run) > 3 and run in there]
    if sum(map(len, stretches)) > 0.1 * len(pair.target) or len(stretches) > 3:
        return f"still there: {cut(' '.join(stretches))}"
    return None


def _survived_run(pair: Pair) -> str | None:
    """Six words in a row of the source in a target of the same script."""
    said = _runs(pair.target)
    for run in _runs(pair.source):
        if run in said and sum(word.islower() for word in run) > 2:
            return f"still there: {cut(' '.join(run))}"
    return None


def _runs(text: str) -> dict[tuple[str, ...], None]:
    """Every six words in a row, in their order."""
    words = _prose(text).split()
    return dict.fromkeys(zip(*(words[shift:] for shift in range(6)), strict=False))
