"""How much memory training takes, counted before the start: a pass is run with tensors that have a shape and no
content, and what would be alive at the same time is added up.

No weight is loaded: the model's configuration is enough. This module imports torch.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from kullm.models.loading import resolved
from kullm.trainers import packed
from kullm.trainers.exact import on
from kullm.trainers.fit import adapted
from kullm.trainers.lora import PolyglotLoRA
from kullm.trainers.loss import Way, computing_loss
from kullm.trainers.steps import Pass

CONTEXT = 2**29
"""Bytes that CUDA itself takes on a GPU: about half a GiB. Not measured here."""

_MAPPED = 2**25
"""A block of at least these bytes goes back to the system when it is freed (glibc's greatest M_MMAP_THRESHOLD)."""

_ALWAYS, _HOLES = 2**26, 0.8
"""What training on a CPU holds beyond what is alive: modules that are loaded late, and holes in the heap, a share of
the blocks below `_MAPPED`. Fitted to eight trainings of three architectures, of 1 to 268 M weights."""

_CACHED = 0.05
"""The share of a pass that the allocator of a GPU holds beside it. A guess."""


@dataclass(frozen=True, slots=True)
class Need:
    """The bytes that a training needs: `weights` with their copies while they are loaded, `trained` (gradients and the
    optimiser's state), and `passes`, the tensors of its largest forward and backward pass with what the allocator
    keeps. `loading` is what the weights take while they are read.
    """

    weights: int
    trained: int
    passes: int
    loading: int

    @property
    def peak(self) -> int:
        """The most at one time."""
        return max(self.loading, self.weights + self.trained + self.passes)


def need_of(settings: PolyglotLoRA, config: Any, passes: Sequence[Pass], *, dtype: str, device: str) -> Need:
    """What training with `settings` needs on a `device` ("cpu" or "cuda"), beside the process itself.

    `config` is the base's; `passes` are those that may be the largest. A deep model is computed from two shallow ones
    of the same layers, as each period of layers adds the same.
    """
    layers, period = _layers(config)
    few = period * -(-2 // period)
    if layers <= few + period:
        return Need(*map(round, _bytes(settings, config, passes, dtype, device)))
    low, high = (_bytes(settings, _shallow(config, count), passes, dtype, device) for count in (few, few + period))
    times = (layers - few) / period
    return Need(*(round(one + times * (two - one)) for one, two in zip(low, high, strict=True)))


def packs(config: Any) -> bool:
    """Whether the architecture hands its attention what rows apart in one pass need."""
    with torch.device("meta"):
        return bool(
            getattr(_made(_shallow(config, _layers(config)[1]), "float32"), "_supports_attention_backend", False)
        )


def _bytes(
    settings: PolyglotLoRA, config: Any, passes: Sequence[Pass], dtype: str, device: str
) -> tuple[float, float, float, float]:
    """The parts of a `Need` for a model of `config`'s depth."""
    gpu = device != "cpu"
    with torch.device("meta"):
        model = _made(config, "float32" if settings.lora is None else dtype)
        stored = sum(one.numel() for one in model.parameters()) * _itemsize(getattr(config, "dtype", None), dtype)
        if settings.quantize:
            _quantised(model, settings.quantize)
        model = adapted(model, settings)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    model.train()
    live = _Live()
    half = getattr(torch, resolved(device, settings.dtype)[1])
    autocast = torch.autocast("cpu", half) if gpu and half != torch.float32 else nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        _laid_out(model)
        weights = live.now
        states = [_states(one, settings) for one in model.parameters() if one.requires_grad]
        trained = live.now - weights
        live.begin()
        with computing_loss(model, Way(passes[0].packed)), autocast:
            for one in passes:
                model(**packed.tensors(one)).backward()
    del states
    used = live.most - weights - trained
    kept = _CACHED * used if gpu else _ALWAYS + _HOLES * live.blocks
    copied = not gpu and (settings.quantize is not None or _other(config, dtype, settings))
    return weights, trained, used + kept, weights + (stored if copied else 0)


def seconds(model: Any, settings: PolyglotLoRA, passes: Sequence[Pass]) -> float:
    """How long the passes but the first take, forward and backward, on the real model."""
    model = adapted(model, settings)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    gpu, half = model.device.type == "cuda", getattr(torch, resolved(model.device.type, settings.dtype)[1])
    autocast = torch.autocast("cuda", half) if gpu and half != torch.float32 else nullcontext()
    began = 0.0
    with computing_loss(model, Way(passes[0].packed)):
        for number, one in enumerate(passes):
            if number == 1:
                began = _now(gpu)
            with autocast:
                loss = model(**on(model.device, packed.tensors(one)))
            loss.backward()
    return _now(gpu) - began


def _now(gpu: bool) -> float:
    if gpu:
        torch.cuda.synchronize()
    return time.monotonic()


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that are alive, each once, and the most that were; and the most in `blocks`
    below `_MAPPED`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = self.blocks = 0
        self._in_blocks = 0
        self._known: set[int] = set()

    def begin(self) -> None:
        """Count the most from now on, and in blocks what is made from now on."""
        self.most, self.blocks, self._in_blocks = self.now, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in pytree.tree_leaves(made):
            if isinstance(one, Tensor):
                self._see(one.untyped_storage())
        return made

    def _see(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        self._in_blocks += size if size < _MAPPED else 0
        self.blocks = max(self.blocks, self._in_blocks)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
        self._in_blocks -= size if size < _MAPPED else 0


class _Frozen(torch.autograd.Function):
    """A product with weights in 8 or 4 bits as bitsandbytes makes it: they are widened for it, each time."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, shape: torch.Size, keeps: bool) -> Tensor:
        ctx.wide, ctx.weight = shape, weight
        ctx.given = given if keeps else None  # bitsandbytes keeps what goes in, in 8 bits
        return functional.linear(given, given.new_empty(shape))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] @ grads[0].new_empty(ctx.wide), None, None, None


class _Quantised(nn.Linear):
    """A linear layer that takes the memory of one in 4 bits."""

    keeps: Any = False

    def forward(self, input: Tensor) -> Tensor:
        made: Any = _Frozen.apply
        out: Tensor = made(input, self.weight, (self.out_features, self.in_features), self.keeps)
        return out if self.bias is None else out + self.bias


class _Eight(_Quantised):
    """The same in 8 bits."""

    keeps = True


def _quantised(model: Any, how: str) -> None:
    """Give every linear layer but the head its weights in 8 or 4 bits, with their scales."""
    head = model.get_output_embeddings()
    for layer in model.modules():
        if type(layer) is nn.Linear and layer is not head:
            rows, columns = layer.out_features, layer.in_features
            # float32 scales: one a row in 8 bits, one every 64 weights in 4.
            size = rows * columns + 4 * rows if how == "8bit" else rows * columns * 9 // 16
            layer.__class__ = _Eight if how == "8bit" else _Quantised
            layer.weight = nn.Parameter(torch.empty(size, dtype=torch.int8), requires_grad=False)


def _made(config: Any, dtype: str) -> Any:
    auto: Any = AutoModelForCausalLM
    return auto.from_config(config, dtype=getattr(torch, dtype))


def _laid_out(model: nn.Module) -> None:
    """Put the model's tensors, which are on no device, on the CPU, without content; what is shared stays shared."""
    laid: dict[int, Tensor] = {}
    for module in model.modules():
        several: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for named in several:
            for name, one in named.items():
                if one is None:
                    continue
                if id(one) not in laid:
                    there = torch.empty(one.shape, dtype=one.dtype)
                    laid[id(one)] = nn.Parameter(there, one.requires_grad) if isinstance(one, nn.Parameter) else there
                named[name] = laid[id(one)]


def _states(weight: Tensor, settings: PolyglotLoRA) -> list[Tensor]:
    """A trained weight's gradient, which is there for the whole step, and the two moments of AdamW."""
    weight.grad = torch.empty_like(weight)
    small = "8bit" in str(settings.arguments.get("optim", ""))
    return [torch.empty_like(weight, dtype=torch.uint8 if small else None) for _ in range(2)]


def _layers(config: Any) -> tuple[int, int]:
    """The model's depth, and after how many layers their kinds repeat."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or [""]
    depth = int(text.num_hidden_layers)
    period = next(n for n in range(1, len(kinds) + 1) if all(one == kinds[i % n] for i, one in enumerate(kinds)))
    return depth, min(period, depth)


def _shallow(config: Any, layers: int) -> Any:
    """The same architecture with fewer layers."""
    made = type(config).from_dict(config.to_dict())
    text = made.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return made


def _itemsize(stored: Any, otherwise: str) -> int:
    """Bytes of a weight in the model's file."""
    kind = stored if isinstance(stored, torch.dtype) else getattr(torch, str(stored or otherwise))
    return int(kind.itemsize)


def _other(config: Any, dtype: str, settings: PolyglotLoRA) -> bool:
    """Whether the weights are of another kind than in their file, so that both are there while they are read."""
    wanted = "float32" if settings.lora is None else dtype
    return str(getattr(config, "dtype", None) or wanted).removeprefix("torch.") != wanted
