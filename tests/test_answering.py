"""A model of this machine: what decides its answers, how prompts share a batch, where answers end, what is kept."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm.errors import InputError, UsageError
from kullm.models import Completion, HuggingFace, OpenAI, Prompt
from kullm.models.batching import Room, in_batches, lacks_memory
from kullm.models.tokens import Ids
from kullm.remote import Limits, Memory, run
from kullm.rows import Example, Failure, Turn, dataset
from kullm.templates import CHAT, KULLM, PLAIN, Exchange, exchanges, record
from kullm.testing import OpenAIServer

PROMPTS = [
    Prompt("낮"),
    Prompt("한글은 누가 만들었나요?"),
    Prompt(KULLM.prompt(Example("", "인사해 주세요."))),
    Prompt("백신이 몸을 지키는 원리를 쉬운 말로 설명해 주세요. " * 3),
]

FAMILIES = ("neox", "llama", "gemma3", "qwen2")


def make(family: str, vocabulary: int, **changes: Any) -> Any:
    """A small model with scores far enough apart that the last digits of a sum do not decide."""
    import torch
    import transformers as hf

    sizes: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 1,
        "pad_token_id": 0, "initializer_range": 0.2,
    }  # fmt: skip
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "neox": (hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, {}),
        "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, {"num_key_value_heads": 2}),
        "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM, {"num_key_value_heads": 2}),
        "gemma3": (
            hf.Gemma3TextConfig,
            hf.Gemma3ForCausalLM,
            # A window that the longer prompts fill, and one layer that sees past it.
            {
                "num_key_value_heads": 2,
                "head_dim": 16,
                "sliding_window": 24,
                "layer_types": ["sliding_attention", "full_attention"],
            },
        ),
        "lfm2": (
            hf.Lfm2Config,
            hf.Lfm2ForCausalLM,
            {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
        ),
    }
    config, model, more = kinds[family]
    torch.manual_seed(0)
    return model(config(**sizes | more | changes))


@pytest.fixture(scope="session")
def family(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of small models of several families, with the tokenizer of the tiny one."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        from transformers import AutoTokenizer

        place = root / name
        if not place.exists():
            tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
            make(name, len(tokenizer)).save_pretrained(place)
            tokenizer.save_pretrained(place)
        return place

    return folder


def of(folder: Path, **changes: Any) -> HuggingFace:
    settings: dict[str, Any] = {"template": PLAIN, "dtype": "float32", "max_new_tokens": 16} | changes
    return HuggingFace(str(folder), **settings)


def greedy(folder: Path, **changes: Any) -> HuggingFace:
    return of(folder, **({"beams": 1, "repetition_penalty": 1.0} | changes))


def said(model: HuggingFace, prompts: Sequence[Prompt] = PROMPTS) -> list[Completion]:
    made = model.generate(prompts)
    assert all(isinstance(one, Completion) for one in made), made
    return [one for one in made if isinstance(one, Completion)]


# Batches


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_is_the_same_alone_and_in_any_batch(name: str, family: Callable[[str], Path]) -> None:
    model = of(family(name))
    assert (model.beams, model.repetition_penalty) == (4, 1.4)  # the paper's
    alone = [said(model, [prompt])[0] for prompt in PROMPTS]
    assert len({one.text for one in alone}) == len(PROMPTS)
    assert said(model) == alone
    assert said(model, PROMPTS[::-1]) == alone[::-1]
    assert said(replace(model, batch=2)) == alone


def test_a_length_penalty_does_not_count_padding(family: Callable[[str], Path]) -> None:
    """As it did in transformers#25455."""
    model = of(family("llama"), repetition_penalty=1.0)
    signs = Counter(sign for one in said(model) for sign in one.text if sign.isalnum())
    made = []
    for penalty in (-2.0, 2.0):
        model = replace(model, length_penalty=penalty, stops=tuple(sign for sign, _ in signs.most_common(3)))
        alone = [said(model, [prompt])[0] for prompt in PROMPTS]
        assert said(model) == alone
        made.append(alone)
    assert made[0] != made[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_computed_once_for_all_beams_give_the_same_answers(name: str, family: Callable[[str], Path]) -> None:
    model = of(family(name), prefill_once=True)
    tokens: list[int] = []
    model.model.register_forward_pre_hook(
        lambda module, arguments, named: tokens.append(named["input_ids"].numel()), with_kwargs=True
    )
    once = said(model)
    mine = sum(tokens)
    tokens.clear()
    plain = replace(model, prefill_once=False)
    plain.__dict__["model"] = model.model
    assert said(plain) == once
    assert mine < 0.5 * sum(tokens)  # most of the work was the prompts, four times


def test_a_model_whose_cache_cannot_be_copied_answers_and_says_so(
    family: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    model = of(family("lfm2"))
    with caplog.at_level(logging.INFO, logger="kullm"):
        one = said(model, PROMPTS[1:2])
    assert "Lfm2ForCausalLM cannot be copied for each beam" in caplog.text
    assert one == said(replace(model, prefill_once=False), PROMPTS[1:2])


lengths = st.lists(st.integers(1, 300), min_size=1, max_size=30)


@given(lengths=lengths, rows=st.integers(1, 9), tokens=st.integers(1, 4000), beams=st.integers(1, 4))
def test_a_batch_holds_no_more_than_is_allowed(lengths: list[int], rows: int, tokens: int, beams: int) -> None:
    room = Room(rows, tokens, new=10, beams=beams)
    seen: list[list[int]] = []

    def generate(batch: Sequence[list[int]]) -> list[int]:
        seen.append([len(row) for row in batch])
        return [row[0] for row in batch]

    made = in_batches([[number] * size for number, size in enumerate(lengths)], room, generate)
    assert made == list(range(len(lengths)))
    assert all(len(batch) <= rows for batch in seen)
    assert all(len(batch) == 1 or (max(batch) + 10) * beams * len(batch) <= tokens for batch in seen)
    assert [size for batch in seen for size in batch] == sorted(lengths, reverse=True)


@given(lengths=lengths, holds=st.integers(50, 4000))
def test_where_memory_runs_out_a_batch_is_halved_and_no_larger_one_is_tried_again(
    lengths: list[int], holds: int
) -> None:
    room = Room(8, 10**9, new=10, beams=4)
    refused: list[int] = []

    def generate(batch: Sequence[list[int]]) -> list[int]:
        cost = room.cost(max(map(len, batch)), len(batch))
        if cost > holds:
            if len(batch) > 1:
                refused.append(cost)
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
        return [row[0] for row in batch]

    made = in_batches([[number] * size for number, size in enumerate(lengths)], room, generate)
    assert made == [number if room.cost(size, 1) <= holds else None for number, size in enumerate(lengths)]
    assert refused == sorted(set(refused), reverse=True)  # every batch that failed was smaller than the one before


@pytest.mark.parametrize(
    "message", ["expected scalar type Float", "could not create a primitive descriptor for a matmul primitive"]
)
def test_another_error_is_not_taken_for_a_lack_of_memory(message: str) -> None:
    def generate(batch: Sequence[list[int]]) -> list[int]:
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match=message):
        in_batches([[1]], Room(8, 100, new=1, beams=1), generate)


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("expected scalar type Float"), False),
        (ValueError("not enough memory of earlier turns"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_error(error: Exception, lacks: bool) -> None:
    assert lacks_memory(error) is lacks


@pytest.mark.parametrize("beams", [1, 2])
def test_an_answer_that_does_not_fit_while_it_is_written_is_a_failure(beams: int, tiny: Path) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model = of(tiny, beams=beams)
    model.model.register_forward_pre_hook(full)
    made = model.stream(PROMPTS[0], print)
    assert isinstance(made, Failure)
    assert "the memory does not hold this prompt alone" in made.cause


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_real_lack_of_memory_halves_the_batch_and_is_remembered(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    # A layer so wide that a prompt takes some 30 MiB: what the allocator keeps back for itself is little beside it.
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    make("neox", len(tokenizer), intermediate_size=2**14).save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    code = f"""
import logging, resource, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from pathlib import Path
from kullm.errors import KullmError
from kullm.models import HuggingFace, Prompt
from kullm.templates import PLAIN

model = HuggingFace({str(tmp_path / "wide")!r}, PLAIN, dtype="float32", max_new_tokens=2, batch=64, batch_tokens=10**9)
prompts = [Prompt("한글은 누가 만들었나요? " * 12 + str(n)) for n in range(24)]
small = model.generate(prompts[:2])
def leave(mebibytes):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20, resource.RLIM_INFINITY))
leave(150)
made = model.generate(prompts)
model.generate(prompts)
print("answered", sum(type(one).__name__ == "Completion" for one in made), made[:2] == small)
leave(-400)  # nothing more at all
print("alone", type(model.generate(prompts[:1])[0]).__name__)
try:
    model = HuggingFace({str(tmp_path / "wide")!r}, PLAIN, dtype="float32").model
except KullmError as error:
    print(error)
"""
    # A block of 64 KiB or more goes back to the system when it is freed, and one thread has one heap.
    plain = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    counts = [int(count) for count in re.findall(r"does not hold (\d+) prompts at once", done.stdout)]
    assert counts, done.stdout + done.stderr
    assert counts == sorted(set(counts), reverse=True)  # what did not fit is not tried again
    assert "answered 24 True" in done.stdout, done.stdout + done.stderr
    assert "alone Failure" in done.stdout, done.stdout + done.stderr
    assert f"The memory does not hold the model '{tmp_path / 'wide'}'." in done.stdout, done.stdout + done.stderr


def test_a_prompt_longer_than_the_models_positions_is_a_failure_and_the_others_are_answered(tiny: Path) -> None:
    model = greedy(tiny)
    long = Prompt("한글은 누가 만들었나요? " * 60)
    first, refused, empty, last = model.generate([PROMPTS[0], long, Prompt(""), PROMPTS[1]])
    assert isinstance(refused, Failure)
    assert "512 positions" in refused.cause
    assert "16 new" in refused.cause
    assert isinstance(empty, Failure)
    assert [first, last] == said(model, PROMPTS[:2])


@dataclass(frozen=True)
class Watched(HuggingFace):
    """Says which prompts it was asked together, and is interrupted at one of the calls."""

    interrupted: int = 10**9

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | Failure]:
        calls: list[list[int]] = self.__dict__.setdefault("calls", [])
        if len(calls) == self.interrupted:
            raise KeyboardInterrupt
        calls.append([len(self._ids(prompt)) for prompt in prompts])
        return super().generate(prompts)


def test_every_batch_that_was_finished_is_kept_when_a_run_is_stopped(tiny: Path, tmp_path: Path) -> None:
    questions = rows([f"{n}번 문장. " * (1 + n % 5) for n in range(17)])
    common: dict[str, Any] = {"template": PLAIN, "max_new_tokens": 4, "beams": 2, "batch": 6, "batch_tokens": 400}
    stopped = Watched(str(tiny), interrupted=2, **common)
    memory = tmp_path / "memory.sqlite"
    with pytest.raises(KeyboardInterrupt):
        kullm.answer(stopped, questions, memory=memory)
    calls: list[list[int]] = stopped.__dict__["calls"]
    with Memory(memory) as store:
        assert len(store) == sum(map(len, calls)) > 2
    assert all(len(call) == 1 or (max(call) + 4) * 2 * len(call) <= 400 for call in calls)  # a call is a batch
    again = Watched(str(tiny), **common)
    whole = kullm.answer(again, questions, memory=memory)
    assert sum(map(len, again.__dict__["calls"])) == len(questions) - sum(map(len, calls))
    assert whole["failure"] == [None] * len(questions)


# Settings


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"temperature": 0.1}, "nothing is drawn by chance"),
        ({"top_k": 40}, "nothing is drawn by chance"),
        ({"top_p": 0.75}, "nothing is drawn by chance"),
        ({"seed": 1}, "nothing is drawn by chance"),
        ({"sample": True}, "beams=1"),
        ({"sample": True, "beams": 1, "top_k": 1}, "one token"),
        ({"beams": 1, "length_penalty": 2.0}, "chooses among beams"),
        ({"sample": True, "beams": 1, "temperature": 0.0}, "above 0"),
        ({"sample": True, "beams": 1, "top_p": 1.5}, "below 1"),
        ({"sample": True, "beams": 1, "top_p": 1.0}, "no effect"),
        ({"dtype": "bf16"}, "expected auto, bfloat16, float16"),
        ({"beams": 0}, "at least 1"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"batch_tokens": 0}, "at least 1"),
        ({"repetition_penalty": 0.0}, "above 0"),
        ({"stops": [""]}, "everywhere"),
    ],
)
def test_a_setting_without_effect_is_refused_with_the_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        HuggingFace("model", **changes)


def test_the_papers_decoding_is_the_default_and_names_itself(tiny: Path) -> None:
    from importlib.metadata import version

    identity = HuggingFace(str(tiny), dtype="float32").identity
    wanted = (
        "beams=4",
        "repetition_penalty=1.4",
        "max_new_tokens=400",
        f"transformers={version('transformers')}",
        "dtype=float32",
    )
    assert all(part in identity.split() for part in wanted)
    assert not [word for word in ("temperature", "top_k", "top_p", "seed") if word in identity]


def test_all_that_decides_is_in_the_identity_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    one = of(tiny)
    drawn = of(tiny, sample=True, beams=1)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    make("neox", 600).save_pretrained(other)
    moved = of(other).identity.replace(str(other), str(tiny))
    others = [
        replace(one, length_penalty=2.0), replace(one, stops=("끝",)), replace(one, template=KULLM), drawn,
        replace(drawn, temperature=0.5), replace(drawn, top_k=5), replace(drawn, top_p=0.5), replace(drawn, seed=7),
    ]  # fmt: skip
    assert len({one.identity, moved, *(model.identity for model in others)}) == 10
    same = replace(one, batch=1, batch_tokens=99, prefill_once=False, label="other", device="cpu")
    assert same.identity == one.identity


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """An adapter in "adapter", as a training on the model in "base" leaves it."""
    from kullm.models.hashes import base_hash
    from kullm.models.loading import load_model, quiet

    base, folder, more = tmp_path / "base", tmp_path / "adapter", {"init_lora_weights": False}
    shutil.copytree(tiny, base)
    with quiet():
        from peft import LoraConfig, get_peft_model

        config: Any = LoraConfig(task_type="CAUSAL_LM", target_modules=["query_key_value"], **more)
        get_peft_model(load_model(str(base), dtype="float32", device="cpu"), config).save_pretrained(folder)
    card = {"base": str(base), **base_hash(str(base)), "template": record(PLAIN)}
    (folder / "kullm.json").write_text(json.dumps(card), "utf-8")
    return folder


def test_an_adapter_answers_on_the_base_that_it_was_trained_on_alone(adapter: Path, tiny: Path) -> None:
    from kullm.models.hashes import need_base

    before = of(adapter).identity
    assert said(of(adapter)) != said(of(tiny))
    make("neox", 600).save_pretrained(adapter.with_name("base"))
    assert of(adapter).identity != before  # so no answer of before is taken out of a memory
    with pytest.raises(InputError, match="its files have changed") as refused:
        said(of(adapter))
    assert "Put back the base" in refused.value.next
    card = json.loads((adapter / "kullm.json").read_text("utf-8"))
    (adapter / "kullm.json").write_text(json.dumps(card | {"base": "nobody/base"}), "utf-8")  # as it is published
    need_base(adapter)


def test_auto_is_a_type_that_the_hardware_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from kullm.models.loading import resolved

    found = []
    for capability in ((7, 5), (8, 0), None):  # None: a GPU that is elsewhere
        monkeypatch.setattr(torch.cuda, "device_count", lambda one=capability: int(one is not None))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, one=capability: one)
        found.append(resolved("cuda", "auto")[1])
    assert found == ["float16", "bfloat16", "bfloat16"]
    with pytest.raises(UsageError, match="expected auto, bfloat16, float16, float32"):
        resolved("cpu", "bf16")


def test_settings_that_a_model_brings_do_not_leak_into_its_answers(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    brought = {
        "do_sample": True, "temperature": 2.0, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.9, "num_beams": 2,
        "no_repeat_ngram_size": 1, "min_new_tokens": 9, "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(brought), "utf-8")
    for model in (of, greedy):
        with caplog.at_level(logging.INFO, logger="kullm"):
            assert said(model(folder)) == said(model(tiny))
    assert "are not used" in caplog.text
    assert "'repetition_penalty': 1.9" in caplog.text


# Sampling


def test_what_is_drawn_for_a_prompt_does_not_depend_on_its_batch(family: Callable[[str], Path]) -> None:
    model = greedy(family("llama"), sample=True, temperature=1.5, seed=3)
    first = said(model)
    assert [said(model, [prompt])[0] for prompt in PROMPTS] == first
    assert said(replace(model, batch=3), PROMPTS[::-1]) == first[::-1]
    assert said(replace(model, seed=4)) != first
    assert said(replace(model, seed=0)) == said(replace(model, seed=None))


def test_tokens_are_drawn_by_their_probabilities() -> None:
    import torch

    from kullm.models.decoding import Draws, warpers

    scores = torch.tensor([[2.0, -3.0, 1.0, 0.0, 1.5]])
    count = 20_000
    draw = Draws([[row] for row in range(count)], 0, warpers(0.7, 4, 0.95))
    left = draw(torch.zeros(count, 1, dtype=torch.long), scores.repeat(count, 1))
    seen = torch.bincount(left.argmax(1), minlength=5) / count
    # By hand: the best four, scores divided by 0.7; of these the best that make up 0.95.
    kept = (scores[0] / 0.7).masked_fill(torch.tensor([False, True, False, False, False]), -torch.inf).softmax(0)
    kept = torch.where(kept >= sorted(kept.tolist(), reverse=True)[2], kept, 0.0)  # 0.58 + 0.28 + 0.14 of four
    assert torch.allclose(seen, kept / kept.sum(), atol=0.012)


# Where an answer ends


@settings(max_examples=12, deadline=None)
@given(start=st.integers(0, 30), size=st.integers(1, 4))
def test_an_answer_ends_before_the_first_stop_and_is_verbatim(
    start: int, size: int, family: Callable[[str], Path]
) -> None:
    folder = family("llama")
    (whole,) = said(greedy(folder, max_new_tokens=24), PROMPTS[1:2])
    stop = whole.text[start : start + size]
    if not stop or "\N{REPLACEMENT CHARACTER}" in stop:
        return
    stopped = greedy(folder, max_new_tokens=24, stops=[stop])
    (cut,) = said(stopped, PROMPTS[1:2])
    assert cut.finish_reason == "stop"
    begins = len(stop) > 1 and stop[0] == "\n" and whole.text.startswith(stop[1:])
    assert cut.text == ("" if begins else whole.text[: whole.text.index(stop)])
    assert cut.tokens is not None
    assert cut.tokens <= 24
    assert said(stopped)[1] == cut  # in a batch, too


@pytest.mark.parametrize("beams", [1, 4])
def test_a_stop_ends_the_work_and_not_only_the_text(beams: int, family: Callable[[str], Path]) -> None:
    model = of(family("llama"), beams=beams, repetition_penalty=1.0, max_new_tokens=40)
    (whole,) = said(model, PROMPTS[1:2])
    stops = tuple(dict.fromkeys(sign for sign in whole.text[2:] if sign.isalnum()))
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    stopped = replace(model, stops=stops)
    stopped.model.register_forward_pre_hook(count)
    (cut,) = said(stopped, PROMPTS[1:2])
    assert cut.finish_reason == "stop"
    assert not [stop for stop in stops if stop in cut.text]
    assert steps < 40
    assert (cut.tokens or 40) < 40
    assert [said(stopped, [prompt])[0] for prompt in PROMPTS] == said(stopped)


def test_a_templates_stops_end_an_answer_also_where_they_are_its_first_words(tiny: Path) -> None:
    from kullm.models.decoding import Stops

    tokenizer = of(tiny).tokenizer
    stops = Stops(tokenizer, [1], KULLM.stops)
    write: Any = tokenizer.encode
    for text, before in (("### 응답:\n서울", ""), ("서울\n### 명령어:\n", "서울"), ("서울 ### 명령어:", None)):
        ids = write(text, add_special_tokens=False)
        cut, tokens, ended = stops.cut(ids)
        assert (cut, ended) == ((before, True) if before is not None else (text, False))
        assert tokens <= len(ids)


@pytest.mark.parametrize("place", ["tokenizer", "generation_config", "config"])
def test_every_end_of_text_that_is_named_ends_an_answer(place: str, tiny: Path, tmp_path: Path) -> None:
    """As for Polyglot-Ko, whose stored tokenizers and configurations disagree."""
    (whole,) = said(greedy(tiny), PROMPTS[1:2])
    model = greedy(tiny)
    from kullm.models.decoding import Stops, continued

    (new,) = continued(model.model, [model._ids(PROMPTS[1])], model._config(), Stops(model.tokenizer, [1], []))
    end = next(token for number, token in enumerate(new) if number >= 2 and token not in new[:number])
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    if place == "tokenizer":
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
        tokenizer.save_pretrained(folder)
    else:
        path = folder / f"{place}.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"eos_token_id": end}), "utf-8")
    (cut,) = said(greedy(folder), PROMPTS[1:2])
    assert (cut.finish_reason, cut.tokens) == ("stop", new.index(end) + 1)
    assert whole.text.startswith(cut.text)
    assert said(greedy(folder))[1] == cut  # padding behind the end is not counted


# Conversations, and what is remembered


def rows(texts: Sequence[str], histories: Sequence[Sequence[tuple[str, str]]] = ()) -> Any:
    records = [
        {
            "id": f"q{number}", "instruction": text, "input": "", "output": "",
            "history": [{"instruction": asked, "output": answer} for asked, answer in history],
        }
        for number, (text, history) in enumerate(zip(texts, histories or [()] * len(texts), strict=True))
    ]  # fmt: skip
    return dataset(records, ("id", "instruction", "input", "output", "history"))


def test_a_service_is_told_the_earlier_turns_as_messages(tmp_path: Path) -> None:
    def echo(messages: list[dict[str, Any]]) -> str:
        return " / ".join(f"{one['role']}: {one['content']}" for one in messages)

    asked = rows(["왜요?", "왜요?", "왜요?"], [[("수도는?", "서울.")], [], [("바다는?", "동해.")]])
    memory = tmp_path / "memory.sqlite"
    with OpenAIServer(echo) as server:
        model = OpenAI("gpt-4", base_url=server.url, key=server.key)
        answers = kullm.answer(model, asked, memory=memory)
        assert kullm.answer(model, asked, memory=memory).to_list() == answers.to_list()
        assert server.requests == 3  # the same question of another conversation is another question
    assert answers["answer"] == [
        "user: 수도는? / assistant: 서울. / user: 왜요?", "user: 왜요?",
        "user: 바다는? / assistant: 동해. / user: 왜요?",
    ]  # fmt: skip


def test_answers_without_earlier_turns_stay_where_they_were_in_a_memory(tmp_path: Path) -> None:
    memory = tmp_path / "memory.sqlite"
    with OpenAIServer(lambda messages: "네.") as server:
        model = OpenAI("gpt-4", base_url=server.url, key=server.key)
        run(
            lambda prompts: [Completion("아니요.") for _ in prompts], [Prompt("왜요?")],
            identity=model.identity, limits=Limits(), memory=memory, key=lambda prompt: f"\0{prompt.text}",
            save=lambda one: {"text": one.text, "finish_reason": "stop", "prompt_tokens": 1, "tokens": 1},
        )  # fmt: skip
        assert kullm.answer(model, rows(["왜요?"]), memory=memory)["answer"] == ["아니요."]
        assert server.requests == 0


def test_a_model_of_this_machine_reads_the_ids_that_training_makes_of_a_conversation(tiny: Path) -> None:
    from kullm.models.loading import load_tokenizer

    history = (("수도는 어디인가요?", "서울입니다."), ("강은요?", "한강입니다."))
    model = greedy(tiny, template=KULLM)
    answers = kullm.answer(model, rows(["산은요?"], [history]), memory=None)
    turns = exchanges(KULLM, Example("q0", "산은요?", output="북한산.", history=tuple(Turn(*one) for one in history)))
    ids, places = Ids(load_tokenizer(str(tiny))).conversations([turns])[0]
    assert answers["prompt_tokens"] == [places[-1][0]]
    assert model._ids(Prompt(turns[-1].prompt, earlier=tuple(turns[:-1]))) == ids[: places[-1][0]]


def test_a_template_without_a_place_for_earlier_turns_is_not_asked() -> None:
    class Bare:
        def prompt(self, example: Example) -> str:
            return example.instruction

        def answer(self, completion: str) -> str:
            return completion

    @dataclass
    class Model:
        identity = "bare"
        limits = Limits()
        template = Bare()

        def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
            return [Completion(str(len(prompt.earlier))) for prompt in prompts]

    assert kullm.answer(Model(), rows(["왜요?"]), memory=None)["answer"] == ["0"]
    with pytest.raises(InputError, match="q0 has earlier turns"):
        kullm.answer(Model(), rows(["왜요?"], [[("수도는?", "서울.")]]), memory=None)


CHAT_FORM = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_models_own_chat_template_asks_it_and_its_end_ends_an_answer(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text(CHAT_FORM, "utf-8")
    model = greedy(folder, template=CHAT)
    answers = kullm.answer(model, rows(["수도는?"]), memory=None)
    spelt = "<|user|>수도는?<|end|><|assistant|>"
    assert answers["prompt_tokens"] == [len(model.tokenizer.encode(spelt, add_special_tokens=False))]
    assert model._stops.texts == ("<|end|>",)


def test_a_service_is_not_asked_in_a_tokenizers_template() -> None:
    @dataclass
    class Served:
        name = "served"
        identity = "served"
        limits = Limits()
        template = CHAT

        def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
            raise AssertionError

    with pytest.raises(UsageError, match="served gives none"):
        kullm.answer(Served(), rows(["왜요?"]), memory=None)


def test_the_system_message_stands_before_the_first_turn(tiny: Path) -> None:
    model = greedy(tiny)
    earlier = (Exchange("수도는?", "서울."),)
    plain = model._ids(Prompt("왜요?", earlier=(Exchange("친절해라.\n\n수도는?", "서울."),)))
    assert model._ids(Prompt("왜요?", system="친절해라.", earlier=earlier)) == plain


def test_every_answer_says_how_it_ended_and_what_decoded_it(tiny: Path) -> None:
    model = greedy(tiny)
    answers = kullm.answer(model, rows(["수도는?", "강은?"]), memory=None)
    assert set(answers["finish_reason"]) <= {"stop", "length"}
    assert all(0 < tokens <= 16 for tokens in answers["tokens"])
    assert answers["prompt_tokens"] == [len(model._ids(Prompt(text))) for text in ("수도는?", "강은?")]
    assert answers["engine"] == [model.identity] * 2
