"""The training itself: the adapter, the way that is exact for the model, and the Trainer's run.

This module imports torch; only `train` imports this module.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import EarlyStoppingCallback, TrainingArguments

from kullm.errors import KullmError, UsageError
from kullm.interrupts import Interrupts
from kullm.models.batching import within_memory
from kullm.models.loading import resolved
from kullm.progress import track
from kullm.trainers import sft
from kullm.trainers.batches import Encoded
from kullm.trainers.checkpoints import HISTORY, drop_behind, has_stopped, newest_whole, number, put_lines, safe
from kullm.trainers.exact import exact_way
from kullm.trainers.loss import Way, computing_loss
from kullm.trainers.steps import Course, steps

if TYPE_CHECKING:
    from kullm.trainers.lora import PolyglotLoRA

log = logging.getLogger("kullm")

_ATTENTION = ("query_key_value", "q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn", "Wqkv")
"""What the query, key and value projections are called in the architectures of the hub."""


def adapted(model: Any, settings: PolyglotLoRA) -> Any:
    """The model with the adapter that `settings` ask for; the model itself where all weights are trained."""
    if settings.lora is None:
        return model
    if settings.quantize:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = settings.lora.targets or [name for name in _ATTENTION if name in names]
    if not targets:
        raise UsageError(
            f"No query, key or value projection is known in {settings.base}; name the layers: targets=(…).",
            next=f"It has: {', '.join(sorted(name for name in names if 'proj' in name or 'attn' in name))}",
        )
    config = LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(settings.seed)  # the adapter's first weights
    return get_peft_model(model, config)


def fit(model: Any, course: Course, settings: PolyglotLoRA, out: Path, rank: int, ranks: int) -> dict[str, Any]:
    """Train `model` on `course` and save its weights in `out`; gives what the card says of the training."""
    each_epoch, last = len(course.steps) / settings.epochs, newest_whole(out / "checkpoints")
    if last and settings.patience and has_stopped(last, settings.patience):  # and was killed before its end
        course = replace(course, steps=course.steps[: number(last)])
    arguments: Any = TrainingArguments(**_arguments(settings, out, len(course.steps), model))
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are used by several processes
    longest = max(course.rows, key=len)
    way = within_memory(lambda: _way(model, course, longest, settings, rank))
    if way is None:
        raise KullmError(
            f"The memory does not suffice for the longest row alone, {longest.id}, of {len(longest):,} tokens.",
            next="Take a smaller max_tokens, or what kullm train --plan says fits.",
        )
    if arguments.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true":
        way = replace(way, fast=False)  # FSDP has the head's weights for a call of its own, not for one in pieces
    course = replace(course, packed=way.packed)
    of_steps = [sum(map(len, course.step(number))) for number in range(len(course.steps))]
    held = replace(course, rows=course.aside, steps=steps(len(course.aside), batch=settings.batch, epochs=1, seed=0))
    before = sft.checksums(model)
    if rank == 0:
        drop_behind(out / "checkpoints", last)
    with (
        Interrupts("the step is finished and saved first") as interrupts,
        track("train", sum(of_steps), done=sum(of_steps[: number(last) if last else 0]), unit="tokens") as advance,
        computing_loss(model, way),
    ):
        guard = sft.Guard(interrupts, advance, of_steps)
        trainer = sft.SFT(
            steps_each_epoch=each_epoch,
            last=last,
            model=model,
            args=arguments,
            train_dataset=sft.Steps(course, rank, ranks),
            eval_dataset=sft.Steps(held, rank, ranks) if course.aside else None,
            callbacks=[guard, *([EarlyStoppingCallback(settings.patience)] if settings.patience else [])],
        )
        ran = within_memory(lambda: _run(trainer, interrupts, patient=bool(settings.patience)))
        if ran is None:
            raise _no_memory(trainer, course)
    start, done = ran
    if before == sft.checksums(model) and not trainer.is_deepspeed_enabled:
        raise KullmError(
            f"Nothing was learnt: no weight changed in {done.global_step} steps.",
            next="Raise learning_rate or epochs.",
        )
    trainer.save_model(str(out))
    if rank == 0:
        put_lines(out / HISTORY, [*start, *trainer.state.log_history])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return {
        "steps": done.global_step,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "held_out_loss_before": start[0]["eval_loss"] if start else None,
        "held_out_loss": held_out[-1] if held_out else None,
        "fast_loss": way.fast,
        "packed": way.packed,
        "computed_tokens": course.computed,
        "tokens_per_second": round(guard.done / guard.seconds, 1) if guard.seconds else None,
    }


def _run(trainer: sft.SFT, interrupts: Interrupts, *, patient: bool) -> tuple[list[dict[str, float]], Any]:
    """Train. Gives the entry of the log before the first step, where rows are held out, and what the Trainer says.

    The Trainer looks at the rows held out in its last step; again is looked where then it loaded better weights.
    """
    held_out = trainer.eval_dataset is not None
    start = [{"step": 0, "epoch": 0.0, "eval_loss": trainer.held_out()}] if held_out else []
    done = trainer.train(resume_from_checkpoint=str(trainer.last) if trainer.last else None)
    if sft.anywhere(interrupts.wanted, trainer.args.device):
        raise KeyboardInterrupt
    known = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    kept = trainer.state.best_global_step if patient else done.global_step
    if held_out and not (known and known[-1] == kept == done.global_step):
        trainer.evaluate()
    return start, done


def _no_memory(trainer: sft.SFT, course: Course) -> KullmError:
    step = min(trainer.state.global_step, len(course.steps) - 1)
    most = max(one.tokens for one in course.passes(course.step(step)))
    return KullmError(
        f"The memory does not suffice for step {step + 1} of {len(course.steps)}: a pass has up to {most:,} tokens.",
        safe=safe(trainer.last),
        next="Where there is more memory the same command goes on. To begin anew with less, in another folder: a "
        "smaller pack_tokens, or gradient_checkpointing=true; kullm train --plan says what fits.",
    )


def _way(model: Any, course: Course, longest: Encoded, settings: PolyglotLoRA, rank: int) -> Way:
    """The fastest way that is exact for this model in every process; the first one says where one is left out."""
    sample, shared = _sample(course)
    way = exact_way(
        model, sample, longest=longest, shared=shared, packing=settings.packing, quantised=bool(settings.quantize)
    )
    way = Way(*(not sft.anywhere(not yes, model.device) for yes in (way.packed, way.fast)))
    if rank != 0:
        return way
    if settings.packing and not way.packed:
        log.warning("train: packed rows would see each other in this model; rows are padded instead")
    if not way.fast:
        log.warning("train: the fast loss is not this model's own; training with all logits, which is slower")
    return way


def _arguments(settings: PolyglotLoRA, out: Path, steps: int, model: Any) -> dict[str, Any]:
    gpu = model.device.type == "cuda"
    dtype = resolved(model.device.type, settings.dtype)[1]  # what is computed in; weights may be of another
    every = {"eval_strategy": "steps", "eval_steps": settings.save_steps} if settings.held_out else {}
    if settings.patience:
        every |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    ours: dict[str, Any] = {
        "output_dir": str(out / "checkpoints"),
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": settings.learning_rate,
        "warmup_steps": int(settings.warmup * steps),
        "lr_scheduler_type": "cosine",
        "max_grad_norm": settings.clip,
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "seed": settings.seed,
        "bf16": gpu and dtype == "bfloat16",
        "fp16": gpu and dtype == "float16",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "use_cpu": not gpu,
    }
    return ours | every | dict(settings.arguments)


def _sample(course: Course) -> tuple[list[Encoded], int]:
    """Up to three short rows to try a model on, and the number of tokens that they begin with in common."""
    short = sorted(course.rows, key=len)
    for beginning in course.prefixes:
        size = len(beginning)
        alike = [row for row in short if row.answers[0][0] > size and (row.ids[:size] == beginning).all()][:3]
        if len(alike) > 1:
            return alike, size
    return short[:3], 0
