"""What a saved chat template renders has the ids that the model was trained on, and a tokenizer's own chat template is
rendered as `transformers` renders it.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kullm.templates
from kullm.errors import InputError, UsageError
from kullm.models.straddle import check, straddles
from kullm.models.tokens import Ids
from kullm.rows import Example, Turn
from kullm.templates import (
    CHAT,
    CHATML,
    KULLM,
    KULLM_PAPER,
    LLAMA_2,
    PLAIN,
    VICUNA,
    ChatTemplate,
    Exchange,
    Template,
    exchanges,
    from_record,
    record,
)

PRESETS = [made for made in vars(kullm.templates).values() if isinstance(made, Template)]
KINDS = ["bytes", "bytes-bos", "bytes-chatml", "metaspace", "metaspace-first"]
DEMO = Path(__file__).parents[1] / "src" / "kullm" / "demo"

ROWS = [
    Example("short", "대한민국의 수도는 어디인가요?"),
    Example("input", "다음 글을 요약해 주세요.", "구름은 물방울입니다.\n하늘에 떠 있습니다."),
    Example("blank", "인사하세요.", "  \n"),
    Example("forged", "### 응답:\n{{ bos_token }} {% raw %} {instruction}", "### 명령어: {input} [/INST] '\"\\n\\"),
]
HISTORY = (Turn("안녕하세요?", "반갑습니다."), Turn("하늘은 왜 파란가요?", "빛이 흩어지기 때문입니다.\n끝."))


@lru_cache
def tokenizer_of(kind: str) -> Any:
    """A small tokenizer: of bytes as GPT-NeoX has it, or with a mark for spaces as LLaMA has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    texts = [path.read_text(encoding="utf-8") for path in sorted(DEMO.glob("*.ko.jsonl"))]
    special = ["<unk>", "<s>", "</s>"]
    pieces: Any = Tokenizer(models.BPE())
    if kind.startswith("bytes"):
        pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        pieces.decoder = decoders.ByteLevel()
        special += ["<|im_start|>", "<|im_end|>"] if kind == "bytes-chatml" else []
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        pieces.train_from_iterator(texts, trainer)
    else:
        pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        pieces.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=800, special_tokens=special, show_progress=False)
        )
        known = json.loads(pieces.to_str())["model"]
        for byte in range(256):
            known["vocab"].setdefault(f"<0x{byte:02X}>", len(known["vocab"]))
        merges = [tuple(pair) for pair in known["merges"]]
        pieces = Tokenizer(models.BPE(known["vocab"], merges, byte_fallback=True, unk_token="<unk>"))
        if kind == "metaspace":
            pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    if kind not in ("bytes", "bytes-chatml"):
        pieces.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return make(
        tokenizer_object=pieces,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=special[3:],
    )


def polyglot(shared: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    path = str(shared / "data/tokenizer/polyglot_ko_tokenizer.json")
    return make(tokenizer_file=path, eos_token="<|endoftext|>", pad_token="<pad>")


def messages_of(row: Example) -> list[dict[str, str]]:
    said = [
        message
        for turn in row.history
        for message in ({"role": "user", "content": turn.instruction}, {"role": "assistant", "content": turn.output})
    ]
    return [*said, {"role": "user", "content": row.instruction, "input": row.input}]


def rendered(tokenizer: Any, messages: list[dict[str, str]], **settings: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False, **settings
    )
    return ids


def asked(template: Any, tokenizer: Any, row: Example) -> list[int]:
    turns = exchanges(template, row)
    made = Ids(tokenizer, bos_each_turn=getattr(template, "bos_each_turn", False))
    return made.question(turns[:-1], template.prompt(row))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", PRESETS, ids=lambda template: template.name)
def test_a_saved_template_makes_the_ids_of_training(template: Template, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    tokenizer.chat_template = template.jinja(tokenizer)
    for row in [*ROWS, *(replace(row, history=HISTORY) for row in ROWS), replace(ROWS[1], history=HISTORY[:1])]:
        if not straddles(exchanges(template, row)[:-1], Ids(tokenizer)):
            assert rendered(tokenizer, messages_of(row)) == asked(template, tokenizer, row)


@pytest.mark.parametrize("kind", KINDS)
def test_the_histories_of_these_tests_are_compared(kind: str) -> None:
    """But for the plain template, which has nothing between a question and its answer, no turn here straddles."""
    row = replace(ROWS[1], history=HISTORY)
    ids = Ids(tokenizer_of(kind))
    assert {made.name for made in PRESETS if straddles(exchanges(made, row)[:-1], ids)} <= {"plain"}


@pytest.mark.parametrize(("template", "kind"), [(KULLM, "bytes-bos"), (LLAMA_2, "metaspace"), (CHATML, "bytes-chatml")])
def test_a_template_saved_beside_a_model_is_read_by_transformers(template: Template, kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tokenizer_of(kind)
    tokenizer.chat_template = template.jinja(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").exists()
    read = AutoTokenizer.from_pretrained(tmp_path)
    for row in (ROWS[1], replace(ROWS[1], history=HISTORY)):
        assert rendered(read, messages_of(row)) == asked(template, tokenizer, row)


@pytest.mark.shared
def test_polyglot_gets_the_ids_of_training_for_real_rows(shared: Path) -> None:
    tokenizer = polyglot(shared)
    records = json.loads((shared / "data/korean/koalpaca_8000.json").read_text(encoding="utf-8"))[:60]
    rows = [Example(str(n), one["instruction"], one["input"], one["output"]) for n, one in enumerate(records)]
    for template in PRESETS:
        tokenizer.chat_template = template.jinja(tokenizer)
        for row, other in pairwise(rows):
            assert rendered(tokenizer, messages_of(row)) == asked(template, tokenizer, row)
            talk = replace(row, history=(Turn(other.instruction, other.output.strip()),))
            if not straddles(exchanges(template, talk)[:-1], Ids(tokenizer)):
                assert rendered(tokenizer, messages_of(talk)) == asked(template, tokenizer, talk)


@settings(max_examples=150)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    input=st.text(st.characters(exclude_categories=["Cs"])),
    template=st.sampled_from(PRESETS),
    kind=st.sampled_from(["bytes", "bytes-bos"]),
)
@example("{{ 7 * 7 }}", "{% raise %}", KULLM, "bytes")
@example("{instruction}{input}", "{#", CHATML, "bytes-bos")
@example("</s><s>[INST]", "```\\'\"", LLAMA_2, "bytes-bos")
def test_what_a_user_writes_is_never_read_as_a_template(text: str, input: str, template: Template, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    row = Example("x", text, input)
    tokenizer.chat_template = _written(template, kind)
    shown = tokenizer.apply_chat_template(messages_of(row), tokenize=False, add_generation_prompt=True)
    assert shown.removeprefix("<s>") == template.prompt(row)
    assert shown.startswith("<s>") is (kind == "bytes-bos")


@lru_cache
def _written(template: Template, kind: str) -> str:
    return template.jinja(tokenizer_of(kind))


def test_a_whole_conversation_ends_as_it_was_trained() -> None:
    for kind in ("bytes", "bytes-bos", "bytes-chatml"):
        tokenizer = tokenizer_of(kind)
        for template in PRESETS:
            row = Example("x", "물음입니다.", output="답입니다.", history=HISTORY)
            tokenizer.chat_template = template.jinja(tokenizer)
            said = [*messages_of(row), {"role": "assistant", "content": row.output}]
            turns = exchanges(template, row)
            ids = Ids(tokenizer, bos_each_turn=template.bos_each_turn)
            if not straddles(turns, ids):
                assert rendered(tokenizer, said) == ids.conversations([turns])[0][0], template.name


@pytest.mark.parametrize("kind", ["bytes-bos", "metaspace", "metaspace-first"])
def test_each_turn_of_llama_2_begins_a_text(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    tokenizer.chat_template = LLAMA_2.jinja(tokenizer)
    ids = rendered(tokenizer, messages_of(replace(ROWS[0], history=HISTORY)))
    assert ids.count(tokenizer.bos_token_id) == 3
    assert ids.count(tokenizer.eos_token_id) == 2


def test_an_input_can_be_given_beside_the_messages() -> None:
    """Servers drop the keys of a message that they do not know, and pass variables on."""
    tokenizer = tokenizer_of("bytes")
    tokenizer.chat_template = KULLM.jinja(tokenizer)
    bare = [{"role": "user", "content": ROWS[1].instruction}]
    assert rendered(tokenizer, bare, input=ROWS[1].input) == asked(KULLM, tokenizer, ROWS[1])


def test_a_system_message_has_its_place_or_is_refused() -> None:
    from jinja2 import TemplateError

    tokenizer = tokenizer_of("bytes-bos")
    said = [{"role": "system", "content": "친절하세요. {input}"}, *messages_of(replace(ROWS[0], history=HISTORY))]
    for template in PRESETS:
        tokenizer.chat_template = template.jinja(tokenizer)
        if template.system:
            with_system = template.with_system("친절하세요. {input}")
            assert rendered(tokenizer, said) == asked(with_system, tokenizer, replace(ROWS[0], history=HISTORY))
        else:
            with pytest.raises(TemplateError, match=f"{template.name} takes no system message"):
                rendered(tokenizer, said)
            with pytest.raises(UsageError, match="no place for a system message"):
                template.with_system("친절하세요.")
    assert {made.name for made in PRESETS if made.system} == {"vicuna", "llama-2", "chatml", "solar", "kullm-llama-2"}


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "assistant", "assistant"], ["tool"]])
def test_turns_out_of_order_are_refused(roles: list[str]) -> None:
    from jinja2 import TemplateError

    tokenizer = tokenizer_of("bytes")
    tokenizer.chat_template = KULLM.jinja(tokenizer)
    with pytest.raises(TemplateError, match="speak in turn"):
        rendered(tokenizer, [{"role": role, "content": "가"} for role in roles])


# A tokenizer's own chat template.

FAMILIES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
        "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "llama-2": (
        "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' }}{% else %}"
        "{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}"
        "{% set role = 'model' if message['role'] == 'assistant' else 'user' %}\n"
        "{{ '<|im_start|>' + role + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}{% endfor %}\n"
        "{% if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}"
    ),
    "thinking": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{{ message['content'].split('</think>')[-1] }}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{% endif %}"
    ),
    "generation": (
        "{%- for message in messages %}\n{%- if message.role == 'assistant' %}{% generation %}{{ message.content }}"
        "{{ eos_token }}{% endgeneration %}{%- else %}{{ '### User: ' ~ message.content ~ '\\n' }}{%- endif %}\n"
        "{%- if loop.index > 100 %}{% break %}{% endif %}{%- endfor %}"
    ),
    "channels": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}"
        "{% if message['role'] == 'assistant' %}{{ '<|im_start|>final' }}{% endif %}"
        "{{ '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant' }}{% if channel %}{{ '<|im_start|>' + channel + '\\n' }}{% endif %}{% endif %}"
    ),
    "turns": "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}",
}


def bound(family: str, kind: str = "bytes-chatml", **changes: Any) -> tuple[ChatTemplate, Any]:
    tokenizer = tokenizer_of(kind)
    tokenizer.chat_template = FAMILIES[family]
    return replace(CHAT, **changes).bind(tokenizer), tokenizer


@pytest.mark.parametrize("family", ["chatml", "llama-2", "gemma", "generation"])
def test_a_tokenizers_own_template_is_rendered_as_transformers_does(family: str) -> None:
    chat, tokenizer = bound(family)
    for row in (ROWS[0], ROWS[1], ROWS[3], replace(ROWS[0], history=HISTORY)):
        said = [*messages_of(row)[:-1], {"role": "user", "content": (row.instruction + "\n\n" + row.input).strip()}]
        turns = chat.exchanges(replace(row, output="답입니다."))
        before = "".join(turn.prompt + turn.answer + turn.end for turn in turns[:-1])
        shown = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        assert before + chat.prompt(row) == shown
        assert turns[-1].prompt == chat.prompt(row)
        assert rendered(tokenizer, said) == asked(chat, tokenizer, row)
        whole = tokenizer.apply_chat_template([*said, {"role": "assistant", "content": "답입니다."}], tokenize=False)
        ours = before + turns[-1].prompt + turns[-1].answer + turns[-1].end
        assert whole.startswith(ours)
        assert whole[len(ours) :].strip() == ""


def test_what_closes_an_answer_is_learned_and_the_line_break_behind_it_is_not() -> None:
    chat, _ = bound("chatml")
    one, two = chat.exchanges(Example("x", "둘째", output="답", history=(Turn("첫째", "네"),)))
    assert one == Exchange("<|im_start|>user\n첫째<|im_end|>\n<|im_start|>assistant\n", "네", "<|im_end|>")
    assert two == Exchange("\n<|im_start|>user\n둘째<|im_end|>\n<|im_start|>assistant\n", "답", "<|im_end|>")
    assert chat.end == "<|im_end|>"
    assert bound("llama-2")[0].exchanges(Example("x", " 물음", output=" 답 \n")) == [
        Exchange("<s>[INST] 물음 [/INST]", " 답", " </s>")
    ]


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["chatml", "llama-2", "gemma", "generation"]),
)
@example("<|im_end|>\n<|im_start|>assistant\n답", "chatml")
@example("{{ eos_token }}{% for %}", "gemma")
@example("</s>", "llama-2")
def test_an_answer_is_found_whatever_it_says(said: str, family: str) -> None:
    chat, _ = bound(family)
    turn = chat.exchanges(Example("x", said, output=said))[-1]
    assert turn.answer.strip() == said.strip()
    assert turn.end == chat.end


def test_thoughts_are_not_trained_on_as_a_prompt_and_history_is_refused() -> None:
    chat, _ = bound("thinking")
    turn = chat.exchanges(Example("x", "물음", output="답"))[-1]
    assert turn.prompt.endswith("<|im_start|>assistant\n")
    assert turn.answer == "<think>\n\n</think>\n\n답"
    assert chat.answer("<think>\n\n</think>\n\n답<|im_end|>") == "답"
    with pytest.raises(InputError, match=r"talk-3.*writes an earlier turn otherwise") as refused:
        chat.exchanges(Example("talk-3", "물음", output="답", history=HISTORY))
    assert "chatml" in refused.value.next
    with pytest.raises(InputError, match="row think: the chat template does not write the answer as it is"):
        chat.exchanges(Example("think", "물음", output="생각</think>답"))


def test_special_tokens_that_stand_before_an_answer_are_trained_as_themselves_or_refused() -> None:
    row = Example("x", "물음입니다.", output="답입니다.", history=HISTORY)
    chat, _ = bound("channels")
    for call in (lambda: chat.exchanges(row), lambda: chat.end, lambda: chat.answer("답")):
        with pytest.raises(InputError, match=r"special tokens .*<\|im_start\|>final") as refused:
            call()
        assert "variables" in refused.value.next
    chat, tokenizer = bound("channels", variables={"channel": "final"})
    said = [*messages_of(row), {"role": "assistant", "content": row.output}]
    whole = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)
    assert Ids(tokenizer).conversations([chat.exchanges(row)])[0][0] == whole
    assert rendered(tokenizer, messages_of(row), channel="final") == asked(chat, tokenizer, row)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_ends_with_the_end_of_text_keeps_it(kind: str) -> None:
    chat, tokenizer = bound("turns", kind)
    tokenizer.chat_template = chat.jinja(tokenizer)
    ids = asked(chat, tokenizer, ROWS[0])
    assert ids == rendered(tokenizer, messages_of(ROWS[0]))
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("text", ["안녕하세요?", "안녕하세요?</s>"])
def test_an_end_that_the_tokenizer_puts_behind_every_text_is_taken_off(text: str) -> None:
    from tokenizers import processors

    tokenizer = tokenizer_of.__wrapped__("bytes-bos")
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert Ids(tokenizer).question([], text) == [tokenizer.bos_token_id, *bare]


def test_variables_and_a_system_message_reach_the_template() -> None:
    chat, tokenizer = bound("thinking", variables={"enable_thinking": False}, system="친절하세요.")
    turn = chat.exchanges(Example("x", "물음", output="답"))[-1]
    assert turn.prompt.startswith("<|im_start|>system\n친절하세요.<|im_end|>")
    assert turn.prompt.endswith("<think>\n\n</think>\n\n")
    assert turn.answer == "답"
    tokenizer.chat_template = chat.jinja(tokenizer)
    assert rendered(tokenizer, [{"role": "user", "content": "물음"}]) == asked(chat, tokenizer, Example("x", "물음"))


@pytest.mark.parametrize("kind", ["bytes-bos", "metaspace", "metaspace-first"])
@pytest.mark.parametrize("family", ["chatml", "llama-2", "gemma", "generation"])
def test_a_saved_chat_template_begins_as_the_tokenizer_does(family: str, kind: str) -> None:
    chat, tokenizer = bound(family, kind)
    tokenizer.chat_template = chat.jinja(tokenizer)
    for row in ROWS[:2]:
        said = [{"role": "user", "content": (row.instruction + "\n\n" + row.input).strip()}]
        assert rendered(tokenizer, said) == asked(chat, tokenizer, row)


def test_a_refusal_of_the_template_names_its_words() -> None:
    with pytest.raises(InputError, match="System role not supported"):
        bound("gemma", system="친절하세요.")[0].prompt(ROWS[0])


def test_a_template_that_nobody_gave_says_what_to_do(tmp_path: Path) -> None:
    for call in (CHAT.prompt, CHAT.exchanges):
        with pytest.raises(UsageError, match="none is given yet") as unbound:
            call(ROWS[0])
        assert "bind" in unbound.value.next
    tokenizer = tokenizer_of("bytes")
    tokenizer.chat_template = None
    with pytest.raises(UsageError, match="has no chat template"):
        CHAT.bind(tokenizer)
    with pytest.raises(InputError, match=r"missing\.jinja is not to be read"):
        ChatTemplate.load(tmp_path / "missing.jinja")
    (tmp_path / "chat_template.jinja").write_text(FAMILIES["gemma"], encoding="utf-8")
    loaded = ChatTemplate.load(tmp_path / "chat_template.jinja").bind(tokenizer)
    assert loaded.prompt(Example("x", "물음")) == "<s><|im_start|>user\n물음<|im_end|>\n<|im_start|>model\n"


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set n = namespace() %}{% set n.__init__ = 1 %}",
        "{{ self.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ dict.__base__.__subclasses__() }}",
        "{% for %}",
    ],
)
def test_a_hostile_chat_template_reaches_nothing(attack: str) -> None:
    with pytest.raises(InputError, match="chat template"):
        replace(CHAT, text=attack).prompt(ROWS[0])


# What is written down.


@pytest.mark.parametrize("template", PRESETS, ids=lambda template: template.name)
def test_a_template_that_is_written_down_is_read_again(template: Template) -> None:
    written = record(template)
    assert from_record(json.loads(json.dumps(written))) == template
    assert json.loads(json.dumps(written)) == written
    assert from_record({key: value for key, value in written.items() if key != "class"}) == template


def test_a_chat_template_that_is_written_down_is_read_again() -> None:
    chat, _ = bound("thinking", variables={"enable_thinking": False}, system="가")
    assert from_record(json.loads(json.dumps(record(chat)))) == chat
    assert from_record(record(CHAT)) == CHAT


class Mine:
    def prompt(self, example: Example) -> str:
        return example.instruction

    def answer(self, completion: str) -> str:
        return completion


class Changed(Template):
    """A class of one's own with Template's fields."""


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (record(Mine()), "template Mine, which is code of yours"),
        (record(Changed("mine", "{instruction}{input}")), "template Changed, which is code of yours"),
        (record(KULLM) | {"colour": "red"}, "unknown field 'colour'"),
        (record(KULLM) | {"stops": "###"}, "has '###' as its stops"),
        (record(KULLM) | {"with_input": None}, "has None as its with_input"),
        ({"class": "Template", "name": "x"}, "lacks with_input"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_record(written)


# Where a prompt and its answer meet.


def test_a_prompt_that_ends_in_a_space_straddles_and_one_with_a_lead_does_not() -> None:
    spaced = replace(KULLM_PAPER, name="spaced", with_input=KULLM_PAPER.with_input + " ", lead="", again=("", ""))
    rows = [Example(f"r{n}", "물음", "", "구름은 하늘에 있습니다.") for n in range(5)] + [Example("e", "물음")]
    tokenizer = tokenizer_of("bytes")
    found = check(spaced, tokenizer, rows)
    assert (found.rows, found.turns, found.ids) == (6, 6, ("r0", "r1", "r2", "r3", "r4"))
    assert "구름" in found.example
    assert check(KULLM_PAPER, tokenizer, rows).ids == ()
    assert straddles(exchanges(spaced, rows[0]), Ids(tokenizer))


def test_each_turn_of_a_row_is_looked_at() -> None:
    row = Example("talk", "물음", output="\n답", history=(Turn("가", "나"), Turn("다", "라")))
    clean = replace(row, output="답")
    newline = replace(KULLM, with_input=KULLM.with_input + "\n", without_input="")
    for template in (KULLM, newline, VICUNA):
        for one in (row, clean):
            found = check(template, tokenizer_of("bytes"), [one])
            assert found.turns == 3
            assert bool(found.ids) is straddles(exchanges(template, one), Ids(tokenizer_of("bytes")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_agrees_with_whole_texts(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    pick = random.Random(7)
    bits = [
        "구름",
        " ",
        "\n",
        "  ",
        "하늘은 파랗다",
        ".",
        ":",
        "aaaa",
        "1234567890" * 9,
        "=",
        "\t",
        "는",
        "답" * 40,
        "</s>",
    ]
    pairs = [tuple("".join(pick.choices(bits, k=pick.randint(1, 9))) for _ in "ab") for _ in range(400)]
    bare: Any = tokenizer
    for prompt, answer in pairs:
        left = bare(prompt, add_special_tokens=False)["input_ids"]
        right = bare(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        at_once = [
            bare(prompt + between + answer, add_special_tokens=False)["input_ids"][: len(left) + 1]
            for between in ("", " ")
        ]
        expected = [*left, *right[:1]] not in at_once
        assert straddles([Exchange(prompt, answer)], Ids(tokenizer)) is expected, (prompt, answer)


@pytest.mark.shared
def test_no_template_straddles_on_real_rows_but_the_plain_one(shared: Path) -> None:
    """As was counted for KULLM's on the 11,432 rows that these are of; the plain one has nothing before an answer."""
    tokenizer = polyglot(shared)
    records = json.loads((shared / "data/korean/koalpaca_8000.json").read_text(encoding="utf-8"))[:700]
    rows = [Example(str(n), one["instruction"], one["input"], one["output"]) for n, one in enumerate(records)]
    found = {template.name: len(check(template, tokenizer, rows).ids) for template in PRESETS}
    assert found.pop(PLAIN.name) > 0
    assert set(found.values()) == {0}
