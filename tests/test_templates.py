"""Prompts are exactly the published ones, and what a row or a model writes cannot change their form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kullm.errors import InputError, UsageError
from kullm.rows import Example, Turn
from kullm.templates import KULLM, KULLM_PAPER, PLAIN, PromptTemplate, Template
from kullm.testing import check_template

ALL = [KULLM, KULLM_PAPER, PLAIN]
TEXT = st.text() | st.sampled_from(["{instruction}", "{input}", "{0}", "{", "}}", "### 응답:\n", "\\1", "\\g<0>", "%s"])


def test_the_prompt_of_kullm_is_the_released_one_word_for_word() -> None:
    assert KULLM.prompt(Example("1", "번역하세요.", "Good morning.", "좋은 아침")) == (
        "아래는 작업을 설명하는 명령어와 추가 컨텍스트를 제공하는 입력이 짝을 이루는 예제입니다. "
        "요청을 적절히 완료하는 응답을 작성하세요.\n"
        "\n"
        "### 명령어:\n"
        "번역하세요.\n"
        "\n"
        "### 입력:\n"
        "Good morning.\n"
        "\n"
        "### 응답:\n"
    )
    assert KULLM.prompt(Example("1", "인사하세요.", "", "안녕하세요.")) == (
        "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.\n"
        "\n"
        "### 명령어:\n"
        "인사하세요.\n"
        "\n"
        "### 응답:\n"
    )


@pytest.mark.shared
def test_the_built_in_templates_are_those_of_the_released_code_and_of_the_paper(shared: Path) -> None:
    known = json.loads((shared / "data/templates/templates.json").read_text(encoding="utf-8"))
    row = Example("1", "지시 {input} 문장", "입력 {instruction}\n두 줄", "응답")
    places = {"instruction": row.instruction, "input": row.input}
    assert KULLM.with_input == known["kullm"]["prompt_input"]
    assert KULLM.without_input == known["kullm"]["prompt_no_input"]
    assert KULLM.prompt(row) == known["kullm"]["prompt_input"].format(**places)
    assert KULLM.prompt(replace(row, input="")) == known["kullm"]["prompt_no_input"].format(**places)
    paper = known["paper_kullm"]["prompt_input"]
    assert paper.endswith("{output}")
    assert KULLM_PAPER.prompt(row) == paper.removesuffix("{output}").format(**places)


def test_the_paper_form_keeps_its_line_for_an_empty_input() -> None:
    assert KULLM_PAPER.prompt(Example("1", "인사하세요.")).endswith("지시어: 인사하세요.\n\n입력: \n\n응답: ")


def test_the_plain_form_is_the_row_and_nothing_else() -> None:
    assert PLAIN.prompt(Example("1", "a {x}", "b")) == "a {x}\n\nb"
    assert PLAIN.prompt(Example("1", "a {x}")) == "a {x}"


@given(TEXT, TEXT, TEXT)
@example("{input}", "{instruction}", "")
@example("{input}", "", "")
def test_braces_and_markers_in_a_row_mean_nothing(instruction: str, input: str, output: str) -> None:
    head, middle = KULLM.with_input.split("{instruction}")
    middle, end = middle.split("{input}")
    row = Example("1", instruction, input, output)
    if input.strip():
        assert KULLM.prompt(row) == head + instruction + middle + input + end
    else:
        head, end = KULLM.without_input.split("{instruction}")
        assert KULLM.prompt(row) == head + instruction + end


@given(TEXT, TEXT, TEXT)
def test_the_output_of_a_row_is_never_part_of_its_prompt(instruction: str, input: str, output: str) -> None:
    for template in ALL:
        row = Example("1", instruction, input, output)
        assert template.prompt(row) == template.prompt(replace(row, output=""))


@pytest.mark.parametrize("header", ["### 명령어:", "### 입력:", "### 응답:"])
@given(said=st.text().filter(lambda text: "###" not in text), more=st.text())
def test_an_answer_ends_where_the_model_begins_the_next_prompt(header: str, said: str, more: str) -> None:
    assert KULLM.answer(f"{said}\n{header}{more}") == said.strip()


def test_an_answer_of_the_paper_form_ends_at_the_next_instruction() -> None:
    assert KULLM_PAPER.answer(" 서울입니다.\n\n지시어: 다음은?\n\n입력: ") == "서울입니다."


def test_an_answer_that_is_nothing_but_the_next_prompt_is_empty() -> None:
    # The prompt ends with a line break, so the header may be the very first thing that a model writes.
    assert KULLM.answer("### 명령어:\n다음 질문\n\n### 응답:\n다음 답") == ""


@given(st.text().filter(lambda text: "###" not in text and "지시어" not in text))
def test_an_answer_without_a_header_is_only_stripped(said: str) -> None:
    for template in ALL:
        assert template.answer(said) == said.strip()


def test_a_header_inside_a_line_ends_nothing() -> None:
    said = "제목은 ### 응답: 처럼 씁니다."
    assert KULLM.answer(said) == said


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_earlier_turns_are_refused_and_the_row_is_named(template: Template) -> None:
    with pytest.raises(InputError, match=r"row talk-7 has earlier turns"):
        template.prompt(Example("talk-7", "계속하세요.", history=(Turn("안녕", "네"),)))


@pytest.mark.parametrize(
    "bad", ["{instruction} {input} {output}", "{instruction}{input}{}", "{instruction} {input} {0}"]
)
def test_an_unknown_place_in_a_template_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="'mine' has the unknown place"):
        Template("mine", bad)
    with pytest.raises(UsageError, match="'mine' has the unknown place"):
        Template("mine", "{instruction} {input}", bad)


@pytest.mark.parametrize("bad", ["{instruction}", "{input}", "", "instruction input"])
def test_a_template_that_loses_the_instruction_or_the_input_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="'mine' must have the places"):
        Template("mine", bad)


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)
def test_the_built_in_templates_keep_the_promises_of_a_template(template: Template) -> None:
    check_template(template)
    assert isinstance(template, PromptTemplate)
