"""The report of a translation: the worst first, every row can be found, flags can be read, texts harm nobody."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm.errors import InputError, UsageError
from kullm.reports import TranslationReport
from kullm.reports.assets import SCRIPT, STYLE
from kullm.rows import Failure, dataset

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ["id", "source", "licence", "instruction", "input", "output", "history", "original", "verdicts", "bound"]
HOSTILE = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<!--<script>",
    "javascript:alert(1)",
    "]]> {{7*7}} ${7*7} %s {0}",
    "\"><svg onload=alert(1)> &lt;b&gt; 'onclick=1",
    "줄\u2028줄\u2029줄\u0085줄\r\n줄",
    "\u202e거꾸로\u2066 \ufeff\u200b",
    "\x1b[31m빨강\x1b]0;title\x07\x9b2J",
    "[/b][link=https://example.com]여기[/link]",
    "__proto__",
]


def row(number: int, *verdicts: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """A translated row; `verdicts` are (kind, field, evidence)."""
    texts = {"instruction": f"묻다 {number}", "input": "", "output": f"답하다 {number}"}
    english = {"instruction": f"ask {number}", "input": "", "output": f"answer {number}"}
    found = [dict(zip(("kind", "field", "evidence"), verdict, strict=True)) for verdict in verdicts]
    return {"id": f"r{number}", "source": "s", "original": english, "verdicts": found} | texts | more


def rows(records: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> Dataset:
    return dataset(records, columns)


def hostile(texts: Sequence[str]) -> Dataset:
    """Rows that hold `texts` wherever a row holds a text."""
    return rows(
        [
            row(
                number,
                (text, "output", text),
                (text, text, text),
                ("numbers", "output", f"{text} is missing"),
                id=f"{number}{text}",
                source=text,
                instruction=text,
                output=text,
                history=[{"instruction": text, "output": text}],
                original={"instruction": text, "input": "", "output": text},
                bound={"kind": text, "evidence": text, "fields": [text]},
            )
            for number, text in enumerate(texts)
        ]
    )


def report(records: Dataset, **more: Any) -> TranslationReport:
    made = kullm.report(records, to=more.pop("to", "ko"), **more)
    assert isinstance(made, TranslationReport)
    return made


class Page(HTMLParser):
    """What a browser sees: tags, attributes, and what stands in the elements of one name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.inside: dict[str, list[str]] = {}
        self.open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open:
            self.inside[self.open][-1] += data

    @property
    def policy(self) -> str:
        return next(value or "" for tag, name, value in self.attributes if (tag, name) == ("meta", "content"))

    @property
    def data(self) -> Any:
        return json.loads(self.inside["script"][0])


def ids(made: TranslationReport) -> list[str]:
    return [item["id"] for item in Page(made.html()).data["rows"]]


def in_page(code: str, **values: Any) -> Any:
    """The value of a JavaScript expression where the page's own functions are known."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's script")
    lines = [SCRIPT, *(f"const {name} = {json.dumps(value)};" for name, value in values.items())]
    done = subprocess.run(
        [node, "-"],
        input="\n".join([*lines, f"console.log(JSON.stringify({code}));"]),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# What is counted


def test_rows_are_counted_by_the_kinds_of_their_verdicts() -> None:
    twice = [("numbers", "input", "7 is missing"), ("numbers", "output", "8 is missing"), ("lines", "output", "2 → 1")]
    bound = {"kind": "grammar", "evidence": "ask", "fields": ["input"]}
    made = report(rows([row(1, *twice), row(2), row(3, ("lines", "output", "")), row(4, bound=bound)]))
    assert (made.rows, made.damaged) == (4, 2)
    assert made.verdicts == {"lines": 2, "numbers": 1}
    assert made.bound == {"grammar": 1}
    assert made.table() == [
        ["", "rows", "share"],
        ["translated", "4", ""],
        ["with a verdict", "2", "50.0%"],
        ["· lines", "2", "50.0%"],
        ["· numbers", "1", "25.0%"],
        ["bound to the source language", "1", "25.0%"],
        ["· grammar", "1", "25.0%"],
    ]


def test_the_length_ratio_is_the_median_over_texts() -> None:
    """Ratios 2/4 and 1/4 and 4/4; texts that are empty on one side have none."""
    texts = [("abcd", "가나"), ("abcd", "가"), ("abcd", "가나다라"), ("", "가"), ("abcd", "")]
    records = [
        row(number, instruction=korean, output="", original={"instruction": english, "input": "", "output": ""})
        for number, (english, korean) in enumerate(texts)
    ]
    assert report(rows(records)).ratio == 0.5
    assert report(rows([])).ratio is None


def test_a_file_without_verdicts_is_not_called_clean() -> None:
    old = report(rows([row(1)], COLUMNS[:8]))
    assert old.verdicts is None
    assert old.bound is None
    assert "nobody looked for damage" in str(old)
    assert "with a verdict" not in str(old)
    assert ids(old) == ["r1"]


def test_failures_are_counted_by_cause(tmp_path: Path) -> None:
    failures = [Failure("a", "translate", "empty"), Failure("b", "translate", "refused"), Failure("c", "t", "empty")]
    file = tmp_path / "failures.jsonl"
    file.write_text("".join(json.dumps({"id": f.id, "cause": f.cause}) + "\n" for f in failures), encoding="utf-8")
    for given_as in (failures, file, str(file)):
        made = report(rows([row(1)]), failures=given_as)
        assert made.failures == {"empty": 2, "refused": 1}
        assert ["failed", "3", ""] in made.table()
    file.write_bytes(b"")
    assert report(rows([row(1)]), failures=file).failures == {}
    file.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"failures\.jsonl:1: expected a failure with its cause"):
        report(rows([row(1)]), failures=file)


def test_what_is_no_translation_is_named() -> None:
    import datasets

    broken = datasets.Dataset.from_list([{"id": "r1", "original": {"instruction": "ask"}, "verdicts": ["bad"]}])
    with pytest.raises(InputError, match="The row r1 is no translation"):
        kullm.report(broken)
    with pytest.raises(InputError, match="goes through its rows twice"):
        kullm.report(rows([row(1)]).to_iterable_dataset())
    with pytest.raises(InputError, match="report needs the columns"):
        kullm.report(rows([row(1)], COLUMNS[:7]))
    with pytest.raises(UsageError, match="Answers belong beside scores"):
        kullm.report(rows([row(1)]), rows([row(1)]))
    with pytest.raises(UsageError, match="to: for the report of a translation"):
        kullm.report(rows([row(1)], COLUMNS[:7]), to="ko")


def test_rows_with_an_original_need_no_word_more_to_be_a_translation() -> None:
    made: object = kullm.report(rows([row(1)]))
    assert isinstance(made, TranslationReport)
    assert (made.title, made.source, made.target) == ("Translation", "en", "ko")


@pytest.mark.parametrize("code", ["", "korean!", 'ko" onload="x', "k", "zh_Hant"])
def test_a_language_that_is_none_is_refused(code: str) -> None:
    with pytest.raises(UsageError, match="not the code of a language"):
        report(rows([row(1)]), to=code)


# Which rows the page shows, and in which order


def test_damage_comes_first() -> None:
    """By the weight of the verdicts, then as the rows stand; rows without any keep their order."""
    light, heavy = ("length", "output", "ratio 0.1"), ("untranslated", "output", "a copy")
    records = [row(0), row(1, light), row(2), row(3, heavy, light), row(4, light), row(5, heavy), row(6, light, light)]
    assert ids(report(rows(records))) == ["r3", "r5", "r6", "r1", "r4", "r0", "r2"]


def test_a_row_keeps_the_number_that_it_has_in_the_file() -> None:
    made = report(rows([row(0), row(1, ("lines", "output", ""))]))
    assert [(item["id"], item["number"]) for item in made.items] == [("r1", 2), ("r0", 1)]


def test_many_rows_are_sampled_evenly_and_the_page_says_so() -> None:
    bad = {17, 550}
    records = [row(n, *([("lines", "output", "")] if n in bad else [])) for n in range(1000)]
    made = report(rows(records), limit=102)
    shown = [item["number"] - 1 for item in made.items]
    assert shown[:2] == [17, 550]
    assert len(set(shown)) == 102
    steps = [after - before for before, after in pairwise(shown[2:])]
    assert set(steps) <= {9, 10, 11}
    said = "The page shows 102 of 1,000 rows: all 2 with a verdict and 100 of the 998 others, taken evenly."
    assert said in made.html()
    assert said in str(made)
    assert (made.rows, made.damaged) == (1000, 2)  # the figures are about all rows


def test_of_too_much_damage_the_worst_is_shown() -> None:
    records = [row(n, ("untranslated" if n % 2 else "length", "output", "")) for n in range(10)]
    made = report(rows(records), limit=5)
    assert ids(made) == ["r1", "r3", "r5", "r7", "r9"]
    assert "5 of 10 rows: the worst of 10 with a verdict" in made.html()
    with pytest.raises(UsageError, match="at least one row"):
        report(rows(records), limit=0)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 70))
def test_no_row_is_shown_twice_and_no_room_is_left(damaged: list[bool], limit: int) -> None:
    records = [row(n, *([("lines", "output", "")] if bad else [])) for n, bad in enumerate(damaged)]
    shown = [item["number"] for item in report(rows(records), limit=limit).items]
    assert len(shown) == len(set(shown)) == min(limit, len(damaged))
    assert all(damaged[number - 1] for number in shown[: sum(damaged)])


# Texts that want to run


def test_no_text_makes_a_node_of_the_page() -> None:
    """Nothing but options, list items and table rows come from the data, and they hold texts alone."""
    page, plain = Page(report(hostile(HOSTILE), title=HOSTILE[0]).html()), Page(report(rows([row(1)])).html())
    assert set(page.tags) == set(plain.tags) | {"optgroup"}
    grows = {"option", "optgroup", "tr", "td", "li"}
    assert [tag for tag in page.tags if tag not in grows] == [tag for tag in plain.tags if tag not in grows]
    names = {name for _, name, _ in page.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "style", "srcdoc", "action")]


def test_every_text_is_in_the_page_as_it_is() -> None:
    for item, text in zip(Page(report(hostile(HOSTILE)).html()).data["rows"], HOSTILE, strict=True):
        assert item["source"] == text
        assert [field[2] for field in item["fields"]] == [text] * 4
        assert [field[1] for field in item["fields"]] == [None, None, text, text]
        assert item["verdicts"][:2] == [[text, "output", text], [text, text, text]]
        assert item["bound"] == [text, text, [text]]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_the_rows_in_the_page_hold_no_sign_of_html(texts: list[str]) -> None:
    html = report(hostile(texts)).html()
    page = Page(html)
    assert [item["source"] for item in page.data["rows"]] == texts
    block = html.split('id="data">')[1].split("</script>")[0]
    assert not re.search("[<>&\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]", block)
    assert page.tags.count("script") == 2


def test_half_of_a_surrogate_pair_in_a_title_can_be_saved(tmp_path: Path) -> None:
    """Arrow keeps such texts out of the rows, and a title comes from elsewhere."""
    made = report(rows([row(1)]), title="반 \ud800")
    for name in ("r.html", "r.md", "r.json"):
        assert "\\ud800" in made.save(tmp_path / name).read_text(encoding="utf-8").replace("\\\\", "\\")


def test_the_page_asks_nobody_and_runs_its_own_script_alone() -> None:
    html = report(hostile(HOSTILE)).html()
    page = Page(html)
    script, style = page.inside["script"][1], page.inside["style"][0]
    assert (script, style) == (SCRIPT, STYLE)
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    for name, text in (("script-src", script), ("style-src", style)):
        assert f"{name} 'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in page.policy
    assert html.index("Content-Security-Policy") < html.index("<style>")
    assert "//" not in html.replace("https://example.com", "").replace(SCRIPT, "")
    assert "http" not in SCRIPT


def test_the_script_writes_texts_as_text() -> None:
    assert not re.search(r"HTML\s*=|insertAdjacent|document\.write|\beval\b|\bFunction\b|setTimeout\(['\"]", SCRIPT)


def test_a_terminal_gets_no_control_characters() -> None:
    for text in HOSTILE:
        shown = str(report(hostile([text]), title=text, failures=[Failure("a", "b", text)]))
        assert not [character for character in shown if not character.isprintable() and character != "\n"]
    assert "\\x1b[31m빨강" in str(report(hostile(["\x1b[31m빨강"])))


def test_markdown_is_a_table_whatever_a_kind_is_called() -> None:
    text = report(hostile(HOSTILE), title="a\n# b").markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {re.sub(r"\\\\.", "", line).count("|") for line in table} == {4}
    assert not re.search(r"(?<!\\)<", text)
    assert "\n# b" not in text


# What the script does


def test_every_row_is_found_by_its_id_and_by_any_word_of_it() -> None:
    records = [
        row(n, history=[{"instruction": f"처음 {n}번", "output": ""}], instruction=f"물음표{n}끝") for n in range(120)
    ]
    code = """given.rows.every((row, place) =>
        [row.id, ...row.fields.flatMap((field) => [field[1] ?? "", field[2]])].every((text) =>
            chosen(given.rows, all, new Map(), { query: text, kind: "", source: "", flag: "" }).includes(place)))"""
    data = Page(report(rows(records)).html()).data
    assert len(data["rows"]) == 120
    assert in_page(f"((all) => {code})(given.rows.map(searched))", given=data)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("사과", ["r1"]),
        (unicodedata.normalize("NFD", "사과"), ["r1"]),
        ("APPLE", ["r1"]),
        ("  r2 ", ["r2"]),
        ("a.c", []),
        ("", ["r1", "r2"]),
    ],
)
def test_a_search_minds_neither_case_nor_how_hangul_is_written(query: str, expected: list[str]) -> None:
    records = [row(1, instruction="사과", original={"instruction": "Apple", "input": "", "output": "abc"}), row(2)]
    assert _chosen(rows(records), query=query) == expected


def test_rows_can_be_narrowed_to_a_kind_a_source_and_flags() -> None:
    bound = {"kind": "lines", "evidence": "", "fields": []}
    data = rows([row(1, ("lines", "output", "")), row(2, source="t"), row(3, ("loop", "", "")), row(4, bound=bound)])
    assert _chosen(data, kind="+") == ["r3", "r1"]
    assert _chosen(data, kind="-") == ["r2", "r4"]
    assert _chosen(data, kind="v:lines") == ["r1"]
    assert _chosen(data, kind="b") == _chosen(data, kind="b:lines") == ["r4"]
    assert _chosen(data, source="t") == ["r2"]
    assert _chosen(data, flag="+", flags=[["r2", ""]]) == ["r2"]
    assert _chosen(data, flag="-", kind="-", flags=[["r2", ""]]) == ["r4"]
    options = [value for tag, name, value in Page(report(data).html()).attributes if (tag, name) == ("option", "value")]
    assert {"+", "-", "v:lines", "v:loop", "b", "b:lines", "s", "t"} < set(options)


def _chosen(data: Dataset, *, flags: Sequence[list[str]] = (), **choice: str) -> list[str]:
    asked = {"query": "", "kind": "", "source": "", "flag": ""} | choice
    code = "chosen(given.rows, given.rows.map(searched), new Map(marked), asked).map((place) => given.rows[place].id)"
    found: list[str] = in_page(code, given=Page(report(data).html()).data, marked=list(flags), asked=asked)
    return found


def test_exported_flags_are_one_object_a_line_in_the_order_of_the_page() -> None:
    """`rows` of the page are r1, r2, r3; a flag of a row that this page does not show is not lost."""
    data = Page(report(rows([row(n) for n in (1, 2, 3)])).html()).data
    note = '줄\n"둘"\u2028\u0085</script>\ud800'
    kept = [["elsewhere", "b"], ["r3", note], ["r1", ""], ["__proto__", ""]]
    text = in_page("exported(given.rows, new Map(kept))", given=data, kept=kept)
    assert text.endswith("\n")
    assert len(text.splitlines()) == 4  # also for a reader that splits where Unicode has a line end
    assert [json.loads(line) for line in text.splitlines()] == [
        {"id": "r1", "flag": "bad", "note": ""},
        {"id": "r3", "flag": "bad", "note": note},
        {"id": "elsewhere", "flag": "bad", "note": "b"},
        {"id": "__proto__", "flag": "bad", "note": ""},
    ]
    assert in_page("exported(given.rows, new Map())", given=data) == ""
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, []),
        ("", []),
        ("{}", []),
        ("[1]", []),
        ("no", []),
        ('[["a", 1], [2, "x"], ["b", "n"]]', [["a", "1"], ["b", "n"]]),
    ],
)
def test_a_spoilt_memory_of_flags_does_not_stop_the_page(kept: str | None, expected: list[list[str]]) -> None:
    assert in_page("[...remembered(kept)]", kept=kept) == expected


def test_characters_that_nobody_sees_are_spelled() -> None:
    text = "a\u202eb\x1b\x9b\r\n\t\u2028\ufeff\ud800 👨‍👩‍👧 می‌خواهم"
    parts = in_page("parts(text, [], '')", text=text)
    assert [piece for kind, piece in parts if kind == "escape"] == [
        "\\u202e", "\\x1b", "\\x9b", "\\r", "\\u2028", "\\ufeff", "\\ud800",
    ]  # fmt: skip
    assert "".join(piece for kind, piece in parts if not kind) == "ab\n\t 👨‍👩‍👧 می‌خواهم"


def test_what_is_missing_is_marked_and_not_inside_of_a_longer_number() -> None:
    parts = in_page("parts('6 of 60 and 160, $5.00 (x)', ['60', '$5.00 (x)'], 'OF')")
    assert parts == [["", "6 "], ["hit", "of"], ["", " "], ["mark", "60"], ["", " and 160, "], ["mark", "$5.00 (x)"]]


@settings(deadline=None, max_examples=5, derandomize=True)
@given(st.lists(st.tuples(st.text(), st.lists(st.text()), st.text()), min_size=30, max_size=60))
def test_marks_lose_no_character(cases: list[tuple[str, list[str], str]]) -> None:
    """Joined again, the parts are the text, but for the characters that are spelled."""
    code = "cases.map(([text, marks, query]) => parts(text, marks, query))"
    for (text, _, _), parts in zip(cases, in_page(code, cases=cases), strict=True):
        plain = [piece for kind, piece in parts if "escape" not in kind]
        rest = iter(text)
        assert all(character in rest for piece in plain for character in piece)
        if len(plain) == len(parts):
            assert "".join(plain) == text


def test_keys_work_where_hangul_is_typed() -> None:
    code = "keys.map(([key, code, ctrlKey]) => letter({key, code, ctrlKey}))"
    keys = [
        ["j", "KeyJ", False],
        ["ㅓ", "KeyJ", False],
        ["f", "KeyF", True],
        ["/", "Digit7", False],
        ["j", "KeyC", False],
    ]
    assert in_page(code, keys=keys) == ["j", "j", "", "/", "j"]


# Marks


def marks(kind: str, evidence: str, english: str, korean: str) -> list[list[str]]:
    record = row(
        1, (kind, "output", evidence), output=korean, original={"instruction": "x", "input": "", "output": english}
    )
    fields = report(rows([record])).items[0]["fields"]
    return fields[-1][3] if len(fields[-1]) > 3 else [[], []]


def test_the_missing_number_is_marked_in_the_original() -> None:
    assert marks("numbers", "60 is missing", "in 60 days", "며칠 안에") == [["60"], []]
    assert marks("numbers", "1,000, 7 … are missing", "1,000 of 7 and 8", "몇") == [["1,000", "7"], []]


def test_a_lost_span_is_marked_in_the_original() -> None:
    assert marks("lost span", "`a b` is missing", "run `a b` now", "실행") == [["`a b`", "a b"], []]


def test_words_of_the_original_that_survived_are_marked_in_the_translation() -> None:
    english = "Please write a short letter to your best friend about it."
    korean = "다음을 하세요: write a short letter to your best friend 그리고 about it."
    assert marks("untranslated", "some words", english, korean) == [[], ["write a short letter to your best friend"]]
    assert marks("untranslated", "still there: a short letter to…", english, korean)[1] == [
        "a short letter to",
        "write a short letter to your best friend",
    ]
    assert marks("untranslated", "a copy of the source", english, english) == [[], []]


def test_entities_and_loops_are_marked_in_the_translation() -> None:
    assert marks("entities", "entity: &amp;", "a & b", "a &amp; b &lt; c") == [[], ["&amp;", "&lt;"]]
    assert marks("loop", "5 times: 하고 또", "again", "하고 또 하고 또") == [[], ["하고 또"]]


def test_what_binds_a_task_is_marked_in_the_original() -> None:
    bound = {"kind": "grammar", "evidence": "ask", "fields": ["input"]}
    fields = report(rows([row(1, bound=bound)])).items[0]["fields"]
    assert fields[0] == ["instruction", "ask 1", "묻다 1", [["ask"], []]]
    assert len(fields[1]) == 3


def test_earlier_turns_stand_before_and_beside_their_originals_where_these_were_kept() -> None:
    import datasets

    turn = {"instruction": "안녕", "output": "네"}
    lost = report(rows([row(1, history=[turn])])).items[0]["fields"]
    assert lost[:2] == [["history[0].instruction", None, "안녕"], ["history[0].output", None, "네"]]
    english = {"instruction": "ask", "history": [{"instruction": "hello", "output": "yes"}]}
    whole = datasets.Dataset.from_list([{"id": "1", "instruction": "묻다", "history": [turn], "original": english}])
    kept = report(whole).items[0]["fields"]
    assert kept == [
        ["history[0].instruction", "hello", "안녕"],
        ["history[0].output", "yes", "네"],
        ["instruction", "ask", "묻다"],
    ]


# Files


def test_the_page_the_summary_and_the_counts_are_saved(tmp_path: Path) -> None:
    made = report(rows([row(1, ("lines", "output", "2 → 1")), row(2)]), title="Dolly", to="de")
    for name in ("r.html", "deep/er/r.md", "r.json"):
        assert made.save(tmp_path / name) == tmp_path / name
    content = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert content["title"] == "Dolly"
    assert content["verdicts"] == {"lines": 1}
    assert (content["rows"], content["damaged"], content["shown"], content["target"]) == (2, 1, 2, "de")
    assert "| · lines | 1 | 50.0% |" in (tmp_path / "deep/er/r.md").read_text(encoding="utf-8")
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).data["target"] == "de"
    with pytest.raises(UsageError, match=r"\.html, \.md, \.json"):
        made.save(tmp_path / "r.pdf")


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    made = report(rows([row(1)]))
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "r.html").mkdir()
    for target in (tmp_path / "file" / "r.html", tmp_path / "r.html"):
        with pytest.raises(InputError, match="not to be written"):
            made.save(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "r.html"]


def test_the_same_rows_make_the_same_bytes() -> None:
    records = [row(n, ("lines", "output", ""), ("loop", "output", "x")) for n in range(50)]
    assert report(rows(records)).html() == report(rows(records)).html()


def test_flags_stay_with_the_rows_that_they_were_set_for() -> None:
    """The key depends on ids and texts; another title or new verdicts keep the flags, another translation does not."""
    base = report(rows([row(1), row(2)]))
    assert Page(base.html()).data["key"].startswith("kullm flags ")
    assert report(rows([row(1, ("lines", "output", "")), row(2)]), title="b", limit=1).digest == base.digest
    assert report(rows([row(1, output="다르다"), row(2)])).digest != base.digest


@pytest.mark.shared
def test_the_published_translations_make_a_page_with_every_text(shared: Path) -> None:
    """The 252 evaluation tasks in English and as KULLM's authors published them in Korean."""
    english, korean = (
        [json.loads(line) for line in (shared / "data" / name).read_text(encoding="utf-8").split("\n") if line]
        for name in (
            "english/user_oriented_instructions.en.jsonl",
            "korean/user_oriented_instructions_eval.ko.jsonl",
        )
    )
    texts = {
        task["id"]: {"instruction": task["instruction"], "input": task["instances"][0]["input"], "output": ""}
        for task in english
    }
    records = [
        row(0, id=task["id"], instruction=task["instruction"], input=task["instances"][0]["input"], output="",
            original=texts[task["id"]])
        for task in korean
    ]  # fmt: skip
    made = report(rows(records))
    shown = {
        item["id"]: {name: korean for name, _, korean in item["fields"]} for item in Page(made.html()).data["rows"]
    }
    assert len(shown) == made.rows == 252
    assert made.ratio == pytest.approx(0.50, abs=0.01)  # measured elsewhere on these pairs
    for task in korean:
        assert shown[task["id"]]["instruction"] == task["instruction"]
        assert shown[task["id"]].get("input", "") == task["instances"][0]["input"]
