"""The templates of KULLM, verbatim, and the plain one for models that chat already."""

from __future__ import annotations

from kullm.templates.template import Template

_PAIR = (
    "아래는 작업을 설명하는 명령어와 추가 컨텍스트를 제공하는 입력이 짝을 이루는 예제입니다. "
    "요청을 적절히 완료하는 응답을 작성하세요.\n\n"
)

KULLM = Template(
    name="kullm",
    with_input=_PAIR + "### 명령어:\n{instruction}\n\n### 입력:\n{input}\n\n### 응답:\n",
    without_input=(
        "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.\n\n"
        "### 명령어:\n{instruction}\n\n### 응답:\n"
    ),
    stops=("\n### 명령어:", "\n### 입력:", "\n### 응답:"),
)
"""The released code's template, with and without an input (nlpai-lab/KULLM, templates/kullm.json)."""

KULLM_PAPER = Template(
    name="kullm-paper",
    with_input=_PAIR + "지시어: {instruction}\n\n입력: {input}\n\n응답: ",
    stops=("\n지시어: ",),
)
"""The paper's template (section 3.2). The paper shows one form only, so an empty input leaves its line empty."""

PLAIN = Template(name="plain", with_input="{instruction}\n\n{input}", without_input="{instruction}")
"""Instruction and input with nothing around them: for services and models that bring a chat format of their own."""
