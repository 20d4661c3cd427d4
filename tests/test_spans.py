"""What must not be translated comes out as it went in, or the text is marked as failed."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import ENGINES, identity, korean, made, pieces, translated
from kullm.errors import UsageError
from kullm.translators.spans import PLAIN, XML, Damage, Layout, Segment, Style, finer, protect
from kullm.translators.spans.inline import GATE, cut

quick = settings(max_examples=150, deadline=None, derandomize=True)
STYLES = (XML, PLAIN, Style("@{}@"), Style('<ph n="{}"/>', xml=True))
constructs = st.lists(
    st.sampled_from([
        "`", "``", "```", "~~~", "**", "*", "_", "__", "$", "$$", "\\(", "\\)", "\\[", "{", "}", "[", "]", "(",
        ")", "<", ">", "&",
        ";", ":", "|", "#", "-", "1.", '"', "'", "⟦0⟧", "<x", "f()", "a_b", "http://a.b", "\n", "\n\n    ",
        " ", "\r\n", "word", "값",
    ]), max_size=40
).map("".join)  # fmt: skip


def spans(text: str) -> list[str]:
    """Every span inside a segment."""
    return [span for segment in protect(text).segments for span in segment.parts[1::2]]


def sent(text: str) -> list[str]:
    """The words of every segment, with | for a span."""
    return ["|".join(segment.parts[0::2]) for segment in protect(text).segments]


def kept(text: str) -> bool:
    """Whether `text` is a span by itself when it stands in a sentence."""
    return text in spans(f"Here we use {text} in a sentence.")


# Nothing is lost


@quick
@given(st.text(max_size=200) | constructs)
def test_an_untouched_text_comes_back_byte_for_byte(text: str) -> None:
    layout = protect(text)
    assert layout.text([segment.text for segment in layout.segments]) == text
    for segment in layout.segments:
        for piece in pieces(segment):
            for style in STYLES:
                assert style.read(style.write(piece), piece) == piece.text


@quick
@given(st.text(max_size=200) | constructs)
def test_what_is_sent_has_a_letter_and_no_line_break_or_white_space_at_its_ends(text: str) -> None:
    for segment in protect(text).segments:
        assert segment.text == segment.text.strip()
        assert len(segment.text.splitlines()) == 1
        assert any(map(str.isalpha, "".join(segment.parts[0::2])))


@quick
@given(st.text(max_size=200) | constructs)
def test_what_is_sent_as_xml_is_well_formed(text: str) -> None:
    for segment in protect(text).segments:
        if len(segment.parts) > 1:
            ElementTree.fromstring(f"<r>{XML.write(segment)}</r>")


@quick
@given(st.text(max_size=200) | constructs)
def test_smaller_pieces_make_the_segment_and_come_to_an_end(text: str) -> None:
    for segment in protect(text).segments:
        smaller = finer(segment)
        if smaller:
            assert smaller.text([piece.text for piece in smaller.segments]) == segment.text
            assert all(len(piece.text) < len(segment.text) for piece in smaller.segments)


def test_a_layout_wants_one_translation_for_each_segment() -> None:
    with pytest.raises(ValueError, match="1 segments, 2 translations"):
        Layout(("", ""), (Segment(("a",)),)).text(["a", "b"])


# Blocks


@pytest.mark.parametrize(
    "block",
    [
        "```python\nprint('it')\n```", "~~~\nany words\n~~~", "   ```\n   code here\n   ```",
        "- item\n\n  ```\n  code here\n  ```",
        "> ```\n> quoted code\n> ```", "```\nnever closed, to the end", "words first ```js\nlet a;\n``` here",
        "A text.\n\n    an indented block",
        "$$\nE = mc^2 \\text{for all}\n$$", "\\[ \\text{any} \\]",
        "\\begin{align}\na &= \\text{word}\n\\end{align}",
        "<script>\nalert('word');\n</script>", "<style>\np { color: red }\n</style>",
        "<!-- a remark\nof two lines -->", "---\ntitle: A page\n---",
        "```a\r\nline of code\r\n```",
    ],
)  # fmt: skip
def test_a_block_of_code_or_maths_is_never_sent(block: str) -> None:
    words = {"item", "A text.", "words first", "here"}
    assert set(sent(block)) <= words
    assert sent(f"Before it.\n\n{block}\n")[0] == "Before it."


def test_lines_cells_items_and_labels_are_segments_and_their_signs_stay() -> None:
    text = "# Title\n\n> quoted line\n- one\n  * two\n1. three\n(a) four\n- [ ] five\n• six\n\nName: John\nIts steps:\n"
    assert sent(text) == [
        "Title",
        "quoted line",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "Name",
        "John",
        "Its steps",
    ]
    table = "| Name | Age of it |\n|:-----|----:|\n| Jane Doe |  31 |"
    assert sent(table) == ["Name", "Age of it", "Jane Doe"]
    assert protect(table).frames[-1] == " |  31 |"


def test_every_kind_of_line_break_stays() -> None:
    text = "one\r\ntwo\rthree\u2028four\x0bfive  \n\n\n six\t\n"
    assert sent(text) == ["one", "two", "three", "four", "five", "six"]


def test_a_sentence_with_a_colon_is_no_label() -> None:
    assert sent("There are three of them: red, green and blue.") == ["There are three of them: red, green and blue."]
    assert sent("**Main point:** jeans") == ["Main point", "jeans"]
    assert sent("It is 5: a number") == ["It is 5: a number"]


def test_the_headers_of_a_prompt_stay() -> None:
    assert sent("### Instruction:\nSay it.\n\n### Response:\nUSER: hello\n") == ["Say it.", "hello"]
    assert sent("[INST] Say it. [/INST]") == ["|Say it.|"] or spans("[INST] Say it. [/INST]") == ["[INST]", "[/INST]"]


def test_tags_around_words_are_not_sent() -> None:
    assert sent("<p>Some words</p>\n<li>one <b>bold</b> word</li>") == ["Some words", "one |bold| word"]


# Inside a line


@pytest.mark.parametrize(
    "span",
    [
        "`input()`", "``a ` b``", "https://a.b/c_d?e=f&g=h", "http://localhost:8000", "www.example.com/x",
        "jane.doe@mail.example.org",
        "/usr/local/bin", "./run.sh", "../up/main.py", "~/notes.txt", "src/kullm/rows.py", "main.py",
        "C:\\Users\\me\\x.txt", "*.csv",
        "$x^2$", "$\\alpha + 1$", "\\(a + b\\)", "\\emph{word}", "\\frac{1}{2}", "<br>", '<a href="x">',
        "</div>", "<!-- no -->", "&amp;", "&#39;",
        "{x}", "{{user_name}}", "${HOME}", "%s", "%(x)s", "%d", "<NAME>", "<your name>", "[Name]",
        "[Company name]", "[INSERT TITLE]", "[X]",
        "____", "__PLACEHOLDER__", "camelCase", "getElementById", "userID", "LastName", "NullPointerException",
        "snake_case", "MAX_LEN", "f()",
        "f(x)", "a.b()", "threading.Thread()", "obj.attr.method", "np.array", "std::sort", ".equals()",
        "print('a b')", "\\tableofcontents",
        "#hashtag", "@mention", "--flag", "-f", "$VAR", "<|im_start|>", "[INST]", "==", "pdb.set_trace()",
        '<x id="0"/>', "⟦0⟧", "&lt;x&gt;",
        "SELECT a FROM b;", "SUM(A1:A5)", "\\_private", "user\\_id",
    ],
)  # fmt: skip
def test_a_span_is_kept(span: str) -> None:
    assert kept(span)


@pytest.mark.parametrize(
    "words",
    [
        "and/or", "he/she/they", "item(s)", "bus(es)", "colour(in British English)", "McDonald", "JavaScript",
        "YouTube", "iPhone", "eBay", "LinkedIn",
        "MacBook", "macOS", "PayPal", "e.g.", "i.e.", "U.S.A.", "5/10", "50%", "$50 or $60", "$5 (about $6)",
        "[the company]", "[1]", "3:30", "well-known",
        "a < b", "R&D", "AT&T", "f**k", "don't", "C#", "it's 5 * 3", "(see below)", "end.The next", "a.m.",
        "twenty-five", "~5", "x = 5",
    ],
)  # fmt: skip
def test_ordinary_words_are_sent(words: str) -> None:
    assert spans(f"Here we have {words} in a sentence.") == []


def test_quotes_and_brackets_around_a_span_belong_to_it() -> None:
    assert spans('It says "`x`" and (f()) here.') == ['"`x`"', "(f())"]


def test_marks_of_emphasis_stay_around_words_that_are_translated() -> None:
    assert protect("A **bold** word and [a link](http://a.b).").segments[0].parts == (
        "A ", "**", "bold", "**", " word and ", "[", "a link", "](http://a.b)", ".",
    )  # fmt: skip
    assert sent("**All of it**") == ["All of it"]


def test_the_punctuation_of_a_sentence_is_no_part_of_an_address() -> None:
    assert spans("See (https://a.b/c_(d)), or http://e.f.") == ["(https://a.b/c_(d))", "http://e.f"]


@pytest.mark.parametrize(
    "line",
    [
        "import threading", "from os import path", "def f(x):", "class Foo(Bar):", "for i in range(10):",
        "print('Hello World!')", "x = [1, 2]",
        "select FirstName, LastName from Person left join Address on a = b", "SELECT * FROM t WHERE a = 1;",
        "#include <stdio.h>", "int main() {",
        "public static void main(String[] args) {", "return 0;", "</script>", "\\documentclass{article}",
        "$ ls -la", "pip install kullm",
        "git clone https://a.b/c", '"name": "John",', "const a = 5;", "if (20 > 18) {", "}",
        "x^3 - 4x^2 + 6x - 24 = 0",
    ],
)  # fmt: skip
def test_a_line_of_code_without_a_fence_is_not_sent(line: str) -> None:
    assert sent(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "Select the best option from the list.", "import duties on steel rose last year",
        "From where I stand, it is fine;", "For each of them:",
        "Return the book (if you can).", "While it rains, we wait:", "If you are in doubt, ask:",
        "Class of 2020:", "Use the following table:",
        "apples, pears and plums;", "Print this page", "SELECT THE BEST OPTION", "Total = 100",
        "cat food is good", "make a list of things",
        "# A heading", "where she lived", "The answer (in short) is no;",
    ],
)  # fmt: skip
def test_a_line_of_prose_is_not_taken_for_code(line: str) -> None:
    assert sent(line)


# Reading an answer

TWO = Segment(("Set ", "`a`", " to the value of ", "`b`", " now."))


@pytest.mark.parametrize(
    "said",
    [
        '<x id="0"/>를 <x id="1"/>의 값으로', '<X ID="0"/>를 <X ID="1"/>의 값으로',
        "<x id='0' />를 < x id = “1” / >의 값으로", '<x id="0"></x>를 <x id="1">의 값으로',
        "&lt;x id=&quot;0&quot;/&gt;를 &amp;lt;x id=&amp;quot;1&amp;quot;/&amp;gt;의 값으로",
        "<x id=0/>를\n<x id=1/>의 값으로\n", "＜ｘ　ｉｄ＝＂０＂／＞를 <x id=\"１\"/>의 값으로",
    ],
)  # fmt: skip
def test_what_an_engine_does_to_a_tag_is_undone(said: str) -> None:
    assert XML.read(said, TWO) == "`a`를 `b`의 값으로"


@pytest.mark.parametrize("said", ["⟦0⟧를 ⟦1⟧의 값", "⟦ 0 ⟧를 ⟦1 ⟧의 값", "〚0〛를 ⟦１⟧의 값", "⟦0⟧를\r\n ⟦1⟧의 값"])
def test_what_an_engine_does_to_a_bracket_is_undone(said: str) -> None:
    assert PLAIN.read(said, TWO) == "`a`를 `b`의 값"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("", "span lost"), ("값을 설정", "span lost"), ('<x id="0"/>를 값으로', "span lost"),
        ('<x id="0"/> <x id="1"/>', "empty"),
        ('<x id="0"/>를 <x id="1"/>로 <x id="1"/>', "span twice"),
        ('<x id="0"/>를 <x id="1"/>로 <x id="2"/>', "stray placeholder"),
        ('<x id="0"/><x id="1"/>를 값으로', "spans bunched"), ('값<x id="0"/>을 <x id="1"/>로', "span glued"),
        ('<x id="0"/>s to <x id="1"/>', "span glued"),
        ('<x id="0">값</x>을 <x id="1"/>로', "stray placeholder"),
        ('<엑스 id="0"/>를 <x id="0"/> <x id="1"/>로', "stray placeholder"),
        ('<x id="0"/>를 <x id="1"/>로 <b', "stray tag"), ('<x id="0"/>를 <x id="1"/>로 x id=1', "stray placeholder"),
    ],
)  # fmt: skip
def test_a_damaged_answer_is_named(said: str, kind: str) -> None:
    found = XML.read(said, TWO)
    assert isinstance(found, Damage)
    assert found.kind == kind or (kind == "stray placeholder" and found.kind in ("stray tag", "span twice"))


def test_a_span_in_another_sentence_is_damage() -> None:
    segment = protect("Open `a` first. Then close it.").segments[0]
    assert XML.read('Open it first. Then close <x id="0"/>.', segment) == Damage("span moved", "`a`")
    assert XML.read('먼저 <x id="0"/>를 연다. 그 다음 닫는다.', segment) == "먼저 `a`를 연다. 그 다음 닫는다."


def test_marks_that_are_turned_round_are_damage_and_loose_ones_are_drawn_in() -> None:
    segment = protect("A **bold** word").segments[0]
    assert XML.read('<x id="1"/>굵은<x id="0"/> 말', segment) == Damage("span moved", "**")
    assert XML.read('<x id="0"/> 굵은 <x id="1"/>말', segment) == " **굵은** 말".strip()


def test_a_particle_behind_a_tag_or_an_address_does_not_become_a_part_of_it() -> None:
    assert XML.read('<x id="0"/>를 쓰세요', protect("Use #tag now").segments[0]) == "#tag 를 쓰세요"
    assert XML.read('<x id="0"/>를 쓰세요', protect("Use f() now").segments[0]) == "f()를 쓰세요"


def test_a_segment_without_spans_is_sent_bare_and_read_with_care() -> None:
    segment = protect("Is 3 < 4 & 5 > 4?").segments[0]
    assert XML.write(segment) == "Is 3 < 4 & 5 > 4?"
    assert XML.read("3 &lt; 4 &amp;amp; 5 > 4\n입니까?", segment) == "3 < 4 & 5 > 4 입니까?"
    for said in ("", " \n ", "?!"):
        assert isinstance(XML.read(said, segment), Damage)
    for style, said in ((XML, '값 <x id="0"/>'), (PLAIN, "값 ⟦0⟧"), (PLAIN, "값 <b>5</b>")):
        assert isinstance(style.read(said, segment), Damage)


def test_numbers_that_look_like_placeholders_stay_apart_from_them() -> None:
    style = Style("@{}@")
    segment = Segment(("Write to me @0@ or ", "`a`", " and @3@"))
    assert style.write(segment) == "Write to me @0@ or @4@ and @3@"
    assert style.read("@0@에게 @4@와 @3@", segment) == "@0@에게 `a`와 @3@"
    assert isinstance(style.read("@0@에게 @4@와", segment), str)


@pytest.mark.parametrize("placeholder", ["", "{}", "x{}", "a{}b{}c", "no hole", "1{}2"])
def test_a_placeholder_without_a_sign_on_either_side_is_refused(placeholder: str) -> None:
    with pytest.raises(UsageError, match="placeholder"):
        Style(placeholder)


# Smaller pieces


def test_a_damaged_segment_is_cut_into_sentences_and_then_at_its_spans() -> None:
    segment = protect("Mr. Smith opened `a` today. He liked https://b.c very much!").segments[0]
    first = finer(segment)
    assert first is not None
    assert [piece.text for piece in first.segments] == [
        "Mr. Smith opened `a` today.",
        "He liked https://b.c very much!",
    ]
    second = finer(first.segments[0])
    assert second is not None
    assert ([piece.text for piece in second.segments], second.frames[1]) == (["Mr. Smith opened", "today."], " `a` ")
    assert finer(second.segments[0]) is None


# Hostile engines


def test_no_engine_damages_a_span_of_ten_thousand_texts_in_silence() -> None:
    failed: Counter[str] = Counter()
    for seed in range(10_000):
        text, known = made(seed)
        engine = ENGINES[seed % len(ENGINES)]
        whole = translated(text, STYLES[seed // len(ENGINES) % 2], engine, random.Random(seed))
        if whole is None:
            failed[engine.__name__] += 1
            continue
        for span in known:
            assert whole.count(span) == text.count(span), (engine.__name__, span, text, whole)
        if engine is identity:
            assert whole == text
    assert set(failed) <= {"empty", "only_tags", "echoed", "added", "halved"}  # nothing whole is to be had from these


def test_the_known_spans_of_a_text_are_not_sent() -> None:
    for seed in range(2_000):
        text, known = made(seed)
        words = [part for segment in protect(text).segments for part in segment.parts[0::2]]
        assert not [span for span in known for part in words if span in part], text


def test_particles_and_other_words_are_no_damage() -> None:
    asked = damaged = 0
    for seed in range(1_000):
        for segment in protect(made(seed)[0]).segments:
            for style in (XML, PLAIN):
                asked += 1
                damaged += isinstance(style.read(korean(style.write(segment), random.Random(seed)), segment), Damage)
    assert damaged <= asked * 0.02


@pytest.mark.parametrize(
    "sign",
    [*'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r ⟦⟧', "`a ", "a(", "f(g(", "\\a{", "{a", "[a](", "<a b=\"",
     "**a ", "*a ", "_a ", "$a ", "a.",
     "a_", "a/", "http://", "a@", "--a", "\\(", "\\[", "```\n", "a ```\n", "> ",
     "- ", "| a ", "a\t", ". A", "x=>(", "\n\n    ", "SELECT a "],
)  # fmt: skip
def test_time_grows_with_the_length_alone(sign: str) -> None:
    text = sign * (100_000 // len(sign))
    started = time.process_time()
    layout = protect(text)
    assert layout.text([str(XML.read(XML.write(segment), segment)) for segment in layout.segments]) == text
    assert (
        time.process_time() - started < 5
    )  # it takes under a second; time that grew with the square would take minutes


# Real texts


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


@pytest.fixture(scope="module")
def english() -> list[str]:
    """Every text of the real files, each once."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "english"
    if not folder.is_dir():
        pytest.skip("the shared data is not here")
    found: list[str] = []
    for file in sorted(folder.iterdir()):
        whole = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            found += [text for line in whole.splitlines() if line.strip() for text in texts(json.loads(line))]
        else:
            found += texts(json.loads(whole)) if file.suffix == ".json" else [*whole.split("\n"), whole]
    return list(dict.fromkeys(found))


@pytest.mark.shared
def test_every_real_text_comes_back_byte_for_byte_from_an_engine_that_changes_nothing(
    shared: Path, english: list[str]
) -> None:
    assert len(english) > 15_000
    for text in english:
        layout = protect(text)
        said = [XML.read(XML.write(segment), segment) for segment in layout.segments]
        assert [part for part in said if isinstance(part, Damage)] == []
        assert layout.text([str(part) for part in said]) == text


@pytest.mark.shared
def test_the_cheap_look_at_a_line_misses_no_span(shared: Path, english: list[str]) -> None:
    plain = {line for text in english for line in text.splitlines() if not GATE.search(line)}
    assert [line for line in plain if cut(line) != [line]] == []


PATTERNS = [
    re.compile(pattern, re.MULTILINE | re.ASCII)
    for pattern in (
        r"^```[^`]*^```$", r"https?://[\w./?=&%-]*[A-Za-z0-9/]", r"`[^`\s]+`", r"\{\w+\}", r"</?[a-z]+>",
        r"[\w.]+@[\w-]+\.\w+", r"\b[A-Za-z]\w*\(\)",
        r"\[[A-Z][a-z]+ [A-Z][a-z]+\]", r"(?<!\w)#[A-Za-z]\w+", r"\b[a-z]+_[a-z]+\b",
    )
]  # fmt: skip


@pytest.mark.shared
def test_no_engine_damages_a_span_of_a_real_text_in_silence(shared: Path, english: list[str]) -> None:
    for number, text in enumerate(english):
        sought = [Counter(pattern.findall(text)) for pattern in PATTERNS]
        if not any(sought) and number % 10:
            continue
        engine = ENGINES[number % len(ENGINES)]
        whole = translated(text, STYLES[number % 2], engine, random.Random(number))
        if whole is None:
            continue
        for pattern, before in zip(PATTERNS, sought, strict=True):
            after = Counter(pattern.findall(whole))
            lost = {span: (count, after[span]) for span, count in before.items() if after[span] < count}
            assert not lost, (engine.__name__, lost)


def tasks(shared: Path) -> dict[int, tuple[str, str]]:
    lines = (shared / "data/english/user_oriented_instructions.en.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {int(row["id"].rsplit("_", 1)[1]): (row["instruction"], row["instances"][0]["input"]) for row in rows}


SAFE = {
    40: ("\\documentclass{article}", "\\begin{document}"), 56: ("[Company name]",),
    6: ("[Employer]", "[date]", "[Your name]"),
    91: ("threading.Thread()", "multiprocessing.Process()"),
    90: ("getch()", "`input()`", "https://code.activestate.com/recipes/134892/"),
    96: ("select FirstName, LastName, City, State", "from Person left join Address",
         "on Person.PersonId = Address.PersonId",
         "personId", "addressId", "lastName"),
    89: (".equals()", "=="), 178: ("<code>", "</code>", "`code`"), 195: ('print("Hello World!")',),
    227: ("print(Answer is:)", "for i in range(10)"),
    243: ('printf("20 is greater than 18");',), 22: ("_expected",), 69: ("_cacophony",), 244: ("_keep",),
    245: ("_keep",), 150: ("H_AR_",),
    165: ("#Banksy",), 191: ("cpurdie@email.com", "oliver@email.com"), 140: ("x^3 - 4x^2 + 6x - 24 = 0",),
    196: ("∃x∀y(soldier(x)→general(x,y))",),
    21: ("*",), 3: ("https://doi.org/10.48550/arXiv.1706.03762",), 134: ("|1|  |5|  |  |  |  |8|  |",),
}  # fmt: skip


@pytest.mark.shared
def test_what_deepl_broke_in_the_252_tasks_is_not_sent(shared: Path) -> None:
    rows = tasks(shared)
    for number, expected in SAFE.items():
        words = [part for text in rows[number] for segment in protect(text).segments for part in segment.parts[0::2]]
        for span in expected:
            assert any(span in text for text in rows[number]), (number, span)
            assert not [part for part in words if span in part], (number, span)


@pytest.mark.shared
def test_the_colon_of_every_label_in_the_252_tasks_stays(shared: Path) -> None:
    label = re.compile(r"^(?:- )?[A-Z][\w ]{0,30}:(?= |$)", re.MULTILINE)
    count = 0
    for task in tasks(shared).values():
        for text in task:
            words = {segment.text for segment in protect(text).segments}
            for match in label.finditer(text):
                count += 1
                assert not [part for part in words if part.startswith(match[0].removeprefix("- "))], match[0]
    assert count >= 97
