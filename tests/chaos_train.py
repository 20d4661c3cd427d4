"""Training that is killed: a run that was stopped anywhere, and started again, ends with the bits of an unbroken one.

    python -m tests.chaos train --settings
    python -m tests.chaos train --kills 200

from the root of the repository. A run is a child process; what stops it is a real signal, in the place that is asked
for or at a random moment.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from kullm.templates import KULLM
from kullm.trainers.checkpoints import MANIFEST, newest_whole, number
from samples import rows

_PATIENCE = 180.0
"""Seconds that a child has for its run."""

SHORT: dict[str, Any] = {
    "lora": {"rank": 4, "alpha": 8}, "epochs": 2, "batch": 4, "save_steps": 2, "pack_tokens": 400, "dtype": "float32",
    "learning_rate": 1e-2,
}  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA with dropout": {"lora": {"rank": 4, "alpha": 8, "dropout": 0.1}, "save_steps": 3},
    "dropout of the base": {"base": "dropout"},
    "all weights": {"lora": None, "learning_rate": 1e-3, "base": "dropout"},
    "padded rows": {"packing": False},
    "no shared prefix": {"share_prefix": False, "save_steps": 1},
    "3 epochs, an odd batch": {"epochs": 3, "batch": 5, "save_steps": 3},
    "batch above the rows": {"epochs": 6, "batch": 64},
    "1 epoch, batch 1, small passes": {"epochs": 1, "batch": 1, "pack_tokens": 64, "save_steps": 3},
    "held out, patience": {"held_out": 3, "patience": 2, "epochs": 6, "learning_rate": 0.1},
    "held out, dropout": {"held_out": 0.25, "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}, "epochs": 3},
    "8 bits": {"load_in_8bit": True},
    "4 bits, dropout": {"load_in_4bit": True, "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
    "8-bit AdamW": {"arguments": {"optim": "adamw_bnb_8bit"}},
    "8-bit AdamW, all weights": {"arguments": {"optim": "adamw_bnb_8bit"}, "lora": None, "learning_rate": 1e-3},
    "gradient checkpointing": {"gradient_checkpointing": True, "base": "dropout"},
    "bfloat16": {"dtype": "bfloat16"},
    "loss on everything": {"loss": "everything"},
    "linear, decay, Adafactor": {
        "arguments": {"lr_scheduler_type": "linear", "weight_decay": 0.1, "optim": "adafactor", "save_total_limit": 1}
    },
    "restarts, Llama, full": {
        "arguments": {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}},
        "base": "llama", "lora": None, "learning_rate": 1e-3,
    },
    "Llama": {"base": "llama", "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj", "down_proj"]}},
    "Gemma 3": {"base": "gemma3", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
}  # fmt: skip

POINTS = ("pass", "step", "state", "manifest", "interrupt")
"""Where a run is stopped: in a forward pass, after an update, while a checkpoint is written, before its manifest has
its name; and by an interrupt in a step."""

MORE_POINTS = ("folder", "old one", "weights", "card")
"""When a checkpoint's folder is made, an old one deleted, the result written; before the card has its name."""


def bases(folder: Path) -> None:
    """Tiny base models of several architectures in `folder`, with a tokenizer of 400 pieces."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<end>"], initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator([row["instruction"] + row["output"] for row in rows()], trainer)
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=pieces, pad_token="<pad>", eos_token="<end>")
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 1,
        "pad_token_id": 0,
    }  # fmt: skip
    several = {"num_key_value_heads": 2, "head_dim": 8}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "neox": ("gpt_neox", {}),
        "dropout": ("gpt_neox", {"hidden_dropout": 0.1, "attention_dropout": 0.1}),
        "llama": ("llama", several),
        "gemma3": ("gemma3_text", several),
    }
    for name, (kind, more) in kinds.items():
        torch.manual_seed(0)
        build: Any = AutoModelForCausalLM.from_config
        build(AutoConfig.for_model(kind, **(sizes | more))).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@dataclass(frozen=True)
class Stop:
    """Where a run ends before its time: at the `count`-th time that it comes to `point`."""

    point: str
    count: int = 1


def digest(out: Path) -> str:
    """Of every tensor of a finished run, and of every loss, norm and learning rate on its way."""
    from safetensors.numpy import load_file

    found = hashlib.sha256()
    for file in sorted(out.glob("*.safetensors")):
        for name, value in sorted(load_file(file).items()):
            found.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kept = {key: entry[key] for key in ("step", "loss", "grad_norm", "learning_rate", "eval_loss") if key in entry}
        found.update(json.dumps(kept).encode())
    return found.hexdigest()


def train(bases: Path, out: Path, setting: Mapping[str, Any], stop: Stop | None = None, count: int = 12) -> None:
    """One run, in this process, which may not survive it."""
    from kullm.trainers import PolyglotLoRA

    if stop is not None:
        arm(stop)
    changed = SHORT | dict(setting)
    base = bases / changed.pop("base", "neox")
    try:
        PolyglotLoRA(str(base), **changed).train(rows(count), KULLM, out)
    except KeyboardInterrupt:
        sys.exit(130)


def arm(stop: Stop) -> None:
    """Have a signal strike this process where `stop` says."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seen = passes = 0
    with_ = signal.SIGINT if stop.point == "interrupt" else signal.SIGKILL

    def here(*_: Any) -> None:
        nonlocal seen, passes
        seen, passes = seen + 1, 0
        if seen == stop.count and stop.point != "pass":
            os.kill(os.getpid(), with_)

    def embedding(module: Any, _: Any) -> None:
        nonlocal passes
        if isinstance(module, torch.nn.Embedding) and module.training and torch.is_grad_enabled():
            passes += 1  # of this step; the second has gradients of the first before it
            if seen >= stop.count or (seen == stop.count - 1 and passes == 2):
                os.kill(os.getpid(), with_)

    if stop.point == "pass":
        torch.nn.modules.module.register_module_forward_pre_hook(embedding)
        register_optimizer_step_post_hook(here)
    elif stop.point in ("step", "interrupt"):
        register_optimizer_step_post_hook(here)
    else:
        event, part = {
            "folder": ("os.mkdir", "checkpoint-"),
            "state": ("open", "trainer_state.json"),
            "manifest": ("os.rename", "manifest.part"),
            "old one": ("shutil.rmtree", "checkpoint-"),
            "weights": ("open", "config.json"),
            "card": ("os.rename", "kullm.part"),
        }[stop.point]
        known = set()

        def look(name: str, given: tuple[Any, ...]) -> None:
            if name != event or part not in str(given[0]) or (name == "open" and given[1] != "w"):
                return
            if "generation" not in str(given[0]) and given[0] not in known:
                known.add(given[0])
                here()

        sys.addaudithook(look)


class Runs:
    """Runs as children of a process that has loaded all that they need, and has done nothing with it."""

    def __init__(self, bases: Path) -> None:
        self._bases = bases
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["chaos_warm"])
        more = {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
            "KULLM_CHAOS_BASES": str(bases),
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        before = {name: os.environ.get(name) for name in more}
        os.environ.update(more)
        try:
            forkserver.ensure_running()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def start(self, out: Path, setting: Mapping[str, Any], stop: Stop | None = None, count: int = 12) -> Any:
        """A child that trains."""
        child = self._context.Process(target=train, args=(self._bases, out, setting, stop, count))
        child.start()
        return child

    def code(self, out: Path, setting: Mapping[str, Any], stop: Stop | None = None, count: int = 12) -> int:
        """The exit code of a run; -9 where it was killed."""
        child = self.start(out, setting, stop, count)
        child.join(_PATIENCE)
        if child.exitcode is None:
            child.kill()
            raise TimeoutError(f"{out}: not through after {_PATIENCE:.0f} s")
        return int(child.exitcode)

    def unbroken(self, folder: Path, setting: Mapping[str, Any], count: int = 12) -> tuple[str, int]:
        """What a run gives that nobody stops, and its steps."""
        out = folder / "unbroken"
        if code := self.code(out, setting, count=count):
            raise RuntimeError(f"{out}: the unbroken run ended with {code}")
        return digest(out), int(json.loads((out / "kullm.json").read_text(encoding="utf-8"))["steps"])

    def stopped(self, out: Path, setting: Mapping[str, Any], stop: Stop, count: int = 12) -> tuple[int | None, str]:
        """The step that a stopped run went on from, None for its beginning, and what it gave."""
        code = self.code(out, setting, stop, count)
        if code != (130 if stop.point == "interrupt" else -9):
            raise RuntimeError(f"{out}: it was to be stopped at {stop} and ended with {code}")
        last = newest_whole(out / "checkpoints")
        if code := self.code(out, setting, count=count):
            raise RuntimeError(f"{out}: stopped at {stop}, its second start ended with {code}")
        return number(last) if last else None, digest(out)


def stop_at(point: str, place: int, steps: int, setting: Mapping[str, Any]) -> Stop | None:
    """A stop that differs from setting to setting: after the first checkpoint, where the run is long enough. None:
    this run never comes there.
    """
    every = int(setting["save_steps"])
    saved = -(-steps // every)
    if point in ("state", "manifest", "folder"):
        return Stop(point, 2 + place % max(1, saved - 1))
    if point == "weights":
        return Stop(point, saved + 1)
    if point == "old one" and saved <= setting.get("arguments", {}).get("save_total_limit", 2):
        return None
    if point in ("old one", "card"):
        return Stop(point)
    step = every + 1 + place % max(1, steps - every)
    return Stop(point, min(step, steps - (point == "pass")))


def matrix(
    runs: Runs, folder: Path, names: Iterable[str] = SETTINGS, points: Iterable[str] = POINTS
) -> Iterator[tuple[str, dict[str, tuple[int | None, bool]]]]:
    """Each setting with what its run, stopped at each point, went on from, and whether it ended with the same bits."""
    for place, name in enumerate(names):
        setting = SETTINGS[name]
        here = folder / f"setting-{place}"
        whole, steps = runs.unbroken(here, setting)
        found: dict[str, tuple[int | None, bool]] = {}
        for point in points:
            stop = stop_at(point, place, steps, SHORT | setting)
            if stop is not None:
                last, bits = runs.stopped(here / point.replace(" ", "-"), setting, stop)
                found[point] = last, bits == whole
        yield name, found


def settings(folder: Path, points: Iterable[str] = (*POINTS, *MORE_POINTS)) -> bool:
    """Print the table of all settings and points; True where all bits are the same."""
    bases(folder / "bases")
    points, good, count = tuple(points), 0, 0
    print(f"{'setting':<32}" + "".join(f"{point:>11}" for point in points), flush=True)
    for name, found in matrix(Runs(folder / "bases"), folder, points=points):
        cells = {point: f"{last or 0}{'' if same else ' DIFFERS'}" for point, (last, same) in found.items()}
        print(f"{name:<32}" + "".join(f"{cells.get(point, '-'):>11}" for point in points), flush=True)
        good, count = good + sum(same for _, same in found.values()), count + len(found)
    print(f"{good} of {count} ended with the bits of the unbroken run; a figure is the step that a run went on from.")
    return good == count


# Kills at random moments


@dataclass
class Tally:
    """What was counted of runs that were killed at random moments."""

    jobs: int = 0
    kills: int = 0
    saving: int = 0
    """Kills while a checkpoint was written or an older one deleted: this left one that is not whole."""
    torn: int = 0
    """Kills after which the newest checkpoint by its number was not whole."""
    early: int = 0
    """Kills before the first checkpoint was whole."""
    resumable: int = 0
    """Kills after which a whole checkpoint was there, no older than one seen before; or that came before the first."""
    same: int = 0
    """Jobs that ended with the bits of the unbroken run."""
    broken: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in ("jobs", "kills", "saving", "torn", "early", "resumable", "same"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.broken += other.broken

    def line(self) -> str:
        return (
            f"{self.jobs} job(s), {self.kills} kills, {self.saving} inside saving, {self.early} before the first "
            f"checkpoint; the newest checkpoint torn after {self.torn}; resumable after {self.resumable}; "
            f"{self.same} job(s) with the bits of the unbroken run"
        )


OFTEN: dict[str, Any] = {
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}, "epochs": 10, "save_steps": 1, "arguments": {"save_total_limit": 2}
}  # fmt: skip


def killed(runs: Runs, folder: Path, whole: str, seconds: float, kills: int, chance: random.Random) -> Tally:
    """One run that saves at every step, killed up to that many times, then left to its end."""
    tally, best = Tally(jobs=1), 0
    out = folder / "out"
    for _ in range(kills):
        old = _nodes(out / "checkpoints")
        child = runs.start(out, OFTEN)
        _moment(child, out / "checkpoints" / f"checkpoint-{best + chance.randint(1, 6)}", old, seconds, chance)
        alive = child.exitcode is None
        child.kill()
        child.join()
        if not alive:
            break
        tally.kills += 1
        best = _look(out / "checkpoints", best, old, tally)
    if (code := runs.code(out, OFTEN)) or digest(out) != whole:
        tally.broken.append(f"{out}: the last start ended with {code}, or with other bits")
    else:
        tally.same += 1
    if (out / "checkpoints").exists():
        tally.broken.append(f"{out}: checkpoints are left in a finished folder")
    return tally


def _nodes(folder: Path) -> frozenset[int]:
    """The checkpoints that are there, so that a new one of an old number is known."""
    return frozenset(path.stat().st_ino for path in folder.glob("checkpoint-*"))


def _moment(child: Any, wanted: Path, old: frozenset[int], seconds: float, chance: random.Random) -> None:
    """Wait for a moment: mostly while a checkpoint is written or an older one goes, sometimes any."""
    end = time.monotonic() + (_PATIENCE if chance.random() < 0.9 else chance.uniform(0, 2))
    while child.exitcode is None and time.monotonic() < end:
        try:
            if wanted.stat().st_ino not in old:
                break
        except FileNotFoundError:
            pass
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, seconds))


def _look(folder: Path, best: int, old: frozenset[int], tally: Tally) -> int:
    """Count what a kill left; gives the newest whole checkpoint."""
    there = sorted(folder.glob("checkpoint-*"), key=number)
    last = newest_whole(folder)
    found = number(last) if last else 0
    torn = [path for path in there if not whole_alone(path)]
    tally.saving += any(path.stat().st_ino not in old or number(path) < found for path in torn)
    tally.torn += bool(torn) and torn[-1] == there[-1] and torn[-1].stat().st_ino not in old
    tally.early += last is None
    lost = found < best or (last is None and any((path / MANIFEST).exists() for path in there))
    if lost or (there and found < number(there[-1]) - 1):
        tally.broken.append(f"{folder}: {[path.name for path in there]}, whole {found}, seen before {best}")
    else:
        tally.resumable += 1
    return max(best, found)


def whole_alone(path: Path) -> bool:
    """Whether a checkpoint is whole, by a look of our own at its manifest."""
    if not (path / MANIFEST).exists():
        return False
    known = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    return all(
        (path / name).exists() and hashlib.sha256((path / name).read_bytes()).hexdigest() == one["sha256"]
        for name, one in known.items()
    )


def kills(
    folder: Path, wanted: int, *, seed: int = 0, side_by_side: int = 2, a_job: int = 5,
    show: Callable[[str], object] = print,
) -> Tally:  # fmt: skip
    """Jobs until that many kills have struck. Every job's end is compared with the unbroken run."""
    bases(folder / "bases")
    runs, total = Runs(folder / "bases"), Tally()
    whole, steps = runs.unbroken(folder, OFTEN)
    begun = time.monotonic()
    runs.code(folder / "timed", OFTEN)
    seconds = (time.monotonic() - begun) / steps
    show(f"unbroken: {steps} steps, a checkpoint after each, {1000 * seconds:.0f} ms a step with its start")
    work = partial(killed, runs)
    with ThreadPoolExecutor(side_by_side) as pool:
        jobs = 0
        while total.kills < wanted and not total.broken:
            left = wanted - total.kills
            shares = [min(a_job, (left + place) // side_by_side) for place in range(side_by_side)]
            running = []
            for share in filter(None, shares):
                jobs += 1
                chance = random.Random(f"{seed}/{jobs}")
                running.append(pool.submit(work, folder / f"job-{jobs}", whole, seconds, share, chance))
            for job in running:
                total.add(job.result())
            show(total.line())
    for what in total.broken:
        show(what)
    return total


def main(asked: Any, folder: Path) -> bool:
    """What the command line asks for; False where a promise was broken."""
    good = True
    if asked.settings:
        good = settings(folder / "settings") and good
    if asked.kills:
        tally = kills(
            folder / "kills", asked.kills, seed=asked.seed, side_by_side=asked.side_by_side,
            show=partial(print, flush=True),
        )  # fmt: skip
        good = not tally.broken and good
    return good
