"""A run file: what it may say, and that a run does what it says, once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

import kullm
from kullm import paper
from kullm.errors import InputError, UsageError
from kullm.recipe import read_recipe
from kullm.river import run
from kullm.trainers import LoRA, PolyglotLoRA

DEMO = Path(kullm.__path__[0]) / "demo"
STAGES = ("load", "translate", "keep", "train", "answer", "judge")
MADE = (
    "english.jsonl", "korean.jsonl", "kept.jsonl", "questions.jsonl", "model/kullm.json",
    "model/adapter_model.safetensors", "answers.jsonl", "scores.jsonl",
)  # fmt: skip

Said: TypeAlias = Callable[..., tuple[dict[str, str], str]]


def small(tiny: Path) -> dict[str, Any]:
    """A run of seconds: eight rows and three questions of the demo, recorded translations, the tiny model."""
    return {
        "name": "small",
        "rows": {"load": ["rows.json"], "licence": "Apache-2.0"},
        "questions": {"load": ["questions.jsonl"]},
        "translate": {
            "translator": "deepl",
            "without_key": {"recorded": ["pairs.jsonl", str(DEMO / "questions.ko.tmx")]},
        },
        "keep": ["langid", {"min-length": 10}],
        "train": {"base": str(tiny), "batch": 4, "epochs": 1, "max_tokens": 512, "pack_tokens": 512}
        | {"lora": {"rank": 4}},
        "answer": {"beams": 1, "max_new_tokens": 8},
        "judge": {"judge": "gpt-4", "without_key": "reference"},
        "report": {"title": "A small run"},
    }


@pytest.fixture
def recipe(tiny: Path, tmp_path: Path) -> Path:
    """The small run file, in a folder with the files that it names."""
    home = tmp_path / "project"
    home.mkdir()
    rows = json.loads((DEMO / "alpaca.json").read_text(encoding="utf-8"))[:8]
    (home / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    shutil.copy(DEMO / "alpaca.ko.jsonl", home / "pairs.jsonl")
    lines = (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (home / "questions.jsonl").write_text("".join(lines[:3]), encoding="utf-8")
    return write(home / "recipe.yaml", small(tiny))


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture
def carried_out(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Carries the run file out in the folder `out`: what was said of each stage ("done" or "done before"), and all."""

    def carry_out(*overrides: str) -> tuple[dict[str, str], str]:
        capsys.readouterr()
        run(recipe, tmp_path / "out", overrides)
        said = capsys.readouterr().err
        return {name: "done before" if f"] {name}: done before" in said else "done" for name in STAGES}, said

    return carry_out


def made(out: Path) -> dict[str, tuple[int, bytes]]:
    return {name: ((out / name).stat().st_mtime_ns, (out / name).read_bytes()) for name in MADE}


def only(*names: str) -> dict[str, str]:
    """Only these stages were done; the others were done before."""
    return {name: "done" if name in names else "done before" for name in STAGES}


# Reading a run file


def test_the_demo_is_a_run_file_with_the_papers_settings() -> None:
    recipe = read_recipe(DEMO / "recipe.yaml")
    assert recipe.answer.beams == paper.DECODING["beams"]
    assert recipe.answer.repetition_penalty == paper.DECODING["repetition_penalty"]
    assert recipe.translate.translator == "deepl"
    assert recipe.judge.judge == "gpt-4"
    trainer = PolyglotLoRA(recipe.train.base, **(recipe.train.model_extra or {}))
    for name in ("lora", "learning_rate", "warmup", "clip"):
        assert getattr(trainer, name) == getattr(paper.trainer(), name)
    for file in (*recipe.rows.load, *recipe.questions.load):
        assert (DEMO / file).is_file()


def test_the_papers_settings_on_one_page() -> None:
    """Sections 3.1 and 4.1 of the paper."""
    trainer = paper.trainer()
    assert (trainer.lora, trainer.learning_rate, trainer.warmup) == (LoRA(rank=16, alpha=32), 3e-4, 0.05)
    assert (trainer.batch, trainer.epochs) == (256, 5)
    assert paper.DECODING == {"beams": 4, "repetition_penalty": 1.4, "max_new_tokens": 400}
    assert paper.BASES == ("EleutherAI/polyglot-ko-5.8b", "EleutherAI/polyglot-ko-12.8b")
    assert [rule.identity for rule in paper.filters()] == [
        "langid/ko/instruction,output",
        "min-length/10/instruction,output",
    ]


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("epochs=3", ["name", "rows", "questions", "translate", "keep", "train", "answer", "judge", "report"]),
        ("answer.beam=3", ["models", "beams", "repetition_penalty", "max_new_tokens"]),
        ("judge.model=gpt-4o", ["judge", "without_key"]),
        ("train.epoch=3", ["base", "template", "epochs", "lora", "learning_rate"]),
        ("rows.path=x", ["load", "format", "licence"]),
    ],
)
def test_an_unknown_key_is_refused_with_the_keys_that_there_are(override: str, names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe(DEMO / "recipe.yaml", [override])
    message = str(caught.value)
    assert override.partition("=")[0] in message
    assert "recipe.yaml" in message
    known = message.partition("There are: ")[2]
    assert not [name for name in names if name not in known]


@pytest.mark.parametrize(
    ("override", "where"),
    [("answer.beams=many", "answer.beams"), ("name=../up", "name"), ("rows.load=[]", "rows.load")],
)
def test_a_wrong_value_is_refused_by_its_place(override: str, where: str) -> None:
    with pytest.raises(InputError, match=where):
        read_recipe(DEMO / "recipe.yaml", [override])


def test_a_trainers_setting_of_the_wrong_kind_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="epochs"):
        read_recipe(DEMO / "recipe.yaml", ["train.epochs=many"])


@pytest.mark.parametrize("override", ["train.epochs", "name.first=x"])
def test_what_is_no_override_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        read_recipe(DEMO / "recipe.yaml", [override])


def test_overrides_are_put_in() -> None:
    recipe = read_recipe(
        DEMO / "recipe.yaml", ["train.epochs=5", "train.base=some/model", "keep=[langid]", "report.title=A=B"]
    )
    assert recipe.train.model_extra is not None
    assert recipe.train.model_extra["epochs"] == 5
    assert (recipe.train.base, recipe.keep, recipe.report.title) == ("some/model", ["langid"], "A=B")
    assert recipe.train.model_extra["lora"]["rank"] == 16


@pytest.mark.parametrize("content", [b"name: [", b"- a\n- b\n", b"", b"\xff\xfe"])
def test_what_is_no_run_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        read_recipe(path)
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        read_recipe(tmp_path / "nowhere.yaml")


# Carrying it out


@pytest.mark.slow
def test_a_run_leaves_its_report_and_a_second_one_does_no_work(carried_out: Said, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stages, said = carried_out()
    assert stages == dict.fromkeys(STAGES, "done")
    assert "DEEPL_AUTH_KEY is not set. So this run uses: recorded." in said
    assert "OPENAI_API_KEY is not set. So this run uses: reference." in said
    content = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert list(content["cells"]) == ["base", "tuned"]
    assert set(content["criteria"]) == {"chrF", "in_language", "ended", "no_loops"}
    assert content["cells"]["tuned"]["chrF"]["n"] == 3
    for name in ("report.md", "report.html"):
        assert "A small run" in (out / name).read_text(encoding="utf-8")
    korean = kullm.load(out / "korean.jsonl")
    assert len(korean) == 8
    assert korean[0]["instruction"].startswith("낮에 하늘이")
    first = made(out)
    assert carried_out()[0] == only()
    assert made(out) == first


@pytest.mark.slow
def test_another_decoding_redoes_the_answers_and_what_follows(carried_out: Said, tmp_path: Path) -> None:
    carried_out()
    before = made(tmp_path / "out")
    assert carried_out("answer.max_new_tokens=6")[0] == only("answer", "judge")
    after = made(tmp_path / "out")
    assert {name for name in MADE if before[name][1] != after[name][1]} == {"answers.jsonl", "scores.jsonl"}


@pytest.mark.slow
def test_a_file_that_was_deleted_is_made_again_and_nothing_else(carried_out: Said, tmp_path: Path) -> None:
    carried_out()
    before = made(tmp_path / "out")
    (tmp_path / "out" / "kept.jsonl").unlink()
    assert carried_out()[0] == only("keep")
    after = made(tmp_path / "out")
    assert {name: content for name, (_, content) in after.items()} == {n: content for n, (_, content) in before.items()}
    assert after["model/kullm.json"] == before["model/kullm.json"]


@pytest.mark.slow
def test_another_training_is_done_and_the_first_model_kept_aside(carried_out: Said, tmp_path: Path) -> None:
    """The run file itself says: change a setting on the command line."""
    out = tmp_path / "out"
    carried_out()
    first = (out / "model" / "adapter_model.safetensors").read_bytes()
    stages, said = carried_out("train.epochs=2")
    assert stages == only("train", "answer", "judge")
    assert json.loads((out / "model" / "kullm.json").read_text(encoding="utf-8"))["settings"]["epochs"] == 2
    (aside,) = out.glob("model-*")
    assert (aside / "adapter_model.safetensors").read_bytes() == first
    assert str(aside) in said


@pytest.mark.slow
def test_other_rows_are_trained_on_without_a_hand(carried_out: Said, tmp_path: Path) -> None:
    carried_out()
    (tmp_path / "project" / "rows.json").write_text(
        json.dumps(json.loads((DEMO / "alpaca.json").read_text(encoding="utf-8"))[:6]), encoding="utf-8"
    )
    assert carried_out()[0] == only("load", "translate", "keep", "train", "answer", "judge")
    assert len(kullm.load(tmp_path / "out" / "kept.jsonl")) == 6


@pytest.mark.slow
def test_another_base_is_asked_anew(carried_out: Said, tiny: Path, tmp_path: Path) -> None:
    """The answers of "base" are those of the base model that the run file names now."""
    import torch
    from transformers import AutoModelForCausalLM

    other = tmp_path / "other-base"
    shutil.copytree(tiny, other)
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_()
    model.save_pretrained(other)
    carried_out()
    answers = kullm.load_answers(tmp_path / "out" / "answers.jsonl")
    shutil.rmtree(tmp_path / "out" / "model")
    carried_out(f"train.base={other}")
    again = kullm.load_answers(tmp_path / "out" / "answers.jsonl")
    assert answers[0]["model"] == again[0]["model"] == "base"
    assert answers["answer"][:3] != again["answer"][:3]


@pytest.mark.slow
def test_a_corrected_translation_reaches_the_next_run(carried_out: Said, recipe: Path, tmp_path: Path) -> None:
    overrides = ("answer.models=[base]", "answer.max_new_tokens=1")
    carried_out(*overrides)
    pairs = recipe.parent / "pairs.jsonl"
    text = pairs.read_text(encoding="utf-8")
    assert "낮에 하늘이 파랗게" in text
    pairs.write_text(text.replace("낮에 하늘이 파랗게", "낮 하늘이 파랗게"), encoding="utf-8")
    shutil.rmtree(tmp_path / "out" / "model")
    carried_out(*overrides)
    assert kullm.load(tmp_path / "out" / "korean.jsonl")[0]["instruction"].startswith("낮 하늘이 파랗게")


@pytest.mark.slow
def test_a_folder_beside_the_run_file_is_no_language(recipe: Path, carried_out: Said, tiny: Path) -> None:
    """`langid: ko` is a language, also where a folder "ko" stands beside the run file."""
    (recipe.parent / "ko").mkdir()
    write(recipe, small(tiny) | {"keep": [{"langid": "ko"}]})
    carried_out()


def test_what_is_rejected_before_translation_is_never_asked(recipe: Path, tiny: Path, tmp_path: Path) -> None:
    """The recorded translator raises for a text that it does not know, so each of these would end the run."""
    rows = json.loads((recipe.parent / "rows.json").read_text(encoding="utf-8"))
    rows[0]["input"] = "<noinput>"
    refusal = {
        "instruction": "Which tea do you like?",
        "input": "",
        "output": "As an AI language model, I drink no tea.",
    }
    (recipe.parent / "rows.json").write_text(json.dumps([*rows, refusal, rows[0]]), encoding="utf-8")
    out, base = tmp_path / "out", "train.base=nobody/no-such-model"
    for overrides in ([], ["rows.clean=no-input"], ["rows.keep=[refusals]"]):
        with pytest.raises(InputError, match=r"noinput|Which tea|As an AI"):
            run(recipe, out, [*overrides, base])
    rules = ["rows.clean=no-input", "rows.keep=[refusals, exact-duplicates]", "keep=[recommended]", base]
    with pytest.raises(InputError, match="no-such-model"):
        run(recipe, out, rules)
    assert len(kullm.load(out / "kept.jsonl")) == len(rows) == 8
    unwanted = [json.loads(line) for line in (out / "english.unwanted.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["id"]: row["rejected_by"].partition("/")[0] for row in unwanted} == {
        "rows-8": "refusals",
        "rows-9": "exact-duplicates",
    }
    for name, read, kept in (("english.funnel", 10, 8), ("funnel", 8, 8)):
        funnel = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        assert (funnel["read"], funnel["kept"]) == (read, kept)
        assert f"{read} rows read, {kept} kept" in (out / f"{name}.md").read_text(encoding="utf-8")


def test_without_key_and_without_another_plugin_the_variable_is_named(recipe: Path, tiny: Path, tmp_path: Path) -> None:
    write(recipe, small(tiny) | {"translate": {"translator": "deepl"}})
    with pytest.raises(kullm.errors.MissingKey, match="DEEPL_AUTH_KEY"):
        run(recipe, tmp_path / "out")


def test_a_text_without_a_recorded_translation_is_named(recipe: Path, tmp_path: Path) -> None:
    rows = [{"instruction": "Say something that nobody recorded.", "input": "", "output": "Something unheard of."}]
    (recipe.parent / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(InputError, match="Say something that nobody recorded"):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "korean.jsonl").exists()


def test_a_base_that_is_not_to_be_had_names_the_option(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)nobody/no-such-model.*--base PATH"):
        run(recipe, tmp_path / "out", ["train.base=nobody/no-such-model"])
    assert (tmp_path / "out" / "kept.jsonl").exists()
