"""Base models and tokenizers of this machine: by hub id, folder, adapter folder, or "package:NAME"."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError, KullmError, MissingExtra, UsageError
from kullm.models.batching import lacks_memory
from kullm.models.packaged import PREFIX, unpacked

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CARD = "kullm.json"
"""The file beside an adapter that says what made it."""

ADAPTER = "adapter_model.safetensors"

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
"""The types that the weights of a model can be loaded in."""


def load_causal(
    name: str, *, dtype: str = "auto", device: str = "auto", quantize: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, by hub id, folder or "package:NAME". `quantize`: None, "8bit" or
    "4bit" (nf4).

    Raises `InputError` with what was tried where the model is not to be had, `MissingExtra` without torch.
    """
    tokenizer = load_tokenizer(name)
    return load_model(name, dtype=dtype, device=device, quantize=quantize), tokenizer


def load_model(name: str, *, dtype: str = "auto", device: str = "auto", quantize: str | None = None) -> PreTrainedModel:
    """The same without its tokenizer."""
    need_torch(name)
    import torch
    from transformers import AutoModelForCausalLM

    device, dtype = resolved(device, dtype)
    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "device_map": {"": device}}
    if quantize:
        import transformers

        config: Any = transformers.BitsAndBytesConfig
        four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": settings["dtype"]} if quantize == "4bit" else {}
        settings["quantization_config"] = config(**{f"load_in_{quantize}": True}, **four)
    with quiet(), _to_be_had(name):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(_place(name), **settings)
    return model


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, by hub id, folder or "package:NAME"; it raises what `load_causal` raises."""
    need_torch(name)
    from transformers import AutoTokenizer

    with quiet(), _to_be_had(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(_place(name))
    return tokenizer


def load_config(name: str) -> PreTrainedConfig:
    """The configuration of a model, without its weights; it raises what `load_causal` raises."""
    need_torch(name)
    from transformers import AutoConfig

    with quiet(), _to_be_had(name):
        config: PreTrainedConfig = AutoConfig.from_pretrained(_place(name))
    return config


def generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Settings of generation that end a text at every id that the tokenizer or the model ends one at, and nothing else.

    The two may differ, as Polyglot-Ko's did; what else a model brings with it may be of no use.
    """
    from transformers import GenerationConfig

    named = [
        tokenizer.eos_token_id,
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config.get_text_config(), "eos_token_id", None),
    ]
    flat = [one for item in named for one in (item if isinstance(item, list) else [item]) if one is not None]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    make: Any = GenerationConfig
    made: GenerationConfig = make(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=list(dict.fromkeys(flat)) or None, pad_token_id=pad
    )
    return made


def need_torch(name: str = "") -> None:
    """Raise `MissingExtra`, which says the pip line for the model `name`, where a package for it is missing."""
    for package in ("torch", "transformers", "peft", "accelerate"):
        if find_spec(package) is None:
            raise MissingExtra(package, "demo" if name.startswith(PREFIX) else "train")


def check_dtype(dtype: str) -> None:
    """Raise `UsageError` where `dtype` is none that weights can be loaded in."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {dtype!r}; expected {', '.join(DTYPES)}.")


def resolved(device: str, dtype: str) -> tuple[str, str]:
    """What "auto" means on this machine: a GPU where there is one; bfloat16 where the hardware computes in it, else
    float16 on a GPU and float32 on a CPU. A GPU that is not here is taken for one that computes in bfloat16.
    """
    check_dtype(dtype)
    need_torch()
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = _own_dtype(device)
    return device, dtype


def _own_dtype(device: str) -> str:
    import torch

    place = torch.device(device)
    if place.type == "cpu":
        known: Any = torch.cpu
        return "bfloat16" if known._is_avx512_bf16_supported() or known._is_amx_tile_supported() else "float32"
    here = place.type == "cuda" and (place.index or 0) < torch.cuda.device_count()
    return "float16" if here and torch.cuda.get_device_capability(place) < (8, 0) else "bfloat16"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes that the libraries print about what we do on purpose; errors stay errors."""
    from transformers.utils import logging as notes

    own: Any = notes
    level, bars = own.get_verbosity(), own.is_progress_bar_enabled()
    own.set_verbosity_error()
    own.disable_progress_bar()
    kernels = logging.getLogger("bitsandbytes")
    before = kernels.level
    kernels.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        kernels.setLevel(before)
        own.set_verbosity(level)
        if bars:
            own.enable_progress_bar()


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and no whole model."""
    return (folder / "adapter_config.json").exists()


def base_of(folder: Path) -> str:
    """The base model of an adapter: as the trainer was told it, else as the adapter's own configuration says."""
    if (folder / CARD).exists():
        return str(json.loads((folder / CARD).read_text(encoding="utf-8"))["base"])
    return str(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"])


def _place(name: str) -> str:
    return str(unpacked(name)) if name.startswith(PREFIX) else name


@contextmanager
def _to_be_had(name: str) -> Iterator[None]:
    """What the libraries raise for a model that they cannot find, or that the memory does not hold, as one error."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if lacks_memory(error):
            raise KullmError(
                f"The memory does not hold the model {name!r}.",
                next="Take a smaller dtype, weights in 8 or 4 bits (load_in_8bit, load_in_4bit), or another device.",
            ) from None
        if isinstance(error, RuntimeError | MemoryError):
            raise
        raise InputError(
            f"The model {name!r} is not to be had; tried a folder of that name, the local cache and the hub: "
            f"{next(iter(str(error).splitlines()), type(error).__name__)}",
            next="Name a folder that holds a model (--base PATH), or check the name and the network.",
        ) from None
