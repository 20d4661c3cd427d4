"""The plan of a training: exact counts, memory as it is then measured, and the cheapest setting that fits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kullm.cli.training import plan as print_plan
from kullm.errors import InputError, UsageError
from kullm.rows import dataset
from kullm.sources import save
from kullm.templates import KULLM
from kullm.trainers import LoRA, PolyglotLoRA
from kullm.trainers.plan import TrainingPlan, parse_memory, plan_training
from samples import COLUMNS, rows

MIB = 2**20


def trainer(base: Path, **changes: Any) -> PolyglotLoRA:
    own: dict[str, Any] = {"lora": LoRA(4, 8), "epochs": 2, "batch": 4, "pack_tokens": 512, "dtype": "float32"}
    return PolyglotLoRA(str(base), **(own | changes))


def test_the_counts_are_those_of_the_training(tiny: Path, tmp_path: Path) -> None:
    settings = trainer(tiny, held_out=2)
    plan = plan_training(settings, rows(), KULLM)
    card = settings.train(rows(), KULLM, tmp_path / "out").card
    assert (plan.rows + plan.held_out, plan.steps, plan.computed) == (
        card["rows"],
        card["steps"],
        card["computed_tokens"],
    )
    assert (plan.rows, plan.steps_each_epoch, plan.epochs) == (10, 3, 2)
    both = plan_training(replace(settings, held_out=0), rows(), KULLM)
    assert (both.tokens, both.trained) == (card["tokens"], card["trained_tokens"])


def test_a_share_of_few_rows_holds_out_one(tiny: Path) -> None:
    plan = plan_training(trainer(tiny, held_out=0.01), rows(), KULLM)
    assert (plan.rows, plan.held_out) == (11, 1)


def test_every_row_that_is_lost_is_counted_with_its_cause(tiny: Path) -> None:
    made = rows(6).to_list()
    made[0]["output"] = " "
    made[1]["input"] = "구름은 하늘에 있습니다. " * 200
    made[2]["output"] = "구름 " * 2000
    plan = plan_training(trainer(tiny, max_tokens=400), dataset(made, COLUMNS), KULLM)
    assert (plan.rows, plan.shortened, sum(plan.dropped.values())) == (4, {"input": 1}, 2)
    said = str(plan)
    assert "1 shortened (input)" in said
    assert "1 dropped: no target token: the output is empty" in said


def test_a_shared_beginning_is_said_as_a_saving_and_padding_as_a_factor(tiny: Path) -> None:
    shared = plan_training(trainer(tiny), rows(), KULLM)
    assert shared.padding < 1
    assert f"{1 - shared.padding:.1%} less than the rows have" in str(shared)
    padded = plan_training(trainer(tiny, packing=False), rows(), KULLM)
    assert padded.padding >= 1
    assert f"a padding factor of {padded.padding:.3f}" in str(padded)
    assert plan_training(trainer(tiny, share_prefix=False), rows(), KULLM).padding == 1


def test_hours_follow_from_the_rate_and_are_unknown_without_one(tiny: Path) -> None:
    plan = plan_training(trainer(tiny), rows(), KULLM, rate=100)
    assert plan.hours is not None
    assert math.isclose(plan.hours * 3600 * 100, plan.tokens * 2)
    unknown = plan_training(trainer(tiny), rows(), KULLM)
    assert unknown.hours is None
    assert "--rate" in str(unknown)
    assert "--measure" in str(unknown)
    with pytest.raises(UsageError, match="above 0"):
        plan_training(trainer(tiny), rows(), KULLM, rate=0)


def test_a_measured_rate_is_that_of_the_real_model(tiny: Path) -> None:
    plan = plan_training(trainer(tiny), rows(), KULLM, measure=True)
    assert plan.measured
    assert plan.rate is not None
    assert plan.rate > 0
    assert "(measured)" in str(plan)


def test_a_gpu_that_is_not_here_is_not_asked(tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="no GPU here to measure on"):
        plan_training(trainer(tiny), rows(), KULLM, memory="80GB", measure=True, device="cuda")
    with pytest.raises(UsageError, match="no GPU here to ask for its memory"):
        plan_training(trainer(tiny), rows(), KULLM, device="cuda")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """Configuration and tokenizer of Polyglot-Ko 5.8B, without weights."""
    from transformers import AutoTokenizer, GPTNeoXConfig

    folder = tmp_path_factory.mktemp("large")
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    tokenizer.save_pretrained(folder)
    GPTNeoXConfig(
        vocab_size=30080, hidden_size=4096, num_hidden_layers=28, num_attention_heads=16, intermediate_size=16384,
        dtype="float16",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _large(folder: Path, memory: str, **changes: Any) -> TrainingPlan:
    settings = PolyglotLoRA(str(folder), dtype="bfloat16", batch=24, epochs=1, pack_tokens=2048, **changes)
    return plan_training(settings, rows(24), KULLM, memory=memory, device="cuda")


def test_a_model_that_is_not_here_is_planned_from_its_configuration(large: Path) -> None:
    plan = _large(large, "80GB")
    # Polyglot-Ko 5.8B has 5,885,059,072 parameters (its model card).
    assert math.isclose(plan.weights, 2 * 5_885_059_072, rel_tol=0.01)
    assert plan.choice is not None
    assert plan.choice.changes == {}
    assert (plan.device, plan.dtype) == ("cuda", "bfloat16")


def test_what_the_settings_cost_in_vain_is_said(large: Path) -> None:
    plan = _large(large, "80GB", load_in_8bit=True, gradient_checkpointing=True)
    assert plan.choice is not None
    assert plan.choice.changes == {"load_in_8bit": False, "gradient_checkpointing": False}
    assert math.isclose(plan.choice.time, 1 / 3)  # 8 bits cost 2, checkpointing 1.5


@pytest.mark.parametrize(("bits", "bytes_each"), [(8, 1.0), (4, 0.5 + 4 / 64)])
def test_quantised_weights_are_counted_with_their_scales(large: Path, bits: int, bytes_each: float) -> None:
    plan = _large(large, "80GB", **{f"load_in_{bits}bit": True})
    linear, embeddings = 28 * 12 * 4096**2, 2 * 30080 * 4096
    # PEFT makes float32 of what is not quantised: the embedding and the head.
    adapter = 28 * 16 * (4096 + 3 * 4096)
    assert math.isclose(plan.weights, bytes_each * linear + 4 * (embeddings + adapter), rel_tol=0.003)


def test_bits_are_left_out_only_where_nothing_else_fits(large: Path) -> None:
    less = _large(large, "13GiB")
    assert less.choice is not None
    assert less.choice.time > 1
    assert not {"load_in_8bit", "load_in_4bit"} & set(less.choice.changes)
    small = _large(large, "8.5GiB")
    assert small.choice is not None
    assert {"load_in_8bit", "load_in_4bit"} & set(small.choice.changes)
    for plan, size in ((less, 13), (small, 8.5)):
        assert [one.fits for one in plan.choices] == [False] * (len(plan.choices) - 1) + [True]
        assert [one.time for one in plan.choices] == sorted(one.time for one in plan.choices)
        assert all(one.fits == (one.peak <= size * 2**30) for one in plan.choices)


def test_where_nothing_fits_that_is_said(large: Path) -> None:
    none = _large(large, "1GiB")
    assert none.choice is None
    assert none.to_dict()["choice"] is None
    assert "nothing looked at fits" in str(none)


@given(st.integers(1, 10**15))
def test_memory_in_bytes_is_what_it_says(size: int) -> None:
    assert parse_memory(size) == parse_memory(str(size)) == size


def test_memory_is_read_in_the_units_that_people_write() -> None:
    assert parse_memory("80GB") == parse_memory("80 gb") == parse_memory("80G") == 80 * 10**9
    assert parse_memory("24GiB") == 24 * 2**30
    assert parse_memory("1.5TB") == 1_500_000_000_000
    for wrong in ("", "much", "80 houses", "-1GB", "0GB"):
        with pytest.raises(UsageError, match="not a size of memory"):
            parse_memory(wrong)


def test_a_base_that_is_not_to_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'no/such-model' is not to be had"):
        plan_training(PolyglotLoRA("no/such-model"), rows(), KULLM)


def test_a_plan_changes_no_training_that_follows(tiny: Path, tmp_path: Path) -> None:
    before = trainer(tiny).train(rows(), KULLM, tmp_path / "before").card
    plan_training(trainer(tiny), rows(), KULLM)
    after = trainer(tiny).train(rows(), KULLM, tmp_path / "after").card
    assert before["last_loss"] == after["last_loss"]


def test_the_command_prints_the_plan_and_writes_it(tiny: Path, tmp_path: Path, capsys: Any) -> None:
    save(rows(), tmp_path / "rows.jsonl")
    print_plan(tmp_path / "rows.jsonl", trainer(tiny), KULLM, memory="64GiB", rate=50, report=tmp_path / "plan.json")
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert out.startswith("rows ")
    assert "64.00 GiB (as stated)" in out
    assert written["rows"] == 12
    assert written["choice"]["fits"]
    assert f"{written['tokens']:,} an epoch" in out


CHILD = """
import json, sys
from pathlib import Path
from kullm.rows import dataset
from kullm.templates import KULLM
from kullm.trainers import PolyglotLoRA
from kullm.trainers.plan import plan_training

said = json.load(open(sys.argv[1], encoding="utf-8"))
rows, settings = dataset(said["rows"], said["columns"]), PolyglotLoRA(**said["settings"])
if sys.argv[2] == "plan":
    print(plan_training(settings, rows, KULLM).peak)
else:
    settings.train(rows, KULLM, sys.argv[2])
    # Not getrusage: its maximum begins with that of the process that started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024)
"""


def _model(kind: str, folder: Path, tiny: Path) -> Path:
    """A model with random weights, of about 30 M, with a vocabulary of 30,080."""
    if kind == "tiny":
        return tiny
    import torch
    import transformers

    wide: dict[str, Any] = {
        "vocab_size": 30080, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6,
        "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    special: dict[str, dict[str, Any]] = {
        "GPTNeoX": {"intermediate_size": 1536},
        "Llama": {"intermediate_size": 1024, "num_key_value_heads": 2},
        "Gemma3": {"intermediate_size": 1024, "num_key_value_heads": 1, "head_dim": 64, "sliding_window": 256},
    }
    config = getattr(transformers, f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config")
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForCausalLM")(config(**wide, **special[kind])).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc for the peak")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("tiny", {}),
        ("GPTNeoX", {}),
        ("GPTNeoX", {"gradient_checkpointing": True}),
        ("GPTNeoX", {"packing": False}),
        ("Llama", {}),
        ("Llama", {"lora": None}),
        ("Gemma3", {}),
    ],
    ids=str,
)
def test_the_peak_is_within_a_tenth_of_the_measured_one(
    kind: str, changes: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    settings = {"base": str(_model(kind, tmp_path / "model", tiny)), "dtype": "float32", "epochs": 1, "batch": 24}
    said = {"rows": rows(48, 12).to_list(), "columns": COLUMNS, "settings": settings | changes}
    (tmp_path / "said.json").write_text(json.dumps(said), encoding="utf-8")
    planned, measured = (
        int(
            subprocess.run(
                [sys.executable, "-c", CHILD, str(tmp_path / "said.json"), what],
                check=True, capture_output=True, text=True,
            ).stdout
        )
        for what in ("plan", str(tmp_path / "out"))
    )  # fmt: skip
    print(f"{kind} {changes}: planned {planned / MIB:.0f} MiB, measured {measured / MIB:.0f} MiB")
    assert abs(planned / measured - 1) <= 0.10
