"""What a training folder holds: which run, and which of its checkpoints are whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kullm.errors import InputError, OtherRun, StorageFailed
from kullm.models.loading import CARD

log = logging.getLogger("kullm")

RUN = "run.json"
"""What run a folder was begun with; gone when the card is written."""

HISTORY = "history.jsonl"
"""What the Trainer logged: loss, learning rate and norm of the gradient of each step, the loss of held-out rows."""

MANIFEST = "manifest.json"
"""The size and SHA-256 of every file of a checkpoint, written after all of them."""

_LOADED = (".bin", ".pt", ".pth", ".safetensors")
"""Files that are loaded where they lie in a checkpoint, whoever put them there."""

_MADE_WITH = ("versions", "machine", "distributed", "ids")
"""What a record says of the programs, the machines and the day: a run goes on with the same ones, a finished model
stands."""

_NAMED = {"ids": "token ids of the rows, which a chat template that writes the date makes anew each day"}
"""What is not understood by its name alone."""


def is_finished(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether `out` holds this run's model. Raises `OtherRun` where it holds another run, whole or begun, and says
    what differs. What `record` does not say is not compared.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(record))
    for name in (CARD, RUN):
        if not (out / name).exists():
            continue
        try:
            other = json.loads((out / name).read_text(encoding="utf-8"))
        except FileNotFoundError:  # another process has finished the run
            continue
        except ValueError:
            raise InputError(
                f"{out / name} is not whole: what this folder holds cannot be told.",
                next="Choose another folder, or delete this one.",
            ) from None
        lasting = {key: value for key, value in wanted.items() if name == RUN or key not in _MADE_WITH}
        differ = list(_differences(other, lasting))
        if differ:
            raise OtherRun(
                f"{out} holds another run; it differs in: {'; '.join(differ)}.",
                next="Choose another folder, or delete this one.",
            )
    return (out / CARD).exists()


def put(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    _put(path, json.dumps(content, ensure_ascii=False, indent=1))


def put_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file whole or not at all."""
    _put(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _put(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def seal(folder: Path) -> None:
    """Write the manifest of a checkpoint, whose files are all there: first they, then it, go to the disk, and the
    checkpoint's own name with them.
    """
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in _files(folder)
        if name != MANIFEST
    }
    to_disk(folder)
    put(folder / MANIFEST, files)
    _sync(folder.parent)


def to_disk(folder: Path) -> None:
    """Have the files of a folder, and their names, on the disk."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _sync(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that a run can go on from, or None: every file is what its manifest says, and
    so are those of the checkpoint with the best weights so far, where it names one. Those passed over are logged.

    Raises `StorageFailed` where a file cannot be read: it may be whole, and is not passed over.
    """
    for path in sorted(_checkpoints(folder), key=number, reverse=True):
        fault = _fault(path) or _fault_of_best(path)
        if fault is None:
            return path
        log.warning("train: %s is passed over: %s", path, fault)
    return None


def number(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def drop_behind(folder: Path, last: Path | None) -> None:
    """Delete the checkpoints behind `last`, the newest whole one: their numbers are written anew."""
    for path in _checkpoints(folder):
        if last is None or number(path) > number(last):
            shutil.rmtree(path)


def drop_before(newest: Path, keep: int | None, best: int | None) -> None:
    """Delete checkpoints before `newest`, which is sealed. `keep` stay, it among them, and that of the step `best`."""
    older = sorted((path for path in _checkpoints(newest.parent) if number(path) < number(newest)), key=number)
    for path in older[: max(0, len(older) + 1 - keep)] if keep else ():
        if number(path) != best:
            shutil.rmtree(path)


@contextmanager
def storing(out: Path, last: Path | None = None) -> Iterator[None]:
    """What goes wrong while files are written in `out`, a full disk above all, as one error; `last` is what is safe.
    A lack of memory is none of it.
    """
    from safetensors import SafetensorError

    from kullm.models.batching import lacks_memory

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of files, of torch, of safetensors
        if lacks_memory(error):
            raise
        raise StorageFailed(
            f"{out} cannot be written: {(str(error) or type(error).__name__).splitlines()[0]}",
            safe=safe(last),
            next="Make room on the disk, and give the same command again.",
        ) from error


def safe(last: Path | None) -> str:
    """What a run that stops can go on from."""
    return f"The last whole checkpoint is {last}." if last else "There is no checkpoint yet."


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(folder: Path) -> str | None:
    """Why a checkpoint is not whole; None where it is."""
    try:
        known = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, one in known.items():
            if (folder / name).stat().st_size != one["bytes"] or _sha256(folder / name) != one["sha256"]:
                return f"{name} is not what its manifest says"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is not there"
    except OSError as error:
        raise StorageFailed(
            f"{folder} cannot be read: {error}", next="Give the same command when it can be."
        ) from error
    except (ValueError, AttributeError, KeyError, TypeError):
        return "its manifest is torn"
    strange = [name for name in _files(folder) if Path(name).suffix in _LOADED and name not in known]
    return f"{strange[0]} is not in its manifest" if strange else None


def _fault_of_best(folder: Path) -> str | None:
    best = best_of(folder)
    if best is None or best == number(folder):
        return None
    fault = _fault(folder.with_name(f"checkpoint-{best}"))
    return fault and f"of checkpoint-{best}, its best weights, {fault}"


def has_stopped(checkpoint: Path, patience: int) -> bool:
    """Whether the run had ended with this checkpoint, as the loss of the held-out rows did not fall any more."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    of_stopping = state["stateful_callbacks"].get("EarlyStoppingCallback", {}).get("attributes", {})
    return bool(of_stopping.get("early_stopping_patience_counter", 0) >= patience)


def best_of(checkpoint: Path) -> int | None:
    """The step with the best weights so far, where the run looks for them."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    best = state.get("best_global_step")
    return int(best) if best else None


def _differences(other: Any, wanted: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """What is other in the record of a folder, each with its name: "batch 4, here 8"."""
    for key, value in wanted.items():
        known = other.get(key) if isinstance(other, Mapping) else None
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            yield from _differences(known, value, f"{before}{key}.")
        elif known != value:
            texts = [json.dumps(one, ensure_ascii=False) for one in (known, value)]
            name = before + _NAMED.get(key, key)
            yield f"{name} ({texts[0]} there, {texts[1]} here)" if max(map(len, texts)) < 60 else name


def _sync(folder: Path) -> None:
    """Have the names of a folder's files on the disk."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
