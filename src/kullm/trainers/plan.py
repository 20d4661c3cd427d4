"""What a training will take, before the start: rows, tokens, steps, memory, hours, and the cheapest setting that fits.

torch is imported inside functions alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError, UsageError
from kullm.models.loading import load_causal, load_config, load_tokenizer, need_torch, quiet, resolved
from kullm.rows import need
from kullm.templates import PromptTemplate
from kullm.trainers.steps import Course, Pass

if TYPE_CHECKING:
    from datasets import Dataset

    from kullm.trainers.batches import Tokenised
    from kullm.trainers.lora import PolyglotLoRA
    from kullm.trainers.memory import Need

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(i?)B?", re.IGNORECASE)

_CHECKPOINTING = {"adapter": 1.5, "all weights": 4 / 3}
"""How much longer a step takes with gradient checkpointing: one forward pass more, of 2 + 2 or of 2 + 4 operations a
weight and token."""

_QUANTISED = 2.0
"""How much longer with weights in 8 bits, by one report (Alpaca-CoT, issue 26); taken for 4 bits, too."""

_PARTS = (1, 2, 4)
"""Passes are as large as wanted, or the half, or a quarter."""

_SMALLER = 1.05
"""How much longer passes of half the size are held to take, beside the tokens that are computed more often. A guess."""

_LEAST = 256
"""Tokens of the smallest pass that is proposed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run: what `changes` in the trainer's settings, the `peak` in bytes, and the time it takes as a
    multiple of the trainer's own settings.
    """

    changes: Mapping[str, Any]
    peak: int
    time: float
    fits: bool

    def __str__(self) -> str:
        return " ".join(f"{name}={str(value).lower()}" for name, value in self.changes.items()) or "the settings given"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training will take. Counts of rows and tokens are exact; those of `tokens` and `trained` are of one epoch,
    `computed` of the run.

    `computed` tokens go through the model for `whole` tokens of rows: fewer where a shared beginning is computed once,
    more with padding. `own` is what this process holds without the model; `weights`, `adapter` (gradients and the
    optimiser's state too) and `passes` come to it; with them `peak` is the most at one time. `room` is what there is.
    All are bytes; `room_of` says whose memory `room` is. `shortened` and `dropped` are counts by cause, `covered` rows
    that are trained in a later row of their conversation. `rate` is tokens of rows a second; None: unknown; `measured`
    says whether it was. `choices` are the settings that were looked at, the fastest first, up to the first that fits;
    `choice` is that one, or None.
    """

    base: str
    device: str
    dtype: str
    rows: int
    held_out: int
    shortened: Mapping[str, int]
    covered: int
    dropped: Mapping[str, int]
    tokens: int
    trained: int
    epochs: int
    steps: int
    computed: int
    own: int
    weights: int
    adapter: int
    passes: int
    peak: int
    room: int
    room_of: str
    rate: float | None
    measured: bool
    choices: Sequence[Choice]

    @property
    def steps_each_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return self.steps // self.epochs

    @property
    def whole(self) -> int:
        """The tokens of the rows in all epochs."""
        return self.epochs * self.tokens

    @property
    def padding(self) -> float:
        """Tokens computed for each token of the rows: below 1 where a shared beginning is computed once."""
        return self.computed / self.whole

    @property
    def hours(self) -> float | None:
        """The hours that the passes take with the settings given; None where no rate is known."""
        return self.whole / self.rate / 3600 if self.rate else None

    @property
    def choice(self) -> Choice | None:
        """The cheapest setting that fits."""
        return next((one for one in self.choices if one.fits), None)

    def to_dict(self) -> dict[str, Any]:
        """All of it for a JSON file. Memory in bytes, `rate` in tokens a second."""
        made = asdict(self) | {
            "steps_each_epoch": self.steps_each_epoch, "whole": self.whole,
            "padding": round(self.padding, 4), "hours": self.hours,
            "choice": asdict(self.choice) if self.choice else None,
        }  # fmt: skip
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in made.items()}

    def __str__(self) -> str:
        lost = [
            *(f"{count:,} shortened ({what})" for what, count in self.shortened.items()),
            *([f"{self.covered:,} trained in a later row of their conversation"] if self.covered else []),
            *(f"{count:,} dropped: {cause}" for cause, count in self.dropped.items()),
        ]
        saved = 1 - self.padding
        where = "the CPU" if self.device == "cpu" else "a GPU"
        less = f"{saved:.1%} less than the rows have: their shared beginning is computed once a pass"
        more = f"a padding factor of {self.padding:.3f}"
        parts = [
            f"this process {_gib(self.own)}" if self.device == "cpu" else f"CUDA {_gib(self.own)}",
            f"weights {_gib(self.weights)}", f"gradients and optimiser {_gib(self.adapter)}",
            f"the largest pass {_gib(self.passes)}",
        ]  # fmt: skip
        lines = [
            ("rows", f"{self.rows:,}" + (f", and {self.held_out:,} held out" if self.held_out else "")),
            ("lost", "; ".join(lost) or "nothing"),
            ("tokens", f"{self.tokens:,} an epoch, {self.trained:,} of them trained on"),
            ("steps", f"{self.steps:,}: {self.steps_each_epoch:,} in each of {self.epochs} epochs"),
            ("computed", f"{self.computed:,} tokens for {self.whole:,}: {less if saved > 0 else more}"),
            (
                "peak",
                f"{_gib(self.peak)} on {where} in {self.dtype}: {', '.join(parts)}",
            ),
            ("room", f"{_gib(self.room)} ({self.room_of})"),
            ("time", self._time()),
        ]
        text = "\n".join(f"{name:<9} {value}" for name, value in lines)
        return "\n".join([text, "fits", *map(self._line, self.choices), self._advice()])

    def _time(self) -> str:
        if self.hours is None:
            return "unknown; give the tokens a second (--rate), or let them be measured (--measure)"
        origin = "measured" if self.measured else "as stated"
        return f"{_duration(self.hours)} at {self.rate:,.0f} tokens a second ({origin})"

    def _line(self, one: Choice) -> str:
        took = f"{_duration(one.time * self.hours):>14}" if self.hours is not None else f"{one.time:.2f} x the time"
        return f"  {'yes' if one.fits else 'no':<4} {_gib(one.peak):>10} {took}  {one}"

    def _advice(self) -> str:
        if self.choice is None:
            return "nothing looked at fits; take a smaller base, max_tokens or dtype, or more memory"
        return f"cheapest  {self.choice}"


def plan_training(
    trainer: PolyglotLoRA,
    rows: Dataset,
    template: PromptTemplate,
    *,
    memory: str | int | None = None,
    rate: float | None = None,
    measure: bool = False,
    device: str = "auto",
) -> TrainingPlan:
    """What `trainer.train(rows, template)` will take. No weight is loaded and nothing is written.

    `memory` is what there is, in bytes or as "80GB" or "24GiB"; else the GPU's, or what is free on this machine.
    `rate` is the tokens of rows a second with the trainer's settings, which `measure` finds out by three passes of the
    real model. `device` "cuda" plans for a GPU that is elsewhere. Raises `InputError` where the base's configuration
    or tokenizer is not to be had, or no row is left.
    """
    need(rows, ("id", "instruction", "input", "output"), stage="train")
    need_torch(trainer.base)
    room = parse_memory(memory) if memory is not None else None
    if rate is not None and not rate > 0:
        raise UsageError(f"rate is {rate}; expected tokens a second, above 0.")
    device, dtype = resolved(device, trainer.dtype)
    if device != "cpu" and (measure or room is None):
        _need_gpu(measure)
    tokenizer = load_tokenizer(trainer.base)
    template = template.bind(tokenizer) if hasattr(template, "bind") else template
    data = trainer.tokenise(rows, template, tokenizer)
    if not data.rows:
        raise InputError(f"No row is left to train on: {data.failures[0].cause if data.failures else 'there is none'}.")
    with quiet():
        look = _Look(trainer, data, device, "float32" if trainer.lora is None else dtype)
        where = "as stated"
        if room is None:
            room, where = _room(look.device, look.own)
        if measure:
            rate = look.rate()
        made, choices = look.need(trainer), tuple(look.choices(room))
    return TrainingPlan(
        base=trainer.base, device=look.device, dtype=look.dtype, own=look.own, room=room, room_of=where,
        rows=len(look.course.rows), held_out=len(look.course.aside), epochs=trainer.epochs,
        shortened=dict(Counter(one.what for one in data.shortened)), covered=len(data.covered),
        dropped=dict(Counter(one.cause for one in data.failures)),
        tokens=look.tokens, trained=sum(row.trained for row in look.course.rows), steps=len(look.course.steps),
        computed=look.course.computed, weights=made.weights, adapter=made.trained, passes=made.passes,
        peak=look.own + made.peak, rate=rate, measured=measure, choices=choices,
    )  # fmt: skip


def parse_memory(size: str | int) -> int:
    """Bytes: a number of them, or such as "80GB" (10^9 bytes each) or "24GiB" (2^30). Raises `UsageError`."""
    found = _SIZE.fullmatch(str(size).strip())
    if found:
        power = " KMGT".index(found[2].upper() or " ")
        if made := int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power):
            return made
    raise UsageError(f"{size!r} is not a size of memory.", next="Write it such as 80GB or 24GiB.")


class _Look:
    """Looks at a trainer's run: its course, what settings need, and how fast they are."""

    def __init__(self, trainer: PolyglotLoRA, data: Tokenised, device: str, dtype: str) -> None:
        import kullm.trainers.fit  # noqa: F401  # what training imports is a part of this process's share

        held = _resident()
        from kullm.trainers.memory import CONTEXT, packs

        self.config: Any = load_config(trainer.base)
        self.trainer, self.device, self.dtype = trainer, device.partition(":")[0], dtype
        course = trainer.course(data.rows, self.device)
        self.course = replace(course, packed=course.packed and packs(self.config))
        self.tokens = sum(map(len, self.course.rows))
        self.own = held if self.device == "cpu" else CONTEXT
        self._needs: dict[Any, Need] = {}

    def need(self, settings: PolyglotLoRA) -> Need:
        """What a training with `settings` needs beside the process."""
        from kullm.trainers.memory import need_of

        size = self._sized(settings).tokens
        key = (size, settings.quantize, settings.gradient_checkpointing)
        if key not in self._needs:
            passes = _largest(self._sized(settings))
            self._needs[key] = need_of(settings, self.config, passes, dtype=self.dtype, device=self.device)
        return self._needs[key]

    def choices(self, room: int) -> Iterator[Choice]:
        """Ways to run, the fastest first, up to the first that fits into `room` bytes."""
        own = self._time(self.trainer)
        several = [(self._time(settings), number, settings) for number, settings in enumerate(self._ways())]
        hopeless: set[str | None] = set()
        for time, _, settings in sorted(several, key=lambda one: one[:2]):
            if settings.quantize in hopeless:
                continue
            needed = self.need(settings)
            if self.own + max(needed.loading, needed.weights + needed.trained) > room:  # whatever the passes are
                hopeless.add(settings.quantize)
            peak = self.own + needed.peak
            yield Choice(_changes(self.trainer, settings), peak, time / own, peak <= room)
            if peak <= room:
                return

    def rate(self) -> float:
        """Tokens of rows a second: three passes of the real model, after one that is not counted; the optimiser's
        step is not in it.
        """
        from kullm.trainers.memory import seconds

        several = [one for number in range(min(len(self.course.steps), 8)) for one in self._passes(self.course, number)]
        chosen = [several[len(several) * part // 4] for part in range(4)]
        model, _ = load_causal(self.trainer.base, dtype=self.dtype, device=self.device, quantize=self.trainer.quantize)
        took = seconds(model, self.trainer, chosen)
        computed = sum(one.tokens for one in chosen[1:]) / took
        return computed * self.trainer.epochs * self.tokens / self.course.computed

    def _ways(self) -> Iterator[PolyglotLoRA]:
        """The settings to look at; of two that take as long the first is preferred."""
        quantised = [{}, {"load_in_8bit": True}, {"load_in_4bit": True}] if self.trainer.lora else [{}]
        plain = {"load_in_8bit": False, "load_in_4bit": False}
        for changes in quantised:
            for again in (False, True):
                for part in _PARTS:
                    size = self.course.tokens // part
                    if part == 1 or size >= _LEAST:
                        changed = plain | changes | {"gradient_checkpointing": again}
                        own: Any = changed | ({} if part == 1 else {"pack_tokens": size})
                        yield replace(self.trainer, **own)

    def _time(self, settings: PolyglotLoRA) -> float:
        """How long a run takes, as a multiple of that with plain weights, no checkpointing, and the passes given."""
        again = _CHECKPOINTING["adapter" if settings.lora else "all weights"] if settings.gradient_checkpointing else 1
        smaller = self._sized(settings)
        few = range(min(len(self.course.steps), 20))
        tokens, before = (
            sum(one.tokens for number in few for one in self._passes(course, number))
            for course in (smaller, self.course)
        )
        halvings = math.log2(self.course.tokens / smaller.tokens)
        return again * (_QUANTISED if settings.quantize else 1.0) * tokens / before * float(_SMALLER**halvings)

    def _sized(self, settings: PolyglotLoRA) -> Course:
        return replace(self.course, tokens=settings.pack_tokens or self.course.tokens)

    @staticmethod
    def _passes(course: Course, number: int) -> list[Pass]:
        return course.passes(course.step(number))


def _largest(course: Course) -> list[Pass]:
    """The pass with the most tokens, and the one with the longest row where that is much longer: attention may take its
    square.
    """
    several = [one for number in range(len(course.steps)) for one in course.passes(course.step(number))]
    most = max(several, key=lambda one: one.tokens)
    longest = max(several, key=lambda one: max(map(len, one.rows)))
    return [most, longest] if max(map(len, longest.rows)) > 2 * max(map(len, most.rows)) else [most]


def _changes(before: PolyglotLoRA, after: PolyglotLoRA) -> dict[str, Any]:
    """The settings by which two trainers differ."""
    names = ("load_in_8bit", "load_in_4bit", "gradient_checkpointing", "pack_tokens")
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def _room(device: str, own: int) -> tuple[int, str]:
    """The bytes that there are for a run, what this process holds included, and whose they are."""
    if device == "cpu":
        free = int(import_module("psutil").virtual_memory().available)
        most, used = (_bytes_in(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
        if most is not None and used is not None:  # a container's
            free = min(free, most - used)
        return own + free, "free on this machine, with what this process holds"
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory), "this GPU"


def _need_gpu(measure: bool) -> None:
    """Raise where there is no GPU to `measure` on, or to ask for its memory."""
    import torch

    if torch.cuda.is_available():
        return
    if measure:
        raise UsageError("There is no GPU here to measure on.", next="Say the tokens a second: rate=… (--rate).")
    raise UsageError("There is no GPU here to ask for its memory.", next='Say it: memory="80GB" (--memory 80GB).')


def _bytes_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # there is none, or it says "max"
        return None


def _resident() -> int:
    """The bytes of this process that are in memory now."""
    return int(import_module("psutil").Process().memory_info().rss)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
