"""The notebooks run from their first cell to their last, as a newcomer runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import kullm

EXAMPLES = Path(__file__).parents[1] / "examples"
DEMO = Path(kullm.__path__[0]) / "demo"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def execute(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a notebook in `folder`; gives what its last code cell printed."""
    # The kernel's own files stay in the folder.
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(folder / ".jupyter"))
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(EXAMPLES / name, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    return "".join(output.text for output in last.outputs if output.get("name") == "stdout")


@pytest.mark.slow
def test_the_quickstart_ends_with_the_table_of_both_models(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KULLM_EXAMPLE_BASE", str(tiny))
    monkeypatch.setenv("KULLM_EXAMPLE_EPOCHS", "1")
    monkeypatch.setenv("KULLM_EXAMPLE_QUESTIONS", "3")
    table = execute("01_quickstart.ipynb", tmp_path, monkeypatch)
    for part in ("Before and after tuning", "base", "tuned", "chrF", "in_language", "ended", "no_loops"):
        assert part in table
    assert "tuned − base" in table
    page = (tmp_path / "runs" / "quickstart" / "report.html").read_text(encoding="utf-8")
    assert page.count("<summary>") == 3


@pytest.mark.slow
def test_a_translator_and_a_judge_of_ones_own_make_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = execute("02_your_own_translator_and_judge.ipynb", tmp_path, monkeypatch)
    lines = {line.split("│")[1].strip(): line for line in table.splitlines() if line.startswith("│")}
    assert "polite" in table
    assert "informative" in table
    assert "1.00" in lines["parrot"]  # says nothing new
    assert "1.00" in lines["by heart"]  # always polite
    assert "by heart − parrot" in lines


@pytest.mark.slow
def test_a_data_set_of_ones_own_is_translated_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = execute("03_translate_a_dataset.ipynb", tmp_path, monkeypatch)
    assert "143 answers,      0 characters billed: imported en>ko" in last
    folder = tmp_path / "runs" / "translation"
    kept = {row["id"]: row for row in load_rows(folder / "kept.jsonl")}
    assert "alpaca-0" not in kept  # flagged
    assert kept["mine-1"]["output"] == "{customer} 님, invoice_total을 내 주세요: https://pay.example/42"
    assert kept["mine-2"]["output"] == "7시 30분에 12번 승강장에서 출발합니다."  # the number was lost at first
    assert kept["mine-3"]["input"] == "He go to school every day."  # the task is about it
    for file in ("korean.html", "pairs.tmx"):
        assert "He go to school every day." in (folder / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_filters_are_compared_on_rows_of_which_we_know_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = execute("04_clean_and_filter.ipynb", tmp_path, monkeypatch)
    paper, recommended = last.split("recommended")
    assert re.findall(r"\d+ of \d+", paper) == ["1 of 8", "13 of 174"]
    assert "8 of 8" in recommended
    folder = tmp_path / "runs" / "filters"
    rejected = {row["id"]: row["rejected_by"].split("/")[0] for row in load_rows(folder / "rejected.jsonl")}
    assert rejected.pop("alpaca-48") == "pair-quality"  # the one that is put back
    assert rejected == {
        "same": "exact-duplicates",
        "particles": "near-duplicates",
        "english": "translated",
        "half": "translated",
        "refusal": "refusals",
        "refusal-loop": "refusals",
        "loop": "repetition",
        "leaked": "contamination",
    }
    mixture = load_rows(folder / "mixture.jsonl")
    assert len({row["id"] for row in mixture}) == len(mixture) == 81
    assert {row["licence"] for row in mixture} == {"Apache-2.0", "CC BY-SA 4.0"}


@pytest.mark.slow
def test_fine_tuning_is_seen_from_the_template_to_the_merged_model(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KULLM_EXAMPLE_BASE", str(tiny))
    monkeypatch.setenv("KULLM_EXAMPLE_EPOCHS", "1")
    monkeypatch.setenv("KULLM_EXAMPLE_QUESTIONS", "2")
    last = execute("05_fine_tune.ipynb", tmp_path, monkeypatch)
    assert "model.safetensors" in last
    assert "chat_template.jinja" in last
    assert "tuned − base" in last
    folder = tmp_path / "runs" / "fine-tune"
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    card = json.loads((folder / "model" / "kullm.json").read_text(encoding="utf-8"))
    assert card["held_out_loss"] < card["held_out_loss_before"]


def load_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_hold_no_output(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count is not None]
    assert notebook.cells[0].cell_type == "markdown"


def test_all_notebooks_are_there() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_quickstart.ipynb",
        "02_your_own_translator_and_judge.ipynb",
        "03_translate_a_dataset.ipynb",
        "04_clean_and_filter.ipynb",
        "05_fine_tune.ipynb",
    ]


def test_the_quickstart_has_the_settings_of_the_demo() -> None:
    from kullm.recipe import read_recipe

    recipe = read_recipe(DEMO / "recipe.yaml")
    questions = len((DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines())
    notebook: Any = nbformat.read(EXAMPLES / "01_quickstart.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    settings = recipe.train.model_extra or {}
    for part in (
        f'"KULLM_EXAMPLE_BASE", "{recipe.train.base}"',
        f'"KULLM_EXAMPLE_EPOCHS", "{settings["epochs"]}"',
        f'"KULLM_EXAMPLE_QUESTIONS", "{questions}"',
        *(f"{name}={settings[name]}" for name in ("batch", "save_steps")),
        f"max_new_tokens={recipe.answer.max_new_tokens}",
    ):
        assert part in code
