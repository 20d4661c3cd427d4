"""The training step: supervised fine-tuning on `transformers.Trainer`, with logits only where a loss is taken.

This module imports torch; only `train` imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset as TorchDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kullm.errors import KullmError
from kullm.interrupts import Interrupts
from kullm.trainers.batches import Encoded, packs

COMPLETE = "complete.json"
"""Written into a checkpoint after everything else, so that one without it is known to be torn."""

_CHUNK = 256
"""Positions whose logits are held at once."""


class Steps(TorchDataset[dict[str, Any]]):
    """Every optimiser step of a run, in order: item i holds the packs of step i. The order is fixed, so resuming is
    exact.
    """

    def __init__(self, rows: Sequence[Encoded], plan: Sequence[Sequence[int]], tokens: int) -> None:
        self.rows, self.plan, self.tokens = rows, plan, tokens

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rows = [self.rows[number] for number in self.plan[index]]
        return {
            "packs": [tensors(pack) for pack in packs(rows, self.tokens)],
            "trained": sum(row.trained for row in rows),
            "rows": [row.id for row in rows],
        }


def tensors(pack: Sequence[Encoded], *, last: bool = False) -> dict[str, Tensor]:
    """A pack as one row of tensors: ids and positions [1, n], and for each trained token where it is predicted and
    what it is [k].

    Positions start anew with each row, by which transformers keeps the rows apart; no attention mask is given.
    With `last` only the last row is trained on.
    """
    where: list[int] = []
    targets: list[int] = []
    start = 0
    for row in pack:
        if last:
            where, targets = [], []
        where.extend(range(start + row.prompt - 1, start + len(row.ids) - 1))
        targets.extend(row.ids[row.prompt :])
        start += len(row.ids)
    return {
        "input_ids": torch.tensor([[token for row in pack for token in row.ids]]),
        "position_ids": torch.tensor([[place for row in pack for place in range(len(row.ids))]]),
        "where": torch.tensor(where),
        "targets": torch.tensor(targets),
    }


class _HeadLoss(torch.autograd.Function):
    """Sum of cross entropies under a frozen head, chunk by chunk; the whole matrix of logits never exists.

    The gradient with respect to the hidden states is taken in the forward pass, so nothing is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: Any) -> Tensor:
        total = torch.zeros((), device=hidden.device, dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        for start in range(0, len(hidden), _CHUNK):
            part = slice(start, start + _CHUNK)
            with torch.enable_grad():
                chunk = hidden[part].detach().requires_grad_()
                loss = functional.cross_entropy(head(chunk).float(), targets[part], reduction="sum")
                (gradient[part],) = torch.autograd.grad(loss, chunk)
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].to(gradient.dtype), None, None


def fast_loss(model: nn.Module, pack: dict[str, Tensor]) -> Tensor:
    """Sum over the pack's trained tokens of -log p; logits are computed at those positions alone."""
    causal = _causal(model)
    hidden = causal.base_model(input_ids=pack["input_ids"], position_ids=pack["position_ids"], use_cache=False)[0][0]
    head, cap = causal.get_output_embeddings(), getattr(causal.config, "final_logit_softcapping", None)

    def logits(chunk: Tensor) -> Tensor:
        plain: Tensor = head(chunk)
        return torch.tanh(plain / cap) * cap if cap else plain

    apply: Any = _HeadLoss.apply
    loss: Tensor = apply(hidden[pack["where"]], pack["targets"], logits)
    return loss


def plain_loss(model: nn.Module, pack: dict[str, Tensor]) -> Tensor:
    """The same sum from the model's own logits at every position: slower, and right for every model."""
    logits = model(input_ids=pack["input_ids"], position_ids=pack["position_ids"], use_cache=False).logits[0]
    return functional.cross_entropy(logits[pack["where"]].float(), pack["targets"], reduction="sum")


def fast_is_exact(model: nn.Module, pack: dict[str, Tensor], tolerance: float) -> bool:
    """Whether the fast loss of this model is the plain one, tried on a pack: its head may do what we do not know of."""
    head = _causal(model).get_output_embeddings()
    if head is None or any(parameter.requires_grad for parameter in head.parameters()):
        return False
    was = model.training
    model.eval()
    with torch.no_grad():
        fast, plain = float(fast_loss(model, pack)), float(plain_loss(model, pack))
    model.train(was)
    return abs(fast - plain) <= tolerance * abs(plain)


def packs_apart(model: nn.Module, first: Encoded, second: Encoded) -> bool:
    """Whether `second` behind `first` in a pack is to this model what it is alone, whatever `first` says.

    Some architectures count positions on, or let packed rows see each other: OPT, Bloom, Falcon, Mamba.
    """
    other = Encoded(first.id, first.ids[::-1], first.prompt)
    was = model.training
    model.eval()
    with torch.no_grad():
        device = next(model.parameters()).device
        alone, behind, behind_other = (
            float(plain_loss(model, {name: value.to(device) for name, value in tensors(pack, last=True).items()}))
            for pack in ([second], [first, second], [other, second])
        )
    model.train(was)
    half = next(model.parameters()).dtype.itemsize < 4
    return abs(behind - behind_other) <= 1e-6 * alone and abs(behind - alone) <= (5e-3 if half else 1e-4) * alone


def _causal(model: nn.Module) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


class SFT(Trainer):
    """The Trainer whose batch is a whole optimiser step: its packs run one after the other, normalised over the
    step's tokens.
    """

    def __init__(self, *, fast: bool, **settings: Any) -> None:
        super().__init__(data_collator=lambda items: items[0], **settings)
        self.remove_callback(PrinterCallback)  # standard output is the caller's
        self.pack_loss = fast_loss if fast else plain_loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        model.train()
        total = torch.zeros((), device=self.args.device)
        for pack in inputs["packs"]:
            pack = self._prepare_inputs(pack)
            with self.compute_loss_context_manager():
                loss = self.pack_loss(self.accelerator.unwrap_model(model), pack) / inputs["trained"]
            self.accelerator.backward(loss)
            total += loss.detach().float()
        if not torch.isfinite(total):
            raise KullmError(
                f"The loss is {float(total)} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                f"the rows of this step: {', '.join(inputs['rows'])}.",
                next="Lower the learning rate, or look at these rows. The last checkpoint is from before this step.",
            )
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0


class Guard(TrainerCallback):
    """Shows progress, marks finished checkpoints, and turns an interrupt into: finish the step, save, stop."""

    def __init__(self, interrupts: Interrupts, advance: Callable[[int], None]) -> None:
        self.interrupts, self.advance = interrupts, advance

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.advance(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.advance(1)
        if self.interrupts.wanted:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        (folder / COMPLETE).write_text(json.dumps({"step": state.global_step}))


def newest_complete(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None
