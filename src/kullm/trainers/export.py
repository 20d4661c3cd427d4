"""A trained model as others take it: merged into its base, copied, and as a GGUF file."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import KullmError, UsageError
from kullm.made import digest
from kullm.models.hashes import need_base
from kullm.models.loading import (
    ADAPTER,
    CARD,
    base_of,
    generation,
    is_adapter,
    load_config,
    load_model,
    load_tokenizer,
    need_torch,
    quiet,
)
from kullm.trainers.card import README, base_name, hub_id, public, write_card
from kullm.trainers.checkpoints import HISTORY, put, to_disk

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MODEL = (
    "*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json", "generation_config.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.jinja",
    CARD, HISTORY, README,
)  # fmt: skip
"""The files of a model. What else stands in its folder is left from the training, or the user's own."""

_DTYPES = ("auto", "bfloat16", "float16", "float32")

CONVERTER = "convert_hf_to_gguf.py"
"""llama.cpp's own (https://github.com/ggml-org/llama.cpp)."""

_GGUF = ("auto", "f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0")
"""What that converter writes; every other kind is made of one of these by llama-quantize."""


@contextmanager
def becoming(out: Path) -> Iterator[Path]:
    """A folder to write to, which is `out` when the block ends, and gone where the block fails.

    Raises `UsageError` where `out` holds something already.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} is there already.", next="Choose another folder, or delete this one.")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        to_disk(part)
        if out.is_dir():
            out.rmdir()
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def copy(path: Path, out: Path, *, links: bool = False) -> None:
    """Copy the files of the model in `path`, and nothing else, to a new folder `out`; as links, where those do."""
    with becoming(out) as part:
        for file in _files(path):
            if links:
                with suppress(OSError):  # a system may not allow them
                    (part / file.name).symlink_to(file.resolve())
                    continue
            shutil.copyfile(file, part / file.name)


def publish(path: Path, out: Path, base: str | None, *, name: str, repo: str = "", links: bool = False) -> None:
    """Copy the model so that it can be used elsewhere: an adapter names its base by the hub id `base`, and no file
    names a path of this machine.

    Raises `UsageError` where the base of an adapter is a folder and no `base` is given.
    """
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    known = base or hub_id(str(card["base"]))
    if is_adapter(path) and known is None:
        raise UsageError(
            f"The base of this adapter is {card['base']}, which others cannot load.",
            next="Say what it is on the hub: base=OWNER/NAME. Or take the whole model: merge(folder), then its own "
            "push_to_hub.",
        )
    copy(path, out, links=links)
    if base not in (None, card["base"]):
        card.pop("base_hash", None)  # it is of the folder, and says nothing of the hub's
    card = public(card) | {"base": known or base_name(str(card["base"])), "template": card["template"]}
    put(out / CARD, card)
    if is_adapter(out):
        _change(out / "adapter_config.json", {"base_model_name_or_path": known})
    if (out / "tokenizer_config.json").exists():  # where it was loaded from here
        _change(out / "tokenizer_config.json", {}, drop=("is_local", "local_files_only", "name_or_path"))
    write_card(out, card, name=name, repo=repo)


def merge(path: Path, out: Path, dtype: str) -> None:
    """Write the model in `path` as a plain model folder `out`, its adapter merged into the base.

    The base is loaded anew in `dtype`, never quantised; "auto" is the type of the base's own weights. A model of which
    all weights were trained is written in `dtype` as it is. Where `out` holds this very model, nothing is done.
    """
    if dtype not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}; expected {', '.join(_DTYPES)}.")
    need_torch()
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    source = base_of(path) if is_adapter(path) else str(path)
    tokenizer = load_tokenizer(str(path))
    if is_adapter(path):
        need_base(path)
    if dtype == "auto":
        dtype = _own_dtype(source)
    made = {"dtype": dtype} | ({"adapter": digest(path / ADAPTER)} if is_adapter(path) else {})
    if _card_of(out).get("merged") == made:
        return
    with becoming(out) as part, quiet():
        model = load_model(source, dtype=dtype, device="cpu")
        if getattr(model, "is_quantized", False):
            raise UsageError(
                f"The weights of {source} are quantised themselves; an adapter is merged into 16 or 32 bits.",
                next="Train on the model that they were made of, or load the adapter with PEFT as it is.",
            )
        if is_adapter(path):
            model = _merged(model, path, tokenizer, tolerance=1e-4 if dtype == "float32" else 0.1)
        model.generation_config = generation(model, tokenizer)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        if (path / HISTORY).exists():
            shutil.copyfile(path / HISTORY, part / HISTORY)
        card |= {"merged": made}
        write_card(part, card, name=out.resolve().name)
        put(part / CARD, card)


def gguf(path: Path, out: Path, kind: str, converter: str | Path | None) -> None:
    """Write the model as the GGUF file `out` by llama.cpp's converter; an adapter is merged first, in a folder beside.

    The converter is looked for as `converter`, in the folder that the environment variable LLAMA_CPP names, and in the
    PATH.
    """
    if kind.lower() not in _GGUF:
        raise UsageError(
            f"{CONVERTER} does not write {kind}; it writes {', '.join(_GGUF)}.",
            next=f"Write f16, then: llama-quantize {out} {out.with_suffix('')}-{kind}.gguf {kind}",
        )
    if out.exists():
        raise UsageError(f"{out} is there already.", next="Choose another name, or delete this one.")
    script = _converter(converter)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        folder, part = path, Path(beside) / "model.gguf"
        if is_adapter(path):
            folder = Path(beside) / out.stem
            merge(path, folder, "float32" if kind.lower() == "f32" else "auto")
        command = [str(script), str(folder), "--outfile", str(part), "--outtype", kind.lower()]
        if script.suffix == ".py":
            command.insert(0, sys.executable)
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        said = "\n".join(f"  {line}" for line in ended.stdout.strip().splitlines()[-8:])
        if ended.returncode or not _is_gguf(part):
            known = "BPE pre-tokenizer was not recognized" in ended.stdout
            raise KullmError(
                f"{script.name} made no GGUF file (exit code {ended.returncode}). It said last:\n{said or '  nothing'}",
                next="llama.cpp does not know this tokenizer; its convert_hf_to_gguf_update.py adds one."
                if known
                else "Update llama.cpp, and install what its requirements.txt names into this Python.",
            )
        part.replace(out)


def _merged(model: PreTrainedModel, path: Path, tokenizer: PreTrainedTokenizerBase, tolerance: float) -> Any:
    """The model with the adapter in its weights, after a look whether it says the same as with the adapter beside."""
    import torch
    from peft import PeftModel

    adapted: Any = PeftModel.from_pretrained(model, path).eval()
    ends = (adapted.get_input_embeddings(), adapted.get_output_embeddings())
    if model.config.get_text_config().tie_word_embeddings and any(hasattr(one, "lora_A") for one in ends):
        raise UsageError(
            "The adapter changes the output layer, whose weights are the input embeddings, too: merged, it would "
            "change both.",
            next="Load it with PEFT as it is, or train without that layer: LoRA(targets=…).",
        )
    ids = torch.tensor([tokenizer("대한민국의 수도는 서울입니다. The capital is Seoul.")["input_ids"]])

    def said(of: Any) -> Tensor:
        with torch.no_grad():
            logits: Tensor = of(input_ids=ids).logits.float()
        return logits - logits.mean(-1, keepdim=True)

    beside = said(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)  # raises where a weight is no number
    error = float((said(merged) - beside).norm() / beside.norm())
    if not error <= tolerance:  # NaN, too
        raise KullmError(
            f"The merged model does not say what the adapter says: its logits differ by {error:.1%}.",
            next="Merge in float32 (dtype=…), or load the adapter with PEFT as it is.",
        )
    return merged


def _own_dtype(name: str) -> str:
    """The type that a model's configuration gives its weights; float32 where it gives none."""
    config = load_config(name)
    found = str(config.get_text_config().dtype or config.dtype).removeprefix("torch.")
    return found if found in _DTYPES else "float32"


def _converter(given: str | Path | None) -> Path:
    named = given or os.environ.get("LLAMA_CPP")
    places = [named] if named else [shutil.which(CONVERTER), shutil.which(CONVERTER.removesuffix(".py"))]
    for path in (Path(place).expanduser() for place in places if place):
        script = path / CONVERTER if path.is_dir() else path
        if script.is_file():
            return script.resolve()
    raise UsageError(
        f"llama.cpp's {CONVERTER} is not {f'at {named}' if named else 'in the PATH'}.",
        next="git clone https://github.com/ggml-org/llama.cpp, pip install -r its requirements.txt, then: "
        "export LLAMA_CPP=FOLDER",
    )


def _files(path: Path) -> list[Path]:
    found = {file for pattern in _MODEL for file in path.glob(pattern) if file.is_file() and file.suffix != ".part"}
    return sorted(found)


def _change(file: Path, values: Mapping[str, Any], drop: tuple[str, ...] = ()) -> None:
    known = json.loads(file.read_text(encoding="utf-8")) | dict(values)
    put(file, {key: value for key, value in known.items() if key not in drop})


def _card_of(folder: Path) -> dict[str, Any]:
    file = folder / CARD
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _is_gguf(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(4) == b"GGUF"
