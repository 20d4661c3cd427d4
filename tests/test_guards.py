"""A training that goes wrong stops, says where, saves nothing broken and runs nothing foreign; Ctrl-C keeps all."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos_train import SHORT, Runs, digest
from kullm import progress
from kullm.errors import KullmError, StorageFailed
from kullm.templates import KULLM
from kullm.trainers import PolyglotLoRA
from kullm.trainers.checkpoints import MANIFEST, newest_whole, seal, storing
from samples import rows

PICKLES = (".bin", ".pt", ".pth", ".pkl")


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the run gives that nobody stops."""
    return Runs(models).unbroken(tmp_path_factory.mktemp("whole"), {})[0]


@pytest.fixture
def stopped(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "out"))


def train(models: Path, out: Path, **changes: Any) -> Any:
    return PolyglotLoRA(str(models / "neox"), **(SHORT | changes)).train(rows(), KULLM, out)


@contextmanager
def after_updates(count: int, act: Callable[[Any], None]) -> Iterator[None]:
    """Do something with the optimiser after that many updates."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seen = 0

    def hook(optimizer: Any, *_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            act(optimizer)

    handle = register_optimizer_step_post_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def first_weight(optimizer: Any) -> Any:
    return optimizer.param_groups[0]["params"][0]


# What is no number


@pytest.mark.slow
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_gradient_that_is_no_number_stops_its_step_and_names_the_rows_and_the_checkpoint(
    models: Path, tmp_path: Path, value: str
) -> None:
    def spoil(optimizer: Any) -> None:
        first_weight(optimizer).register_hook(lambda gradient: gradient * float(value))

    with after_updates(2, spoil), pytest.raises(KullmError) as caught:
        train(models, tmp_path / "out")
    said = str(caught.value)
    assert re.search(r"The gradient is (nan|inf) at step 3 of 6; the rows of this step: (row-\d+, ){3}row-\d+\.", said)
    assert f"The last whole checkpoint is {tmp_path / 'out' / 'checkpoints' / 'checkpoint-2'}." in said
    assert newest_whole(tmp_path / "out" / "checkpoints") == tmp_path / "out" / "checkpoints" / "checkpoint-2"
    assert not list((tmp_path / "out").glob("*.safetensors"))
    train(models, tmp_path / "out")  # what was wrong is gone: it goes on from there


@pytest.mark.slow
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_the_first_step_that_has_it(models: Path, tmp_path: Path, value: str) -> None:
    def spoil(optimizer: Any) -> None:
        first_weight(optimizer).data.fill_(float(value))

    with after_updates(1, spoil), pytest.raises(KullmError) as caught:
        train(models, tmp_path / "out", save_steps=4)
    assert re.search(r"The loss is nan at step 2 of 6; the rows of this step: row-", str(caught.value))
    assert "There is no checkpoint yet." in str(caught.value)
    assert not (tmp_path / "out" / "kullm.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("update", "save_steps"), [(4, 2), (6, 100)])
def test_weights_that_are_no_numbers_are_saved_neither_as_a_checkpoint_nor_as_the_result(
    models: Path, tmp_path: Path, update: int, save_steps: int
) -> None:
    def spoil(optimizer: Any) -> None:
        first_weight(optimizer).data[0, 0] = float("inf")

    out = tmp_path / "out"
    with after_updates(update, spoil), pytest.raises(KullmError, match=r"is no number after step \d; it is not saved"):
        train(models, out, save_steps=save_steps)
    there = sorted(path.name for path in (out / "checkpoints").glob("*"))
    assert there == (["checkpoint-2"] if save_steps == 2 else [])
    assert not list(out.glob("*.safetensors"))
    assert not (out / "kullm.json").exists()


# What did not learn


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 8}, None])
@pytest.mark.parametrize("learning_rate", [1e-30, 1e-14])
def test_weights_that_did_not_change_are_an_error(
    models: Path, tmp_path: Path, lora: dict[str, int] | None, learning_rate: float
) -> None:
    with pytest.raises(KullmError, match="Nothing was learnt: no weight changed in 6 steps"):
        train(models, tmp_path / "out", learning_rate=learning_rate, lora=lora)
    assert not (tmp_path / "out" / "kullm.json").exists()


@pytest.mark.slow
def test_a_small_learning_rate_is_no_error(models: Path, tmp_path: Path) -> None:
    assert train(models, tmp_path / "out", learning_rate=1e-8, epochs=1).card["steps"] == 3


# What runs foreign code, or would


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._file),)


def evil(path: Path, mark: Path) -> None:
    """A pickle that leaves a mark where it is loaded, as torch saves one."""
    import torch

    torch.save({"state": Evil(mark), "param_groups": []}, path)
    torch.load(path, weights_only=False)
    assert mark.exists(), "the pickle does no harm: the test shows nothing"
    mark.rmdir()


@pytest.mark.slow
def test_no_pickle_is_among_the_results_and_no_training_arguments_in_a_checkpoint(models: Path, stopped: Path) -> None:
    assert not list(stopped.rglob("training_args.bin"))
    assert list(stopped.rglob("adapter_model.safetensors"))
    train(models, stopped)
    assert not [path for path in stopped.rglob("*") if path.suffix in PICKLES]
    assert (stopped / "adapter_model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_training_arguments_that_somebody_lays_into_a_checkpoint_are_not_loaded(
    models: Path, stopped: Path, tmp_path: Path, plain: bool, whole: str
) -> None:
    mark = tmp_path / "mark"
    for path in stopped.glob("checkpoints/checkpoint-*"):
        if plain:
            (path / "training_args.bin").write_bytes(pickle.dumps(Evil(mark)))
        else:
            evil(path / "training_args.bin", mark)
            (path / MANIFEST).unlink()
            (path / "training_args.bin").rename(tmp_path / "kept")
            seal(path)
            (tmp_path / "kept").rename(path / "training_args.bin")
    train(models, stopped)
    assert not mark.exists()
    assert digest(stopped) == whole


@pytest.mark.slow
def test_an_optimiser_that_somebody_exchanged_is_passed_over(
    models: Path, stopped: Path, tmp_path: Path, whole: str, caplog: pytest.LogCaptureFixture
) -> None:
    evil(stopped / "checkpoints" / "checkpoint-4" / "optimizer.pt", tmp_path / "mark")
    train(models, stopped)
    assert "checkpoint-4 is passed over: optimizer.pt is not what its manifest says" in caplog.text
    assert not (tmp_path / "mark").exists()
    assert digest(stopped) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_is_not_executed_even_where_the_manifest_was_written_anew(
    models: Path, stopped: Path, tmp_path: Path, name: str
) -> None:
    last = stopped / "checkpoints" / "checkpoint-4"
    evil(last / name, tmp_path / "mark")
    seal(last)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        train(models, stopped)
    assert not (tmp_path / "mark").exists()


# A disk that takes no more


def train_limited(models: Path, out: Path, most: int, said: Path) -> None:
    """Train where no file may be larger than `most` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        train(models, out)
    except KullmError as error:
        said.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        sys.exit(error.exit_code)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", "adapter_model.safetensors"])
def test_a_full_disk_is_one_error_and_leaves_the_last_whole_checkpoint(
    models: Path, stopped: Path, tmp_path: Path, whole: str, name: str
) -> None:
    import multiprocessing

    last = stopped / "checkpoints" / "checkpoint-4"
    most = (last / name).stat().st_size - 1
    said = tmp_path / "said"
    child: Any = multiprocessing.get_context("forkserver").Process(
        target=train_limited, args=(models, stopped, most, said)
    )
    child.start()
    child.join(120)
    assert child.exitcode == StorageFailed.exit_code
    words = said.read_text(encoding="utf-8")
    assert words.startswith("StorageFailed: ")
    assert "checkpoint-6 cannot be written: " in words
    assert f"The last whole checkpoint is {last}.\nMake room on the disk, and give the same command again." in words
    assert newest_whole(stopped / "checkpoints") == last
    train(models, stopped)
    assert digest(stopped) == whole


# A memory that does not suffice


def ask_for_too_much(*_: Any, **__: Any) -> None:
    import torch

    torch.empty(2**57, dtype=torch.uint8)


@pytest.mark.slow
def test_a_lack_of_memory_is_one_error_that_says_what_to_do(models: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "out"
    with after_updates(3, ask_for_too_much), pytest.raises(KullmError) as caught:
        train(models, out)
    said = str(caught.value)
    assert re.search(r"^The memory does not suffice for step 3 of 6: a pass has up to \d+ tokens\.\n", said)
    assert f"The last whole checkpoint is {out / 'checkpoints' / 'checkpoint-2'}." in said
    assert re.search(r"pack_tokens.*kullm train --plan", said)
    train(models, out)
    assert digest(out) == whole


@pytest.mark.slow
def test_a_lack_of_memory_before_the_start_names_the_longest_row(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", ask_for_too_much)
    with pytest.raises(KullmError, match=r"for the longest row alone, row-\d+, of \d+ tokens\.\n.*max_tokens"):
        train(models, tmp_path / "out")


def test_a_lack_of_memory_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="allocate memory"), storing(tmp_path):
        ask_for_too_much()


# Interrupts


def written(file: Path, count: int) -> Path:
    with file.open("w", encoding="utf-8") as lines:
        for row in rows(count):
            lines.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
    return file


def command(models: Path, folder: Path, *settings: str, count: int) -> list[str]:
    data = written(folder / "rows.jsonl", count)
    line = [str(Path(sys.executable).with_name("kullm")), "train", str(data), "-o", str(folder / "out")]
    return [*line, "--base", str(models / "neox"), "dtype=float32", "learning_rate=0.01", "lora.rank=4", *settings]


def until(child: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not reached():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_saves_and_the_same_command_goes_on(models: Path, tmp_path: Path) -> None:
    line = command(models, tmp_path, "epochs=40", "batch=4", "save_steps=1000", "lora.dropout=0.1", count=12)
    assert subprocess.run(line, capture_output=True, timeout=180).returncode == 0
    whole = digest(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "whole")
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    until(child, (tmp_path / "out" / "checkpoints").exists)  # the training begins
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "Stopping: the step is finished and saved first (again: stop at once)." in said
    assert "kullm: stopped; what is done is kept. To go on: kullm train" in said
    assert newest_whole(tmp_path / "out" / "checkpoints")
    assert "Traceback" not in said
    end = subprocess.run(line, capture_output=True, text=True, timeout=180)
    assert end.returncode == 0
    assert digest(tmp_path / "out") == whole
    assert re.search(r"train: [1-9]\d*/\d+ tokens in [\d.]+ s, [\d,]+ tokens/s", end.stderr)


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(models: Path, tmp_path: Path) -> None:
    line = command(models, tmp_path, "epochs=1", "batch=1000", "pack_tokens=64", count=1000)
    words = tmp_path / "said"
    with words.open("w", encoding="utf-8") as said:
        child = subprocess.Popen(line, stderr=said, text=True)
    until(child, (tmp_path / "out" / "checkpoints").exists)
    time.sleep(0.5)  # in the one step, which takes a while
    child.send_signal(signal.SIGINT)
    until(child, lambda: "Stopping" in words.read_text(encoding="utf-8"))
    child.send_signal(signal.SIGINT)
    struck = time.monotonic()
    assert child.wait(60) == 130
    assert time.monotonic() - struck < 5
    assert "Traceback" not in words.read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob("checkpoints/*"))


# Progress


def test_plain_lines_say_how_far_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.track("train", 10_000, done=4_000, unit="tokens") as advance:
        for _ in range(3):
            now += 20
            advance(1_000)
        now += 20
    with progress.track("translate", 600) as advance:
        now += 20
        advance(100)
    assert capsys.readouterr().err.splitlines() == [
        "train: 5000/10000 tokens after 20 s, 50 tokens/s, 100 s left",
        "train: 6000/10000 tokens after 40 s, 50 tokens/s, 80 s left",
        "train: 7000/10000 tokens after 60 s, 50 tokens/s, 60 s left",
        "train: 7000/10000 tokens in 80 s, 38 tokens/s",
        "translate: 100/600 after 20 s, 100 s left",
        "translate: 100/600 in 20 s",
    ]


def test_the_speed_is_that_of_the_last_minutes() -> None:
    pace = progress.Pace(0, 0.0)
    for second in range(1, 601):
        pace.add(10 if second <= 300 else 40, float(second))
        pace.add(0, second + 0.5)
    assert pace.speed == pytest.approx(40, rel=0.02)
    assert pace.done == 300 * 50


def test_the_bar_shows_tokens_and_their_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", shown)
    with progress.track("train", 1_000, done=500, unit="tokens") as advance:
        time.sleep(0.05)
        advance(250)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.getvalue())
    assert re.search(r"train .*750/1000 [\d,]+ tokens/s 0:00:00", text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (61, "61 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert progress.clock(seconds) == text
