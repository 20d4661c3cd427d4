"""The loss of a pass: the model computes logits at trained positions alone, and never holds all of them.

This module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from kullm.trainers.packed import rows_apart

_BYTES = 2**25
"""The size of the logits that are held at once, about, in bytes of float32; where the vocabulary is large, `_LEAST`
tokens of it, as fewer are slower.
"""

_LEAST = 256

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Way:
    """How a model's loss is computed: rows `packed` without padding or not, logits where they are needed alone (`fast`)
    or everywhere.
    """

    packed: bool = True
    fast: bool = True


class _HeadLoss(torch.autograd.Function):
    """Sum of cross entropies under a head, chunk by chunk; the whole matrix of logits never exists.

    The gradients, with respect to the hidden states and to the head where it is trained, are taken in the forward
    pass, so nothing is computed twice; a chunk's logits become their own gradient in place.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, logits: Logits, chunk: int, trained: int, *weights: Tensor
    ) -> Tensor:
        total = torch.zeros((), device=hidden.device, dtype=torch.float32)
        needed = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needed else None
        of_weights = [torch.zeros_like(weight) for weight in weights]
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            with torch.enable_grad():
                here = hidden[part].detach().requires_grad_(needed)
                found = logits(here)
            loss, of_logits = _cross_entropy(found.detach(), targets[part])
            total += loss
            wanted = [*([here] if needed else []), *weights]
            if wanted:
                grads = torch.autograd.grad(found, wanted, of_logits)
                if gradient is not None:
                    gradient[part] = grads[0]
                for sum_, grad in zip(of_weights, grads[len(wanted) - len(weights) :], strict=True):
                    sum_ += grad
            del found, of_logits  # or two chunks would be held at once
        ctx.save_for_backward(*([gradient] if gradient is not None else []), *of_weights)
        ctx.needed = needed
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = [one * grads[0].to(one.dtype) for one in ctx.saved_tensors]
        hidden = saved.pop(0) if ctx.needed else None
        return (hidden, None, None, None, None, *saved)


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cross entropies, in float32, and its gradient with respect to `logits`, in whose place it may lie."""
    scores, rows = logits.float(), torch.arange(len(targets), device=logits.device)
    scores -= scores.amax(-1, keepdim=True)
    of_targets = scores[rows, targets]
    total = scores.exp_().sum(-1, keepdim=True)
    loss = (total.squeeze(-1).log() - of_targets).sum()
    scores /= total
    scores[rows, targets] -= 1
    return loss, scores.to(logits.dtype)


def causal(model: nn.Module) -> Any:
    """The causal language model inside an adapter, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _logits(model: Any) -> Logits:
    """What the model makes of a hidden state: its head, scaled and capped as its architecture does."""
    head, config = model.get_output_embeddings(), model.config
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    cap = getattr(config, "final_logit_softcapping", None)

    def logits(hidden: Tensor) -> Tensor:
        plain: Tensor = head(hidden)
        plain = plain if scale == 1 else plain * scale
        return torch.tanh(plain / cap) * cap if cap else plain

    return logits


def _fast(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    head = model.get_output_embeddings()
    weights = [one for one in head.parameters() if one.requires_grad] if torch.is_grad_enabled() else []
    vocabulary = int(model.config.get_text_config().vocab_size)
    count = -(-len(hidden) // min(max(_BYTES // (4 * vocabulary), _LEAST), 4096))
    chunk = -(-len(hidden) // count)
    apply: Any = _HeadLoss.apply
    loss: Tensor = apply(hidden, targets, _logits(model), chunk, len(weights), *weights)
    return loss


@contextmanager
def computing_loss(model: nn.Module, way: Way) -> Iterator[None]:
    """While this is entered, `model(**tensors(one))` is the sum over the pass's trained tokens of -log p, a scalar.

    The causal model's own forward is replaced, so whatever wraps the model (an adapter, DDP, FSDP) is called as ever.
    """
    inner = causal(model)
    own = inner.forward

    def forward(
        self: Any, input_ids: Tensor, where: Tensor, targets: Tensor,
        attention_mask: Tensor | None = None, position_ids: Tensor | None = None, rows_apart: Any = None, **_: Any,
    ) -> Tensor:  # fmt: skip
        given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        if rows_apart is not None:
            given |= {"position_ids": position_ids, "rows_apart": rows_apart}
        if not way.fast:
            logits = own(**given).logits
            return functional.cross_entropy(logits.flatten(0, 1)[where].float(), targets, reduction="sum")
        hidden = self.base_model(**given)[0]
        return _fast(self, hidden.flatten(0, 1)[where], targets)

    with ExitStack() as stack:
        if way.packed:
            stack.enter_context(rows_apart(inner))
        inner.forward = MethodType(forward, inner)
        try:
            yield
        finally:
            inner.forward = own


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """While this is entered the model evaluates: no dropout, no gradient.

    Weights in 4 bits stay in training: on a CPU bitsandbytes lays them out anew for inference, for good.
    """
    was = model.training
    model.eval()
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.training = True
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def plain_loss(model: nn.Module, ids: Sequence[int], answers: Sequence[tuple[int, int]]) -> Tensor:
    """The same sum for one row, the simplest way: the model's own forward over all of the row, all logits."""
    device = next(model.parameters()).device
    logits = model(input_ids=torch.tensor([list(ids)], device=device)).logits[0]
    places = [place for start, stop in answers for place in range(start, stop)]
    targets = torch.tensor([int(ids[place]) for place in places], device=device)
    where = torch.tensor([place - 1 for place in places], device=device)
    return functional.cross_entropy(logits[where].float(), targets, reduction="sum")
