"""Which of the fast ways computes a model's own loss: tried on real rows before the start, never assumed.

This module imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from kullm.models.batching import lacks_memory
from kullm.trainers.batches import Encoded
from kullm.trainers.loss import Way, at_rest, causal, computing_loss, plain_loss
from kullm.trainers.packed import tensors
from kullm.trainers.steps import Pass


def exact_way(
    model: nn.Module, rows: Sequence[Encoded], *, longest: Encoded, shared: int, packing: bool, quantised: bool
) -> Way:
    """The fastest way whose loss is this model's own, tried on `rows`, which have their first `shared` tokens in
    common, and on the `longest` one, without all of its logits.

    Packed rows may see each other in an architecture, or have other positions behind one another; a head may do
    what is not known here. Then the model runs padded, or with all logits.
    """
    tolerance = 0.05 if quantised else 0.01 if next(model.parameters()).dtype.itemsize < 4 else 1e-4
    with at_rest(model):
        plain = [float(plain_loss(model, row.ids.tolist(), row.answers)) for row in rows]
        fast = _close(_losses(model, [Pass((row,), packed=False) for row in rows], Way(False)), plain, tolerance)
        packs = packing and _apart(model, rows, longest, shared, Way(True, fast), plain, tolerance)
    return Way(packs, fast)


def _apart(
    model: nn.Module,
    rows: Sequence[Encoded],
    longest: Encoded,
    shared: int,
    way: Way,
    plain: Sequence[float],
    tolerance: float,
) -> bool:
    """Whether a row in a pack has the loss that it has alone, whatever the row before it says, and the longest row
    (an attention may have a window) the loss that it has padded.
    """
    if not getattr(causal(model), "_supports_attention_backend", False):
        return False
    others = [_other(row, shared) for row in rows]
    try:
        losses = _losses(model, [_last((before, row), shared) for before, row in _pairs(rows, rows)], way)
        beside = _losses(model, [_last((before, row), shared) for before, row in _pairs(others, rows)], way)
        losses += _losses(model, [Pass((longest,))], way)
        plain = [*plain, *_losses(model, [Pass((longest,), packed=False)], Way(False, way.fast))]
    except (TypeError, ValueError, RuntimeError) as error:  # an architecture that hands nothing on to its attention
        if lacks_memory(error):
            raise
        return False
    return _close(losses, plain, tolerance) and all(
        abs(one - two) <= tolerance / 50 * abs(one) for one, two in zip(losses, beside, strict=False)
    )


def _pairs(before: Sequence[Encoded], rows: Sequence[Encoded]) -> list[tuple[Encoded, Encoded]]:
    return [(before[place - 1], row) for place, row in enumerate(rows)]


def _last(pair: tuple[Encoded, Encoded], shared: int) -> Pass:
    """Two rows in a pass of which the second is trained alone."""
    first, second = pair
    return Pass((Encoded(first.id, first.ids, ()), second), shared)


def _other(row: Encoded, shared: int) -> Encoded:
    """A row of the same length that says something else behind what is shared."""
    return Encoded(row.id, np.concatenate([row.ids[:shared], row.ids[shared:][::-1]]), ())


def _losses(model: nn.Module, passes: Sequence[Pass], way: Way) -> list[float]:
    device = next(model.parameters()).device
    with computing_loss(model, way):
        return [float(model(**on(device, tensors(one)))) for one in passes]


def _close(found: Sequence[float], wanted: Sequence[float], tolerance: float) -> bool:
    return all(abs(one - two) <= tolerance * max(abs(two), 1e-3) for one, two in zip(found, wanted, strict=True))


def on(device: Any, pack: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a pass on another device."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in pack.items()}
