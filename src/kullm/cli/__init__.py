"""The command line: a verb a stage, each from files to files, and `run`, which does them all."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from kullm import __version__
from kullm.cli import data, training
from kullm.cli.memory import memories
from kullm.cli.options import Failures, Memory, Out, apart, rows_of, table
from kullm.errors import BudgetSpent, KullmError, ServiceError, StorageFailed, UsageError
from kullm.remote.memory import HOME

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Build an instruction-following model for your language: English rows in, a tuned and judged model out.\n\n"
    "Try it first: kullm demo. Files are .jsonl or .parquet; what was paid for is kept in a memory and not paid again.",
)


app.add_typer(memories, name="memory")
for command in (data.load, data.mix, data.licences, data.keep, data.restore):
    app.command()(command)


@app.command()
def translate(
    rows: Annotated[Path, typer.Argument(help="Rows, as kullm load writes them.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", callback=table, help="The file to write: .jsonl or .parquet.")
    ] = Path("translated.jsonl"),
    translator: Annotated[str, typer.Option(help="A translator, such as deepl or recorded:pairs.tmx.")] = "deepl",
    server_url: Annotated[str | None, typer.Option(help="Another server of the same service.")] = None,
    source: Annotated[str, typer.Option("--from", help="The language of the rows (ISO 639-1).")] = "en",
    to: Annotated[str, typer.Option(help="The language to translate into.")] = "ko",
    fields: Annotated[str, typer.Option(help="What to translate.")] = "instruction,input,output",
    protect: Annotated[bool, typer.Option(help="Keep code, URLs, placeholders and structure as they are.")] = True,
    bound: Annotated[
        str, typer.Option(help="Tasks bound to their language: flag, keep (their fields stay), or reject.")
    ] = "flag",
    context: Annotated[bool, typer.Option(help="Send earlier turns along, where the service takes them.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be sent and what it would cost.")] = False,
    budget: Annotated[
        str | None, typer.Option(help="The most to spend: 500000 (characters or tokens), or '20 EUR'.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="What a million cost, such as '20 EUR'.")] = None,
    memory: Memory = Path(HOME),
    failures: Failures = None,
) -> None:
    """Translate rows, each distinct piece once; what must stay as it is stays, and every answer is verified.

    Example: kullm translate english.jsonl -o korean.jsonl --to ko --budget '20 EUR'
    """
    from kullm import plugins
    from kullm.made import is_made, mark_made
    from kullm.sources import save
    from kullm.translators import newest_import, parse_budget, plan_translation, translate

    engine = plugins.find("translators", translator, **({"server_url": server_url} if server_url else {}))
    names = [name.strip() for name in fields.split(",")]
    limit = parse_budget(budget, engine, price)
    how: dict[str, Any] = {
        "to": to, "source": source, "fields": names, "protect": protect, "bound": bound, "context": context
    }  # fmt: skip
    if plan:
        print(plan_translation(rows_of(rows), engine, memory=memory, price=price, **how))
        return
    apart({"the rows": rows, "--out": out, "--failures": failures, "--memory": memory})
    settings = how | {"translator": engine.identity, "imported": newest_import(memory, source, to)}
    made = [rows, *([failures] if failures else [])]
    if is_made(out, settings, made):
        words = "was made before, from the same rows with the same settings; to make it again, delete it"
        print(f"      translate: {out} {words}", file=sys.stderr)
        return
    lost: list[Any] = []
    done = translate(rows_of(rows), engine, memory=memory, budget=limit, price=price, failures=failures or lost, **how)
    save(done, out)
    failed = _written(failures) if failures else len(lost)
    if failed and not _written(out):
        where = f"see {failures}" if failures else "name a file with --failures to see why"
        raise KullmError(f"Every row failed, and {out} holds none; {where}.")
    if not failed:  # what failed may come through when it is asked again
        mark_made(out, settings, made)


@app.command()
def train(
    rows: Annotated[Path, typer.Argument(help="Rows.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings, such as epochs=3 lora.rank=8.")] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder for the adapter; the same command goes on.")
    ] = Path("model"),
    base: Annotated[str, typer.Option(help="The base model: a hub id or a folder.")] = "EleutherAI/polyglot-ko-5.8b",
    template: Annotated[str, typer.Option(help="The prompt template: a name, a .json or a .jinja file.")] = "kullm",
    trainer: Annotated[str, typer.Option(help="polyglot-lora, or the settings of a released script: kullm-v2.")] = (
        "polyglot-lora"
    ),
    failures: Failures = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it takes; nothing is trained.")] = False,
    memory: Annotated[str | None, typer.Option(help="With --plan: the memory that there is, such as 80GB.")] = None,
    rate: Annotated[float | None, typer.Option(help="With --plan: tokens a second, for the hours.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="With --plan: load the model and time it.")] = False,
    device: Annotated[str, typer.Option(help="With --plan: cpu or cuda, also where there is no GPU.")] = "auto",
    report: Annotated[Path | None, typer.Option(help="With --plan: a .json file for the plan.")] = None,
) -> None:
    """Tune a model on rows with LoRA, the loss on the outputs only.

    Example: kullm train kept.jsonl -o model --base EleutherAI/polyglot-ko-5.8b epochs=5 batch=256
    """
    from kullm import plugins
    from kullm.sources import load
    from kullm.templates import named

    engine = plugins.find("trainers", trainer, base=base, **_settings(settings))
    if plan:
        form = named(template)
        return training.plan(
            rows, engine, form, memory=memory, rate=rate, measure=measure, device=device, report=report
        )
    if memory or rate or measure or report or device != "auto":
        raise UsageError("--memory, --rate, --measure, --device and --report are for --plan.")
    engine.train(load(str(rows)), named(template), out, failures=failures)


@app.command()
def answer(
    questions: Annotated[Path, typer.Argument(help="Questions: rows whose outputs are the references.")],
    out: Out,
    model: Annotated[list[str], typer.Option(help="huggingface:FOLDER-OR-ID or openai:NAME; several times if wanted.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Decoding by huggingface, such as beams=1 batch=4.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Another OpenAI-compatible server.")] = None,
    memory: Memory = Path(HOME),
) -> None:
    """Let models answer questions.

    Example: kullm answer questions.jsonl -o answers.jsonl --model huggingface:model --model openai:gpt-4
    """
    from kullm.answers import answer
    from kullm.sources import load, save

    if base_url and not any(name.startswith("openai:") for name in model):
        raise UsageError("--base-url is for models of a server.", next="Name one: --model openai:NAME.")
    models = [_model(name, base_url, settings) for name in model]
    save(answer(models, load(str(questions)), memory=memory), out)


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, package:NAME, or openai:NAME.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Decoding, such as beams=1 max_new_tokens=100.")] = None,
    template: Annotated[str | None, typer.Option(help="Another prompt template than the model's own.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another OpenAI-compatible server.")] = None,
) -> None:
    """Talk with a model by hand, to try it.

    Example: kullm chat model beams=1
    """
    from kullm.cli.chat import chat as talk

    talk(model, template=template, base_url=base_url, settings=_settings(settings))


@app.command()
def judge(
    answers: Annotated[Path, typer.Argument(help="Answers of kullm answer, or any with instruction, input, answer.")],
    out: Out,
    judge: Annotated[str, typer.Option(help="gpt-4 (the paper's), or reference, which needs no key.")] = "gpt-4",
    model: Annotated[str, typer.Option(help="The model that judges, for gpt-4.")] = "",
    base_url: Annotated[str | None, typer.Option(help="Another OpenAI-compatible server, for gpt-4.")] = None,
    name: Annotated[str, typer.Option(help="What to call the model of answers that name none.")] = "",
    memory: Memory = Path(HOME),
    failures: Failures = None,
) -> None:
    """Score answers by a judge's criteria.

    Example: kullm judge answers.jsonl -o scores.jsonl --judge gpt-4
    """
    from kullm import plugins
    from kullm.answers import load_answers
    from kullm.judges import judge as score
    from kullm.sources import save

    asked = {"model": _model(f"openai:{model or 'gpt-4'}", base_url)} if model or base_url else {}
    try:
        engine = plugins.find("judges", judge, **asked)
    except UsageError as error:
        if asked:
            error.next = error.next or "--model and --base-url are for judges that ask a model, such as gpt-4."
        raise
    save(score(load_answers(answers, name), engine, memory=memory, failures=failures), out)


@app.command()
def report(
    scores: Annotated[Path, typer.Argument(help="Scores of kullm judge, or rows of kullm translate.")],
    answers: Annotated[Path | None, typer.Option(help="The answers, to be shown side by side in the page.")] = None,
    failures: Annotated[Path | None, typer.Option(help="The failures of a translation, to be counted.")] = None,
    source: Annotated[str, typer.Option("--from", help="The language of a translation's original.")] = "en",
    to: Annotated[str, typer.Option(help="The language of a translation.")] = "ko",
    out: Annotated[list[Path] | None, typer.Option("-o", "--out", help="A file to write: .md, .html or .json.")] = None,
    title: Annotated[str, typer.Option(help="What the report is called.")] = "",
) -> None:
    """Show the table of an evaluation, each mean with its 95 % interval; or a translation, side by side, damage first.

    Example: kullm report scores.jsonl --answers answers.jsonl -o report.html -o report.md

    Example: kullm report korean.jsonl -o korean.html
    """
    from kullm.answers import load_answers
    from kullm.reports import report, translation_report
    from kullm.sources import read

    rows = read(scores)
    table: Any
    if "original" in rows.column_names and "judge" not in rows.column_names:
        named = title or "Translation"
        table = translation_report(rows, title=named, source=source, to=to, failures=failures)
    else:
        table = report(rows, load_answers(answers) if answers else None, title=title or "Evaluation")
    for path in out or []:
        table.save(path)
    print(table)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The run file (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as train.epochs=3.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The run's folder; runs/NAME if left out.")] = None,
    base: Annotated[str | None, typer.Option(help="Another base model: a hub id or a folder.")] = None,
) -> None:
    """Carry out a run file, from the rows to the report; go on where it stopped.

    Example: kullm run recipe.yaml train.epochs=3
    """
    from kullm.river import run

    print(run(recipe, out, [*([f"train.base={base}"] if base else []), *(overrides or [])]))


@app.command()
def demo(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as train.epochs=3.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run's folder.")] = Path("runs/kullm-demo"),
    base: Annotated[str | None, typer.Option(help="Another base model: a hub id or a folder.")] = None,
) -> None:
    """Do the whole river on small data that ships with kullm: translate, filter, tune, answer, judge, report.

    It needs no key and no network with kullm[demo]; with DEEPL_AUTH_KEY it translates with DeepL (about 45,000
    characters), with OPENAI_API_KEY GPT-4 judges. It is kullm run on a run file inside the package.
    """
    run(Path(__file__).parents[1] / "demo" / "recipe.yaml", overrides, out, base)


@app.command()
def plugins() -> None:
    """Show the installed plug-ins, by kind, and the packages that brought them."""
    from kullm.plugins import GROUPS, available

    for kind in GROUPS:
        print(f"{kind}:")
        for plugin in available(kind).values():
            print(f"  {plugin.name:<24}{plugin.target}  ({plugin.package})")


@app.command()
def version() -> None:
    """Say which kullm this is."""
    print(f"kullm {__version__}")


def _written(path: Path) -> int:
    """The rows of a file that kullm wrote."""
    if path.suffix.lower() == ".jsonl":
        with path.open("rb") as file:
            return sum(1 for _ in file)
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def _model(name: str, base_url: str | None, settings: list[str] | None = None) -> Any:
    """The model of that name; the server is for a service, the decoding for a model on this machine."""
    from kullm import plugins

    kind = name.partition(":")[0]
    if kind == "openai":
        if settings:
            raise UsageError(
                f"{settings[0]} is not sent to a server: settings of decoding are for models on this machine.",
                next="Set it in a run file or in Python: kullm.models.OpenAI(…).",
            )
        return plugins.find("models", name, **({"base_url": base_url} if base_url else {}))
    return plugins.find("models", name, **_settings(settings))


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    import yaml

    for pair in pairs or []:
        if "=" not in pair:
            raise UsageError(f"{pair!r} is not a setting; write key=value, such as epochs=3.")
    found: dict[str, Any] = {}
    for pair in pairs or []:
        key, _, value = pair.partition("=")
        *parts, last = key.split(".")
        place = found
        for part in parts:  # lora.rank=8
            place = place.setdefault(part, {})
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"{pair!r} is not a YAML value.") from None
    return found


def main() -> None:
    """The entry point: errors become one message and an exit code (see `kullm.errors`; 130 interrupted)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("      %(message)s"))
    logging.getLogger("kullm").addHandler(handler)
    logging.getLogger("kullm").setLevel(logging.INFO)
    command = shlex.join(["kullm", *sys.argv[1:]])
    try:
        code = app(standalone_mode=False) or 0
    except KullmError as error:
        again = f"\nTo go on: {command}" if isinstance(error, ServiceError | BudgetSpent | StorageFailed) else ""
        print(f"kullm: {error}{again}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        os._exit(1)
    except typer.TyperException as error:
        cast("Any", error).show()
        code = error.exit_code
    except typer.Exit as error:
        code = error.exit_code
    if code == _INTERRUPTED:
        whole = sys.argv[1:2] in ([name] for name in ("load", "mix", "keep", "restore"))  # files are whole or not there
        what = "no file was changed. To begin again" if whole else "what is done is kept. To go on"
        print(f"\nkullm: stopped; {what}: {command}", file=sys.stderr)
        sys.stdout.flush()
        os._exit(code)  # a model may still be busy in a thread, and nothing of it is wanted any more
    sys.exit(code)
