"""The run file: the whole river in one YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kullm.errors import InputError, UsageError
from kullm.rows import TEXT_FIELDS
from kullm.trainers import PolyglotLoRA

Plugin = str | Annotated[dict[str, Any], Field(min_length=1, max_length=1)]
"""A plug-in in a run file: its name, or its name with its settings: {recorded: [a.jsonl]}, {min-length: 10}."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """What to load and how: files or names of sources, the rules of cleaning, and the licence of the files."""

    load: list[str] = Field(min_length=1)
    format: str | None = None
    columns: dict[str, str] | None = None
    turns: Literal["pairs", "first", "history"] = "pairs"
    clean: str | list[str] = "none"
    licence: str = ""


class Rows(Source):
    """What to load, and the filters that are asked before translation: what they reject costs nothing."""

    keep: list[Plugin] = []


class Translate(_Part):
    """With what to translate; `without_key` serves where the translator's key is not set."""

    translator: Plugin = "deepl"
    without_key: Plugin | None = None
    source: str = "en"
    to: str = "ko"
    fields: tuple[str, ...] = TEXT_FIELDS
    protect: bool = True
    bound: Literal["flag", "keep", "reject"] = "flag"
    budget: str | None = None
    """The most that this stage may spend, each time that it is run: "500000" characters, or "20 EUR"."""


class Train(_Part):
    """The trainer, its settings by name, and the template."""

    model_config = ConfigDict(extra="allow", frozen=True)
    trainer: str = "polyglot-lora"
    base: str = "EleutherAI/polyglot-ko-5.8b"
    template: str = "kullm"


class Answers(_Part):
    """Who answers: "base", "tuned", or any model plug-in; and how the two decode."""

    models: list[Literal["base", "tuned"] | Plugin] = ["base", "tuned"]
    beams: int = Field(default=4, ge=1)
    repetition_penalty: float = Field(default=1.4, gt=0)
    max_new_tokens: int = Field(default=400, ge=1)
    batch: int = Field(default=8, ge=1)


class Judging(_Part):
    """Who judges; `without_key` serves where the judge's key is not set."""

    judge: Plugin = "gpt-4"
    without_key: Plugin | None = None


class Reporting(_Part):
    """What the report is called."""

    title: str = "Evaluation"


class Recipe(_Part):
    """A run file. Every part but the rows and the questions has the paper's settings as its defaults.

    `keep` are the filters of the translated rows; those of `rows` come before translation.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    rows: Rows
    questions: Source
    translate: Translate = Translate()
    keep: list[Plugin] = ["paper"]
    train: Train = Train()
    answer: Answers = Answers()
    judge: Judging = Judging()
    report: Reporting = Reporting()


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The run file at `path`, with `overrides` such as "train.epochs=3" put in.

    Raises `InputError` that names the file and the key or line that is wrong.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} is not to be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values (name, rows, questions, …).")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UsageError(f"{override!r} is not an override; write key=value, such as train.epochs=3.")
        *parts, last = key.split(".")
        place = content
        for part in parts:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{override!r}: {part} holds no keys.")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"{override!r}: {value!r} is not a YAML value.") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}.", next=_known(where)) from None
    unknown = set(recipe.train.model_extra or {}) - {field.name for field in fields(PolyglotLoRA)}
    if unknown and recipe.train.trainer == "polyglot-lora":
        raise InputError(f"{path}: train.{sorted(unknown)[0]}: no such setting.", next=_known("train."))
    if recipe.train.trainer == "polyglot-lora":
        try:
            PolyglotLoRA(recipe.train.base, **(recipe.train.model_extra or {}))
        except UsageError as error:
            raise InputError(f"{path}: train: {error.what}") from None
    return recipe


def _known(where: str) -> str:
    part = where.split(".")[0] if "." in where else ""
    if part == "train":
        names = ["trainer", "template", *(field.name for field in fields(PolyglotLoRA))]
    else:
        model = Recipe.model_fields[part].annotation if part in Recipe.model_fields else Recipe
        names = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    return f"There are: {', '.join(names)}." if names else ""
