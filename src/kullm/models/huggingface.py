"""A model on this machine, by transformers: any causal language model of the hub, a folder, or a LoRA adapter's
folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import UsageError
from kullm.models.batching import Room, in_batches
from kullm.models.hashes import need_base, version_of
from kullm.models.loading import (
    CARD,
    base_of,
    check_dtype,
    generation,
    is_adapter,
    load_causal,
    load_model,
    load_tokenizer,
    need_torch,
    quiet,
    resolved,
)
from kullm.models.model import Completion, Prompt, asked_in
from kullm.models.tokens import Ids
from kullm.remote import Limits
from kullm.rows import Failure
from kullm.templates import KULLM, PromptTemplate, Template, from_record, named

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from kullm.models.decoding import Draws, Stops

__all__ = ["AS_TRAINED", "CARD", "HuggingFace", "load_causal", "need_torch", "quiet", "resolved"]

log = logging.getLogger("kullm")

AS_TRAINED = Template("as-trained", "{instruction}{input}")
"""Stands for the template that the model was trained with; KULLM's for a model that kullm did not train."""

_OWN = ("transformers_version", "_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache")
"""What a model's generation settings hold beside settings."""


@dataclass(frozen=True)
class HuggingFace:
    """Generates with beam search, the paper's decoding (section 4.1): 4 beams, repetition penalty 1.4, 400 new tokens.
    The penalty is on the tokens of the prompt, too.

    `name` is a hub id, a model folder, an adapter folder, or "package:NAME". `template`, a template or its name,
    defaults to the one that the adapter was trained with, or KULLM's. `label` is the name in reports. `dtype` "auto" is
    bfloat16 on a GPU or a CPU that computes in it; else float16 on a GPU, float32 on a CPU.

    `sample` draws by chance, with one beam, from scores divided by `temperature`, of the `top_k` best tokens, of the
    best that make up `top_p`; the draws of a prompt follow from `seed` (0), whatever the others of its batch.
    `length_penalty` is the power of an answer's length in tokens that its score is divided by, for beams alone. An
    answer ends before the template's stops and before `stops`. What has no effect with the other settings is a
    `UsageError`: so the paper's temperature 0.1, top-k 40 and top-p 0.75, which it names for a search without
    sampling, are not passed. Settings that a model brings with it are not used.

    At most `batch` prompts are generated together, and at most `batch_tokens` tokens: the longest prompt and
    `max_new_tokens`, times beams, times prompts. Where memory runs out a batch is halved. `prefill_once`: a prompt
    goes through the model once, not once a beam. In float32 an answer is the same alone and in any batch, up to ties
    of the last digits; in bfloat16 it may be another (transformers#28385), as its digits are fewer. transformers#25455
    (a length penalty that counted padding) does not touch versions that kullm takes.
    """

    name: str
    template: PromptTemplate = AS_TRAINED
    label: str = ""
    beams: int = 4
    repetition_penalty: float = 1.4
    max_new_tokens: int = 400
    batch: int = 8
    dtype: str = "auto"
    device: str = "auto"
    batch_tokens: int = 32_768
    length_penalty: float = 1.0
    sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()
    prefill_once: bool = True

    def __post_init__(self) -> None:
        given: Any = self.template
        if self.template is AS_TRAINED:
            object.__setattr__(self, "template", _template_of(Path(self.name)))
        elif isinstance(given, str):  # from the command line or a run file
            object.__setattr__(self, "template", named(given))
        stops: Any = self.stops  # a list from a run file, or one text
        object.__setattr__(self, "stops", (stops,) if isinstance(stops, str) else tuple(stops))
        _check(self)

    @property
    def identity(self) -> str:
        """The model, by the hash of its weights where they lie in a folder, and all that decides its answers."""
        settings: dict[str, Any] = {
            "beams": self.beams, "repetition_penalty": self.repetition_penalty, "max_new_tokens": self.max_new_tokens,
            "dtype": resolved(self.device, self.dtype)[1],
        }  # fmt: skip
        if self.length_penalty != 1.0:
            settings["length_penalty"] = self.length_penalty
        if self.sample:
            drawn = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "seed": self.seed or 0}
            settings |= {name: value for name, value in drawn.items() if value is not None}
        if stops := self._stop_texts:
            settings["stops"] = hashlib.sha256(json.dumps(stops).encode()).hexdigest()[:8]
        settings["transformers"] = metadata.version("transformers")
        said = " ".join(f"{name}={value}" for name, value in settings.items())
        return f"huggingface/{version_of(self.name)} {said}"

    @property
    def limits(self) -> Limits:
        """How many prompts are handed over at once, at most."""
        return Limits(items=self.batch, deadline=None)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | Failure]:
        """One completion a prompt. A prompt that is empty, or too long for the model's positions or for the memory,
        is a `Failure`.
        """
        return self._answered([self._ids(prompt) for prompt in prompts])

    def _answered(self, rows: Sequence[list[int]], streamer: Any = None) -> list[Completion | Failure]:
        said: list[Completion | Failure | None] = [self._misfit(row) for row in rows]
        fit = [place for place, one in enumerate(said) if one is None]
        made = in_batches([rows[place] for place in fit], self._room, lambda batch: self._continued(batch, streamer))
        for place, one in zip(fit, made, strict=True):
            said[place] = one or Failure(
                "", "generate", f"the memory does not hold this prompt alone ({self._size(rows[place])})",
                "Take fewer beams or new tokens, a smaller dtype, or another device.",
            )  # fmt: skip
        return [one for one in said if one is not None]

    def stream(self, prompt: Prompt, say: Callable[[str], None]) -> Completion | Failure:
        """The completion of one prompt, and its text to `say`: as it comes with one beam, else when it is there."""
        if self.beams == 1:
            from kullm.models.decoding import Told

            return self._answered([self._ids(prompt)], Told(self._stops, say))[0]
        (said,) = self.generate([prompt])
        if isinstance(said, Completion):
            say(said.text)
        return said

    def together(self) -> Callable[[Prompt], int]:
        """Numbers prompts, as they come, by the batch that each is generated in; best the longest first."""
        batches = self._room.open()
        return lambda prompt: batches.place(len(self._ids(prompt)))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own; the base model's for an adapter."""
        return load_tokenizer(self._base)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model with its adapter merged, ready to generate; loaded when it is first asked for."""
        if is_adapter(Path(self.name)):
            need_base(Path(self.name))
        model = load_model(self._base, dtype=self.dtype, device=self.device)
        if is_adapter(Path(self.name)):
            with quiet():
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, Path(self.name)).merge_and_unload()
        model.train(False)
        # Without this torch multiplies the last positions by one copy of the head a row: 12 GB, and 20 times as long.
        model.requires_grad_(True)
        brought: dict[str, Any] = model.generation_config.to_diff_dict()
        unused = {name: value for name, value in brought.items() if value and name not in _OWN}
        if unused:
            log.info("settings that %s brings with it are not used: %s", self.name, unused)
        model.generation_config = generation(model, self.tokenizer)
        return model

    @property
    def _base(self) -> str:
        return base_of(Path(self.name)) if is_adapter(Path(self.name)) else self.name

    @cached_property
    def _room(self) -> Room:
        return Room(self.batch, self.batch_tokens, self.max_new_tokens, self.beams)

    @cached_property
    def _encoder(self) -> Ids:
        return Ids(self.tokenizer, bos_each_turn=getattr(self._form, "bos_each_turn", False))

    @cached_property
    def _stops(self) -> Stops:
        from kullm.models.decoding import Stops

        ends: list[int] | None = self.model.generation_config.eos_token_id
        return Stops(self.tokenizer, ends or (), self._stop_texts)

    @cached_property
    def _form(self) -> PromptTemplate:
        return asked_in(self)

    @property
    def _stop_texts(self) -> list[str]:
        """Where an answer ends: at what the template writes behind one, at its stops, and at those of the settings."""
        end = str(getattr(self._form, "end", "")).rstrip()
        return list(dict.fromkeys([*([end] if end else []), *getattr(self._form, "stops", ()), *self.stops]))

    def _ids(self, prompt: Prompt) -> list[int]:
        earlier, text = list(prompt.earlier), prompt.text
        if prompt.system and earlier:
            earlier[0] = replace(earlier[0], prompt=f"{prompt.system}\n\n{earlier[0].prompt}")
        elif prompt.system:
            text = f"{prompt.system}\n\n{text}"
        return self._encoder.question(earlier, text)

    def _misfit(self, row: list[int]) -> Failure | None:
        if not row:
            return Failure("", "generate", "the prompt is empty")
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if most is None or len(row) + self.max_new_tokens <= most:
            return None
        return Failure(
            "", "generate", f"the prompt is too long for the model's {most} positions ({self._size(row)})",
            "Shorten it, or take fewer max_new_tokens.",
        )  # fmt: skip

    def _size(self, row: list[int]) -> str:
        return f"{len(row)} tokens, {self.max_new_tokens} new ones and {self.beams} beams"

    def _continued(self, rows: Sequence[list[int]], streamer: Any = None) -> list[Completion]:
        """The completions of prompts that fit together."""
        from kullm.models.decoding import continued

        with quiet():
            made = continued(
                self.model, rows, self._config(), self._stops,
                draws=self._draws(rows), prefill_once=self.prefill_once, streamer=streamer,
            )  # fmt: skip
        ended = [(row, *self._stops.cut(new)) for row, new in zip(rows, made, strict=True)]
        return [Completion(text, "stop" if end else "length", len(row), tokens) for row, text, tokens, end in ended]

    def _config(self) -> GenerationConfig:
        from transformers import GenerationConfig

        own = self.model.generation_config
        search = {"num_beams": self.beams, "length_penalty": self.length_penalty} if self.beams > 1 else {}
        make: Any = GenerationConfig
        config: GenerationConfig = make(
            do_sample=False,  # see Draws
            max_new_tokens=self.max_new_tokens,
            repetition_penalty=self.repetition_penalty,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
            **search,
        )
        return config

    def _draws(self, rows: Sequence[list[int]]) -> Draws | None:
        from kullm.models.decoding import Draws, warpers

        if not self.sample:
            return None
        return Draws(rows, self.seed or 0, warpers(self.temperature, self.top_k, self.top_p))


def _check(model: HuggingFace) -> None:
    """Raise `UsageError` for a setting that is impossible, or has no effect with the others."""
    for name in ("beams", "max_new_tokens", "batch", "batch_tokens", "top_k"):
        if (value := getattr(model, name)) is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1.")
    for name in ("repetition_penalty", "temperature", "top_p"):
        if (value := getattr(model, name)) is not None and not value > 0:
            raise UsageError(f"{name}={value}: must be above 0.")
    if model.top_p is not None and model.top_p >= 1:
        raise UsageError(f"top_p={model.top_p}: must be below 1; 1 leaves every token, so it has no effect.")
    check_dtype(model.dtype)
    if "" in model.stops:
        raise UsageError("An empty text among stops stands everywhere.")
    if not model.sample:
        for name in ("temperature", "top_k", "top_p", "seed"):
            if (value := getattr(model, name)) is not None:
                raise UsageError(
                    f"{name}={value} has no effect: nothing is drawn by chance without sample=True.",
                    next=f"Leave {name} out (the paper's own had no effect either), or set sample=True and beams=1.",
                )
    elif model.beams > 1:
        raise UsageError(
            f"sample=True with beams={model.beams}: what beams draw depends on the batch.", next="Set beams=1."
        )
    elif model.top_k == 1:
        raise UsageError("top_k=1 leaves one token to draw from, so sample=True has no effect.", next="Leave both out.")
    if model.beams == 1 and model.length_penalty != 1.0:
        raise UsageError(
            f"length_penalty={model.length_penalty} has no effect with beams=1: it chooses among beams.",
            next="Leave it out, or take more beams.",
        )


def _template_of(folder: Path) -> PromptTemplate:
    """The template that is written down beside an adapter, or KULLM's for a model without one."""
    card = folder / CARD
    if not card.exists():
        return KULLM
    return from_record(json.loads(card.read_text(encoding="utf-8"))["template"])
