"""Rows in one flat pass: no padding, no row sees another, and a shared beginning is computed once.

transformers builds a mask over the whole pass, so that attention costs the square of its length; here each row's
attention is computed by itself, over the shared beginning and its own tokens. This module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from kullm.trainers.steps import Pass

NAME = "kullm_apart"
"""What the attention is called in transformers."""

_LONGER = 1.25
"""On a GPU rows whose lengths differ by at most this factor are computed together, with padding in the attention."""


def tensors(one: Pass) -> dict[str, Any]:
    """The tensors of a pass: `input_ids` and `position_ids`, and for each trained token the place `where` it is
    predicted and the token `targets` that it is, both [trained]; `rows_apart` are the lengths of the shared beginning
    and of each row's rest.

    Packed, ids have the shape [1, tokens]. Padded they have [rows, longest], with an `attention_mask`, and `where`
    counts through the flattened pass.
    """
    rows, shared = one.rows, one.shared
    width = max(map(len, rows))
    starts = [shared] if one.packed else []
    for row in rows[:-1] if one.packed else ():
        starts.append(starts[-1] + len(row) - shared)
    where: list[np.ndarray[Any, Any]] = []
    targets: list[np.ndarray[Any, Any]] = []
    for place, row in enumerate(rows):
        before = starts[place] - shared if one.packed else place * width
        for start, stop in row.answers:
            where.append(np.arange(before + start - 1, before + stop - 1))
            targets.append(row.ids[start:stop])
    made: dict[str, Any] = {
        "where": torch.from_numpy(np.concatenate(where).astype(np.int64)),
        "targets": torch.from_numpy(np.concatenate(targets).astype(np.int64)),
    }
    if not one.packed:
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row.ids
        mask = np.arange(width)[None] < lengths[:, None]
        return made | {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }
    flat = np.concatenate([rows[0].ids[:shared], *(row.ids[shared:] for row in rows)])
    places = np.concatenate([np.arange(shared), *(np.arange(shared, len(row)) for row in rows)])
    return made | {
        "input_ids": torch.from_numpy(flat.astype(np.int64))[None],
        "position_ids": torch.from_numpy(places.astype(np.int64))[None],
        "rows_apart": (shared, tuple(len(row) - shared for row in rows)),
    }


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows_apart: tuple[int, tuple[int, ...]],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    together: bool | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each row to the shared beginning and to itself. `query` is [1, heads, tokens, size]; so is
    what comes back, with heads and tokens exchanged, as transformers wants it.

    `together` computes rows of about one length in one call, padded; on a GPU, where a call costs more than padding.
    """
    if s_aux is not None:
        raise TypeError("attention sinks are not computed here")
    shared, lengths = rows_apart
    settings: dict[str, Any] = {"scaling": scaling, "dropout": dropout, "window": sliding_window, "softcap": softcap}
    sizes = [shared, *lengths]
    queries, keys, values = (torch.split(one, sizes, dim=2) for one in (query, key, value))
    # A copy: what the backward pass keeps of a part of a tensor is all of it.
    out: list[Tensor] = [_attend(queries[0], keys[0].clone(), values[0].clone(), 0, **settings)] if shared else []
    for group in _groups(lengths, together=query.device.type == "cuda" if together is None else together):
        parts = [[several[1 + place] for place in group] for several in (queries, keys, values)]
        q, k, v = (_stacked(part) for part in parts)
        if shared:
            k, v = (
                torch.cat([start.expand(len(group), -1, -1, -1), rest], dim=2)
                for start, rest in ((keys[0], k), (values[0], v))
            )
        attended = _attend(q, k, v, shared, **settings)
        out.extend(attended[number : number + 1, :, : lengths[place]] for number, place in enumerate(group))
    return torch.cat(out, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, attention)


@contextmanager
def rows_apart(model: Any) -> Iterator[None]:
    """While this is entered the model's attention is this module's, and takes passes from `tensors` alone."""
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before
        _mask.cache_clear()


def _groups(lengths: Sequence[int], *, together: bool) -> list[list[int]]:
    """Neighbours that are computed together: each by itself, or those of about one length, which costs fewer calls.

    The order stays, so that what comes out needs no sorting: a pass holds its rows from the longest to the shortest.
    """
    groups: list[list[int]] = []
    for place, length in enumerate(lengths):
        near = together and groups and length <= lengths[groups[-1][0]] <= _LONGER * length
        if near:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Parts [1, heads, tokens, size] as one tensor, the shorter ones padded at their end."""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.shape[2] for part in parts)
    return torch.cat([functional.pad(part, (0, 0, 0, longest - part.shape[2])) for part in parts])


def _attend(
    query: Tensor, key: Tensor, value: Tensor, shared: int, *,
    scaling: float | None, dropout: float, window: int | None, softcap: float | None,
) -> Tensor:  # fmt: skip
    """Causal attention in which the queries stand `shared` places behind the first key."""
    n, m = query.shape[2], key.shape[2]
    narrow = window is not None and m > window
    times = query.shape[1] // key.shape[1]  # so many heads have one key; on a CPU they share its memory, too
    if times > 1 and (query.device.type != "cpu" or softcap is not None):
        key, value, times = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1), 1
    told: dict[str, Any] = {"dropout_p": dropout, "scale": scaling, "enable_gqa": times > 1}
    if softcap is None and not shared and not narrow:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, **told)
    mask = _mask(-(-m // 256) * 256, shared, window if narrow else None, query.device)[:n, :m]
    if softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, mask, **told)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap
    weights = functional.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32)
    return functional.dropout(weights.to(query.dtype), dropout) @ value


@lru_cache(maxsize=32)
def _mask(size: int, shared: int, window: int | None, device: torch.device) -> Tensor:
    """Which key [columns] a query [rows] sees, for any row of up to `size` tokens: a part of it is theirs too."""
    keys = torch.arange(size, device=device)
    queries = keys[:, None] + shared
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)
