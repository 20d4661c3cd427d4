"""Models keep what a service said and make no answer of what is none; `answer` keeps order, money and failures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kullm
from kullm.errors import InputError, KeyRefused, MissingKey, QuotaSpent, ServiceDown, UnknownOutcome, UsageError
from kullm.models import Completion, HuggingFace, OpenAI, Prompt
from kullm.remote import Limits, Memory
from kullm.rows import Failure
from kullm.testing import Fault, Kind, OpenAIServer

if TYPE_CHECKING:
    from datasets import Dataset

SECRET = "sk-very-secret-0123456789"


def greet(messages: list[dict[str, Any]]) -> str:
    return "안녕하세요, 반갑습니다."


def echo(messages: list[dict[str, Any]]) -> str:
    return f"답: {messages[-1]['content']}"


def of(server: OpenAIServer, **settings: Any) -> OpenAI:
    return OpenAI("gpt-4", base_url=server.url, key=server.key, in_flight=1, **settings)


@pytest.fixture
def questions(tmp_path: Path) -> Dataset:
    """Three questions in the Self-Instruct format, of different lengths, each with an application and a reference."""
    records = [
        {"id": f"q{number}", "motivation_app": app, "instruction": text, "instances": [{"input": "", "output": answer}]}
        for number, (app, text, answer) in enumerate(
            [
                ("Gmail", "한 줄로 인사해 주세요.", "안녕하세요."),
                ("지도", "대한민국의 수도가 어디인지, 그리고 왜 그런지 짧게 말해 주세요.", "서울입니다."),
                ("달력", "요일?", "월요일입니다."),
            ]
        )
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return kullm.load(path)


@dataclass(frozen=True)
class Plain:
    """A model of one's own: says who it is and what it was asked, and cannot answer what holds `cannot`."""

    label: str
    cannot: str = ""
    asked: list[str] = field(default_factory=list, compare=False)
    limits = Limits(items=2)

    @property
    def identity(self) -> str:
        return f"plain/{self.label}/{self.cannot}"

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | Failure]:
        self.asked.extend(prompt.text for prompt in prompts)
        return [self._one(prompt.text) for prompt in prompts]

    def _one(self, text: str) -> Completion | Failure:
        if self.cannot and self.cannot in text:
            return Failure("", "generate", f"{self.label} does not speak of {self.cannot}")
        return Completion(f"{self.label}: {text}")


# OpenAI: the real client over a socket


def test_text_usage_and_finish_reason_are_what_the_service_said() -> None:
    with OpenAIServer(greet) as server:
        (said,) = of(server).generate([Prompt("인사해 주세요.", system="너는 친절하다.")])
        (cut,) = of(server, max_tokens=1).generate([Prompt("인사해 주세요.")])
    assert isinstance(said, Completion)
    assert (said.text, said.finish_reason, said.tokens) == ("안녕하세요, 반갑습니다.", "stop", 2)
    assert said.prompt_tokens == len(str(server.ledger[0]["messages"]).split())
    assert server.ledger[0]["messages"] == [
        {"role": "system", "content": "너는 친절하다."},
        {"role": "user", "content": "인사해 주세요."},
    ]
    assert (server.ledger[0]["model"], server.ledger[0]["temperature"]) == ("gpt-4", 0)
    assert isinstance(cut, Completion)
    assert (cut.text, cut.finish_reason, cut.tokens) == ("안녕하세요,", "length", 1)


@dataclass(eq=False, repr=False)
class Deaf(OpenAIServer):
    """A server that ignores every cap."""

    def work(self, request: dict[str, Any], size: int) -> Any:
        return super().work({name: value for name, value in request.items() if "max" not in name}, size)


def test_a_cap_has_the_name_that_the_server_knows() -> None:
    """ollama/ollama#7125; OpenAI refuses the other for its newer models."""
    from kullm.models.openai import _limit_at

    with OpenAIServer(greet) as server:
        of(server, max_tokens=1).generate([Prompt("인사해 주세요.")])
    assert (server.ledger[0].get("max_tokens"), server.ledger[0].get("max_completion_tokens")) == (1, None)
    for own in ("https://api.openai.com/v1", "https://eu.api.openai.com/v1/", "https://x.openai.azure.com/openai/v1"):
        assert _limit_at(own) == "max_completion_tokens"


def test_an_answer_above_the_cap_is_kept_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with Deaf(greet) as server:
        answers = of(server, max_tokens=1).generate([Prompt("인사해 주세요.")] * 2)
        of(server, max_tokens=2).generate([Prompt("인사해 주세요.")])
    assert [one.text for one in answers if isinstance(one, Completion)] == ["안녕하세요, 반갑습니다."] * 2
    assert [record.getMessage() for record in caplog.records if record.name == "kullm"] == [
        f"{server.url} does not keep to max_tokens=1: answers of gpt-4 have more tokens"
    ]


def test_a_wrong_key_is_one_error_that_names_the_variable(questions: Dataset) -> None:
    with OpenAIServer(greet) as server, pytest.raises(KeyRefused, match="OPENAI_API_KEY"):
        kullm.answer(replace(of(server), key="wrong"), questions)
    assert (server.requests, server.ledger) == (1, [])


def test_a_missing_key_names_the_variable_and_where_to_get_one() -> None:
    with pytest.raises(MissingKey, match=r"(?s)OPENAI_API_KEY.*https://platform\.openai\.com"):
        OpenAI("gpt-4")


def test_the_key_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(greet, key="from-the-environment") as server:
        monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
        (said,) = OpenAI("gpt-4", base_url=server.url).generate([Prompt("인사해 주세요.")])
    assert isinstance(said, Completion)


def test_a_spent_quota_stops_the_run_and_the_next_run_asks_only_for_what_is_missing(
    questions: Dataset, tmp_path: Path
) -> None:
    memory = tmp_path / "memory.sqlite"
    with OpenAIServer(echo, quota=1) as server:
        with pytest.raises(QuotaSpent) as caught:
            kullm.answer(of(server), questions, memory=memory)
        server.quota = None
        answers = kullm.answer(of(server), questions, memory=memory)
    assert f"1 of 3 items are done and kept in {memory}" in str(caught.value)
    assert len(server.ledger) == 3
    assert len({str(request["messages"]) for request in server.ledger}) == 3
    assert answers["answer"] == [f"답: {text}" for text in questions["instruction"]]


def test_a_busy_service_is_asked_again_and_billed_once(questions: Dataset) -> None:
    with OpenAIServer(echo, faults=[Fault("status", (0,), status=429, retry_after="0")]) as server:
        answers = kullm.answer(of(server), questions, memory=None)
    assert answers["failure"] == [None] * 3
    assert (server.requests, len(server.ledger)) == (4, 3)


@pytest.mark.parametrize("kind", ["html", "half", "empty", "short"])
def test_what_is_no_chat_completion_is_never_an_answer(kind: Kind, questions: Dataset, tmp_path: Path) -> None:
    memory = tmp_path / "memory.sqlite"
    with OpenAIServer(greet, faults=[Fault(kind, range(99))]) as server:
        with pytest.raises(UnknownOutcome):
            of(server).generate([Prompt("인사해 주세요.")])
        with pytest.raises(ServiceDown, match="may have been billed"):
            kullm.answer(of(server), questions, memory=memory)
    with Memory(memory) as store:
        assert len(store) == 0
    sent = Counter(str(request["messages"]) for request in server.ledger[1:])  # the first was not by `answer`
    assert max(sent.values()) == 2  # no question is sent a third time


def test_the_key_stands_in_no_text(questions: Dataset, tmp_path: Path) -> None:
    with OpenAIServer(greet, key=SECRET, faults=[Fault("html", (1,))]) as server:
        model = replace(of(server), key=SECRET)
        answers = kullm.answer(model, questions.select([0]), memory=tmp_path / "memory.sqlite")
        shown = [repr(model), model.identity, json.dumps(answers.to_list())]
        shown.append((tmp_path / "memory.sqlite").read_bytes().decode("latin-1"))
        server.key = "changed"
        with pytest.raises(KeyRefused) as refused:
            kullm.answer(model, questions, memory=None)
        server.key = SECRET
        with pytest.raises(UnknownOutcome) as lost:
            model.generate([Prompt("인사해 주세요.")])
    for error in (refused.value, lost.value):
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    assert not [text for text in shown if SECRET in text]


def test_the_address_in_the_environment_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(greet) as named, OpenAIServer(greet) as lured:
        monkeypatch.setenv("OPENAI_BASE_URL", lured.url)
        of(named).generate([Prompt("인사해 주세요.")])
        assert OpenAI("gpt-4", key="any").base_url == "https://api.openai.com/v1"
        assert OpenAI("gpt-4", key="any").identity != of(lured).identity
    assert (named.requests, lured.requests) == (1, 0)


def test_a_model_that_is_gone_leaves_no_connection_open() -> None:
    code = """
import gc
from concurrent.futures import ThreadPoolExecutor
from kullm.models import OpenAI, Prompt
from kullm.testing import OpenAIServer

for _ in range(30):
    with OpenAIServer(lambda messages: "네.") as server:
        model = OpenAI("gpt-4", base_url=server.url, key=server.key)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: model.generate([Prompt("수도?")]), range(16)))
    del model
    gc.collect()
"""
    arguments = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    done = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "unclosed" not in done.stderr


def test_the_identity_of_a_service_changes_with_all_that_decides_its_answers() -> None:
    one = OpenAI("gpt-4", key="any")
    others = [
        replace(one, name="gpt-4o"), replace(one, base_url="http://127.0.0.1:1/v1"),
        replace(one, temperature=0.5), replace(one, max_tokens=10),
    ]  # fmt: skip
    assert len({model.identity for model in (one, *others)}) == 5
    assert replace(one, key="another", in_flight=3, timeout=9).identity == one.identity


# Hugging Face: a real model of this machine

PROMPTS = [
    Prompt("낮"),
    Prompt("한글은 누가 만들었나요?"),
    Prompt(
        "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.\n\n"
        "### 명령어:\n인사\n\n### 응답:\n"
    ),
    Prompt("백신이 몸을 지키는 원리를 쉬운 말로 설명해 주세요. " * 3),
]


@pytest.mark.slow
def test_prompts_that_are_answered_together_are_answered_as_if_alone(tiny: Path) -> None:
    model = HuggingFace(str(tiny), beams=4, repetition_penalty=1.4, max_new_tokens=24, dtype="float32")
    alone = [model.generate([prompt])[0] for prompt in PROMPTS]
    assert model.generate(PROMPTS) == alone
    assert model.generate(PROMPTS[::-1]) == alone[::-1]


def without_pad(tiny: Path, folder: Path) -> Path:
    """The tiny model, with a tokenizer that knows no padding token, as many of the hub do, and a leaning to end."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(tiny, folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny)
    end = model.config.eos_token_id
    with torch.no_grad():
        lean = torch.ones(model.config.hidden_size) / model.config.hidden_size**0.5
        model.gpt_neox.final_layer_norm.bias += lean
        model.get_output_embeddings().weight[end] = lean * 0.42  # close to the best of the other pieces
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_so_are_they_where_the_end_of_text_serves_as_padding(tiny: Path, tmp_path: Path) -> None:
    model = HuggingFace(str(without_pad(tiny, tmp_path / "no-pad")), max_new_tokens=24, dtype="float32")
    alone = [model.generate([prompt])[0] for prompt in PROMPTS]
    assert "stop" in {one.finish_reason for one in alone if isinstance(one, Completion)}
    assert model.generate(PROMPTS) == alone


@pytest.mark.slow
def test_an_answer_that_was_cut_says_so(tiny: Path) -> None:
    (said,) = HuggingFace(str(tiny), max_new_tokens=5).generate([PROMPTS[1]])
    assert isinstance(said, Completion)
    assert (said.finish_reason, said.tokens) == ("length", 5)


def test_the_identity_of_a_model_changes_with_its_settings(tiny: Path) -> None:
    one = HuggingFace(str(tiny))
    others = [
        replace(one, beams=1), replace(one, repetition_penalty=1.0), replace(one, max_new_tokens=10),
        replace(one, dtype="float64"), replace(one, name="another"),
    ]  # fmt: skip
    assert len({model.identity for model in (one, *others)}) == 6
    assert replace(one, batch=1).identity == one.identity


def test_two_models_with_one_label_are_two_models() -> None:
    first, second = HuggingFace("base-of-today", label="base"), HuggingFace("base-of-yesterday", label="base")
    assert first.identity != second.identity


def test_a_base_that_is_not_to_be_had_says_what_was_tried() -> None:
    with pytest.raises(InputError) as caught:
        HuggingFace("nobody/no-such-model").generate([Prompt("인사해 주세요.")])
    message = str(caught.value)
    for part in ("nobody/no-such-model", "folder", "cache", "hub", "--base PATH"):
        assert part in message


# answer()


def test_answers_come_model_by_model_in_the_order_of_the_questions(questions: Dataset) -> None:
    answers = kullm.answer([Plain("one"), Plain("two")], questions, memory=None)
    asked = questions["instruction"]
    assert answers["id"] == ["q0", "q1", "q2"] * 2
    assert answers["model"] == ["one"] * 3 + ["two"] * 3
    assert answers["answer"] == [f"one: {text}" for text in asked] + [f"two: {text}" for text in asked]
    assert answers["engine"] == ["plain/one/"] * 3 + ["plain/two/"] * 3


def test_reference_and_application_travel_with_the_answer(questions: Dataset) -> None:
    answers = kullm.answer(Plain("one"), questions, memory=None)
    assert answers["reference"] == ["안녕하세요.", "서울입니다.", "월요일입니다."]
    assert answers["motivation_app"] == ["Gmail", "지도", "달력"]


def test_no_model_sees_the_reference(questions: Dataset) -> None:
    model = Plain("one")
    kullm.answer(model, questions, memory=None)
    assert sorted(model.asked) == sorted(questions["instruction"])


def test_two_models_of_one_name_are_refused_before_anything_is_asked(questions: Dataset) -> None:
    with OpenAIServer(greet) as server:
        with pytest.raises(UsageError, match="gpt-4"):
            kullm.answer([of(server), of(server, temperature=1.0)], questions, memory=None)
        assert server.requests == 0


def test_what_a_model_cannot_answer_keeps_its_row_with_the_cause(questions: Dataset) -> None:
    answers = kullm.answer([Plain("one", cannot="수도"), Plain("two")], questions, memory=None)
    assert answers["failure"] == [None, "one does not speak of 수도", None, None, None, None]
    assert answers[1]["answer"] is None
    assert answers[1]["finish_reason"] is None


def test_what_a_service_refuses_keeps_its_row_with_the_cause(questions: Dataset) -> None:
    def picky(messages: list[dict[str, Any]]) -> str:
        if "수도" in messages[-1]["content"]:
            raise kullm.errors.Refused("this prompt is not allowed")
        return "네."

    with OpenAIServer(picky) as server:
        answers = kullm.answer(of(server), questions, memory=None)
    assert answers["answer"] == ["네.", None, "네."]
    assert "this prompt is not allowed" in answers[1]["failure"]


def test_answers_in_the_memory_are_not_asked_for_again(questions: Dataset, tmp_path: Path) -> None:
    memory = tmp_path / "memory.sqlite"
    with OpenAIServer(echo) as server:
        first = kullm.answer(of(server), questions, memory=memory)
        sent = server.requests
        again = kullm.answer(of(server), questions, memory=memory)
        assert (sent, server.requests) == (3, 3)
        kullm.answer(of(server, max_tokens=7), questions, memory=memory)
        assert server.requests == 6  # another setting is another model
    assert again.to_list() == first.to_list()


def test_finish_reason_and_tokens_reach_the_answers(questions: Dataset) -> None:
    with OpenAIServer(greet) as server:
        answers = kullm.answer(of(server, max_tokens=1), questions, memory=None)
    assert answers["finish_reason"] == ["length"] * 3
    assert answers["tokens"] == [1] * 3


def test_an_answer_that_goes_on_to_the_next_prompt_is_cut_there(questions: Dataset) -> None:
    class Chatty:
        identity = "chatty"
        limits = Limits(items=8)
        template = kullm.templates.KULLM

        def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
            return [Completion("서울입니다.\n\n### 명령어:\n다음", "length") for _ in prompts]

    answers = kullm.answer(Chatty(), questions, memory=None)
    assert answers["answer"] == ["서울입니다."] * 3
    assert answers["finish_reason"] == ["length"] * 3  # cutting it for the model does not make it end by itself


def test_what_is_no_model_is_refused(questions: Dataset) -> None:
    unfit: Any = Plain
    with pytest.raises(UsageError, match="not a model"):
        kullm.answer(unfit, questions)


# Answers of others


def test_answers_of_others_are_numbered_and_named_by_their_file(tmp_path: Path) -> None:
    path = tmp_path / "koalpaca.jsonl"
    path.write_text('{"instruction": "수도?", "answer": "서울"}\n{"instruction": "강?", "answer": ""}\n', "utf-8")
    answers = kullm.load_answers(path)
    assert (answers["id"], answers["model"]) == (["0", "1"], ["koalpaca"] * 2)
    assert (answers["input"], answers["answer"]) == (["", ""], ["서울", ""])
    assert kullm.load_answers(path, "KoAlpaca 1.1b")["model"] == ["KoAlpaca 1.1b"] * 2


def test_answers_of_others_may_have_numbers_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": 7, "instruction": "수도?", "answer": "서울", "rating": 3}\n', "utf-8")
    assert kullm.load_answers(path)["id"] == ["7"]


def test_a_file_without_answers_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "수도?", "output": "서울"}\n', "utf-8")
    with pytest.raises(InputError, match=r"answers needs the column answer; .*instruction, output"):
        kullm.load_answers(path)


def test_answers_are_read_back_as_they_were_saved(questions: Dataset, tmp_path: Path) -> None:
    answers = kullm.answer([Plain("one", cannot="수도"), Plain("two")], questions, memory=None)
    for name in ("answers.jsonl", "answers.parquet"):
        assert kullm.load_answers(kullm.save(answers, tmp_path / name)).to_list() == answers.to_list()
