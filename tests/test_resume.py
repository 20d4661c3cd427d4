"""A run that was stopped goes on to the bits of an unbroken one, from a checkpoint that is whole; another is refused.

The same for longer: python -m tests.chaos train --settings --kills 200
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos_train import MORE_POINTS, POINTS, SETTINGS, SHORT, Runs, Stop, digest, kills, matrix
from kullm.errors import OtherRun, StorageFailed, UsageError
from kullm.models.hashes import base_hash
from kullm.templates import CHAT, KULLM, KULLM_PAPER
from kullm.trainers import PolyglotLoRA
from kullm.trainers.checkpoints import (
    MANIFEST,
    drop_before,
    drop_behind,
    has_stopped,
    is_finished,
    newest_whole,
    number,
    seal,
)
from samples import rows

ALL = (*POINTS, *MORE_POINTS)
PATIENT = "held out, patience"


@pytest.fixture(scope="module")
def runs(models: Path) -> Runs:
    return Runs(models)


@pytest.fixture
def stopped(begun: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(begun, tmp_path / "out"))


def trainer(models: Path, **changes: Any) -> PolyglotLoRA:
    changed = SHORT | changes
    return PolyglotLoRA(str(models / changed.pop("base", "neox")), **changed)


# The same bits


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_stopped_run_ends_with_the_bits_of_an_unbroken_one(runs: Runs, tmp_path: Path, name: str) -> None:
    place = list(SETTINGS).index(name)
    point = {PATIENT: "card", "linear, decay, Adafactor": "manifest"}.get(name, ALL[place % len(ALL)])
    ((_, found),) = matrix(runs, tmp_path, [name], [point])
    if point in found:  # some runs never delete a checkpoint
        last, same = found[point]
        assert last, "it went on from its beginning: the test shows nothing"
        assert same


@pytest.mark.slow
def test_kills_at_random_moments_leave_a_whole_checkpoint(tmp_path: Path) -> None:
    tally = kills(tmp_path, 10, side_by_side=1)
    assert tally.broken == []
    assert tally.kills == tally.resumable >= 10
    assert tally.same == tally.jobs
    assert tally.saving, "no kill came while a checkpoint was written: the test shows nothing"


@pytest.mark.slow
def test_patience_is_not_forgotten_and_its_end_is_the_end(runs: Runs, tmp_path: Path) -> None:
    """Killed when it had stopped early, the run trains no further; the weights kept are the best, elsewhere too."""
    setting = SETTINGS[PATIENT] | {"lora": None, "learning_rate": 0.03}
    whole, steps = runs.unbroken(tmp_path, setting)
    card = json.loads((tmp_path / "unbroken" / "kullm.json").read_text(encoding="utf-8"))
    history = (tmp_path / "unbroken" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [entry["eval_loss"] for entry in map(json.loads, history) if "eval_loss" in entry]
    assert steps < 18, "it never stopped early: the test shows nothing"
    assert min(losses) < losses[-2]
    assert card["held_out_loss"] == pytest.approx(min(losses), rel=1e-6)
    out = tmp_path / "out"
    assert runs.code(out, setting, Stop("weights", 1 + -(-steps // 2))) == -9
    last = newest_whole(out / "checkpoints")
    assert last is not None
    assert has_stopped(last, 2)
    out.rename(tmp_path / "moved")
    assert runs.code(tmp_path / "moved", setting) == 0
    assert digest(tmp_path / "moved") == whole


@pytest.mark.slow
def test_save_steps_may_change(runs: Runs, stopped: Path, tmp_path: Path) -> None:
    whole, _ = runs.unbroken(tmp_path, {})
    assert runs.code(stopped, {"save_steps": 1}, Stop("step", 2)) == -9
    assert newest_whole(stopped / "checkpoints") == stopped / "checkpoints" / "checkpoint-5"
    assert runs.code(stopped, {"save_steps": 4}) == 0
    assert digest(stopped) == whole


@pytest.mark.slow
def test_how_often_the_held_out_rows_are_looked_at_changes_no_weight(runs: Runs, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    made = []
    for every in (1, 4):
        out = tmp_path / str(every)
        assert runs.code(out, SETTINGS["held out, dropout"] | {"save_steps": every}) == 0
        made.append(load_file(out / "adapter_model.safetensors"))
    assert all((made[0][name] == made[1][name]).all() for name in made[0])


@pytest.mark.slow
def test_weights_that_are_loaded_otherwise_than_they_were_saved_are_an_error(models: Path, stopped: Path) -> None:
    last = newest_whole(stopped / "checkpoints")
    assert last is not None
    sums = json.loads((last / "trained.json").read_text(encoding="utf-8"))
    name = next(name for name in sums if "lora_B" in name)
    (last / "trained.json").write_text(json.dumps(sums | {name: [1.0, 1.0]}), encoding="utf-8")
    (last / MANIFEST).unlink()
    seal(last)
    with pytest.raises(Exception, match=r"lora_B.* is not what .*checkpoint-4 holds"):
        trainer(models).train(rows(), KULLM, stopped)


# Another run is refused by name


def changed_row(value: str) -> Callable[[], Any]:
    return lambda: rows().map(lambda row: row | ({"output": value} if row["id"] == "row-3" else {}))


@pytest.mark.parametrize(
    ("changes", "data", "template", "named"),
    [
        ({"seed": 7}, rows, KULLM, "settings.seed (42 there, 7 here)"),
        ({"batch": 8}, rows, KULLM, "settings.batch (4 there, 8 here)"),
        ({"epochs": 3}, rows, KULLM, "settings.epochs (2 there, 3 here)"),
        ({"lora": {"rank": 8, "alpha": 8}}, rows, KULLM, "settings.lora.rank (4 there, 8 here)"),
        ({"lora": None}, rows, KULLM, "settings.lora"),
        ({"dtype": "bfloat16"}, rows, KULLM, 'settings.dtype ("float32" there, "bfloat16" here)'),
        ({"arguments": {"optim": "adafactor"}}, rows, KULLM, "settings.arguments"),
        ({"base": "llama"}, rows, KULLM, 'base_hash ("'),
        ({}, rows, KULLM_PAPER, "template."),
        ({}, lambda: rows(11), KULLM, 'data ("'),
        ({}, changed_row("다른 답입니다."), KULLM, 'data ("'),
        ({}, lambda: rows().select(list(reversed(range(12)))), KULLM, 'data ("'),
    ],
    ids=[
        "seed", "batch", "epochs", "rank", "no adapter", "dtype", "optimiser", "base", "template", "a row less",
        "another answer", "another order",
    ],
)  # fmt: skip
def test_another_run_is_refused_by_name(
    models: Path, stopped: Path, changes: dict[str, Any], data: Callable[[], Any], template: Any, named: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    with pytest.raises(OtherRun) as caught:
        trainer(models, **changes).train(data(), template, stopped)
    assert named in str(caught.value)
    assert str(caught.value).count("there,") <= 2, "it names what does not differ"
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def test_another_number_of_processes_is_refused_by_name(
    models: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OtherRun, match=r"processes \(1 there, 2 here\)"):
        trainer(models).train(rows(), KULLM, stopped)


def test_another_kind_of_distribution_is_refused_by_name(
    models: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((stopped / "run.json").read_text(encoding="utf-8")) | {"processes": 2, "distributed": "ddp"}
    (stopped / "run.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(OtherRun, match=r'differs in: distributed \("ddp" there, "fsdp" here\)'):
        trainer(models).train(rows(), KULLM, stopped)


def test_a_record_that_goes_while_it_is_looked_at_is_none(tmp_path: Path) -> None:
    """Another process of a finished run deletes it."""
    record = tmp_path / "run.json"
    record.write_text('{"seed": 1}', encoding="utf-8")
    assert not is_finished(tmp_path, {"seed": 1})

    def delete(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and str(given[0]) == str(record):
            record.unlink(missing_ok=True)

    sys.addaudithook(delete)  # it is called before a file is opened
    assert not is_finished(tmp_path, {"seed": 2})
    assert not record.exists()


@pytest.mark.slow
def test_other_columns_and_what_changes_no_weight_are_the_same_run(
    runs: Runs, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs.unbroken(tmp_path, {})
    out = tmp_path / "unbroken"
    other = rows().select_columns(["output", "history", "input", "id", "instruction"]).add_column("note", ["x"] * 12)
    before = (out / "adapter_model.safetensors").stat().st_mtime_ns
    neutral = {"report_to": "none", "logging_steps": 5, "save_total_limit": 1}
    with caplog.at_level("INFO", logger="kullm"):
        trainer(models, save_steps=5, arguments=neutral).train(other, KULLM, out)
    assert "holds this model already" in caplog.text
    assert (out / "adapter_model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_in_the_tokenizers_own_template_is_known_again(models: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(models / "neox", tmp_path / "base"))
    said = "{% for one in messages %}<{{ one['role'] }}>{{ one['content'] }}{{ eos_token }}{% endfor %}"
    (base / "chat_template.jinja").write_text(said + "{% if add_generation_prompt %}<assistant>{% endif %}")
    out = tmp_path / "out"
    made = trainer(models, base=base).train(rows(), CHAT, out).path / "adapter_model.safetensors"
    before = made.stat().st_mtime_ns
    trainer(models, base=base).train(rows(), CHAT, out)
    assert made.stat().st_mtime_ns == before
    (base / "chat_template.jinja").write_text(said + "{% if add_generation_prompt %}<assistant>{% endif %} ")
    with pytest.raises(OtherRun, match=r"base_hash .*template\.text"):
        trainer(models, base=base).train(rows(), CHAT, out)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the clock of this process to a zone."""

    def set_(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_
    monkeypatch.undo()
    time.tzset()


@pytest.mark.slow
def test_a_template_that_writes_the_time_does_not_go_on_at_another_and_a_finished_model_stands(
    models: Path, tmp_path: Path, zone: Callable[[str], None]
) -> None:
    base = Path(shutil.copytree(models / "neox", tmp_path / "base"))
    said = "{% for one in messages %}<{{ one['role'] }}>{{ one['content'] }}{{ eos_token }}{% endfor %}"
    asked = "{% if add_generation_prompt %}<assistant>{% endif %}"
    (base / "chat_template.jinja").write_text("{{ strftime_now('%H') }}" + said + asked)
    zone("UTC")
    out, begun = tmp_path / "out", tmp_path / "begun"
    made = trainer(models, base=base).train(rows(), CHAT, out).path / "adapter_model.safetensors"
    before = made.stat().st_mtime_ns
    begun.mkdir()
    shutil.copy(out / "kullm.json", begun / "run.json")
    zone("UTC-9")
    with pytest.raises(OtherRun, match="differs in: token ids of the rows, which a chat template that writes"):
        trainer(models, base=base).train(rows(), CHAT, begun)
    trainer(models, base=base).train(rows(), CHAT, out)
    assert made.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_begun_run_needs_the_versions_that_it_was_begun_with_and_a_finished_one_does_not(
    runs: Runs, models: Path, stopped: Path, tmp_path: Path
) -> None:
    def age(file: Path) -> None:
        record = json.loads(file.read_text(encoding="utf-8"))
        record["versions"] |= {"torch": "1.0", "tokenizers": "0.1"}
        file.write_text(json.dumps(record), encoding="utf-8")

    age(stopped / "run.json")
    with pytest.raises(OtherRun, match=r'versions.torch \("1.0" there.*versions.tokenizers \("0.1" there'):
        trainer(models).train(rows(), KULLM, stopped)
    runs.unbroken(tmp_path, {})
    age(tmp_path / "unbroken" / "kullm.json")
    trainer(models).train(rows(), KULLM, tmp_path / "unbroken")


@pytest.mark.slow
def test_a_run_that_goes_on_on_another_machine_is_refused_by_name(models: Path, stopped: Path) -> None:
    record = json.loads((stopped / "run.json").read_text(encoding="utf-8"))
    record["machine"]["device"] = "cuda"
    (stopped / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(OtherRun, match=r'machine.device \("cuda" there, "cpu" here\)'):
        trainer(models).train(rows(), KULLM, stopped)


def test_a_base_that_was_changed_in_place_is_another_run(models: Path, stopped: Path, tmp_path: Path) -> None:
    weights = models / "neox" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(OtherRun, match=r"base_hash \("):
            trainer(models).train(rows(), KULLM, stopped)
    finally:
        weights.write_bytes(kept)


def test_a_base_is_known_by_its_settings_its_tokenizer_and_its_weights(tmp_path: Path) -> None:
    large = 40 * 2**20
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(large)
    first = base_hash(str(tmp_path))
    (tmp_path / "README.md").write_text("a note")
    (tmp_path / "generation_config.json").write_text("{}")
    (tmp_path / "kullm.json").write_text("{}")  # the card of a model of which all weights were trained
    assert base_hash(str(tmp_path)) == first
    seen = {first["base_hash"]}
    for place in (0, large // 3, large - 64, large):
        with (tmp_path / "model.safetensors").open("r+b") as file:
            file.seek(place)
            file.write(bytes(range(1, 256)) * 700)  # more than lies between two pieces
        seen.add(base_hash(str(tmp_path))["base_hash"])
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text('{"a": 1}')
        seen.add(base_hash(str(tmp_path))["base_hash"])
    assert len(seen) == 7


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    code = "import sys; from kullm.models.hashes import base_hash; print(base_hash('some/model'))"

    def found() -> str:
        env = os.environ | {"HF_HUB_CACHE": str(tmp_path)}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    assert found() == "{}\n"
    folder = tmp_path / "models--some--model"
    (folder / "refs").mkdir(parents=True)
    for commit in ("a" * 40, "b" * 40):
        (folder / "refs" / "main").write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
        assert found() == f"{{'base_hash': '{commit[:16]}'}}\n"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("seed", "Set seed"), ("max_steps", "Set epochs"), ("output_dir", "Set out"), ("learning_rate", "Set learning"),
        ("max_grad_norm", "Set clip"), ("activation_checkpointing", "Set gradient_checkpointing"),
        ("eval_strategy", "Set held_out and save_steps"), ("metric_for_best_model", "Set patience"),
        ("save_only_model", "Leave it out"), ("ignore_data_skip", "Leave it out"),
        ("label_smoothing_factor", "Leave it out"), ("dataloader_num_workers", "Leave it out"),
    ],
)  # fmt: skip
def test_arguments_that_would_undo_the_promise_or_do_nothing_are_refused(name: str, instead: str) -> None:
    with pytest.raises(UsageError, match=rf"arguments\.{name} would undo.*\n{instead}"):
        PolyglotLoRA(arguments={name: 1})


def test_an_argument_that_transformers_does_not_know_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    settings = PolyglotLoRA("nobody/no-such-model", arguments={"warmup_steps": 3, "warmup_ratio": 0.1})
    with pytest.raises(UsageError, match=r"arguments\.warmup_ratio is unknown .*\nThe nearest is warmup_steps\."):
        settings.train(rows(), KULLM, tmp_path / "out")


# Which checkpoint is whole


def checkpoint(folder: Path, step: int, best: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "part").mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(os.urandom(100))
    (path / "part" / "model.safetensors").write_bytes(os.urandom(100))
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    seal(path)
    return path


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: flip(path / "optimizer.pt"), "optimizer.pt is not what its manifest says"),
        (lambda path: flip(path / "part" / "model.safetensors"), "part/model.safetensors is not what"),
        (lambda path: (path / "optimizer.pt").write_bytes(b""), "optimizer.pt is not what"),
        (lambda path: (path / "optimizer.pt").unlink(), "optimizer.pt is not there"),
        (lambda path: (path / MANIFEST).unlink(), "manifest.json is not there"),
        (lambda path: (path / MANIFEST).write_text((path / MANIFEST).read_text()[:50]), "its manifest is torn"),
        (lambda path: (path / MANIFEST).write_text("[]"), "its manifest is torn"),
        (lambda path: (path / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin is not in its manifest"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over_and_named(
    tmp_path: Path, harm: Callable[[Path], object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (9, 10, 11):
        checkpoint(tmp_path, step)
    harm(tmp_path / "checkpoint-11")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-10"
    assert f"{tmp_path / 'checkpoint-11'} is passed over: {why}" in caplog.text


def test_a_note_in_a_checkpoint_does_no_harm(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    (path / ".DS_Store").write_bytes(b"x")
    assert newest_whole(tmp_path) == path


def test_a_checkpoint_whose_best_weights_are_gone_is_passed_over(tmp_path: Path) -> None:
    for step, best in ((2, 2), (4, 2), (6, 4)):
        checkpoint(tmp_path, step, best)
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-6"
    flip(tmp_path / "checkpoint-4" / "optimizer.pt")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-2"


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_torn(tmp_path: Path) -> None:
    """Another start may read it; to pass it over would be to delete it."""
    path = checkpoint(tmp_path, 4)
    (path / "optimizer.pt").unlink()
    (path / "optimizer.pt").symlink_to("optimizer.pt")  # a file that nobody can open
    with pytest.raises(StorageFailed, match=r"checkpoint-4 cannot be read"):
        newest_whole(tmp_path)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [8, 10]), (1, None, [10]), (1, 4, [4, 10]), (3, 2, [2, 6, 8, 10]), (None, None, [2, 4, 6, 8, 10])],
)
def test_old_checkpoints_go_but_for_the_newest_and_the_best(
    tmp_path: Path, keep: int | None, best: int | None, left: list[int]
) -> None:
    for step in (2, 4, 6, 8, 10):
        checkpoint(tmp_path, step)
    drop_before(tmp_path / "checkpoint-10", keep, best)
    assert sorted(map(number, tmp_path.glob("*"))) == left


def test_what_lies_behind_the_last_whole_one_goes_before_the_start(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        checkpoint(tmp_path, step)
    (tmp_path / "a note").write_text("mine")
    drop_behind(tmp_path, tmp_path / "checkpoint-4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a note", "checkpoint-2", "checkpoint-4"]


class Disk:
    """What a power cut leaves of a folder: the content and the names that were sent to the disk, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        sync = os.fsync

        def fsync(handle: int) -> None:
            sync(handle)
            os.dup(handle)  # so that no later file has this one's number
            path = Path(f"/proc/self/fd/{handle}").resolve()
            node = os.fstat(handle).st_ino
            if path.is_dir():
                self._names[node] = {one.name: one.stat().st_ino for one in path.iterdir()}
            else:
                self._files[node] = path.read_bytes()

        monkeypatch.setattr(os, "fsync", fsync)

    def cut(self, folder: Path, there: Path) -> Path:
        """The folder after a power cut, written down elsewhere."""
        there.mkdir(parents=True)
        self._lay(folder.stat().st_ino, there)
        return there

    def _lay(self, node: int, there: Path) -> None:
        for name, inner in self._names.get(node, {}).items():
            if inner in self._names:
                (there / name).mkdir()
                self._lay(inner, there / name)
            else:
                (there / name).write_bytes(self._files.get(inner, b""))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the names of open files are known on Linux alone")
def test_a_power_cut_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion may reach the disk at once: when it begins, the newer checkpoint must be there after a power cut."""
    disk = Disk(monkeypatch)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in range(1, 6):
        path = checkpoint(folder, step)
        left = disk.cut(folder, tmp_path / f"cut-{step}")
        assert newest_whole(left) == left / f"checkpoint-{step}"
        drop_before(path, 1, None)
