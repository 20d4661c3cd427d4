"""A generator of texts whose spans are known, engines that damage what they are sent, and the driver's loop."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from kullm.translators.spans import Damage, Segment, Style, finer, protect

Engine: TypeAlias = Callable[[str, random.Random], str]

WORDS = (
    "the", "quick", "method", "returns", "a", "value", "when", "users", "open", "their", "account", "and", "then", "we",
    "compare", "every", "result", "with", "another", "table", "before", "lunch", "because", "nothing", "else", "was",
    "written", "about", "it", "yesterday",
)  # fmt: skip
KOREAN = (
    "우리는",
    "결과를",
    "다른",
    "표와",
    "비교하고",
    "사용자가",
    "계정을",
    "열면",
    "값을",
    "돌려준다",
    "그래서",
    "어제",
    "점심",
    "전에",
    "않았다",
)


# Texts: every construct carries a number of its own, so that it can be counted in whatever comes back.

_INLINE: tuple[str, ...] = (
    "`value{n} = x`", "https://example.com/p{n}/a_b?q=1&r=2", "user{n}@mail-{n}.example.org", "./run{n}/main.py",
    "file{n}.csv", "C:\\data{n}\\file.txt", "$x_{{{n}}}^2$", "\\(a_{n} + b\\)", "\\emph{{w{n}}}",
    "<br id=\"b{n}\"/>", "<NAME{n}>", "&#{n};", "{{name{n}}}", "{{{{slot{n}}}}}", "${{var{n}}}", "%(key{n})s",
    "[Name {n}]", "[INSERT TITLE {n}]", "__PLACE{n}__", "camelCase{n}X", "snake_case_{n}", "LOUD_NAME_{n}",
    "call{n}()", "obj.attr{n}.run(x, {n})", "std::vec{n}", "#tag{n}", "@mention{n}", "--flag-{n}", "$VAR{n}",
    "<x id=\"{n}\"/>", "⟦{n}⟧", "&lt;x id=\"{n}\"/&gt;", "<|im_{n}|>", "/usr/lib{n}/x", "ValueError{n}()",
)  # fmt: skip
_BLOCK: tuple[str, ...] = (
    "```python\nx{n} = 1\nprint(x{n})\n```", "~~~\nraw text {n}\n~~~", "$$\n\\alpha_{n}\n$$", "\\[ \\beta_{n} \\]",
    "\\begin{{align}}\na_{n} &= b\n\\end{{align}}", "<!-- a remark {n} -->", "def f{n}(x):\n    return x + {n}",
    "SELECT name{n} FROM table{n} WHERE x = 1;", "\\documentclass{{article{n}}}", "import module{n}", "x{n} = [1, 2]",
)  # fmt: skip
_ENDS = ("\n", "\n", "\n\n", "\r\n", "\r", "\u2028", "  \n", "\n \t\n")
_LEADS = (
    "",
    "",
    "",
    "- ",
    "* ",
    "1. ",
    "2) ",
    "> ",
    "> - ",
    "# ",
    "### ",
    "- [ ] ",
    "• ",
    "   ",
    "(a) ",
    "Name: ",
    "**Key:** ",
)


def made(seed: int) -> tuple[str, list[str]]:
    """A text of prose, Korean or English, with constructs in it, and the constructs, which must stay as they are."""
    chance = random.Random(seed)
    known: list[str] = []
    lines = [_line(chance, known) + chance.choice(_ENDS) for _ in range(chance.randint(1, 6))]
    return "".join(lines), known


def _line(chance: random.Random, known: list[str]) -> str:
    kind = chance.random()
    if kind < 0.12:
        known.append(chance.choice(_BLOCK).format(n=chance.randint(1000, 999999)))
        return "\n\n" + known[-1] + "\n"
    if kind < 0.2:
        return "| " + " | ".join(_sentence(chance, known) for _ in range(3)) + " |"
    text = " ".join(_sentence(chance, known) for _ in range(chance.randint(1, 3)))
    return chance.choice(_LEADS) + text


def _sentence(chance: random.Random, known: list[str]) -> str:
    source = KOREAN if chance.random() < 0.25 else WORDS
    words = [chance.choice(source) for _ in range(chance.randint(2, 9))]
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        span = chance.choice(_INLINE).format(n=chance.randint(1000, 999999))
        known.append(span)
        words.insert(
            chance.randrange(len(words) + 1), chance.choice(("{}", "{}", "({})", '"{}"', "{},")).replace("{}", span)
        )
    wrapped = chance.random()
    if wrapped < 0.15:
        place = chance.randrange(len(words))
        words[place] = f"**{words[place]}**"
    elif wrapped < 0.22:
        words.append("[the page](https://example.org/x)")
    elif wrapped < 0.3:
        words.append(chance.choice(("a < b", "R&D & more", "5 > 3", "it's 50% off", "costs $5 or $6", 'said "so"')))
    return " ".join(words) + chance.choice((".", ".", "?", "!", ""))


# Engines: each takes what was sent and gives what came back.

_TAG = re.compile(r'<x id="(\d+)"/>|⟦(\d+)⟧')


def _tags(sent: str) -> list[str]:
    return [match[0] for match in _TAG.finditer(sent)]


def _words(sent: str) -> list[str]:
    """Words and placeholders of `sent`, each a piece of its own."""
    return [piece for piece in re.split(r'(<x id="\d+"/>|⟦\d+⟧)|\s+', sent) if piece]


def identity(sent: str, chance: random.Random) -> str:
    return sent


def upper(sent: str, chance: random.Random) -> str:
    return sent.upper()


def moved_first(sent: str, chance: random.Random) -> str:
    return "".join(_tags(sent)) + _TAG.sub("", sent)


def moved_last(sent: str, chance: random.Random) -> str:
    return _TAG.sub("", sent) + " " + " ".join(_tags(sent))


def scattered(sent: str, chance: random.Random) -> str:
    """Placeholders anywhere, also inside words."""
    said = _TAG.sub("", sent)
    for tag in _tags(sent):
        place = chance.randrange(len(said) + 1)
        said = said[:place] + tag + said[place:]
    return said


def shuffled(sent: str, chance: random.Random) -> str:
    words = _words(sent)
    chance.shuffle(words)
    return " ".join(words)


def dropped_one(sent: str, chance: random.Random) -> str:
    tags = _tags(sent)
    return sent.replace(chance.choice(tags), "", 1) if tags else sent


def dropped_all(sent: str, chance: random.Random) -> str:
    return _TAG.sub("", sent)


def doubled_one(sent: str, chance: random.Random) -> str:
    tags = _tags(sent)
    return sent + " " + chance.choice(tags) if tags else sent


def said_twice(sent: str, chance: random.Random) -> str:
    return f"{sent} {sent}"


def swapped(sent: str, chance: random.Random) -> str:
    tags = _tags(sent)
    turned = iter(tags[::-1])
    return _TAG.sub(lambda _: next(turned), sent)


def renumbered(sent: str, chance: random.Random) -> str:
    return re.sub(r'(?<=id=")\d+(?="/>)|(?<=⟦)\d+(?=⟧)', lambda match: str(int(match[0]) + 1), sent)


def split(sent: str, chance: random.Random) -> str:
    return sent.replace('<x id="', '<x 그리고 id="').replace("⟦", "⟦그리고 ")


def escaped(sent: str, chance: random.Random) -> str:
    return html.escape(sent)


def escaped_twice(sent: str, chance: random.Random) -> str:
    return html.escape(html.escape(sent))


def translated_tags(sent: str, chance: random.Random) -> str:
    return sent.replace('<x id="', '<엑스 아이디="').replace("⟦", "【").replace("⟧", "】")


def wrapped(sent: str, chance: random.Random) -> str:
    """Words pulled into the tags."""
    return re.sub(r'<x id="(\d+)"/>(\s*\w*)', r'<x id="\1">\2</x>', sent).replace("⟧", "").replace("⟦", "⟦⟦")


def opened(sent: str, chance: random.Random) -> str:
    return re.sub(r'<x id="(\d+)"/>', r'<x id="\1"></x>', sent).replace("⟦", " ⟦ ")


def newlines(sent: str, chance: random.Random) -> str:
    return re.sub(r" ", lambda _: chance.choice((" ", "\n", "\r\n\r\n", "\u2028")), sent)


def joined(sent: str, chance: random.Random) -> str:
    return sent.replace(" ", "")


def empty(sent: str, chance: random.Random) -> str:
    return ""


def only_tags(sent: str, chance: random.Random) -> str:
    return " ".join(_tags(sent))


def echoed(sent: str, chance: random.Random) -> str:
    return sent + " " + (" ".join(re.sub(r"[<>/]", "", tag) for tag in _tags(sent)) or "⟦0⟧")


def no_quotes(sent: str, chance: random.Random) -> str:
    return sent.replace('"', "").replace("'", "")


def curly_quotes(sent: str, chance: random.Random) -> str:
    return sent.replace('"', "”")


def full_width(sent: str, chance: random.Random) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in sent)


def halved(sent: str, chance: random.Random) -> str:
    return sent[: len(sent) // 2]


def added(sent: str, chance: random.Random) -> str:
    return '<x id="0"/> ' + sent + " ⟦0⟧"


def korean(sent: str, chance: random.Random) -> str:
    """As a good engine does it: other words, particles against the placeholders, their order kept."""
    said = [f"{piece}를" if _TAG.fullmatch(piece) else chance.choice(KOREAN) for piece in _words(sent)]
    return " ".join(said)


ENGINES: tuple[Engine, ...] = (
    identity, upper, moved_first, moved_last, scattered, shuffled, dropped_one, dropped_all, doubled_one,
    said_twice, swapped, renumbered, split, escaped, escaped_twice, translated_tags, wrapped, opened, newlines,
    joined, empty, only_tags, echoed, no_quotes, curly_quotes, full_width, halved, added, korean,
)  # fmt: skip


# The loop of the driver


def translated(text: str, style: Style, engine: Engine, chance: random.Random) -> str | None:
    """`text` through `engine`, damaged segments again in smaller pieces; None where one cannot be had whole."""
    layout = protect(text)
    said = [_asked(segment, style, engine, chance) for segment in layout.segments]
    return None if None in said else layout.text([part for part in said if part is not None])


def _asked(segment: Segment, style: Style, engine: Engine, chance: random.Random) -> str | None:
    said = style.read(engine(style.write(segment), chance), segment)
    if not isinstance(said, Damage):
        return said
    smaller = finer(segment)
    if smaller is None:
        return None
    pieces = [_asked(piece, style, engine, chance) for piece in smaller.segments]
    return None if None in pieces else smaller.text([piece for piece in pieces if piece is not None])


def pieces(segment: Segment) -> Iterator[Segment]:
    """Everything that could be sent for `segment`, down to its smallest pieces."""
    yield segment
    if smaller := finer(segment):
        for piece in smaller.segments:
            yield from pieces(piece)
