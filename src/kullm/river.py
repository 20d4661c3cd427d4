"""The whole river: `run` carries a run file out, stage by stage, and goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from kullm import plugins
from kullm.answers import answer
from kullm.errors import MissingKey, OtherRun
from kullm.filters import Funnel, keep
from kullm.judges import judge
from kullm.made import digest
from kullm.models import HuggingFace
from kullm.recipe import Judging, Plugin, Recipe, Rows, Translate, read_recipe
from kullm.reports import Report, report
from kullm.sources import load, read, save
from kullm.sources.files import SUFFIXES
from kullm.templates import named
from kullm.trainers import Checkpoint
from kullm.translators import parse_budget, translate

if TYPE_CHECKING:
    from datasets import Dataset


def run(path: str | Path, out: str | Path | None = None, overrides: Sequence[str] = ()) -> Report:
    """Carry out a run file, from the rows to the report, in the folder `out` (default: runs/NAME).

    Each stage leaves its result there as a file. What is there already, made by the same settings from the same
    files, is not made again: after an interrupt or an error the same call goes on.
    """
    recipe = read_recipe(path, overrides)
    river = _River(recipe, Path(path).resolve().parent, Path(out or Path("runs") / recipe.name))
    return river.flow()


class _River:
    """One run: the stages in their order, each from files to files."""

    def __init__(self, recipe: Recipe, home: Path, out: Path) -> None:
        self.recipe, self.home, self.out = recipe, home, out
        out.mkdir(parents=True, exist_ok=True)
        self.memory = out / "memory.sqlite"
        self.number = 0
        try:
            self.done: dict[str, str] = json.loads((out / "stages.json").read_text())
        except FileNotFoundError:
            self.done = {}

    def flow(self) -> Report:
        recipe = self.recipe
        self.check()
        english, korean, kept = (self.out / name for name in ("english.jsonl", "korean.jsonl", "kept.jsonl"))
        questions_en, questions = self.out / "questions.en.jsonl", self.out / "questions.jsonl"
        answers, scores = self.out / "answers.jsonl", self.out / "scores.jsonl"
        names = [*recipe.rows.load, *recipe.questions.load]
        sources = [Path(name) for name in map(self.named, names) if Path(name).is_file()]
        self.stage("load", [recipe.rows, recipe.questions], sources, [english, questions_en], self.load)
        self.stage(
            "translate", self.chosen(recipe.translate), [english, questions_en], [korean, questions], self.translate
        )
        self.stage("keep", recipe.keep, [korean], [kept], self.keep)
        self.stage("train", recipe.train, [kept], [self.out / "model" / "kullm.json"], self.train)
        tuned = [self.out / "model" / "kullm.json"]
        self.stage("answer", [recipe.answer, recipe.train.base], [questions, *tuned], [answers], self.answer)
        self.stage("judge", self.chosen(recipe.judge), [answers], [scores], self.judge)
        return self.report()

    def stage(
        self, name: str, settings: Any, sources: Sequence[Path], targets: Sequence[Path], work: Callable[[], None]
    ) -> None:
        """Do `work` unless its targets are there, made by the same settings from the same files."""
        self.number += 1
        made_of = json.dumps([version("kullm"), _plain(settings), [digest(path) for path in sources]])
        mark = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        if self.done.get(name) == mark and all(path.exists() for path in targets):
            say(f"[{self.number}/7] {name}: done before")
            return
        say(f"[{self.number}/7] {name}")
        start = time.monotonic()
        work()
        self.done[name] = mark
        part = self.out / "stages.json.part"
        part.write_text(json.dumps(self.done, indent=1))
        part.replace(self.out / "stages.json")
        say(f"      {name} took {time.monotonic() - start:.1f} s")

    def check(self) -> None:
        """Make every plug-in that the run will need, before anything is done or paid for; making one costs nothing."""
        recipe = self.recipe
        kinds: list[tuple[str, Plugin, Plugin | None]] = [
            ("translators", recipe.translate.translator, recipe.translate.without_key),
            *(("filters", one, None) for one in (*recipe.rows.keep, *recipe.keep)),
            ("templates", recipe.train.template, None),
            *(("models", one, None) for one in recipe.answer.models if one not in ("base", "tuned")),
            ("judges", recipe.judge.judge, recipe.judge.without_key),
        ]
        for kind, wanted, without_key in kinds:
            self.plugin(kind, wanted, without_key, quiet=True)
        plugins.find("trainers", recipe.train.trainer, base=recipe.train.base, **(recipe.train.model_extra or {}))

    def load(self) -> None:
        for part, file in ((self.recipe.rows, "english.jsonl"), (self.recipe.questions, "questions.en.jsonl")):
            rows = load(
                *map(self.named, part.load),
                format=part.format,
                columns=part.columns,
                turns=part.turns,
                clean=part.clean,
                licence=part.licence,
                failures=self.out / file.replace(".jsonl", ".rejected.jsonl"),
            )
            if isinstance(part, Rows) and part.keep:
                rows = self.filtered(rows, part.keep, "english.")
            save(rows, self.out / file)

    def translate(self) -> None:
        part = self.recipe.translate
        engine = self.plugin("translators", part.translator, part.without_key)
        budget = parse_budget(part.budget, engine)
        for source, target in (("english.jsonl", "korean.jsonl"), ("questions.en.jsonl", "questions.jsonl")):
            rows = translate(
                read(self.out / source),
                engine,
                to=part.to,
                source=part.source,
                fields=part.fields,
                protect=part.protect,
                bound=part.bound,
                budget=budget,
                memory=self.memory,
                failures=self.out / target.replace(".jsonl", ".untranslated.jsonl"),
            )
            save(rows, self.out / target)

    def keep(self) -> None:
        save(self.filtered(read(self.out / "korean.jsonl"), self.recipe.keep), self.out / "kept.jsonl")

    def filtered(self, rows: Dataset, wanted: Sequence[Plugin], part: str = "") -> Dataset:
        """What the filters keep; beside it what they reject, with the reasons, and the funnel."""
        filters, funnel = [self.plugin("filters", one) for one in wanted], Funnel()
        rejected = "unwanted.jsonl" if part else "rejected.jsonl"
        kept = keep(rows, *filters, rejected=self.out / f"{part}{rejected}", funnel=funnel)
        for kind in ("md", "json"):
            funnel.save(self.out / f"{part}funnel.{kind}")
        return kept

    def train(self) -> None:
        part = self.recipe.train
        trainer = plugins.find("trainers", part.trainer, base=part.base, **(part.model_extra or {}))
        rows = read(self.out / "kept.jsonl")
        template = named(str(self.resolved(part.template)))
        try:
            trainer.train(rows, template, self.out / "model", failures=self.out / "untrained.jsonl")
        except OtherRun:
            aside = next(path for n in count(1) if not (path := self.out / f"model-{n}").exists())
            (self.out / "model").rename(aside)
            say(f"      the model of other settings or rows is kept as {aside}")
            trainer.train(rows, template, self.out / "model", failures=self.out / "untrained.jsonl")

    def answer(self) -> None:
        part, template = self.recipe.answer, named(str(self.resolved(self.recipe.train.template)))
        decoding = part.model_dump(exclude={"models"})
        models: list[Any] = []
        for name in part.models:
            if name == "base":
                models.append(HuggingFace(self.recipe.train.base, template, label="base", **decoding))
            elif name == "tuned":
                models.append(Checkpoint(self.out / "model").model(label="tuned", **decoding))
            else:
                models.append(self.plugin("models", name))
        save(answer(models, read(self.out / "questions.jsonl"), memory=self.memory), self.out / "answers.jsonl")

    def judge(self) -> None:
        engine = self.plugin("judges", self.recipe.judge.judge, self.recipe.judge.without_key)
        save(judge(read(self.out / "answers.jsonl"), engine, memory=self.memory), self.out / "scores.jsonl")

    def report(self) -> Report:
        table = report(
            read(self.out / "scores.jsonl"), read(self.out / "answers.jsonl"), title=self.recipe.report.title
        )
        for name in ("report.md", "report.html", "report.json"):
            table.save(self.out / name)
        say(f"[7/7] report: {self.out / 'report.html'}")
        return table

    def named(self, name: str) -> str:
        """What a run file names to be loaded: a file beside it, or else a source."""
        file = self.home / name
        return str(file) if file.exists() or file.suffix.lower() in SUFFIXES else name

    def plugin(self, kind: str, wanted: Plugin, without_key: Plugin | None = None, *, quiet: bool = False) -> Any:
        """The plug-in that a run file names; where its key is missing, the one that it names for that case."""
        name, arguments, settings = self.spelled(wanted)
        try:
            return plugins.find(kind, name, *arguments, **settings)
        except MissingKey as error:
            if without_key is None:
                raise
            if not quiet:
                say(f"      {error.what} So this run uses: {_name(without_key)}.")
            return self.plugin(kind, without_key)

    def chosen(self, part: Translate | Judging) -> list[Any]:
        """The part's settings, and whether its plug-in has its key at this moment: another plug-in is another run."""
        kind, wanted = ("translators", part.translator) if isinstance(part, Translate) else ("judges", part.judge)
        name, arguments, settings = self.spelled(wanted)
        try:
            plugins.find(kind, name, *arguments, **settings)
        except MissingKey:
            spare = part.without_key
            return [part, "without key", *(self.files(spare) if spare is not None else [])]
        return [part, *self.files(wanted)]

    def files(self, wanted: Plugin) -> list[str]:
        """The hashes of the files that a plug-in is made of: a mended pair is another run."""
        _, arguments, settings = self.spelled(wanted)
        values = [Path(value) for value in (*arguments, *settings.values()) if isinstance(value, str)]
        return [digest(path) for path in values if path.is_file()]

    def spelled(self, wanted: Plugin) -> tuple[str, list[Any], dict[str, Any]]:
        """Name, arguments and settings of a plug-in as a run file spells it; files are relative to the run file."""
        if isinstance(wanted, str):
            return wanted, [], {}
        name, value = next(iter(wanted.items()))
        if isinstance(value, Mapping):
            return name, [], {key: self.resolved(one) for key, one in value.items()}
        return name, [self.resolved(one) for one in (value if isinstance(value, list) else [value])], {}

    def resolved(self, value: Any) -> Any:
        """A file beside the run file where `value` names one, else `value`."""
        named = isinstance(value, str) and Path(value).suffix and (self.home / value).is_file()
        return str(self.home / value) if named else value


def say(text: str) -> None:
    """A line about the run, to standard error."""
    print(text, file=sys.stderr, flush=True)


def _name(plugin: Plugin) -> str:
    return plugin if isinstance(plugin, str) else next(iter(plugin))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(item) for item in value] if isinstance(value, list) else value
