"""`kullm memory`: what was paid for, looked at and carried in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kullm.errors import UsageError
from kullm.remote.memory import HOME

memories = typer.Typer(no_args_is_help=True, help="Look into a memory, and carry its answers in and out.")
File = Annotated[Path, typer.Option("--memory", help="The memory.")]
Which = Annotated[str, typer.Option("--identity", help="Only identities that begin with this; stats shows them.")]


@memories.command()
def stats(memory: File = Path(HOME)) -> None:
    """Show what a memory holds, by who answered.

    Example: kullm memory stats
    """
    from kullm.remote import Memory

    with Memory(_there(memory)) as store:
        print(f"{'answers':>10} {'calls':>8} {'billed':>12} {'perhaps':>10}  identity")
        for part in store.stats():
            unit = part.about.get("unit", "units")
            counts = f"{part.answers:>10,} {part.calls:>8,} {part.units:>12,} {part.unknown:>10,}"
            print(f"{counts}  {part.identity} ({unit})")


@memories.command("export")
def export_(
    out: Annotated[Path, typer.Argument(help="A .jsonl file (everything) or a .tmx file (translations).")],
    memory: File = Path(HOME),
    identity: Which = "",
) -> None:
    """Write answers to a file that other tools read, or that another memory takes in.

    Example: kullm memory export pairs.tmx --identity deepl
    """
    from kullm.remote import Memory
    from kullm.translators import export_memory

    with Memory(_there(memory)) as store:
        counted = export_memory(store, out, identity=identity)
    print(f"{counted.done} written to {out}, {counted.left_out} left out")


@memories.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A .jsonl or .tmx file of pairs.")],
    memory: File = Path(HOME),
    source: Annotated[str, typer.Option("--from", help="The language of the texts.")] = "en",
    to: Annotated[str, typer.Option(help="The language of the translations.")] = "ko",
) -> None:
    """Take in pairs: a translation memory of your own answers before any service is asked.

    Example: kullm memory import ours.tmx --from en --to ko
    """
    from kullm.remote import Memory
    from kullm.translators import import_memory

    with Memory(memory) as store:
        counted = import_memory(store, file, source=source, target=to)
    print(f"{counted.done} taken in, {counted.left_out} left out (empty, or with a gap, as <ph/> in TMX)")


@memories.command()
def merge(
    other: Annotated[Path, typer.Argument(help="The memory to take answers from; it stays as it is.")],
    memory: File = Path(HOME),
) -> None:
    """Take in the answers of another memory that this one lacks.

    Example: kullm memory merge ../colleague/.kullm/memory.sqlite
    """
    from kullm.remote import Memory

    with Memory(_there(other)), Memory(memory) as store:  # the other first: a wrong name leaves nothing behind
        print(f"{store.merge(other)} answers taken in")


@memories.command()
def forget(
    identity: Annotated[str, typer.Argument(help="Delete the answers of identities that begin with this.")],
    memory: File = Path(HOME),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete answers: they will be paid for again. Any answer but "y" or "yes" deletes nothing.

    Example: kullm memory forget 'deepl/default en>ja'
    """
    from kullm.remote import Memory

    with Memory(_there(memory)) as store:
        count = sum(part.answers for part in store.stats() if part.identity.startswith(identity))
        if count and not yes and not _confirmed(f"Delete {count} answers that were paid for? [y/N]: "):
            print("nothing was deleted")
            return
        print(f"{store.forget(identity)} answers deleted")


def _confirmed(question: str) -> bool:
    """Whether the user says yes; no answer at all is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _there(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"There is no memory {path}.")
    return path
