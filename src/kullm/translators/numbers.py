"""Which numbers of a text its translation lost: compared by value, however the two languages write them.

Only losses count. A translation may write as a digit what the source wrote as a word, so a gained number says nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

# Powers of ten: words behind a number, and the Chinese system, where a myriad multiplies all that stands before it.
_SCALES = {"hundred": 2, "hundert": 2, "thousand": 3, "tausend": 3, "k": 3}
_SCALES |= dict.fromkeys(("million", "millionen", "mio", "m", "mn"), 6)
_SCALES |= dict.fromkeys(("billion", "milliarde", "milliarden", "mrd", "b", "bn"), 9) | {"trillion": 12}
_TENS = {"십": 1, "백": 2, "천": 3, "十": 1, "百": 2, "千": 3}
_MYRIADS = {"만": 4, "억": 8, "조": 12, "万": 4, "萬": 4, "億": 8, "亿": 8, "兆": 12}
_UNITS = "".join(_TENS | _MYRIADS)

# Number words, by which a translation may replace a digit.
_SINO = {
    digit: value for digits in ("영일이삼사오육칠팔구", "〇一二三四五六七八九") for value, digit in enumerate(digits)
}
_SINO |= {"공": 0, "零": 0, "两": 2, "兩": 2}
_NATIVE = {"한": 1, "하나": 1, "첫": 1, "두": 2, "둘": 2, "세": 3, "셋": 3, "네": 4, "넷": 4}
_NATIVE |= {"다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9}
_NATIVE_TENS = {
    "열": 10,
    "스물": 20,
    "스무": 20,
    "서른": 30,
    "마흔": 40,
    "쉰": 50,
    "예순": 60,
    "일흔": 70,
    "여든": 80,
    "아흔": 90,
}
_FROM_ZERO = (
    "zero one two three four five six seven eight nine ten eleven twelve",
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "- i ii iii iv v vi vii viii ix x xi xii",
    "- first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "- erste zweite dritte vierte fünfte sechste siebte achte neunte zehnte elfte zwölfte",
    "- ersten zweiten dritten vierten fünften sechsten siebten achten neunten zehnten elften zwölften",
    "- january february march april may june july august september october november december",
    "- januar februar märz april mai juni juli august september oktober november dezember",
    "- ein once twice - - - - - - - - dozen",
    "- a - - - - - - - - - - -",
    "- an - - - - - - - - - - -",
    "- eine - - - - - - - - - - noon",
    "- einen - - - - - - - - - - midnight",
)
_WORDS = {word: value for words in _FROM_ZERO for value, word in enumerate(words.split()) if word not in ("-", "i")}
_TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_WORDS |= {word: value for value, word in enumerate(_TEENS.split(), 13)}
_WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_WORDS |= {"hundred": 100, "hundert": 100, "thousand": 1000, "tausend": 1000, "million": 10**6, "millions": 10**6}
_WORDS |= {"twice": 2, "fünfzehn": 15, "zwanzig": 20, "dreißig": 30, "vierzig": 40, "fünfzig": 50}

_GROUPS = re.compile(r"\d+")
_DIGIT = re.compile("[0-9]")
_FOREIGN = re.compile(r"(?![0-9])\d|[¼-¾⅐-⅞①-⑳]|(?<=[０-９])[，．](?=[０-９])")
_SCALED = re.compile(r"(?i)\d\s?(?:[kmb]n?\b|hund|thous|tausend|mi[ol]|bill|mrd|trill)|\d[" + _UNITS + "]")
_NUMBER = re.compile(
    rf"""(?ix)
    (?:(?P<late>오후|저녁|밤|午後|下午|晚上)\s?)?
    (?P<digits>\d+(?:[.,'’\u00a0\u202f]\d+)*)
    (?:
        (?P<myriads>[{_UNITS}]+(?:\s?\d[\d,]*[{_UNITS}]+)*(?:(?<=[만万萬])\s?\d[\d,]*)?)
      | \s?(?P<word>hundred|hundert|thousand|tausend|million|millionen|mio|billion|milliarden?|mrd|trillion)\b
      | (?P<letter>k|m|mn|b|bn)\b
      | (?P<decade>['’]?s\b)
      | (?=(?::\d\d)?\s?(?P<clock>[ap]\.?m\b))
    )?(?::00\b)?"""
)
_MYRIAD_PART = re.compile(rf"\d[\d,.]*|[{_UNITS}]")
_COMMAS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_POINTS = re.compile(r"\d{1,3}(?:[.'’\u00a0\u202f]\d{3})+(?:,\d+)?")
_PAIR = re.compile(r"\d+([.,])\d+")
_RANGE = re.compile(r"\s?(?:[-–~〜]|to|or|and|bis|oder)\s?[$€£₩¥]?")
_IDIOMS = re.compile(
    r"(?i)\b24/7\b|\bcovid[- ]?19\b"
    r"|(?-i:\b(?=\w*\d)(?:(?:[HCNOSPFK]|Na|Cl|Ca|Mg|Al|Fe|Cu|Zn|Si|Li)\d{0,2}){2,8}\b|\b[HNO][23]\b)"
)

_COUNTERS = "번째개명가지시살달배장대권마리잔쪽편곳차단줄주사입병판켤벌채그군은는을를와과의도중로에,.)"
_NATIVE_RUN = re.compile(
    rf"(?<![가-힣])(?=[{''.join(sorted({word[0] for word in _NATIVE | _NATIVE_TENS}))}])"
    rf"({'|'.join(_NATIVE_TENS)})?({'|'.join(sorted(_NATIVE, key=len, reverse=True))})?(?=\s|$|[{_COUNTERS}])"
)
_SINO_RUN = re.compile(
    rf"(?:(?<![가-힣])제?)([{''.join(_SINO)}{_UNITS}]+)([월일년분초층학등위급차부장주세인개단번호반원])?"
)
_HAN_RUN = re.compile(
    rf"(第)?([{''.join(_SINO)}{_UNITS}]+)([つ個个回年月日番章部種种次位条张張本名人度倍歳岁天周週时時分秒点點匹枚冊])?"
)
_LATIN_WORD = re.compile(r"[^\W\d_]+")
_HALF = re.compile(r"절반|반(?![가-힣])|\bhalf\b|\bhalbe?\b|半")
_AND_A_HALF = re.compile(r"((?<!\d)\d{1,9}|한|두|세)\s?(?:시간|년|달|개월|배|주)\s?반")


@dataclass(slots=True)
class _Number:
    """A number as written, what it is worth in pieces ("12.5.2023" has three), and other readings of it."""

    written: str
    pieces: list[str]
    readings: list[str]
    scale: int = 0


def lost_numbers(source: str, target: str) -> list[str]:
    """The numbers of `source`, as it writes them and in its order, that `target` does not hold often enough.

    Compared as a multiset by value: 1,000 is 1000, 10 million is 1,000만 or 천만, 3 pm is 오후 3시 or 15시, 1st is 1 or
    첫. Only numbers with a digit in the source are asked for; number words of Korean, Japanese, Chinese, English and
    German are accepted in the target. An empty list: nothing is lost.
    """
    if source.isascii() and not _DIGIT.search(source):
        return []
    wanted = _GROUPS.findall(source)
    if not wanted or (not _SCALED.search(source) and _holds(_GROUPS.findall(target), wanted)):
        return []
    numbers = list(_numbers(_IDIOMS.sub(" ", _plain(source))))
    target = _plain(target)
    written = list(_numbers(target))
    there = Counter(piece for number in written for piece in number.pieces)
    open_numbers = [number for number in numbers if not _take(number.pieces, there)]
    if not open_numbers:
        return []
    there.update(reading for number in written for reading in number.readings)
    there.update(_words(target))
    lost = [n for n in open_numbers if not (_take(n.pieces, there) or any(_take([r], there) for r in n.readings))]
    return [number.written for number in lost]


def _holds(have: list[str], wanted: list[str]) -> bool:
    """Whether `have` is `wanted`, or holds all of it as a multiset."""
    return have == wanted or Counter(wanted) <= Counter(have)


def _take(pieces: list[str], there: Counter[str]) -> bool:
    """Take all of `pieces` out of `there`, or nothing."""
    wanted = Counter(pieces)
    if any(there[piece] < count for piece, count in wanted.items()):
        return False
    there.subtract(wanted)
    return True


def _plain(text: str) -> str:
    """`text` with digits of every script as 0-9, and circled and vulgar fractions as digits that stand apart."""
    if text.isascii():
        return text

    def write(match: re.Match[str]) -> str:
        sign = match[0]
        if sign.isdecimal():
            return str(unicodedata.decimal(sign))
        plain = unicodedata.normalize("NFKC", sign)
        return plain if plain in (",", ".") else f" {plain.replace('⁄', '/')} "

    return _FOREIGN.sub(write, text)


def _numbers(text: str) -> Iterator[_Number]:
    """The numbers of `text` that are written with digits."""
    before: tuple[_Number, int] | None = None
    for match in _NUMBER.finditer(text):
        number = _number(match)
        if number.scale and before and _RANGE.fullmatch(text, before[1], match.start()):  # 1.5 to 2 million
            before[0].readings += [_times(piece, number.scale) for piece in before[0].pieces]
        before = number, match.end()
        yield number


def _number(match: re.Match[str]) -> _Number:
    pieces, readings = _read(match["digits"])
    number = _Number(match[0].strip(), pieces, readings)
    if match["myriads"]:
        number.readings = pieces + readings + [_read(part)[0][0] for part in _GROUPS.findall(match["myriads"])]
        number.pieces = [_myriads(_MYRIAD_PART.findall(match["digits"] + match["myriads"]))]
        number.scale = _MYRIADS.get(match["myriads"][-1]) or _TENS.get(match["myriads"][-1]) or 0
    elif match["word"] or match["letter"]:
        number.scale = _SCALES[(match["word"] or match["letter"]).lower()]
        kept = pieces if match["letter"] else []  # 4K may stay 4K, and 5m may be metres
        number.readings = kept + [_times(reading, number.scale) for reading in readings]
        number.pieces = [_times(piece, number.scale) for piece in pieces]
    elif match["decade"] or match["clock"] or match["late"]:
        number.readings = readings + _of_time(pieces[0], match)
        number.written = match["digits"]
    else:
        number.written = match["digits"]
    return number


def _of_time(value: str, match: re.Match[str]) -> list[str]:
    """Other readings of a decade (1990s: 90, 1800s: the 19th century) and of an hour on a clock of twelve."""
    if match["decade"]:
        century = [str(int(value[:2]) + 1)] if len(value) == 4 and value.endswith("00") else []
        return [*century, value[-2:]] if len(value) == 4 else [f"19{value}", f"20{value}"]
    if len(value) > 2 or not value.isdecimal() or int(value) > 12:
        return []
    late = bool(match["late"]) or (match["clock"] or "").lower().startswith("p")
    return [str(int(value) % 12 + (12 if late else 0))]


def _read(run: str) -> tuple[list[str], list[str]]:
    """What a run of digits and separators is worth, in pieces, and how else it may be read."""
    if run.isdecimal():
        return [_bare(run)], []
    pair = _PAIR.fullmatch(run)
    if _COMMAS.fullmatch(run):
        return [_bare(run.replace(",", ""))], [_bare(run.replace(",", "."))] if pair else []
    thousands = [_bare(re.sub(r"[^\d,]", "", run).replace(",", "."))] if _POINTS.fullmatch(run) else []
    if pair and pair[1] == ".":
        return [_bare(run)], thousands
    if thousands:
        return thousands, []
    return [_bare(piece) for piece in _GROUPS.findall(run)], [_bare(run.replace(",", "."))] if pair else []


def _bare(number: str) -> str:
    """A decimal number without the zeros that say nothing."""
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number.lstrip("0") or "0" if not number.startswith("0.") else number


def _times(number: str, power: int) -> str:
    """`number` times ten to the `power`; a number too long to be meant stays as it is."""
    return number if len(number) > 25 else _bare(format(Decimal(number).scaleb(power), "f"))


def _myriads(parts: Iterable[str]) -> str:
    """The value of digits and units of the Chinese system: ["1", "억", "5", "천", "만"] is 150000000."""
    total = section = Decimal(0)
    current: Decimal | None = None
    for part in parts:
        if part in _TENS:
            section += (1 if current is None else current) * 10 ** _TENS[part]
            current = None
        elif part in _MYRIADS:
            section += current or 0
            total += (section or 1) * 10 ** _MYRIADS[part]
            section, current = Decimal(0), None
        else:
            digits = _read(part)[0][0] if part[0].isascii() else str(_SINO[part])
            current = Decimal(digits[:25]) if current is None else current * 10 + Decimal(digits[:25])
    return _bare(format(total + section + (current or 0), "f"))


def _words(target: str) -> Iterator[str]:
    """The numbers that `target` writes as words."""
    if _HALF.search(target):
        yield from ("1", "2", "0.5", "30", "50")  # 1/2, 0.5, half past, 50 %
    for match in _AND_A_HALF.finditer(target):
        yield f"{_NATIVE.get(match[1], match[1])}.5"
    for match in _NATIVE_RUN.finditer(target):
        if match[0]:
            yield str(_NATIVE_TENS.get(match[1], 0) + _NATIVE.get(match[2], 0))
    for match in _SINO_RUN.finditer(target):
        if len(match[1]) > 1 or match[1] in _UNITS or match[2]:
            yield from _sino(match[1] + (match[2] or ""))
    for match in _HAN_RUN.finditer(target):
        if match[1] or match[3] or len(match[2]) > 1:
            yield _myriads(match[2][:40])
    tens = 0
    for word in _LATIN_WORD.findall(target):
        value = _WORDS.get(word.lower(), 0)
        if tens and 0 < value < 10:
            yield str(tens + value)  # twenty-five
        if value or word.lower() in ("zero", "null"):
            yield str(value)
        tens = value if 20 <= value < 100 else 0


def _sino(run: str) -> Iterator[str]:
    """The value of a Sino-Korean run; its last sign may be a counter (일 is one, and a day)."""
    digits = "".join(sign for sign in run if sign in _SINO or sign in _UNITS)[:40]
    yield _myriads(digits)
    if len(digits) > 1:
        yield _myriads(digits[:-1])
