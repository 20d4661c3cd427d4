"""What a trainer is, and what it gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kullm.models import HuggingFace
from kullm.models.huggingface import CARD
from kullm.rows import Failures
from kullm.templates import PromptTemplate

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model on disk: the folder `path`, and `card`, what made it (settings, data, versions, loss)."""

    path: Path

    @property
    def card(self) -> dict[str, Any]:
        card: dict[str, Any] = json.loads((self.path / CARD).read_text(encoding="utf-8"))
        return card

    def model(self, **settings: Any) -> HuggingFace:
        """The trained model, ready to generate in the template that it was trained with."""
        return HuggingFace(str(self.path), **settings)


@runtime_checkable
class Trainer(Protocol):
    """Trains a model on rows. A trainer is its settings: a frozen dataclass."""

    def train(self, rows: Dataset, template: PromptTemplate, out: Path, *, failures: Failures = None) -> Checkpoint:
        """Train on every row and write the model to `out`, and last of all its card, `kullm.json`.

        Where `out` holds the same run, go on from there. Rows that cannot be trained on go to `failures`.
        """
        ...
