"""Whatever a service does, a translation ends in the right result or in one named error, in bounded time and money.

The table of docs/reliability.md is made of `CASES`, which the tests hold true: python -m tests.test_faults --write
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

import kullm
from kullm import remote
from kullm.errors import KullmError, MemoryInUse, ServiceDown
from kullm.models import OpenAI
from kullm.remote import Memory
from kullm.rows import Failure, dataset
from kullm.testing import DeepLServer, Fault, Kind, OpenAIServer, pseudo_korean
from kullm.translators import Chat, DeepL

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->"

TEXTS = ("The river is long.", "A bridge of 7 stones.", "We walk home in the evening.")
NUMBERS = ("We walk 3 miles.", "A bridge of 7 stones.", "There were 12 people.")
"""Texts of which no two can be exchanged without a number being in the wrong place."""
TRIES = 3
"""Failures in a row that stop the runs that keep failing here; kullm's own value, 8, would take minutes."""
ALWAYS = range(10_000)
PATIENT, HASTY = 20.0, 1.5
"""Seconds for a call: where time is not the matter, and where it is."""
RIGHT, EXCHANGED, LONGER = "right", "rows exchanged, unseen", "longer"


@dataclass(frozen=True)
class End:
    """How a run ends: its result or its error, the requests, and what was billed, in multiples of the texts."""

    result: str
    requests: int
    billed: float

    def __str__(self) -> str:
        return f"{self.result} | {self.requests} | {self.billed:g}"


@dataclass(frozen=True)
class Case:
    """A fault, what the bare client makes of it, and how a run ends where it strikes once, and always.

    `floor`: seconds that the service asks for and that must pass. `passing`: a failure that is tried `TRIES` times.
    """

    name: str
    fault: Fault | None
    bare: str
    once: End
    always: End
    timeout: float = PATIENT
    floor: float = 0.0
    passing: bool = False
    texts: tuple[str, ...] = TEXTS


UNKNOWN = End(RIGHT, 2, 2), End("`ServiceDown`", 2, 2)
"""A call that may have been billed is made twice at most."""
UNKNOWN_FREE = End(RIGHT, 2, 1), End("`ServiceDown`", 2, 0)
"""The same where the service had not billed it, which nobody can know."""
PASSING = End(RIGHT, 2, 1), End("`ServiceDown`", TRIES, 0)
FINE = End(RIGHT, 1, 1), End(RIGHT, 1, 1)
ONE_FAILURE = End("right, 1 row a `Failure`", 1, 1), End("right, 1 row a `Failure`", 1, 1)
REFUSED = End(RIGHT, 3, 1), End("3 rows `Failure`s", 4, 0)
SILENT, ERROR, UNTOLD = "gives `[]` in silence", "an error at once", "not measured"
SIX, IGNORED = "6 requests in 16 s, then an error", "asks again after 1.0 s, whatever was asked for"


def always_one(error: str) -> tuple[End, End]:
    """A fatal error, at the first request."""
    return End(f"`{error}`", 1, 0), End(f"`{error}`", 1, 0)


def status(code: int, **more: Any) -> Fault:
    return Fault("status", status=code, **more)


CASES = (
    Case("400 Bad request", status(400), ERROR, *REFUSED),
    Case("413 Too large", status(413), ERROR, *REFUSED),
    Case("401 Unauthorised", status(401), "an error of no kind of its own", *always_one("KeyRefused")),
    Case("403 Forbidden", status(403), ERROR, *always_one("KeyRefused")),
    Case("404 Not found", status(404), ERROR, *always_one("ServiceDown")),
    Case("456 Quota spent", status(456), ERROR, *always_one("QuotaSpent")),
    Case("408 Time-out", status(408), f"{ERROR}, not tried again", *PASSING, passing=True),
    Case("409 Conflict", status(409), f"{ERROR}, not tried again", *PASSING, passing=True),
    Case("425 Too early", status(425), UNTOLD, *PASSING, passing=True),
    Case("429", status(429), SIX, *PASSING, passing=True),
    Case("429, Retry-After: 2", status(429, retry_after="2"), IGNORED, *PASSING, passing=True, floor=2),
    Case("429, Retry-After: a date", status(429, retry_after="date"), IGNORED, *PASSING, passing=True, floor=2),
    Case("429, retry-after-ms: 1500", status(429, retry_after_ms="1500"), UNTOLD, *PASSING, passing=True, floor=1.5),
    Case("429, Retry-After: 2 hours", status(429, retry_after="7200"), UNTOLD, *always_one("ServiceDown")),
    Case("500", status(500), "6 requests in 17.5 s, then an error", *PASSING, passing=True),
    Case("503, Retry-After: 2", status(503, retry_after="2"), IGNORED, *PASSING, passing=True, floor=2),
    Case("503, three in a row", status(503, requests=range(3)), "right after 4.9 s", End(RIGHT, 4, 1), PASSING[1],
         passing=True),
    Case("502 Bad gateway", status(502), UNTOLD, *UNKNOWN_FREE),
    Case("504 Gateway time-out, after the work", status(504, billed=True), UNTOLD, *UNKNOWN),
    Case("529 Overloaded", status(529), UNTOLD, *PASSING, passing=True),
    Case("connection refused", None, UNTOLD, End(RIGHT, 1, 1), End("`ServiceDown`", 0, 0), passing=True),
    Case("302 to another origin", Fault("redirect", status=302), "follows without the key, gives `[]`", *UNKNOWN_FREE),
    Case("307 to another origin", Fault("redirect"), "follows without the key", *UNKNOWN_FREE),
    Case("reset before the work", Fault("reset", billed=False), SIX, *UNKNOWN_FREE),
    Case("reset before the answer", Fault("reset"), SIX, *UNKNOWN),
    Case("closed before the answer", Fault("fin"), SIX, *UNKNOWN),
    Case("no answer ever", Fault("hang"), "60 s, 6 requests, billed 6 times", *UNKNOWN, timeout=HASTY),
    Case("answer in time, late", Fault("slow", seconds=0.3), UNTOLD, *FINE),
    Case("answer after the deadline", Fault("slow", seconds=4), "billed twice", *UNKNOWN, timeout=HASTY),
    Case("head, a byte now and then", Fault("slow-head", seconds=0.05), UNTOLD, *UNKNOWN, timeout=HASTY),
    Case("body, a byte now and then", Fault("slow-body", seconds=0.05), "waits for the last byte (60 s)", *UNKNOWN,
         timeout=HASTY),
    Case("reset inside the body", Fault("torn"), f"{ERROR}, paid for and lost", *UNKNOWN),
    Case("body shorter than it says", Fault("cut"), f"{ERROR}, paid for and lost", *UNKNOWN),
    Case("broken chunks", Fault("chunks"), f"{ERROR}, paid for and lost", *UNKNOWN),
    Case("half of the JSON", Fault("half"), SILENT, *UNKNOWN),
    Case("nothing", Fault("empty"), SILENT, *UNKNOWN),
    Case("a page", Fault("html"), SILENT, *UNKNOWN),
    Case("gzip that unpacks to 300 MiB", Fault("bomb"), "takes it: 1,241 MiB of memory", *UNKNOWN),
    Case("a body without end", Fault("flood"), UNTOLD, *UNKNOWN),
    Case("another content type", Fault("odd-type"), UNTOLD, *FINE),
    Case("two content types", Fault("two-types"), UNTOLD, *FINE),
    Case('`{"message": …}`', Fault("message"), SILENT, *UNKNOWN),
    Case('`{"error": …}`', Fault("error"), SILENT, *UNKNOWN),
    Case("`[1, 2]`", Fault("list"), SILENT, *UNKNOWN),
    Case("`7`", Fault("number"), UNTOLD, *UNKNOWN),
    Case("`null`", Fault("null"), UNTOLD, *UNKNOWN),
    Case("one translation fewer", Fault("short"), "hands it on: rows would shift", *UNKNOWN),
    Case("one translation more", Fault("long"), "hands it on: rows would shift", *UNKNOWN),
    Case("no translation", Fault("none"), "gives `[]`", *UNKNOWN),
    Case("null in place of the list", Fault("null-items"), UNTOLD, *UNKNOWN),
    Case("null in place of a translation", Fault("null-item"), "`AttributeError`, paid for and lost", *ONE_FAILURE),
    Case("another order, numbers differ", Fault("reversed"), "hands it on", End(RIGHT, 2, 1.59),
         End(EXCHANGED, 2, 1.59), texts=NUMBERS),
    Case("another order, nothing tells", Fault("reversed"), "hands it on", End(EXCHANGED, 1, 1), End(EXCHANGED, 1, 1)),
    Case("an empty text", Fault("empty-text"), "hands it on", *ONE_FAILURE),
    Case("null in place of a text", Fault("null-text"), "hands it on", *ONE_FAILURE),
    Case("a number in place of a text", Fault("number-text"), UNTOLD, *ONE_FAILURE),
    Case("half of a surrogate pair", Fault("surrogate"), "hands it on: no file takes it", *ONE_FAILURE),
    Case("no `billed_characters`", Fault("no-cost"), "`TypeError`, paid for and lost", *FINE),
    Case("null in `billed_characters`", Fault("null-cost"), UNTOLD, *FINE),
)  # fmt: skip


@dataclass
class Seen:
    """What a run did. `texts`: how often each was billed, as it was sent."""

    end: End
    texts: Counter[str] = field(default_factory=Counter)
    strays: int = 0
    seconds: float = 0.0
    said: str = ""


def rows(texts: tuple[str, ...]) -> Any:
    columns = ("id", "source", "licence", "instruction", "input", "output")
    records = [dict(zip(columns, (f"row-{n}", "s", "l", text, "", ""), strict=True)) for n, text in enumerate(texts)]
    return dataset(records, columns)


def translated(deepl: DeepL, texts: tuple[str, ...], memory: Path | None = None) -> str:
    """What `kullm.translate` makes of a row for each of `texts`, in words."""
    lost: list[Failure] = []
    found = {row["id"]: row["instruction"] for row in kullm.translate(rows(texts), deepl, memory=memory, failures=lost)}
    right = {f"row-{number}": pseudo_korean(text) for number, text in enumerate(texts)}
    assert len(found) + len(lost) == len(texts)
    if any(right[id] != text for id, text in found.items()):
        return LONGER if all(text.startswith(right[id]) for id, text in found.items()) else EXCHANGED
    failed = "1 row a `Failure`" if len(lost) == 1 else f"{len(lost)} rows `Failure`s"
    return ", ".join((["right"] if found else []) + ([failed] if lost else []))


def streamed(deepl: DeepL, texts: tuple[str, ...]) -> str:
    """The same through `kullm.remote.run`, which can be told to give up sooner."""
    call = partial(deepl.translate, source="en", target="ko")
    limits = replace(deepl.limits, items=len(texts))
    found = remote.run(call, texts, identity="x", limits=limits, tries=TRIES)
    return RIGHT if found == [pseudo_korean(text) for text in texts] else str(found)


def run(case: Case, *, always: bool) -> Seen:
    """A run against a server with the fault."""
    faults = [] if case.fault is None else [_now(case.fault, always=always)]
    with DeepLServer(pseudo_korean, faults=faults) as server:
        began = time.monotonic()
        deepl = DeepL(key=server.key, server_url=server.url, in_flight=1, per_second=None, timeout=case.timeout)
        said = ""
        try:
            result = (streamed if always and case.passing else translated)(deepl, case.texts)
        except KullmError as error:
            result, said = f"`{type(error).__name__}`", str(error)
        billed = round(server.characters / sum(map(len, case.texts)), 2)
        texts = Counter(text for entry in server.ledger for text in entry.texts)
        end = End(result, server.requests, billed)
        return Seen(end, texts, len(server.strays), time.monotonic() - began, said)


def _now(fault: Fault, *, always: bool) -> Fault:
    """The fault as it is to strike: always or as it says, and with a date that is still to come."""
    if fault.retry_after == "date":
        fault = replace(fault, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True))
    return replace(fault, requests=ALWAYS) if always else fault


def refused(case: Case, *, always: bool) -> Seen:
    """A run whose service is not there yet, or never."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = DeepLServer(pseudo_korean, port=port)
    deepl = DeepL(key=server.key, server_url=f"http://127.0.0.1:{port}", in_flight=1, timeout=case.timeout)
    began = time.monotonic()
    if always:
        with pytest.raises(KullmError) as error:
            streamed(deepl, case.texts)
        return Seen(End(f"`{error.type.__name__}`", 0, 0), seconds=time.monotonic() - began, said=str(error.value))
    opened = threading.Timer(0.3, server.__enter__)
    opened.start()
    result = translated(deepl, case.texts)
    opened.join()
    server.__exit__()
    return Seen(End(result, server.requests, server.characters / sum(map(len, case.texts))))


def wrong(case: Case, *, always: bool) -> list[str]:
    """What is not as it should be with a case."""
    seen = (run if case.fault else refused)(case, always=always)
    wanted = case.always if always else case.once
    floor = case.floor * (TRIES - 1 if always and case.fault and case.fault.retry_after != "date" else 1)
    checks = {
        f"it ended with {seen.end} and not with {wanted} {seen.said}": seen.end == wanted,
        f"a text was billed {seen.texts.most_common(1)}": max(seen.texts.values(), default=0) <= 2,
        f"{seen.strays} request(s) followed the redirect": not seen.strays,
        f"it took {seen.seconds:.1f} s": floor <= seen.seconds < 20,
        f"the error does not say what is safe: {seen.said}": not seen.said or "are done" in seen.said,
        "the key stands in the error": "test-key" not in seen.said,
    }
    return [f"{case.name}, {'always' if always else 'once'}: {what}" for what, good in checks.items() if not good]


def test_every_fault_ends_in_the_right_result_or_one_named_error_as_the_table_says() -> None:
    rows(TEXTS)  # what is imported now is not imported by sixteen threads
    with ThreadPoolExecutor(16) as pool:
        runs = [pool.submit(wrong, case, always=always) for case in CASES for always in (True, False)]
        assert [what for one in runs for what in one.result()] == []


def test_the_table_knows_every_kind_of_fault() -> None:
    assert {case.fault.kind for case in CASES if case.fault} == set(get_args(Kind))


@pytest.mark.parametrize("status", [502, 504])
def test_a_model_behind_a_gateway_that_gives_up_after_the_work_is_asked_twice_at_most(status: int) -> None:
    fault = Fault("status", ALWAYS, status=status, billed=True)
    with OpenAIServer(lambda _: "", faults=[fault]) as server:
        model = OpenAI("m", key=server.key, base_url=server.url)
        with pytest.raises(ServiceDown, match="may have been billed"):
            kullm.translate(rows(TEXTS[:1]), Chat(model), memory=None)
        assert len(server.ledger) == 2


def test_an_empty_translation_is_a_failure_of_its_run_and_asked_for_again_by_the_next(tmp_path: Path) -> None:
    with DeepLServer(pseudo_korean, faults=[Fault("empty-text")]) as server:
        deepl = DeepL(key=server.key, server_url=server.url)
        assert translated(deepl, TEXTS, tmp_path / "m.sqlite") == ONE_FAILURE[0].result
        assert translated(deepl, TEXTS, tmp_path / "m.sqlite") == RIGHT


@pytest.mark.xfail(strict=True, reason="spans are numbered for each text, so that those of another text fit as well")
def test_spans_of_their_own_keep_rows_from_being_exchanged() -> None:
    texts = ("Call `first()` now.", "Use `second()` twice.", "The `third()` ends here.")
    assert run(Case("reversed", Fault("reversed"), "", *FINE, texts=texts), always=True).end.result != EXCHANGED


# What is not the service's doing


def test_a_second_run_at_once_asks_nobody_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with DeepLServer(pseudo_korean) as server:
        deepl = DeepL(key=server.key, server_url=server.url)
        with Memory(tmp_path / "m.sqlite") as first:
            first.claim()
            with pytest.raises(MemoryInUse):
                translated(deepl, TEXTS, tmp_path / "m.sqlite")
        assert server.requests == 0
        assert translated(deepl, TEXTS, tmp_path / "m.sqlite") == RIGHT
        assert server.requests == 1


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"USE_TORCH": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=folder, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


FULL = """
    import resource, sys
    from pathlib import Path
    from tests.test_faults import LINES, ROOM, DeepL, KullmError, translated
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
    try:
        translated(DeepL(key="test-key", server_url=sys.argv[1], in_flight=2), LINES, Path("m.sqlite"))
    except KullmError as error:
        print(error)
        sys.exit(error.exit_code)
"""
LINES = tuple(f"The river {number} is long." for number in range(700))
ROOM = 4_400_000
"""Bytes that a file may have, on a disk that is full after them."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Two runs on a disk that is full, then one on a disk that is not."""
    folder = tmp_path_factory.mktemp("full")
    with DeepLServer(lambda text: f"{pseudo_korean(text)} {'가' * 4000}") as server:
        runs = [python(FULL, folder, server.url) for _ in range(2)]
        deepl = DeepL(key="test-key", server_url=server.url, in_flight=2)
        assert translated(deepl, LINES, folder / "m.sqlite") == LONGER
        yield Disk(runs, Counter(text for entry in server.ledger for text in entry.texts))


@dataclass(frozen=True)
class Disk:
    """What was said on a full disk, and how often each text was billed in the end."""

    runs: list[subprocess.CompletedProcess[str]]
    billed: Counter[str]


def test_a_disk_that_is_full_stops_the_run_with_one_error_and_loses_no_row(full: Disk) -> None:
    for run in full.runs:
        assert run.returncode == 5, run.stderr
        assert "takes no more" in run.stdout
        assert "it goes on from there" in run.stdout
    assert "the next run takes them in" in full.runs[0].stdout
    assert full.billed.keys() == set(LINES)


def test_answers_that_a_full_disk_did_not_take_are_not_paid_for_again(full: Disk) -> None:
    assert set(full.billed.values()) == {1}


FLOOD = """
    import json, resource
    from kullm.testing import Fault
    from tests.test_faults import ALWAYS, FINE, UNKNOWN, Case, run
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    run(Case("warm", Fault("odd-type"), "", *FINE), always=True)
    before, found = peak(), {}
    for kind in ("bomb", "flood"):
        end = run(Case(kind, Fault(kind), "", *UNKNOWN), always=True).end
        found[kind] = [end.result, peak() - before]
    print(json.dumps(found))
"""


def test_a_flood_of_data_takes_little_memory(tmp_path: Path) -> None:
    said = python(FLOOD, tmp_path)
    assert said.returncode == 0, said.stderr
    for kind, (result, mib) in json.loads(said.stdout.splitlines()[-1]).items():
        assert result == "`ServiceDown`", kind
        assert mib < 100, f"{kind}: {mib} MiB"


# The page


def table() -> str:
    """The table of docs/reliability.md."""
    head = ["Fault", "The bare client", "Once:", "requests", "billed", "Always:", "requests", "billed"]
    lines = ["| " + " | ".join(head) + " |", "|---" * 3 + "|--:|--:|---|--:|--:|"]
    lines += [f"| {case.name} | {case.bare} | {case.once} | {case.always} |" for case in CASES]
    return "\n".join(lines) + "\n"


def page(make: Callable[[], str] = table) -> str:
    """The page as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:start] + make() + text[end:]


def test_the_page_shows_the_table_that_the_tests_hold_true() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.test_faults --write"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(table(), end="")
