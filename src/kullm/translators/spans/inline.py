"""What must not be translated inside a line: code, addresses, placeholders, tags, names of programs' things.

Every rule is one alternative of `_SPAN`; its repeats are bounded or possessive, so that the time grows with the length
of the line alone. A rule that a pattern cannot say in full is settled by a function of `_CHECKS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kullm.translators.spans.segments import marks

EXTENSIONS = (
    "py|ipynb|js|jsx|mjs|ts|tsx|java|c|h|cpp|cc|hpp|cs|go|rs|rb|php|swift|kt|scala|sh|bash|bat|ps1|sql|html?|css|scss"
    "|xml|jsonl?|ya?ml|toml|ini|cfg|conf|md|rst|txt|csv|tsv|log|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|svg|mp[34]|wav|avi"
    "|zip|tar|gz|exe|dll|jar|env|parquet|bin|pth|safetensors|gguf"
)

_ODD = r"⟦⟧〚〛\ue000\x00-\x08\x0e-\x1b\x1f\x7f\ud800-\udfff\ufffe\uffff"
"""Signs that mean something to us or to no engine, and those that XML does not allow."""

GATE = re.compile(
    rf"""[`\\<>{{}}\[\]_*@~{_ODD}$&%/(.A-Z\-:\#=!|]
    (?: (?<=[`\\<>{{}}\[\]_*@~{_ODD}])
      | (?<=[A-Z]) (?: (?<=[a-z0-9].) | (?<=SELECT)|(?<=INSERT)|(?<=DELETE)|(?<=CREATE)|(?<=UPDATE) )
      | (?<=\.) (?<=[A-Za-z0-9_)\]]\.) (?=[A-Za-z]) | (?<=\.) (?=[a-z]\w*\()
      | (?<=\() (?<=[A-Za-z0-9_]\()
      | (?<=\$) (?=[A-Za-z\\({{]) | (?<=&) (?=[\#A-Za-z&]) | (?<=%) (?=[\w(.+-]) | (?<=/) (?=[\w.])
      | (?<=-) (?=-?[A-Za-z]) (?<![\w)].) | (?<=:) (?=[:/\\]) | (?<=\#) (?=\w) | (?<==) (?=[=>]) | (?<=!) (?==)
      | (?<=\|) (?=\|)
    )""",
    re.VERBOSE,
)
"""Finds something where a line may hold a span, and nothing in most lines of prose; cheap."""

_ASCII = r"[A-Za-z0-9_]"
_WEB = r"[A-Za-z0-9\-._~:/?\#@!$&'()*+,;=%\[\]{}|\u00c0-\u024f]"
_ID = r"(?:[A-Za-z0-9_]|\\_)"  # some Markdown escapes the underscore of a name
_ARGUMENTS = r"\((?:[^()\n]|\([^()\n]{0,200}\)){0,300}+\)"

_TOKENS = {
    "address": rf"(?:(?:https?|ftps?|sftp|file|ssh|git|wss?|s3|jdbc|mongodb|redis)://|mailto:|www\.){_WEB}++",
    "mail": r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}",
    "mention": rf"@[A-Za-z_]{_ASCII}{{1,60}}",
    "windows": r"""[A-Za-z]:\\[^\s"'<>|*?]{1,260}""",
    "path": r"""(?<!\w)(?:~|\.{1,2})?/(?=[^\s/])(?:[\w.+@-]{1,80}/?){1,20}+
        | [\w.-]{1,60}(?:/[\w.-]{1,60}){1,12}+/?""",
    "file": rf"[A-Za-z0-9_][\w-]{{0,60}}(?:\.[\w-]{{1,30}}){{0,3}}\.(?:{EXTENSIONS})(?!{_ASCII})",
    "domain": rf"""(?:[A-Za-z0-9-]{{1,63}}\.){{1,4}}(?:com|org|net|edu|gov|io|ai|info|co\.uk|co\.kr)(?!{_ASCII}|\.\w)
        (?:/{_WEB}*+)?""",
    "call": rf"\.?(?:[A-Za-z_]|\\_){_ID}{{0,60}}(?:(?:\.|::|->){_ID}{{1,60}}){{0,6}}{_ARGUMENTS}",
    "dotted": rf"[A-Za-z_]{_ID}{{0,60}}(?:(?:\.|::|->)(?:[A-Za-z_]|\\_){_ID}{{0,60}}){{1,8}}",
    "name": r"[A-Za-z0-9-]{0,60}(?:\\?_\w{0,60}){1,12}",
    "camel": rf"""[a-z]{{2,30}}[0-9]{{0,4}}(?:[A-Z][a-z0-9]{{1,30}}|[A-Z]{{1,5}}(?=[A-Z][a-z]))*+
        (?:(?<=[a-z0-9])(?:ID|IDs|URL|URI|API|HTML|JSON|XML|SQL|HTTP|IP|UI|DB|X|Y)(?!\w))?(?!{_ASCII})""",
    "pascal": rf"(?:[A-Z][a-z0-9]{{1,30}}){{2,8}}(?!{_ASCII})",
}
"""What begins where a word begins, in the order of the rules."""


def _any(rules: dict[str, str]) -> str:
    return " | ".join(f"(?P<{kind}> {rule} )" for kind, rule in rules.items())


_VARIABLE = r"(?P<variable> (?<!\w)\$(?:\{[^{}\s]{1,80}\}|[A-Za-z_]\w{1,60}|[a-z]\b) )"
_SIGN = (
    r"(?=[A-Za-z0-9%+-]{0,64}+(?:[_@/\\(]|[.:](?=[\w/\\:])|->)|[a-z0-9]+[A-Z]|[A-Z][a-z0-9]+[A-Z]|[.~](?=[\w./])"
    r"|mailto:|(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z])"
)
"""Most words have none of it, and are no more than this."""

_SPAN = re.compile(
    rf"""
      (?=[`$\\*~_<?{{\[&%\#=!|\-{_ODD}])(?:
      (?P<code> (?<![\w`])`[^`]+`(?!`) | (?<!`)``(?!`)(?:[^`']|'(?!')|`(?!`))++``(?!`) | ```(?:[^`]|`(?!``))++``` )
    | (?P<math> \$\$[^$]+\$\$ | \\\((?:[^\\]|\\[^()\[\]])*+\\\) | \\\[(?:[^\\]|\\[^()\[\]])*+\\\] )
    | (?P<dollars> (?<![\w$\\])\$(?![\s$])[^$]*+(?<!\s)\$(?![\w$]) )
    | {_VARIABLE}
    | (?P<escape> (?:\\[nrt])+(?![a-z{{]) | \\_(?![A-Za-z0-9\\]) | \\[\\`*{{}}\[\]()\#+.!|$%&~"'^,;:<>-] )
    | (?P<command> \\[A-Za-z@]+\*?(?:\[[^\[\]]{{0,80}}\]|\{{(?:[^{{}}]|\{{[^{{}}]*\}})*+\}})*+ )
    | (?P<strong> (?<!\*)(?P<s1>\*\*\*?)(?=[^\s*])(?P<s2>[^*]*+(?:\*(?!\*)[^*]*+)*+)(?<=\S)(?P<s3>(?P=s1)) )
    | (?P<strike> (?<!~)(?P<k1>~~)(?=[^\s~])(?P<k2>[^~]*+)(?<=\S)(?P<k3>~~)(?!~) )
    | (?P<emphasis> (?<![\w*\\])(?P<e1>\*)(?=[^\s*])(?P<e2>[^*]*+)(?<=\S)(?P<e3>\*)(?![\w*]) )
    | (?P<underline> (?<!\w)(?P<u1>__)(?=[^\s_])(?P<u2>[^_\s]*+\s[^_]*+)(?<=\S)(?P<u3>__)(?!\w)
                   )
    | (?P<slanted> (?<!\w)(?P<i1>_)(?=[^\s_])(?P<i2>[^_]*+)(?<=\S)(?P<i3>_)(?!\w) )
    | (?P<star> (?<=[^\W\d_]\s)\*(?=\s[^\W\d_]) | \*\.[a-z]\w{{0,5}}\b )
    | (?P<link> (?P<l1>!?\[)(?P<l2>(?:[^\[\]]|\[[^\[\]]{{0,200}}\]){{1,400}}+)
                (?P<l3>\]\((?:[^()\s]|\([^()\s]{{0,200}}\))*+(?:\s+"[^"]*")?\)|\]\[[^\[\]]{{0,80}}\]) )
    | (?P<tag> <!--(?:[^-<]|-(?!->)|<(?!!--))*+--> | <\|[^<>|\s]{{1,40}}\|> | <<[A-Z/]{{1,12}}>> | <![A-Za-z][^<>]*+>
             | <\?\w*|\?>
             | </?[A-Za-z][\w:.-]{{0,60}}(?:\s+[\w:@.-]{{1,60}}\s*=\s*(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=]++)
                 |\s+(?:disabled|checked|required|selected|async|defer|controls|hidden|readonly|autofocus))*+\s*/?>
             | (?<!\w)<(?=[^<>]{{0,80}}>)[A-Za-z/][^<>]*+> )
    | (?P<entity> &lt;/?[A-Za-z][^&<>]{{0,100}}+&gt;
                | &(?:\#\d{{1,7}}|\#[xX][0-9A-Fa-f]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}}); )
    | (?P<braces> \{{\{{[^{{}}]*+\}}\}} | \{{%[^%{{}}]*+%\}} | \{{(?:[^{{}}]|\{{[^{{}}]{{0,300}}\}}){{0,400}}+\}} )
    | (?P<brackets> \[/?[A-Z]{{2,12}}\] | \[\^?[^\[\]]{{1,200}}\] )
    | (?P<format> (?<![\w%])%(?:\([A-Za-z_]\w{{0,40}}\))?[-+0\#]*\d*(?:\.\d+)?[sdifgxrc](?![A-Za-z0-9_]) )
    | (?P<blank> (?<![A-Za-z0-9_])_{{2,}}(?![A-Za-z0-9_]) )
    | (?P<hash> (?<![\w&\#])\#(?=\w*[^\W\d_])\w{{1,100}} )
    | (?P<flag> (?<![\w-])(?:--[A-Za-z][\w-]{{0,60}}(?:=[^\s,;"']{{1,100}})?|(?<![^\s"'(`])-[A-Za-z](?![\w'’-])) )
    | (?P<operator> [=!]==?(?!=) | => | && | \|\| )
    | (?P<odd> ⟦[^⟦⟧]{{0,40}}⟧ | [{_ODD}]+ )
      )
    | (?P<query> (?<!\w)(?:SELECT|INSERT\ INTO|DELETE\ FROM|CREATE\ TABLE|ALTER\ TABLE|DROP\ TABLE|UPDATE)
                 \s[^;]{{1,600}}+; )
    | (?<!{_ASCII}){_SIGN}(?:{_any(_TOKENS)})
    """,
    re.VERBOSE,
)

_LATER = {
    kind: re.compile(_any(dict(list(_TOKENS.items())[place + 1 :])), re.VERBOSE)
    for place, kind in enumerate(list(_TOKENS)[:-1])
} | {"dollars": re.compile(_VARIABLE, re.VERBOSE)}
"""What a word may still be that a rule looked at twice and refused."""

_WRAPS = {"strong": "s", "strike": "k", "emphasis": "e", "underline": "u", "slanted": "i", "link": "l"}

_CODE_NOUNS = re.compile(
    r"(?:Id|Ids|Name|List|Array|Map|Set|Node|Type|Value|Key|Index|Error|Exception|Class|Object|String|Int|Integer|Char"
    r"|Bool|Boolean|Float|Double|Table|Column|Row|Tree|Stack|Queue|Buffer|Reader|Writer|Builder|Factory|Handler|Listener"
    r"|Controller|Model|View|Layer|Tokenizer|Config|Test|Tests|Item|Count|Size|Length|Date|Time|Event|Request|Response"
    r"|Loader|Parser|Iterator|Component|Module|Loss|Encoder|Decoder|Frame|Series|Address|Manager|Service)\Z"
)
_PROSE_START = re.compile(
    r"(?:the|an?|he|she|it|they|we|his|her|their|its|to|of|and|or|in|is|was|were|that|sic)\b|\.\.\."
)
_TWO_WORDS = re.compile(r"[^\W\d_]{2,} [^\W\d_]{2,}")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|“[^”]*”")
_CODE_IN_ARGUMENTS = re.compile(r"[\"'=_\[\]{}<>*+/$\\]|\w\.\w|\d|\w\(|True|False|None|null|\A\W*\Z")
_MODULES = frozenset(
    (
        "np",
        "pd",
        "plt",
        "os",
        "sys",
        "math",
        "re",
        "torch",
        "tf",
        "json",
        "random",
        "time",
        "datetime",
        "self",
        "this",
        "console",
        "document",
        "window",
        "System",
        "Math",
        "string",
        "threading",
        "multiprocessing",
        "collections",
        "itertools",
        "requests",
        "numpy",
        "pandas",
        "sklearn",
        "app",
        "df",
        "nn",
        "module",
        "exports",
        "process",
        "logging",
        "subprocess",
        "socket",
        "sqlite",
        "std",
        "cv2",
        "fs",
        "path",
        "React",
    )
)
_PLURALS = frozenset(("s", "es", "d", "ed", "n", "r", "ren", "ies", "ing", "ly"))
_FOLDERS = frozenset(
    (
        "src",
        "usr",
        "etc",
        "home",
        "var",
        "bin",
        "lib",
        "opt",
        "tmp",
        "dist",
        "app",
        "apps",
        "tests",
        "docs",
        "data",
        "node_modules",
        "path",
    )
)


def _address(span: str) -> int:
    """The length of a web address without the punctuation of the sentence around it."""
    while True:
        short = span.rstrip(".,;:!?'*|")
        for opening, closing in ("()", "[]", "{}"):
            if short.endswith(closing) and short.count(closing) > short.count(opening):
                short = short[:-1]
        if short == span:
            return len(span) if span[-3:] != "://" else 0
        span = short


def _dollars(span: str) -> int:
    """Maths between dollars, and not two prices: a sign of maths, or one short name."""
    inside = span[1:-1]
    if inside[0].isdigit():
        return len(span) * bool(re.search(r"[\\^_=]|\d[a-z]\b", inside) and not _TWO_WORDS.search(inside))
    known = re.search(r"[\\^_={}+*/<>|]|\A[A-Za-z]{1,2}\d?'?\Z|\A\w\([^()]*\)\Z|\A[A-Za-z] - ", inside)
    return len(span) * bool(known and (("\\" in inside) or not _TWO_WORDS.search(inside)))


def _brackets(span: str) -> int:
    """`[Your name]`, `[X]`, `[INST]`, `['a', 'b']`; not `[1]` and not a remark in brackets."""
    inside = span[1:-1]
    letter = any(map(str.isalpha, inside))
    short = len(inside) <= 60 and inside.count(" ") <= 6 and not _PROSE_START.match(inside) and inside[-1] not in ".!?"
    literal = inside[0] in "\"'" and inside[-1] in "\"'"
    shout = inside.isupper() or inside[:6].upper() in ("INSERT", "YOUR N")
    return len(span) * (inside[0] == "^" or bool(letter and (short or literal or shout)))


def _call(span: str) -> int:
    """`f(x)`, `a.b()`, `print("…")`; not `item(s)` and not `colour(in British English)`."""
    name, _, inside = span.partition("(")
    inside = inside[:-1]
    bare = _QUOTED.sub('""', inside)
    if not inside.strip():
        return len(span)
    if inside in _PLURALS and name.isalpha() and len(name) > 2:
        return 0
    if _TWO_WORDS.search(bare):
        return 0
    codelike = "_" in name or "." in name or "::" in name or re.search(r"[a-z][A-Z]|\w\d", name) or bare != inside
    letters = re.fullmatch(r"[a-z](?:\s*,\s*[a-z])*", inside)
    lower = name[0].islower() and _CODE_IN_ARGUMENTS.search(inside) and inside.strip("0123456789. ")
    formula = name.isupper() and len(name) > 1 and re.search(r"[,:=\"*+]|[A-Z]\d", inside)
    return len(span) * bool(
        codelike or letters or lower or formula or re.fullmatch(r"print|len|str|int|f|g|h|range|list", name)
    )


def _dotted(span: str) -> int:
    """`a.b.c`, `self.x`, `std::sort`; not two sentences without a space between them and not `e.g`."""
    if "::" in span or "->" in span:
        return len(span)
    names = span.split(".")
    if any("_" in name or re.search(r"[a-z]{2}[A-Z]", name) for name in names) or names[0] in _MODULES:
        return len(span)
    return len(span) * (len(names) > 2 and span.islower() and min(map(len, names)) > 1)


def _path(span: str) -> int:
    """A path with a root, a known folder or a file at its end; not `and/or`, not `5/10`, not `/`."""
    span = span.rstrip(".")
    if not re.search(r"[A-Za-z]", span):
        return 0
    if span[0] in "/~" or span.startswith(("./", "../")):
        return len(span)
    head, _, _ = span.partition("/")
    whole = head in _FOLDERS or re.search(rf"\.(?:{EXTENSIONS})\Z", span) or (span.count("/") > 1 and "_" in span)
    return len(span) * bool(whole)


def _pascal(span: str) -> int:
    """Three humps, or two with a noun of programs at the end; so `LastName`, and not JavaScript or McDonald."""
    return len(span) * bool(sum(map(str.isupper, span)) > 2 or _CODE_NOUNS.search(span))


def _camel(span: str) -> int:
    return len(span) * any(map(str.isupper, span))


def _query(span: str) -> int:
    """An SQL statement inside a sentence; capitals alone are no sign."""
    return len(span) * bool(re.search(r"\b(?:FROM|INTO|SET|TABLE|VALUES)\b", span))


_CHECKS: dict[str, Callable[[str], int]] = {
    "address": _address, "dollars": _dollars, "brackets": _brackets, "call": _call, "dotted": _dotted, "path": _path,
    "pascal": _pascal, "camel": _camel, "query": _query, "windows": lambda span: len(span.rstrip(".,;:!?)")),
    "name": lambda span: len(span) * (span.strip("_") != "" or len(span) > 1),
}  # fmt: skip
"""How long the span really is, 0 where it is none, for the rules that look twice."""


def _find(text: str, start: int, end: int, found: list[tuple[int, int]]) -> None:
    """Put the places of the spans of `text[start:end]` into `found`, in order."""
    search = _SPAN.search
    while match := search(text, start, end):
        kind = match.lastgroup or ""
        begin, stop = match.span()
        if mark := _WRAPS.get(kind):
            found.append(match.span(mark + "1"))
            _find(text, match.end(mark + "1"), match.start(mark + "3"), found)
            found.append(match.span(mark + "3"))
        else:
            stop = begin + _length(match, end)
            if stop > begin:
                found.append((begin, stop))
        start = max(stop, begin + 1)


def _length(match: re.Match[str] | None, end: int) -> int:
    """How many characters of a match are the span; where its rule refuses, what the later rules say of the word."""
    while match:
        kind = match.lastgroup or ""
        length = check(match[0]) if (check := _CHECKS.get(kind)) else len(match[0])
        if length or kind not in _LATER:
            return length
        match = _LATER[kind].match(match.string, match.start(), end)
    return 0


_OPENING = {'"': '"', "'": "'", "(": ")", "[": "]", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』", "<": ">"}


def cut(line: str) -> list[str]:
    """`line` as words and protected spans in turns: an odd number of parts, which give `line` when they are joined."""
    found: list[tuple[int, int]] = []
    _find(line, 0, len(line), found)
    if not found:
        return [line]
    parts: list[str] = []
    done = 0
    for begin, end in found:
        parts += (line[done:begin], line[begin:end])
        done = end
    parts.append(line[done:])
    return _joined(_quoted(parts))


def _quoted(parts: list[str]) -> list[str]:
    """Quotes and brackets that directly enclose a span belong to it."""
    paired = {number for pair in marks(parts) for number in pair}
    for place in range(1, len(parts), 2):
        if place // 2 in paired:
            continue
        while (close := _OPENING.get(parts[place - 1][-1:])) and parts[place + 1][:1] == close:
            parts[place] = parts[place - 1][-1] + parts[place] + close
            parts[place - 1] = parts[place - 1][:-1]
            parts[place + 1] = parts[place + 1][1:]
    return parts


def _joined(parts: list[str]) -> list[str]:
    """Spans with only white space between them are one span, but for a mark whose partner stands elsewhere."""
    if len(parts) < 5:
        return parts
    partner = {side: other for pair in marks(parts) for side, other in (pair, pair[::-1])}
    joined = parts[:1]
    place = 1
    while place < len(parts):
        end = _end(parts, place, partner)
        joined += ("".join(parts[place : end + 1]), parts[end + 1])
        place = end + 2
    return joined


def _end(parts: list[str], place: int, partner: dict[int, int]) -> int:
    """The place of the last span that may be one with the span at `place`."""
    best = end = place
    awaited: set[int] = set()
    while True:
        number = end // 2
        awaited.discard(number)
        other = partner.get(number, number)
        if other < place // 2:
            return best
        if other > number:
            awaited.add(other)
        if not awaited:
            best = end
        if end + 2 >= len(parts) or parts[end + 1].strip():
            return best
        end += 2
