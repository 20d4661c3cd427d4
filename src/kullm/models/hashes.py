"""Which model a name stands for now, by its files: they may be replaced in place."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from kullm.errors import InputError
from kullm.models.loading import ADAPTER, CARD, base_of
from kullm.models.packaged import PREFIX, unpacked

_OF_MODEL = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin")
"""Files of a base model: its settings, its tokenizer, its weights."""

_BESIDE = (CARD, "generation_config.json")
"""What decides nothing here: a card is written anew by `describe`, and decoding settings are said by whoever asks."""

_PIECE, _PIECES = 2**16, 256


def base_hash(base: str) -> dict[str, str]:
    """What the name of a base model stands for now: the commit of a hub's model, a hash of the files of a folder; or
    nothing, where the model is not here yet.

    Of a file above 16 MiB the hash takes the size and 256 pieces of 64 KiB that lie evenly in it, the first and the
    last among them: training a model anew changes them, and 25 GB are done in a second.
    """
    folder = unpacked(base) if base.startswith(PREFIX) else Path(base)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(base, "config.json")
        except HFValidationError:
            return {}
        return {"base_hash": Path(found).parent.name[:16]} if isinstance(found, str) else {}
    return {"base_hash": _hash(_files(folder))}


def need_base(adapter: Path) -> None:
    """Raise `InputError` where the base of an adapter is a folder that holds another model than it was trained on.

    A base of the hub is not compared: its commit changes with its README, too.
    """
    card = json.loads((adapter / CARD).read_text(encoding="utf-8")) if (adapter / CARD).exists() else {}
    base, known = base_of(adapter), card.get("base_hash")
    if known and Path(base).is_dir() and base_hash(base)["base_hash"] != known:
        raise InputError(
            f"{base} is another model than the one that the adapter {adapter} was trained on: its files have changed.",
            next="Put back the base that it was trained on, or train the adapter again on this one.",
        )


def version_of(name: str) -> str:
    """A model's name with the hash of its files where they lie in a folder: trained anew, it is another model.

    An adapter is named after its base, with the base's own hash; its own folder may move.
    """
    folder = Path(name)
    if (folder / ADAPTER).exists():
        return f"{version_of(base_of(folder))}+{_hash([folder / ADAPTER])}"
    return f"{name}+{_hash(_files(folder))}" if folder.is_dir() else name


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _OF_MODEL and path.name not in _BESIDE)


def _hash(files: list[Path]) -> str:
    """Of the files' names and bytes. A file that was not written since is not read again."""
    stamps = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256("".join(_of_file(*stamp) for stamp in stamps).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _of_file(path: Path, size: int, written: int) -> str:
    digest = hashlib.sha256(json.dumps([path.name, size]).encode())
    step = max(_PIECE, (size - _PIECE) // (_PIECES - 1))
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(_PIECE))
    return digest.hexdigest()
