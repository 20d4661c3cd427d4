"""Supervised fine-tuning on `transformers.Trainer`: its batch is a whole optimiser step, run pass by pass.

This module imports torch; only `train` imports this module.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from kullm.errors import KullmError
from kullm.interrupts import Interrupts
from kullm.trainers.checkpoints import drop_before, put, safe, seal, storing
from kullm.trainers.loss import at_rest
from kullm.trainers.packed import tensors
from kullm.trainers.steps import Course, divided

SUMS = "trained.json"
"""Two sums of every trained weight in a checkpoint, by which is seen that all were loaded."""


class Steps(TorchDataset[dict[str, Any]]):
    """The optimiser steps of a run in order: item i holds the passes of step i that this process computes.

    The order is fixed, so resuming is exact.
    """

    def __init__(self, course: Course, rank: int = 0, ranks: int = 1) -> None:
        self.course, self.rank, self.ranks = course, rank, ranks

    def __len__(self) -> int:
        return len(self.course.steps)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rows = self.course.step(index)
        passes = self.course.passes(rows)
        shares = divided(passes, self.ranks)
        mine, most = shares[self.rank], max(map(len, shares))
        # Every process computes as many passes, or those that wait for each other would wait for ever.
        idle = [min(passes, key=lambda one: one.tokens)] * (most - len(mine))
        return {
            "passes": [(tensors(one), weight) for ones, weight in ((mine, 1), (idle, 0)) for one in ones],
            "trained": sum(row.trained for row in rows),
            "rows": [row.id for row in rows],
        }


class SFT(Trainer):
    """The Trainer of whole steps: each loss is normalised over all trained tokens of its step, across passes and
    processes.

    `last` is the newest whole checkpoint. Each one is sealed before an older one is deleted, so there always is one.
    """

    def __init__(self, *, steps_each_epoch: float, last: Path | None = None, **settings: Any) -> None:
        super().__init__(data_collator=lambda items: items[0], **settings)
        self.remove_callback(PrinterCallback)  # standard output is the caller's
        self.steps_each_epoch, self.last = steps_each_epoch, last
        # The Trainer would let older checkpoints go before the new one is sealed.
        self.keep, self.args.save_total_limit = self.args.save_total_limit, None

    def get_train_dataloader(self) -> DataLoader[Any]:
        return _loader(self.train_dataset)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        model.train()
        total = torch.zeros((), device=self.args.device)
        passes = inputs["passes"]
        for number, (pack, weight) in enumerate(passes, 1):
            last = number == len(passes)
            self.accelerator.gradient_state._set_sync_gradients(last)
            waits = last or self.is_deepspeed_enabled  # gradients are exchanged once a step
            with nullcontext() if waits else self.accelerator.no_sync(model):
                pack = self._prepare_inputs(pack)
                with self.compute_loss_context_manager():
                    # Processes are averaged, so each counts for all of them.
                    loss = model(**pack) * (weight * self.args.world_size / inputs["trained"])
                self.accelerator.backward(loss)
            total += loss.detach().float()
        total = together(total / self.args.world_size)  # in every process the step's loss, or what is no number
        self._check(total, "loss", inputs["rows"])
        # With a scaler, in float16, a gradient that is no number is met by a smaller scale.
        if self.accelerator.scaler is None and not self.is_deepspeed_enabled:
            grads = [one.grad for one in model.parameters() if one.grad is not None]
            self._check(_whole(torch.nn.utils.get_total_norm(grads)), "gradient", inputs["rows"])
        return total

    def _check(self, value: Tensor, what: str, rows: Sequence[str]) -> None:
        fine = bool(torch.isfinite(value))
        if anywhere(not fine, self.args.device):
            raise KullmError(
                f"The {what} is {'no number' if fine else float(value)} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps}; the rows of this step: {', '.join(rows)}.",
                safe=safe(self.last),
                next="Lower the learning rate, or look at these rows.",
            )

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights, which are finite, as safetensors; and not the pickle that the Trainer lays beside them."""
        model: Any = self.model
        check_finite(model, self.state.global_step, self.last)
        folder = Path(output_dir or str(self.args.output_dir))
        with storing(folder, self.last):
            super().save_model(output_dir, _internal_call)
            if self.args.should_save:
                (folder / "training_args.bin").unlink(missing_ok=True)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint and seal it; then older ones go."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with storing(folder, self.last):
            super()._save_checkpoint(model, trial)
        wait()
        with storing(folder, self.last):
            if self.is_world_process_zero():
                if not self._sharded:
                    trained: Any = self.model
                    put(folder / SUMS, checksums(trained))
                seal(folder)
                drop_before(folder, self.keep, self.state.best_global_step)
        self.last = folder

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The weights of a checkpoint, all of them.

        transformers saves a model by the names of the hub and loads it by its own, silently without those that differ:
        of a GPT-NeoX, embed_out.
        """
        if isinstance(self.model, PreTrainedModel) and not self._sharded:
            self._load(Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._check_loaded(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if isinstance(self.model, PreTrainedModel) and not self._sharded:
            self._load(best)
        else:
            super()._load_best_model()
        self._check_loaded(best)

    @property
    def _sharded(self) -> bool:
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _load(self, folder: Path) -> None:
        model: Any = self.model
        model.load_state_dict(type(model).from_pretrained(folder, dtype=model.dtype).state_dict())

    def _check_loaded(self, folder: Path) -> None:
        if self._sharded:
            return
        model: Any = self.model
        saved = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, (total, square) in checksums(model).items():
            known = saved.get(name, (math.nan, math.nan))
            near = 1e-9 * (1 + abs(square))  # other threads add up in another order
            if not (abs(known[0] - total) <= near and abs(known[1] - square) <= near):
                raise KullmError(
                    f"The weight {name} is not what {folder} holds: this version of transformers loads it otherwise.",
                    next="Install the versions that its run was begun with, or delete the folder.",
                )

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Take and log the loss of the rows that are held out."""
        metrics = {f"{metric_key_prefix}_loss": self.held_out()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def held_out(self) -> float:
        """The loss of the rows that are held out, a trained token."""
        data: Any = self.eval_dataset
        total = torch.zeros((), device=self.args.device)
        model: Any = self.model
        with at_rest(model):
            for step in _loader(data):
                for pack, weight in step["passes"]:
                    with self.compute_loss_context_manager():
                        total += self.model_wrapped(**self._prepare_inputs(pack)).float() * weight
                self._check(total, "loss of the rows held out", step["rows"])
        trained: int = sum(row.trained for row in data.course.rows)
        return float(together(total)) / trained

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """To the Trainer all epochs are one; here each is one."""
        self.state.epoch = self.state.global_step / self.steps_each_epoch
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0


class Guard(TrainerCallback):
    """Shows progress, and turns an interrupt into: finish the step, save, stop."""

    def __init__(self, interrupts: Interrupts, advance: Callable[[int], None], tokens: Sequence[int]) -> None:
        self.interrupts, self.advance, self.tokens = interrupts, advance, tokens
        self.done, self.seconds, self._began = 0, 0.0, 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        kept: Any = state
        kept.compute_steps(args, state.max_steps)  # the checkpoint's own may be others: save_steps may change
        if state.best_global_step:  # the folder may have moved
            state.best_model_checkpoint = str(Path(str(args.output_dir)) / f"checkpoint-{state.best_global_step}")
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        tokens = self.tokens[state.global_step - 1]
        self.done, self.seconds = self.done + tokens, time.monotonic() - self._began
        self.advance(tokens)
        if anywhere(self.interrupts.wanted, args.device):
            self.interrupts.wanted = True
            control.should_save = control.should_training_stop = True
        return control


def check_finite(model: nn.Module, step: int, last: Path | None) -> None:
    """Raise, in every process, where a trained weight of any is no number."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    broken = [name for name, weight in trained.items() if not bool(torch.isfinite(_mine(weight)).all())]
    if anywhere(bool(broken), next(iter(trained.values())).device):
        raise KullmError(
            f"The weight {broken[0] if broken else 'of another process'} is no number after step {step}; it is not "
            "saved.",
            safe=safe(last),
            next="Lower the learning rate.",
        )


def checksums(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Of every trained weight two sums, by which a change is seen. What is below 1e-12 counts as 0."""
    sums: dict[str, tuple[float, float]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            value = _whole(weight).double()
            value = value.masked_fill(value.abs() < 1e-12, 0)
            sums[name] = (float(value.sum()), float(value.square().sum()))
    return sums


def _mine(weight: Any) -> Tensor:
    """The part of a weight that this process holds, where several share it (FSDP); else all of it."""
    part: Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    return part.detach()


def _whole(weight: Any) -> Tensor:
    """All of a weight; every process must ask."""
    all_: Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return all_.detach()


def anywhere(here: bool, device: Any) -> bool:
    """Whether something is so in any of the processes."""
    if not distributed.is_initialized():
        return here
    flag = torch.tensor(int(here), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag)


def together(total: Tensor) -> Tensor:
    """The sum over all processes."""
    if distributed.is_initialized():
        distributed.all_reduce(total)
    return total


def wait() -> None:
    """Go on when all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def _loader(data: Any) -> DataLoader[Any]:
    # A generator of its own: to evaluate more often draws nothing from the one that dropout draws from.
    return DataLoader(data, batch_size=1, shuffle=False, collate_fn=lambda items: items[0], generator=torch.Generator())
