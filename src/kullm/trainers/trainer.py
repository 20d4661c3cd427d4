"""What a trainer is, and what it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kullm.errors import InputError
from kullm.models import HuggingFace
from kullm.models.loading import CARD
from kullm.rows import Failures
from kullm.templates import PromptTemplate
from kullm.trainers import curves, export, hub
from kullm.trainers.card import write_card
from kullm.trainers.checkpoints import put

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model on disk: the folder `path`, and `card`, what made it (settings, data, versions, loss)."""

    path: Path

    @property
    def card(self) -> dict[str, Any]:
        """What stands in kullm.json. Raises `InputError` where the folder holds no finished model."""
        file = self.path / CARD
        if not file.exists():
            raise InputError(
                f"{self.path} holds no finished model: it has no {CARD}.",
                next="Give the training again; it goes on where it stopped.",
            )
        card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return card

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged in the training, in its order: `step` with `loss`, `learning_rate` and `grad_norm`, or with
        `eval_loss`, the loss of the rows that were held out.
        """
        return curves.history(self.path)

    def model(self, **settings: Any) -> HuggingFace:
        """The trained model, ready to generate in the template that it was trained with."""
        return HuggingFace(str(self.path), **settings)

    def curve(self, *, width: int = 64, height: int = 14) -> str:
        """The loss by step, drawn with characters for a terminal."""
        return curves.curve(self.history, width=width, height=height)

    def plot(self, file: str | Path) -> Path:
        """The loss and the learning rate by step as a picture: .png, .svg or .pdf.

        Raises `MissingExtra` without matplotlib.
        """
        return curves.plot(self.history, Path(file), title=self.path.resolve().name)

    def describe(
        self,
        *,
        evaluation: Mapping[str, Any] | None = None,
        licence: str | None = None,
        language: str | None = None,
    ) -> Path:
        """Write the model card README.md anew with what is given, and give its path.

        `evaluation` is names and results, also in groups; `licence` the licence of the model by the hub's name for it;
        `language` that of the rows (ISO 639-1). All are kept in kullm.json, so that copies say them, too.
        """
        said = {"evaluation": evaluation, "model_licence": licence, "language": language}
        card = self.card | {name: value for name, value in said.items() if value is not None}
        put(self.path / CARD, card)
        return write_card(self.path, card)

    def merge(self, out: str | Path, dtype: str = "auto") -> Checkpoint:
        """The adapter merged into its base, as a plain model folder `out` that needs neither PEFT nor kullm.

        The base is loaded again without quantisation, also where it was trained on in 8 or 4 bits. `dtype` is
        "float16", "bfloat16", "float32", or "auto", that of the base's own weights. Before it is written the merged
        model's logits are compared with the adapter's. Where all weights were trained there is nothing to merge: they
        are written in `dtype`. Raises `UsageError` where `out` holds something else.
        """
        self._whole()
        export.merge(self.path, Path(out), dtype)
        return Checkpoint(Path(out))

    def save(self, folder: str | Path, *, base: str | None = None) -> Checkpoint:
        """Copy the model, its tokenizer and its cards, and nothing that the training left, to a new folder.

        With `base`, the hub id of what it was trained on, the copy names the base so, and no path of this machine.
        """
        folder = Path(folder)
        self._whole()
        if base is None:
            export.copy(self.path, folder)
        else:
            export.publish(self.path, folder, base, name=folder.resolve().name)
        return Checkpoint(folder)

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, token: str | None = None, base: str | None = None
    ) -> str:
        """Upload the model with its card to the Hugging Face hub, in one commit, and give the address.

        `token` is, if not given, that of HF_TOKEN or of `hf auth login`. `base` is the hub id of what an adapter was
        trained on, where that was a folder. Raises `KeyRefused` for a token that the hub does not take.
        """
        self._whole()
        return hub.push(self.path, repo_id, private=private, token=token, base=base)

    def gguf(self, out: str | Path, kind: str = "f16", *, converter: str | Path | None = None) -> Path:
        """The model as one GGUF file for llama.cpp, Ollama and the like, written by llama.cpp's own converter.

        `kind` is what that writes: f32, f16, bf16, q8_0. `converter` is the script or llama.cpp's folder; if not given,
        the environment variable LLAMA_CPP names it, or it is in the PATH. Raises `UsageError` where it is not found.
        """
        self._whole()
        export.gguf(self.path, Path(out), kind, converter)
        return Path(out)

    def _whole(self) -> None:
        """Raise where this is no finished model."""
        _ = self.card


@runtime_checkable
class Trainer(Protocol):
    """Trains a model on rows. A trainer is its settings: a frozen dataclass."""

    def train(self, rows: Dataset, template: PromptTemplate, out: Path, *, failures: Failures = None) -> Checkpoint:
        """Train on every row and write the model to `out`, and last of all its card, `kullm.json`.

        Where `out` holds the same run, go on from there. Rows that cannot be trained on go to `failures`.
        """
        ...
