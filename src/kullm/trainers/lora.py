"""LoRA with the paper's settings (section 4.1), on any causal language model; or all weights."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kullm.errors import InputError, UsageError
from kullm.models.hashes import base_hash
from kullm.models.loading import CARD, load_causal, load_tokenizer, need_torch, quiet
from kullm.progress import track
from kullm.rows import Failure, Failures, need, settle
from kullm.templates import KULLM, PromptTemplate, record
from kullm.trainers.batches import Encoded, Tokenised, encode
from kullm.trainers.card import described, write_card
from kullm.trainers.checkpoints import RUN, is_finished, put, put_lines, storing, to_disk
from kullm.trainers.steps import Course, prefixes, steps
from kullm.trainers.trainer import Checkpoint

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("kullm")

DROPPED = "dropped.jsonl"
"""The rows that could not be trained on, beside the model."""

_OURS = {
    "output_dir": "out", "seed": "seed", "data_seed": "seed", "max_steps": "epochs", "num_train_epochs": "epochs",
    "learning_rate": "learning_rate", "max_grad_norm": "clip", "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing", "per_device_train_batch_size": "batch",
    "gradient_accumulation_steps": "batch", "auto_find_batch_size": "batch", "train_sampling_strategy": "batch",
    "per_device_eval_batch_size": "pack_tokens", "eval_strategy": "held_out and save_steps",
    "eval_steps": "save_steps", "save_steps": "save_steps", "save_strategy": "save_steps",
    "load_best_model_at_end": "patience", "metric_for_best_model": "patience", "greater_is_better": "patience",
} | dict.fromkeys((
    "save_only_model", "ignore_data_skip", "logging_nan_inf_filter", "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint", "use_cpu", "do_train", "do_eval", "do_predict", "eval_delay", "eval_on_start",
    "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object", "batch_eval_metrics",
    "bf16_full_eval", "fp16_full_eval", "include_for_metrics", "prediction_loss_only", "label_names",
    "label_smoothing_factor", "average_tokens_across_devices", "use_liger_kernel", "liger_kernel_config",
    "torch_empty_cache_steps", "include_num_input_tokens_seen", "remove_unused_columns", "length_column_name",
), "")  # fmt: skip
"""Arguments of the Trainer that decide what is promised here, or that nothing here looks at (as those that begin with
dataloader_), and the setting that is meant, if there is one."""

_NEUTRAL = (
    "report_to", "run_name", "project", "trackio_space_id", "disable_tqdm", "save_total_limit", "logging_strategy",
    "logging_steps", "logging_first_step",
)  # fmt: skip
"""Arguments of the Trainer that change no weight."""


@dataclass(frozen=True)
class LoRA:
    """The low-rank adapter: the paper's rank 16 and alpha 32 on query_key_value (section 4.1).

    `targets` None finds the query, key and value projections of the base. `dropout` is not in the paper.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _whole(self, "rank", "alpha")
        _number(self, "dropout")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; expected from 0 to below 1.")
        targets: Any = self.targets
        if isinstance(targets, list):
            object.__setattr__(self, "targets", tuple(targets))


@dataclass(frozen=True)
class PolyglotLoRA:
    """LoRA on the attention projections, loss on the output only (paper 3.2), with the paper's settings (4.1) as
    defaults.

    The paper: rank 16, alpha 32 on query_key_value, AdamW, peak learning rate 3e-4, 5 % warm-up, cosine, gradient
    clipping, batch 256, 5 epochs. Not in the paper, ours: `clip` 1.0, `max_tokens`, `seed`, no dropout. The paper used
    bitsandbytes to save memory: `load_in_8bit` or `load_in_4bit` does.

    `lora` None trains all weights. `loss` "everything" takes the loss on the prompt too, as the released scripts did.
    `packing` computes rows without padding, `share_prefix` what they begin with in common once; both are left out where
    the model does not allow them. `pack_tokens` is the size of one forward pass (512 on a CPU, else 4,096).
    `held_out` rows, a number or a share, are not trained on: their loss is taken every `save_steps` steps and at the
    end, and where it has not fallen `patience` times in a row training stops and the best weights are kept. `warmup` is
    a share of the steps; `save_steps` are those between checkpoints. `dtype` is that of the base's weights; with `lora`
    None they are float32, and it is what a GPU computes in.
    `arguments` go to `transformers.TrainingArguments` by name.
    """

    base: str = "EleutherAI/polyglot-ko-5.8b"
    lora: LoRA | None = field(default_factory=LoRA)
    epochs: int = 5
    batch: int = 256
    learning_rate: float = 3e-4
    warmup: float = 0.05
    clip: float = 1.0
    loss: Literal["output", "everything"] = "output"
    max_tokens: int = 1024
    packing: bool = True
    share_prefix: bool = True
    pack_tokens: int | None = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    gradient_checkpointing: bool = False
    dtype: str = "auto"
    held_out: float = 0
    patience: int | None = None
    seed: int = 42
    save_steps: int = 100
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lora: Any = self.lora
        if isinstance(lora, Mapping):  # from a run file
            object.__setattr__(self, "lora", LoRA(**lora))
        elif not (lora is None or isinstance(lora, LoRA)):
            raise UsageError(
                f"lora is {lora!r}; expected the settings of an adapter, or none, which trains all weights.",
                next="On the command line: lora.rank=16, or lora=null. In Python: lora=LoRA(rank=16), or lora=None.",
            )
        _whole(self, "epochs", "batch", "max_tokens", "save_steps")
        for name in ("pack_tokens", "patience"):
            if getattr(self, name) is not None:
                _whole(self, name)
        _number(self, "learning_rate", "warmup", "clip", "held_out")
        if not (self.learning_rate > 0 and 0 <= self.warmup < 1 and self.clip > 0):
            raise UsageError("learning_rate and clip must be above 0, warmup from 0 to below 1.")
        if self.held_out < 0 or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            raise UsageError(f"held_out is {self.held_out}; expected a number of rows, or a share below 1.")
        if self.patience and not self.held_out:
            raise UsageError("patience looks at the loss of rows that are held out; say how many: held_out=….")
        if self.loss not in ("output", "everything"):
            raise UsageError(f"loss is {self.loss!r}; expected output or everything.")
        if not isinstance(self.arguments, Mapping):
            raise UsageError(f"arguments is {self.arguments!r}; expected names and values of TrainingArguments.")
        for name in self.arguments:
            if name in _OURS or name.startswith("dataloader_"):
                raise UsageError(
                    f"arguments.{name} would undo what is promised of a run, or do nothing.",
                    next=f"Set {_OURS[name]}." if _OURS.get(name) else "Leave it out.",
                )
        if self.load_in_8bit and self.load_in_4bit:
            raise UsageError("load_in_8bit and load_in_4bit exclude each other.")
        if self.lora is None and (self.load_in_8bit or self.load_in_4bit):
            raise UsageError("Weights in 8 or 4 bits are not trained themselves; they need an adapter: lora=….")

    @property
    def quantize(self) -> str | None:
        """How the base is loaded: "8bit", "4bit", or None for its plain weights."""
        return "8bit" if self.load_in_8bit else "4bit" if self.load_in_4bit else None

    def train(
        self, rows: Dataset, template: PromptTemplate = KULLM, out: str | Path = "model", *, failures: Failures = None
    ) -> Checkpoint:
        """Train on `rows` and write the adapter, the tokenizer and a card to `out`.

        A row that is too long or has no answer goes to `failures` and is named in `dropped.jsonl`; one that lost a part
        of its input is named in `shortened.jsonl`. Where `out` holds this very run it goes on from its last whole
        checkpoint, or does nothing when it is finished; where it holds another run, an `OtherRun` names what differs.

        Raises `InputError` where no row is left, `KullmError` where a loss, gradient or weight is no number, nothing
        was learnt or the memory does not suffice, `StorageFailed` on a full disk, and `KeyboardInterrupt` when an
        interrupted step is saved.
        """
        need(rows, ("id", "instruction", "input", "output"), stage="train")
        need_torch(self.base)
        self._check_arguments()
        out, rank, ranks = Path(out), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if hasattr(template, "bind"):  # the tokenizer's own
            template = template.bind(load_tokenizer(self.base))
        made_of = self._record(rows, template, ranks)
        if is_finished(out, made_of):
            log.info("train: %s holds this model already", out)
            if rank == 0:
                _tidy(out)
                settle(_dropped(out), failures, stage="train", kept=Checkpoint(out).card["rows"])
            return Checkpoint(out)
        dtype = "float32" if self.lora is None else self.dtype
        model, tokenizer = load_causal(self.base, dtype=dtype, device=_device(ranks), quantize=self.quantize)
        # Now it is known what was loaded: a hub's name may mean other weights than before, "auto" another dtype.
        machine = {"device": model.device.type, "dtype": str(model.dtype).removeprefix("torch.")}
        made_of |= base_hash(self.base) | {"machine": machine}
        is_finished(out, made_of)
        if jinja := getattr(template, "jinja", None):
            tokenizer.chat_template = jinja(tokenizer)
        data = self.tokenise(rows, template, tokenizer)
        made_of["ids"] = _of_ids(data.rows)  # the record knows the template's text, which may write the date
        is_finished(out, made_of)
        if rank == 0:
            settle(data.failures, failures, stage="train", kept=len(data.rows))
            with storing(out):
                out.mkdir(parents=True, exist_ok=True)
                put(out / RUN, made_of)
                _name_lost(data, out)
        if not data.rows:
            cause = data.failures[0].cause if data.failures else "the data set is empty"
            raise InputError(f"No row is left to train on: {cause}.")
        with quiet():
            from kullm.trainers.fit import adapted, fit
            from kullm.trainers.sft import wait

            course = self.course(data.rows, model.device.type)
            result = fit(adapted(model, self), course, self, out, rank, ranks)
        if rank == 0:
            counted = _counts(data) | {"held_out_rows": len(course.aside)} | described(rows)
            self._finish(out, tokenizer, template, made_of | counted | result)
        wait()
        return Checkpoint(out)

    def tokenise(self, rows: Dataset, template: PromptTemplate, tokenizer: PreTrainedTokenizerBase) -> Tokenised:
        """The rows as token ids, and all that is lost of them, as `train` sees them."""
        data = Tokenised()
        everything = self.loss == "everything"
        with track("tokenise", len(rows)) as advance:
            for part in encode(rows, template, tokenizer, max_tokens=self.max_tokens, everything=everything):
                data.add(part)
                advance(len(part.rows) + len(part.covered) + len(part.failures))
        return data

    def course(self, rows: Sequence[Encoded], device: str) -> Course:
        """The run's steps and passes, and the rows that are held out, on a `device` such as "cpu" or "cuda"."""
        count = int(self.held_out) if self.held_out >= 1 else int(self.held_out * len(rows)) or int(self.held_out > 0)
        if count >= len(rows):
            raise UsageError(f"{count} of {len(rows)} rows are to be held out; none is left to train on.")
        aside = set(random.Random(f"{self.seed}/held out").sample(range(len(rows)), count))
        kept = [row for place, row in enumerate(rows) if place not in aside]
        return Course(
            kept,
            steps(len(kept), batch=self.batch, epochs=self.epochs, seed=self.seed),
            aside=[rows[place] for place in sorted(aside)],
            tokens=self.pack_tokens or (512 if device == "cpu" else 4096),
            packed=self.packing,
            prefixes=prefixes(kept) if self.share_prefix and self.loss == "output" else (),
        )

    def _record(self, rows: Dataset, template: PromptTemplate, ranks: int) -> dict[str, Any]:
        """What decides the trained model, for the card and for the question whether a folder holds the same run."""
        digest = hashlib.sha256()
        for one in rows:
            row = [one["id"], one["instruction"], one["input"], one["output"], one.get("history") or []]
            if one.get("parent"):
                row += [one["parent"], one.get("turn")]  # which rows are one conversation
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        settings = {name: value for name, value in asdict(self).items() if name not in ("base", "save_steps")}
        settings["arguments"] = {name: value for name, value in self.arguments.items() if name not in _NEUTRAL}
        if self.patience:
            settings["save_steps"] = self.save_steps  # it decides which weights are the best
        return {
            "base": self.base,
            **base_hash(self.base),
            "settings": json.loads(json.dumps(settings)),
            "template": record(template),
            "data": digest.hexdigest()[:16],
            "processes": ranks,
            **({"distributed": self._distributed()} if ranks > 1 else {}),
            "versions": {name: version(name) for name in self._packages()},
        }

    def _packages(self) -> list[str]:
        """What the bits of a run depend on."""
        names = ["kullm", "torch", "transformers", "peft", "accelerate", "tokenizers"]
        optimiser = str(self.arguments.get("optim", ""))
        eight = "bnb" in optimiser or optimiser.startswith(("adamw_8bit", "ademamix", "lion", "paged"))
        return [*names, "bitsandbytes"] if (self.quantize or eight) and find_spec("bitsandbytes") else names

    def _distributed(self) -> str:
        """How several processes divide the model, as the launcher or `arguments` say: "fsdp", "deepspeed" or "ddp"."""
        for kind in ("fsdp", "deepspeed"):
            if self.arguments.get(kind) or os.environ.get(f"ACCELERATE_USE_{kind.upper()}", "").lower() == "true":
                return kind
        return "ddp"

    def _check_arguments(self) -> None:
        """Raise where `arguments` has a name that this version of transformers does not know."""
        if not self.arguments:
            return
        from transformers import TrainingArguments

        known = [one.name for one in fields(TrainingArguments)]
        for name in self.arguments:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                raise UsageError(
                    f"arguments.{name} is unknown to TrainingArguments of transformers {version('transformers')}.",
                    next=f"The nearest is {near[0]}." if near else "Leave it out.",
                )

    def _finish(
        self, out: Path, tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, card: Mapping[str, Any]
    ) -> None:
        """The tokenizer and, last of all, the card: a folder with a card is a finished one."""
        with storing(out):
            tokenizer.save_pretrained(out)
            card = {**card, "template": record(template)}
            write_card(out, card)
            to_disk(out)
            put(out / CARD, card)
        _tidy(out)


def _tidy(out: Path) -> None:
    """Delete what only an unfinished run needs; what TensorBoard reads stays, in `runs`."""
    if (out / "checkpoints" / "runs").is_dir() and not (out / "runs").exists():
        (out / "checkpoints" / "runs").rename(out / "runs")
    (out / RUN).unlink(missing_ok=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _counts(data: Tokenised) -> dict[str, Any]:
    """What became of the rows, for the card."""
    return {
        "rows": len(data.rows),
        "tokens": data.tokens,
        "trained_tokens": data.trained,
        "shortened": dict(Counter(one.what for one in data.shortened)),
        "covered": len(data.covered),
        "dropped": len(data.failures),
        "straddling": len(data.straddling),
    }


def _of_ids(rows: Sequence[Encoded]) -> str:
    """A hash of what is trained on: the token ids of every row, and its answers in them."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([len(row), row.answers]).encode() + row.ids.tobytes())
    return digest.hexdigest()[:16]


def _dropped(out: Path) -> list[Failure]:
    """The rows that a finished run could not train on."""
    file = out / DROPPED
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Failure(**json.loads(line)) for line in lines]


def _name_lost(data: Tokenised, out: Path) -> None:
    """Name the rows that were dropped or lost something, in files and in the log."""
    if data.failures:
        put_lines(out / DROPPED, map(asdict, data.failures))
    if data.straddling:
        several = ", ".join(data.straddling[:5]) + (", …" if len(data.straddling) > 5 else "")
        log.warning(
            "train: in %d rows a token would go across the border of prompt and answer, tokenised at once: %s",
            len(data.straddling),
            several,
        )
    if data.shortened:
        put_lines(out / "shortened.jsonl", map(asdict, data.shortened))
        causes = Counter(one.what for one in data.shortened).items()
        several = ", ".join(f"{count} lost a part of the {what}" for what, count in causes)
        named = out / "shortened.jsonl"
        log.warning("train: %d rows were too long: %s; they are named in %s", len(data.shortened), several, named)


def _device(ranks: int) -> str:
    """The device of this process: "auto", or one GPU each under a launcher."""
    import torch

    several = ranks > 1 and torch.cuda.is_available()
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if several else "auto"


def _whole(settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is {value!r}; expected a whole number from 1 up.")


def _number(settings: Any, *names: str) -> None:
    for name in names:
        try:
            object.__setattr__(settings, name, float(getattr(settings, name)))  # YAML reads 3e-4 as a text
        except (TypeError, ValueError):
            raise UsageError(f"{name} is {getattr(settings, name)!r}; expected a number.") from None
