"""LoRA with the paper's settings (section 4.1), on any causal language model."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError, OtherRun, UsageError
from kullm.interrupts import Interrupts
from kullm.models.huggingface import CARD, load_causal, need_torch, quiet
from kullm.progress import track
from kullm.rows import Failure, Failures, example, need, settle
from kullm.templates import KULLM, PromptTemplate, Template
from kullm.trainers.batches import Encoded, encode, steps
from kullm.trainers.trainer import Checkpoint

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("kullm")

_ATTENTION = ("query_key_value", "q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn", "Wqkv")
"""What the query, key and value projections are called in the architectures of the hub."""


@dataclass(frozen=True)
class PolyglotLoRA:
    """LoRA on the attention projections, loss on the output only (paper 3.2), with the paper's settings (4.1) as
    defaults.

    The paper: rank 16, alpha 32 on query_key_value, AdamW, peak learning rate 3e-4, 5 % warm-up, cosine, gradient
    clipping, batch 256, 5 epochs. Not in the paper, ours: `dropout`, `clip` 1.0, `max_tokens`, `seed`. The paper used
    bitsandbytes to save memory: `quantize="8bit"` or "4bit" does, None trains on the plain weights.

    `targets` None finds the query, key and value projections of the base; `pack_tokens` is the size of one forward
    pass; `save_steps` the optimiser steps between two checkpoints. `arguments` go to
    `transformers.TrainingArguments` by name.
    """

    base: str = "EleutherAI/polyglot-ko-5.8b"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] | None = None
    epochs: int = 5
    batch: int = 256
    learning_rate: float = 3e-4
    warmup: float = 0.05
    clip: float = 1.0
    max_tokens: int = 1024
    pack_tokens: int = 2048
    quantize: str | None = None
    dtype: str = "auto"
    seed: int = 42
    save_steps: int = 100
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "epochs", "batch", "max_tokens", "pack_tokens", "save_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; expected a whole number from 1 up.")
        for name in ("learning_rate", "dropout", "warmup", "clip"):
            try:
                object.__setattr__(self, name, float(getattr(self, name)))  # YAML reads 3e-4 as a text
            except (TypeError, ValueError):
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected a number.") from None
        if not (self.learning_rate > 0 and 0 <= self.dropout < 1 and 0 <= self.warmup < 1 and self.clip > 0):
            raise UsageError("learning_rate and clip must be above 0, dropout and warmup from 0 to below 1.")
        if not isinstance(self.arguments, Mapping):
            raise UsageError(f"arguments is {self.arguments!r}; expected names and values of TrainingArguments.")
        if self.quantize not in (None, "8bit", "4bit"):
            raise UsageError(f"quantize is {self.quantize!r}; expected nothing, 8bit or 4bit.")

    def train(
        self, rows: Dataset, template: PromptTemplate = KULLM, out: str | Path = "model", *, failures: Failures = None
    ) -> Checkpoint:
        """Train on `rows` and write the adapter, the tokenizer and a card to `out`.

        A row that is too long or has no answer goes to `failures`. Where `out` holds this very run it goes on from
        its last checkpoint, or does nothing when it is finished; where it holds another run, an `OtherRun`
        names what differs.
        """
        need(rows, ("id", "instruction", "input", "output"), stage="train")
        need_torch(self.base)
        out = Path(out)
        record = self._record(rows, template)
        if _finished(out, record):
            log.info("train: %s holds this model already", out)
            return Checkpoint(out)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError("Training runs in one process for now; start it without a launcher.")
        model, tokenizer = load_causal(self.base, dtype=self.dtype, quantize=self.quantize)
        encoded = self._encode(rows, template, tokenizer, failures)
        out.mkdir(parents=True, exist_ok=True)
        _put(out / "run.json", record)
        with quiet():
            result = self._fit(self._adapt(model), encoded, out)
        _write(out, tokenizer, record | result | {"rows": len(encoded), "tokens": sum(len(row.ids) for row in encoded)})
        return Checkpoint(out)

    def _encode(
        self, rows: Dataset, template: PromptTemplate, tokenizer: PreTrainedTokenizerBase, failures: Failures
    ) -> list[Encoded]:
        good: list[Encoded] = []
        lost: list[Failure] = []
        with track("tokenise", len(rows)) as advance:
            for record in rows:
                row = encode(example(record), template, tokenizer, self.max_tokens)
                good.append(row) if isinstance(row, Encoded) else lost.append(row)
                advance(1)
        settle(lost, failures, stage="train", kept=len(good))
        if not good:
            raise InputError(f"No row is left to train on: {lost[0].cause if lost else 'the data set is empty'}.")
        return good

    def _adapt(self, model: PreTrainedModel) -> Any:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        if self.quantize:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        targets = self.targets or [name for name in _ATTENTION if name in names]
        if not targets:
            raise UsageError(
                f"No query, key or value projection is known in {self.base}; name the layers: targets=(…).",
                next=f"It has: {', '.join(sorted(name for name in names if 'proj' in name or 'attn' in name))}",
            )
        targets = targets if isinstance(targets, str) else list(targets)
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets, task_type="CAUSAL_LM"
        )
        import torch

        torch.manual_seed(self.seed)  # the adapter's first weights
        return get_peft_model(model, config)

    def _fit(self, model: Any, rows: Sequence[Encoded], out: Path) -> dict[str, Any]:
        from transformers import TrainingArguments

        from kullm.trainers import sft

        plan = steps(len(rows), batch=self.batch, epochs=self.epochs, seed=self.seed)
        short = sorted(rows, key=lambda row: len(row.ids))[:2]
        apart = len(short) < 2 or sft.packs_apart(model, short[0], short[1])
        if not apart:
            log.warning("train: packed rows would see each other in this model; each row runs alone, which is slower")
        data = sft.Steps(rows, plan, self.pack_tokens if apart else 1)
        half = next(model.parameters()).dtype.itemsize < 4
        first = {name: value.to(model.device) for name, value in sft.tensors(short[:1]).items()}
        fast = sft.fast_is_exact(model, first, 0.05 if half or self.quantize else 1e-3)
        if not fast:
            log.warning("train: the fast loss is not this model's own; training with all logits, which is slower")
        arguments = TrainingArguments(**self._arguments(out, len(plan), bf16=half and model.device.type == "cuda"))
        with (
            Interrupts("the step is finished and saved first") as interrupts,
            track("train", arguments.max_steps) as advance,
        ):
            guard = sft.Guard(interrupts, advance)
            trainer = sft.SFT(model=model, args=arguments, train_dataset=data, callbacks=[guard], fast=fast)
            done = trainer.train(resume_from_checkpoint=sft.newest_complete(out / "checkpoints"))
        if interrupts.wanted:
            raise KeyboardInterrupt
        model.save_pretrained(out)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        return {
            "steps": done.global_step,
            "first_loss": losses[0],
            "last_loss": losses[-1],
            "fast_loss": fast,
            "packed": apart,
        }

    def _arguments(self, out: Path, steps: int, *, bf16: bool) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "output_dir": str(out / "checkpoints"),
            "max_steps": steps,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "train_sampling_strategy": "sequential",
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup,
            "lr_scheduler_type": "cosine",
            "max_grad_norm": self.clip,
            "optim": "adamw_torch",
            "weight_decay": 0.0,
            "seed": self.seed,
            "bf16": bf16,
            "save_steps": self.save_steps,
            "save_total_limit": 2,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "report_to": "none",
            "dataloader_pin_memory": False,
            "remove_unused_columns": False,
            "disable_tqdm": True,
        }
        return settings | dict(self.arguments)

    def _record(self, rows: Dataset, template: PromptTemplate) -> dict[str, Any]:
        """What decides the trained model, for the card and for the question whether a folder holds the same run."""
        digest = hashlib.sha256()
        for record in rows:
            row = [record["id"], record["instruction"], record["input"], record["output"], record.get("history") or []]
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        settings = {name: value for name, value in asdict(self).items() if name not in ("base", "save_steps")}
        return {
            "base": self.base,
            "settings": json.loads(json.dumps(settings)),
            "template": asdict(template) if isinstance(template, Template) else {"class": type(template).__qualname__},
            "data": digest.hexdigest()[:16],
            "versions": {name: version(name) for name in ("kullm", "torch", "transformers", "peft")},
        }


def _finished(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether `out` holds this run's model. Raises `OtherRun` where it holds another run, whole or begun."""
    for name in (CARD, "run.json"):
        if (out / name).exists():
            try:
                other = json.loads((out / name).read_text(encoding="utf-8"))
            except ValueError:
                raise InputError(
                    f"{out / name} is not whole: what this folder holds cannot be told.",
                    next="Choose another folder, or delete this one.",
                ) from None
            wanted = json.loads(json.dumps(record))
            differ = [key for key in wanted if other.get(key) != wanted[key]]
            if differ:
                raise OtherRun(
                    f"{out} holds another run; it differs in: {', '.join(differ)}.",
                    next="Choose another folder, or delete this one.",
                )
    return (out / CARD).exists()


def _write(out: Path, tokenizer: PreTrainedTokenizerBase, card: Mapping[str, Any]) -> None:
    """The tokenizer and, last of all, the card: a folder with a card is a finished one."""
    tokenizer.save_pretrained(out)
    _put(out / CARD, card)
    (out / "run.json").unlink(missing_ok=True)


def _put(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(path)
