"""Training: the mask, the packs, the gradients, resuming, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kullm import plugins
from kullm.errors import InputError, KullmError, UsageError
from kullm.models.loading import quiet
from kullm.rows import Failure, dataset
from kullm.templates import KULLM, Template
from kullm.trainers import FINETUNE_POLYGLOT, KULLM_V2, PAPER, RUN_SFT, RUN_SFT_FULL, Checkpoint, LoRA, PolyglotLoRA
from samples import COLUMNS, rows


def trainer(base: Path, **changes: Any) -> PolyglotLoRA:
    small: dict[str, Any] = {"lora": LoRA(4, 8), "epochs": 2, "batch": 4, "save_steps": 1, "pack_tokens": 256}
    return PolyglotLoRA(str(base), **(small | changes))


@pytest.mark.slow
def test_a_trained_adapter_loads_with_the_tools_that_people_have(tiny: Path, tmp_path: Path) -> None:
    with quiet():
        from peft import AutoPeftModelForCausalLM

    checkpoint = trainer(tiny, epochs=8, learning_rate=1e-2).train(rows(8), KULLM, tmp_path / "out")
    assert checkpoint.card["rows"] == 8
    assert checkpoint.card["steps"] == 16
    assert checkpoint.card["last_loss"] < checkpoint.card["first_loss"]
    assert not (tmp_path / "out" / "checkpoints").exists()
    with quiet():
        model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert any(bool(p.abs().sum() > 0) for name, p in model.named_parameters() if "lora_B" in name)
    assert checkpoint.model().template == KULLM


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_another_run_is_refused(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trainer(tiny).train(rows(8), KULLM, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    trainer(tiny).train(rows(8), KULLM, out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(UsageError, match="settings"):
        trainer(tiny, epochs=3).train(rows(8), KULLM, out)
    with pytest.raises(UsageError, match="data"):
        trainer(tiny).train(rows(7), KULLM, out)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_trainers import rows, trainer
from kullm.templates import KULLM, Template
trainer(Path({base!r}), epochs=6, lora=dict(rank=4, alpha=8, dropout=0.1)).train(rows(24), KULLM, Path({out!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_goes_on_to_the_same_bits(tiny: Path, tmp_path: Path, number: signal.Signals) -> None:
    whole = _train_in_child(tiny, tmp_path / "whole", stop=None)
    stopped = tmp_path / "stopped"
    first = _train_in_child(tiny, stopped, stop=number)
    assert first is None
    assert list((stopped / "checkpoints").glob("checkpoint-*/manifest.json"))
    assert _train_in_child(tiny, stopped, stop=None) == whole


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_rows(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    weights = load_file(broken / "model.safetensors")
    name = next(key for key in weights if "final_layer_norm.weight" in key)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KullmError, match=r"loss is nan at step 1 .*row-"):
        trainer(broken).train(rows(8), KULLM, tmp_path / "out")
    assert not (tmp_path / "out" / "kullm.json").exists()


def test_a_folder_whose_record_is_torn_is_named(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"base": "', encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json is not whole"):
        trainer(tiny).train(rows(8), KULLM, tmp_path)


def test_nothing_to_train_on_is_said_before_the_start(tiny: Path, tmp_path: Path) -> None:
    empty = rows(8).map(lambda row: row | {"output": ""})
    lost: list[Failure] = []
    with pytest.raises(InputError, match="No row is left to train on: no target token"):
        trainer(tiny).train(empty, KULLM, tmp_path / "out", failures=lost)
    assert len(lost) == 8


def test_a_base_that_is_not_to_be_had_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not to be had") as caught:
        PolyglotLoRA("nobody/no-such-model").train(rows(8), KULLM, tmp_path / "out")
    assert "--base PATH" in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="bitsandbytes has no build for macOS")
@pytest.mark.parametrize("bits", ["load_in_8bit", "load_in_4bit"])
def test_weights_of_few_bits_train(tiny: Path, tmp_path: Path, bits: str) -> None:
    checkpoint = trainer(tiny, epochs=8, learning_rate=1e-2, **{bits: True}).train(rows(8), KULLM, tmp_path / "out")
    assert checkpoint.card["last_loss"] < checkpoint.card["first_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"packing": False},
        {"share_prefix": False},
        {"gradient_checkpointing": True},
        {"pack_tokens": 100},
        {"arguments": {"optim": "adamw_bnb_8bit"}},
    ],
    ids=str,
)
def test_what_saves_memory_or_time_changes_nothing_about_the_losses(
    tiny: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with quiet():
        first = trainer(tiny).train(rows(8), KULLM, tmp_path / "first")
        second = trainer(tiny, **changes).train(rows(8), KULLM, tmp_path / "second")
    losses = [[one["loss"] for one in lines(each) if "loss" in one] for each in (first, second)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    # Adam's first steps have the size of the learning rate wherever a gradient is not zero, be it by its last bit.
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_all_weights_are_trained_without_an_adapter(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    checkpoint = trainer(tiny, lora=None, epochs=4, learning_rate=1e-3).train(rows(8), KULLM, tmp_path / "out")
    assert checkpoint.card["last_loss"] < checkpoint.card["first_loss"] - 0.1
    with quiet():
        found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        base: Any = AutoModelForCausalLM.from_pretrained(tiny)
    pairs = zip(found.named_parameters(), base.named_parameters(), strict=True)
    assert all(bool((one != two).any()) for (_, one), (_, two) in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save_steps", "looked"), [(2, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]), (4, [0, 4, 8, 12, 16, 18])]
)
def test_rows_that_are_held_out_are_not_trained_on_and_their_loss_is_taken(
    tiny: Path, tmp_path: Path, save_steps: int, looked: list[int]
) -> None:
    settings = trainer(tiny, held_out=0.25, epochs=6, learning_rate=1e-2, save_steps=save_steps)
    checkpoint = settings.train(rows(16), KULLM, tmp_path / "out")
    held = [one["eval_loss"] for one in lines(checkpoint) if "eval_loss" in one]
    assert checkpoint.card["steps"] == 6 * 3  # of 12 rows
    assert [one["step"] for one in lines(checkpoint) if "eval_loss" in one] == looked
    assert checkpoint.card["held_out_loss"] == held[-1] < held[0] == checkpoint.card["held_out_loss_before"]


@pytest.mark.slow
def test_training_stops_when_the_rows_that_are_held_out_get_worse_and_keeps_the_best(
    tiny: Path, tmp_path: Path
) -> None:
    settings = trainer(tiny, held_out=4, patience=2, epochs=40, learning_rate=0.3, save_steps=1)
    checkpoint = settings.train(rows(16), KULLM, tmp_path / "out")
    held = [one["eval_loss"] for one in lines(checkpoint) if "eval_loss" in one]
    assert checkpoint.card["steps"] < 40 * 3
    assert held[-2] > min(held)
    assert checkpoint.card["held_out_loss"] == pytest.approx(min(held))


@pytest.mark.slow
def test_every_row_that_was_lost_or_shortened_is_named(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kullm")
    some = rows(8).to_list()
    some[1]["input"] = "구름은 하늘에 있습니다. " * 60
    some[2]["output"] = ""
    lost: list[Failure] = []
    checkpoint = trainer(tiny, max_tokens=260).train(dataset(some, COLUMNS), KULLM, tmp_path / "out", failures=lost)
    assert [one.id for one in lost] == ["row-2"]
    named = [json.loads(line) for line in (tmp_path / "out" / "shortened.jsonl").read_text().splitlines()]
    assert [(one["id"], one["what"]) for one in named] == [("row-1", "input")]
    assert checkpoint.card["shortened"] == {"input": 1}
    assert checkpoint.card["dropped"] == 1
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(one["id"], one["cause"]) for one in dropped] == [("row-2", "no target token: the output is empty")]
    assert "1 lost a part of the input" in caplog.text
    again: list[Failure] = []
    trainer(tiny, max_tokens=260).train(dataset(some, COLUMNS), KULLM, tmp_path / "out", failures=again)
    assert again == lost  # a second start of a finished run says it, too


@pytest.mark.slow
def test_rows_with_a_token_across_the_border_are_counted_and_named(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spaced = Template("spaced", "{instruction} {input} ")
    some = rows(8).map(lambda row: {"output": "하늘에 구름이 있습니다."})
    checkpoint = trainer(tiny, epochs=4).train(some, spaced, tmp_path / "out")
    assert checkpoint.card["straddling"] == 8
    assert "in 8 rows a token would go across the border" in caplog.text
    assert trainer(tiny, epochs=4).train(some, KULLM, tmp_path / "none").card["straddling"] == 0


def test_the_papers_settings_are_the_defaults_and_the_released_scripts_differ() -> None:
    paper = PAPER()
    assert (paper.lora, paper.epochs, paper.batch, paper.learning_rate, paper.warmup, paper.loss) == (
        LoRA(16, 32), 5, 256, 3e-4, 0.05, "output",
    )  # fmt: skip
    assert KULLM_V2("base").lora == LoRA(8, 16, 0.05)
    assert (KULLM_V2().epochs, KULLM_V2().batch, KULLM_V2().loss, KULLM_V2().max_tokens) == (8, 128, "everything", 512)
    assert FINETUNE_POLYGLOT().arguments["warmup_steps"] == 100
    assert RUN_SFT().batch == 64 * 8 * 8
    assert RUN_SFT_FULL().lora is None
    assert plugins.find("trainers", "kullm-v2", base="mine", epochs=1) == KULLM_V2("mine", epochs=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "expected a whole number"),
        ({"learning_rate": "fast"}, "expected a number"),
        ({"learning_rate": -1}, "must be above 0"),
        ({"loss": "answers"}, "expected output or everything"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "exclude each other"),
        ({"lora": None, "load_in_8bit": True}, "need an adapter"),
        ({"patience": 3}, "held_out"),
        ({"held_out": 1.5}, "a share below 1"),
        ({"lora": {"rank": 0}}, "expected a whole number"),
        ({"lora": {"dropout": 1}}, "from 0 to below 1"),
        ({"lora": "None"}, "expected the settings of an adapter, or none"),
        ({"arguments": "none"}, "names and values"),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PolyglotLoRA("base", **changes)


@pytest.mark.slow
def test_more_rows_held_out_than_there_are_is_said_before_the_start(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="8 of 8 rows are to be held out"):
        trainer(tiny, held_out=8).train(rows(8), KULLM, tmp_path / "out")


def lines(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """What was logged."""
    text = (checkpoint.path / "history.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _train_in_child(base: Path, out: Path, stop: signal.Signals | None) -> str | None:
    """Train in another process, stopped after its first checkpoint if told so; the adapter's hash, if there is one."""
    script = CHILD.format(tests=str(Path(__file__).parent), base=str(base), out=str(out))
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if stop is not None:
        until = time.monotonic() + 120
        while not list((out / "checkpoints").glob("checkpoint-*/manifest.json")) and time.monotonic() < until:
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(stop)
    said, _ = child.communicate(timeout=180)
    file = out / "adapter_model.safetensors"
    if stop is None:
        assert child.returncode == 0, said.decode()[-2000:]
        assert json.loads((out / "kullm.json").read_text())["steps"] == 36
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
