"""Answers: models to questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kullm import plugins
from kullm.errors import UsageError
from kullm.models import Completion, Model, Prompt
from kullm.remote import Memory, run
from kullm.rows import Example, Failure, dataset, example, need
from kullm.sources import read
from kullm.templates import PLAIN, PromptTemplate
from kullm.trainers import Checkpoint

if TYPE_CHECKING:
    from datasets import Dataset

AnyModel: TypeAlias = Model | Checkpoint | str

COLUMNS = (
    "id", "model", "instruction", "input", "reference", "answer", "finish_reason", "prompt_tokens", "tokens",
    "engine", "failure",
)  # fmt: skip
"""The columns of an answers data set; `motivation_app` follows where the questions have it."""


def answer(
    models: AnyModel | Sequence[AnyModel],
    questions: Dataset,
    *,
    memory: Memory | str | Path | None = "kullm-memory.sqlite",
) -> Dataset:
    """The answers of each model to each question: all of the first model, then of the next, in the order of the
    questions.

    A model is a plug-in, a `Checkpoint`, or a name ("openai:gpt-4"). A question's `output` becomes the `reference`.
    What a model could not answer is a row with an empty `answer` and the cause in `failure`. Answers in `memory` are
    not asked for again.
    """
    need(questions, ("id", "instruction", "input", "output"), stage="answer")
    several = [models] if isinstance(models, Model | Checkpoint | str) else list(models)
    engines = [_engine(model) for model in several]
    labels = [label(engine) for engine in engines]
    twice = {name for name in labels if labels.count(name) > 1}
    if twice:
        raise UsageError(f"Two models are called {sorted(twice)[0]!r}.", next="Give each its own label.")
    records: list[dict[str, Any]] = questions.to_list()
    rows: list[dict[str, Any]] = []
    for engine, name in zip(engines, labels, strict=True):
        for record, said in zip(records, _ask(engine, records, name, memory), strict=True):
            rows.append(_row(record, name, engine.identity, said))
    columns = [*COLUMNS, *(["motivation_app"] if "motivation_app" in questions.column_names else [])]
    return dataset(rows, columns)


def label(model: Model) -> str:
    """What a model is called in tables: its own `label`, else its name, else its identity."""
    return str(getattr(model, "label", "") or getattr(model, "name", "") or model.identity)


def _engine(model: AnyModel) -> Model:
    if isinstance(model, str):
        model = plugins.find("models", model)
    if isinstance(model, Checkpoint):
        return model.model()
    if isinstance(model, Model) and not isinstance(model, type):
        return model
    raise UsageError(f"{model!r} is not a model: it needs identity, limits and generate(prompts).")


def _ask(
    engine: Model, records: Sequence[dict[str, Any]], name: str, memory: Memory | str | Path | None
) -> list[Completion | Failure]:
    template: PromptTemplate = getattr(engine, "template", PLAIN)
    prompts = [Prompt(template.prompt(_question(record))) for record in records]
    # The longest first: what does not fit shows at once, and prompts of one length share a batch.
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].text))
    said = run(
        engine.generate,
        [prompts[place] for place in order],
        identity=engine.identity,
        limits=engine.limits,
        memory=memory,
        key=lambda prompt: f"{prompt.system}\0{prompt.text}",
        save=_saved,
        load=lambda value: Completion(**value),
        stage=f"answer {name}",
    )
    back = dict(zip(order, said, strict=True))
    return [_cut(back[place], template) for place in range(len(prompts))]


def _question(record: dict[str, Any]) -> Example:
    row = example(record)
    return Example(row.id, row.instruction, row.input, history=row.history)


def _saved(completion: Completion) -> dict[str, Any]:
    return {name: getattr(completion, name) for name in ("text", "finish_reason", "prompt_tokens", "tokens")}


def _cut(said: Completion | Failure, template: PromptTemplate) -> Completion | Failure:
    """The answer in a completion, cut where the template says; the finish reason stays the model's own."""
    return said if isinstance(said, Failure) else replace(said, text=template.answer(said.text))


def _row(record: dict[str, Any], name: str, engine: str, said: Completion | Failure) -> dict[str, Any]:
    row = {
        "id": record["id"], "model": name, "instruction": record["instruction"], "input": record["input"],
        "reference": record["output"], "engine": engine, "motivation_app": record.get("motivation_app"),
    }  # fmt: skip
    if isinstance(said, Failure):
        return row | {"failure": said.cause}
    return row | {
        "answer": said.text, "finish_reason": said.finish_reason,
        "prompt_tokens": said.prompt_tokens, "tokens": said.tokens,
    }  # fmt: skip


def load_answers(path: str | Path, model: str = "") -> Dataset:
    """Answers from a file: those of `answer`, or others' with instruction, (input,) and answer a row.

    Rows without an id are numbered; rows without a model get `model`, or the file's stem.
    """
    path = Path(path)
    rows = read(path)
    need(rows, ("instruction", "answer"), stage="answers")
    records = [
        {"id": str(number), "model": model or path.stem, "input": ""}
        | {k: v for k, v in record.items() if v is not None}
        for number, record in enumerate(rows.to_list())
    ]
    columns = [*COLUMNS, *(["motivation_app"] if "motivation_app" in rows.column_names else [])]
    return dataset(
        [{name: record.get(name) for name in columns} | {"id": str(record["id"])} for record in records], columns
    )
