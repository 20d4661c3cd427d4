"""Lines that are code though no fence says so.

Prose must not be taken for code: a line counts by a sure sign of its own, or by a weaker sign beside such a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_END = re.compile(r"[;{}\\()>\]=:](?:(?<!:)\s*(?:[\r\n]|\Z)|(?<==)(?<![=<>!]=) ?[\"'\w\[{(-]|(?<=:)[ \t]*[\r\n]+[ \t])")
_START = re.compile(
    r"""(?:\A|[\n\r])[\ \t]*(?:
        (?:import|from|def|class|select|SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GROUP|ORDER|function|public|private
        |return|for|if|while|elif|const|let|var
        |sudo|git|pip3?|npm|yarn|docker|conda|brew|curl|wget|cd|mkdir|apt|apt-get|python3?)[ ]
        | [\#\\$@] | <[?/a-z] | "[\w\ -]{1,40}"\ *: )""",
    re.VERBOSE,
)


def may_hold(text: str) -> bool:
    """Whether `text` shows any sign of code; cheap, and almost never true of prose."""
    return _END.search(text) is not None or _START.search(text) is not None


_CALL = r"[A-Za-z_][\w.:>-]*(?:\[[^\[\]]*\])?\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*+\)"
_NAME = r"[A-Za-z_]\w*(?:(?:\.|->|::)\w+)*(?:\[[^\[\]]{0,60}\])*+"
_WITH = r"(?:unsigned|const|static|final|public|private|protected)\ "
_TYPE = rf"""(?:{_WITH})*(?:int|float|double|char|void|bool|boolean|long|short|string|String|auto|var|let|const|size_t
    |Integer|List<\w+>|\w+\[\])"""

_SURE_SIGNS = {
    "Python": r"""
      import\ [a-z_][\w.]*(?:\ as\ \w+)?(?:,\ *[\w.]+)*;? | from\ [\w.]+\ import\ .+
    | (?:async\ )?def\ \w+\(.* | class\ \w+(?:\([\w.,\ =]*\))?:.{0,40} | lambda\ \w+:.+ | @[a-zA-Z]\w*(?:\(.*\))?
    | for\ [\w,\ ()]+\ in\ (?:range|enumerate|zip|\w+\.\w+)\(.*
    | for\ [a-z_]\w{0,20}(?:,\ *\w+)?\ in\ [\w.\[\]:()"'-]+:
    | (?:if|elif|while)\ (?:not\ )?[\w.\[\]()'"\ %*+/-]*(?:[=!<>]=?|\ in\ |\ is\ )[^?]*: | while\ (?:True|1): | else:
    """,
    "C and its family": rf"""
      (?:{_WITH}|(?:abstract|export|async)\ )(?:{_WITH}|(?:abstract|async|default)\ )*
        (?:class|interface|enum|void|int|function|const)\b.*
    | import\ .+\ from\ ['"].+['"];? | import\ (?:static\ )?[a-z]\w*(?:\.\w+)+(?:\.\*)?;
    | class\ \w+(?:\ (?:extends|implements)\ [\w,\ ]+)?\ *\{{.* | \#\ *(?:include|define|ifdef|ifndef|endif|pragma)\b.*
    | for\ *\(.*;.*;?.*\)?.* | (?:if|while|switch|else\ if|elif)\ *\(.*\)\ *\{{?.{{0,3}}
    | \}}\ *(?:else|catch|finally|while)\b.* | (?:try|else|do|finally)\ *\{{
    | function\ *\w*\(.* | (?:const|let|var)\ [\w{{}},\ \[\]]+\ *=.* | [^`]*[)\w]\ *=>\ *[\{{\(][^`]*
    | (?:private|public|protected|val|var|let)\ [\w\ ]+(?::\ *\w+)?\ *=.* | [\w$]+\ *:\ *function\b.* | \$\w+\ *=.*
    | (?:return|throw|delete|yield|echo|print|cout|cin|new|using|package|namespace|break|continue|goto)\b[^.!?]*;
    | {_TYPE}\ [*&]?\w+(?:\ *\[.*?\])*(?:\ *=.*)?(?:,.*)?; | {_TYPE}\ [*&]?\w+\ *\(.*\)\ *[\{{;]?.*
    | [\w<>\[\],.&*:\ ]+\(.*\)\ *(?:->\ *\w+|const)?\ *\{{
    | {_NAME}\ *(?:[-+*/|&%]?=)\ *[^=].*; | {_NAME}(?:\+\+|--); | (?:\+\+|--)\w+;
    | (?:std::)?c(?:out|in)\ *(?:<<|>>).* | .*\bSystem\.out\.print.* | console\.log\(.*
    """,
    "calls and assignments": rf"""
      (?:await\ |new\ |return\ |\$)?\.?{_CALL}(?:\.?{_CALL}|\.\w+)*\ *(?:;|:|\{{|\))?
    | (?:[a-z_]\w*(?:\.\w+|\[[^\[\]]*\])*)(?:,\ *[a-z_]\w*)*\ *[-+*/]?=\ *(?:
        ['"\[{{(].* | -?[\d.]+ | {_CALL}.* | True|False|None|null|true|false | new\ .+ | lambda\b.+
        | \w*_\w* | [\w.]+\[.* | \w+\.\w+ )
    """,
    "SQL": r"""
      (?:SELECT|select)\ (?:DISTINCT\ |distinct\ )?
        (?:\*|[\w.*()`"]+(?:\ (?:AS|as)\ \w+)?(?:\ *,\ *[\w.*()`"]+(?:\ (?:AS|as)\ \w+)?)*),?(?:\ (?:FROM|from)\ .+|;)
    | (?:SELECT|INSERT\ INTO|DELETE\ FROM|CREATE\ (?:TABLE|DATABASE|INDEX|VIEW)|ALTER\ TABLE|DROP\ TABLE
        |UPDATE\ \w+\ SET|GROUP\ BY|ORDER\ BY|(?:LEFT\ |RIGHT\ |INNER\ |OUTER\ |FULL\ )*JOIN)
        \ (?:(?![.:]\ ).)*?[a-z_*].*
    """,
    "shell": r"""
      \$\ [a-z]\S*(?:\ .*)? | sudo\ [a-z].*
    | (?:git|npm|docker|pip3?|yarn|conda|kubectl|cargo|brew|apt|apt-get)\ (?:-\S+\ )?
        (?:clone|commit|push|pull|add|init|checkout|merge|install|run|build|update|upgrade|start|create|get|apply|rebase
        |status|branch|diff|log|ps|exec|uninstall)\b(?!.*[.!?](?:\ |\Z)).*
    | (?:curl|wget|ssh|scp|chmod|chown|grep|sed|awk|tar|python3?|cat|head|ls|mkdir|cd|rm|cp|mv|find|echo|export)[ ]
        (?:\S+\ )*?(?:-{1,2}[a-zA-Z]\S*|\S*/\S*|\S+\.(?:py|sh|txt|gz|csv|json)|\$\w+|\w+=\S+|\||>)(?:\ .*)?
    """,
    "LaTeX": r"""
      \\[a-zA-Z]+(?:\[.*?\])?\{.*\}.{0,3}
    | \\(?:item|maketitle|hline|newpage|centering|noindent|tableofcontents)
    """,
    "data, styles and pages": r"""
      "[\w\ .$@-]+"\ *:\ *(?:".*"|[-\d.]+|\[.*|\{.*|true|false|null),? | [\}\])]+[;,]? | \{ | \[
    | </?(?:script|style|php)\b.* | <\?php.* | (?:[a-z]+(?:-[a-z]+)*)\ *:\ *[^\s;][^;.]{0,60};
    | (?:[.\#]?[a-z][\w-]*(?:[\ ,>:.\#]+[a-z][\w-]*){0,4}|\*|@media.*)\ *\{
    """,
}
_SURE = re.compile(rf"(?:{'|'.join(_SURE_SIGNS.values())})(?:\s+(?:\#|//)(?:\s.*)?)?\s*\Z", re.VERBOSE)
"""A whole line that no sentence looks like, with a remark behind it or none."""

_WEAK = re.compile(
    rf"""(?: [#]\s?.* | //.* | /\*.* | \*/?\ .* | --\ .* | \"\"\".* | \'\'\'.*
    | (?:if|elif|while|for|with|except|case|match|switch)\b.*[:{{] | (?:else|try|finally|default)\s*:?
    | (?:return|pass|break|continue|raise|yield|assert|del|global|end|print|puts|echo|begin|fi|done|then|do)\b.*
    | {_NAME}\ *[-+*/|&%]?=.* | {_NAME}\ *(?:<-|:=).* | (?:{_NAME},?\ *){{1,6}}=.*
    | [\w\s.,()\[\]'"]{{1,40}}?\ [-+*/%<>]=?\ [\w.,()\[\]'"\ ]{{1,40}}
    | .*[;{{}}\[\](,] | [)\]}}](?!\ [\w\ ]{{9}}).* | .*{_CALL}.{{0,20}} | (?:<[^<>]*>\s*)+ | &.* | \\.* | :\w+.*:.*
    | (?:from|where|on|and|or|set|values|join|inner|left|right|order\ by|group\ by|having|limit|union|as|into)\b.*
    | (?:FROM|WHERE|ON|AND|OR|SET|VALUES|JOIN|INNER|LEFT|RIGHT|ORDER\ BY|GROUP\ BY|HAVING|LIMIT|UNION|AS|INTO|END)\b.*
    | [\w.\[\]]+ | >>>.* | \.\.\.\ .* | [\w-]+\s*:\s*.*[,;] | \.[a-z]\w*.* | @\w+.* | ["'].*["'],?
    )\s*\Z""",
    re.VERBOSE,
)
"""A whole line that is code where its neighbour is."""

_SELECT = re.compile(r"(?:select|SELECT)\b [\w.*(), ]+\Z")
_FROM = re.compile(r"(?:from|FROM) \w")


def code_lines(lines: Sequence[str]) -> list[bool]:
    """For each line, whether it is code. Lines may end in their line break."""
    texts = [line.strip() for line in lines]
    sure = [bool(text) and len(text) < 1000 and _SURE.match(text) is not None for text in texts]
    for place in range(len(texts) - 1):
        if _SELECT.match(texts[place]) and _FROM.match(texts[place + 1]):
            sure[place] = sure[place + 1] = True
    if not any(sure):
        return sure
    code = list(sure)
    _spread(code, lines, texts, range(len(texts)))
    _spread(code, lines, texts, range(len(texts) - 1, -1, -1))
    return code


def _spread(code: list[bool], lines: Sequence[str], texts: Sequence[str], order: range) -> None:
    """Let code run on from a line to the next one of `order`, over one blank line at most."""
    near = 0
    for place in order:
        text = texts[place]
        if code[place]:
            near = 2
        elif not text:
            near -= 1
        elif near > 0 and len(text) < 1000 and _runs_on(lines[place], text, near):
            code[place] = True
            near = 2
        else:
            near = 0


def _runs_on(line: str, text: str, near: int) -> bool:
    indented = line.startswith((" ", "\t"))
    if text[-1] in ".!?" and not indented:
        return False
    return (indented or near == 2) and _WEAK.match(text) is not None
