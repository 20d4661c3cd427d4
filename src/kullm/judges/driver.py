"""What a judge is, and `judge`, the driver that owns everything that all of them need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kullm import plugins
from kullm.errors import UsageError
from kullm.judges.rubric import Rubric
from kullm.models import Completion, Model, Prompt
from kullm.remote import Limits, Memory, run
from kullm.remote.memory import HOME
from kullm.rows import Answer, Failure, Failures, Judgment, answer, dataset, need, settle

if TYPE_CHECKING:
    from datasets import Dataset


@runtime_checkable
class Judge(Protocol):
    """Scores answers by a rubric."""

    @property
    def identity(self) -> str:
        """What decides the scores: the judge, its rubric and its settings."""
        ...

    @property
    def limits(self) -> Limits:
        """What one call may hold, and how many there may be."""
        ...

    @property
    def rubric(self) -> Rubric:
        """The criteria and their ranges."""
        ...

    def score(self, answers: Sequence[Answer]) -> Sequence[Judgment | Failure]:
        """A judgment, or the failure to make one, for each answer in order. Never an invented score."""
        ...


@runtime_checkable
class Asks(Protocol):
    """A judge that asks a model and reads its reply. `judge` keeps the reply, as it came, before it is read."""

    @property
    def model(self) -> Model: ...
    def ask(self, answer: Answer) -> Prompt: ...
    def read(self, completion: Completion) -> Judgment | Failure: ...


def judge(
    answers: Dataset,
    judge: Judge | str = "gpt-4",
    *,
    memory: Memory | str | Path | None = HOME,
    failures: Failures = None,
) -> Dataset:
    """The scores of each answer, a row each, in order: id, model, judge, rubric, one column a criterion, failure, raw.

    `judge` is a plug-in or its name. An answer that is missing or cannot be scored keeps its row, with empty scores
    and the cause in `failure`, and goes to `failures`; it is never given a score.
    """
    need(answers, ("id", "model", "instruction", "answer"), stage="judge")
    engine = plugins.find("judges", judge) if isinstance(judge, str) else judge
    if not isinstance(engine, Judge) or isinstance(engine, type):
        raise UsageError(f"{engine!r} is not a judge: it needs identity, limits, rubric and score(answers).")
    records: list[dict[str, Any]] = answers.to_list()
    there = [record for record in records if record["answer"] is not None]
    said = iter(_scores(engine, [answer(record) for record in there], memory))
    names = [criterion.name for criterion in engine.rubric.criteria]
    rows: list[dict[str, Any]] = []
    lost: list[Failure] = []
    for record in records:
        one = next(said) if record["answer"] is not None else _unanswered(record)
        one = _checked(one, engine.rubric)
        row = {name: record.get(name) for name in ("id", "model", "motivation_app")}
        row |= {"judge": engine.identity, "rubric": engine.rubric.summary()}
        if isinstance(one, Failure):
            lost.append(replace(one, id=record["id"], cause=f"{record['model']}: {one.cause}"))
            rows.append(row | {"failure": one.cause})
        else:
            rows.append(row | dict(one.scores) | {"raw": one.raw})
    settle(lost, failures, stage="judge", kept=len(rows) - len(lost))
    more = ["motivation_app"] if "motivation_app" in answers.column_names else []
    return dataset(rows, ["id", "model", *more, "judge", "rubric", *names, "failure", "raw"], numbers=names)


def _scores(engine: Judge, answers: Sequence[Answer], memory: Memory | str | Path | None) -> list[Judgment | Failure]:
    if isinstance(engine, Asks):
        replies = run(
            engine.model.generate,
            [engine.ask(one) for one in answers],
            identity=engine.model.identity,
            limits=engine.model.limits,
            memory=memory,
            key=lambda prompt: f"{prompt.system}\0{prompt.text}",
            save=lambda reply: {name: getattr(reply, name) for name in Completion.__slots__},
            load=lambda value: Completion(**value),
            stage="judge",
        )
        return [reply if isinstance(reply, Failure) else engine.read(reply) for reply in replies]

    def score(batch: Sequence[Answer]) -> Sequence[Judgment | Failure]:
        said = engine.score(batch)
        return [_judged(one) for one in said] if isinstance(said, list | tuple) else said  # run says what is wrong

    return run(
        score,
        answers,
        identity=engine.identity,
        limits=engine.limits,
        memory=memory,
        key=repr,
        save=lambda judgment: {"scores": dict(judgment.scores), "raw": judgment.raw},
        load=lambda value: Judgment(**value),
        stage="judge",
    )


def _judged(one: object) -> Judgment | Failure:
    if isinstance(one, Judgment | Failure):
        return one
    return Failure("", "judge", f"the judge gave {type(one).__name__} and not a kullm.Judgment")


def _unanswered(record: dict[str, Any]) -> Failure:
    return Failure(record["id"], "judge", f"no answer: {record.get('failure') or 'the model gave none'}")


def _checked(one: Judgment | Failure, rubric: Rubric) -> Judgment | Failure:
    """A judgment with exactly the rubric's criteria, each within its range, or the failure that it is."""
    if isinstance(one, Failure):
        return one
    wanted = {criterion.name: criterion for criterion in rubric.criteria}
    if set(one.scores) != set(wanted):
        return Failure("", "judge", f"scores for {', '.join(one.scores)} where {', '.join(wanted)} are asked for")
    for name, value in one.scores.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Failure("", "judge", f"{name} is {value!r} and not a number")
        if not wanted[name].low <= value <= wanted[name].high:
            return Failure("", "judge", f"{name} is {value:g}, out of {wanted[name].low:g}–{wanted[name].high:g}")
    return one
