"""What a memory promises: nothing that was paid for is lost, one run at a time adds to it, and it leaves as it came."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kullm.errors import InputError, MemoryInUse
from kullm.remote import Limits, Memory, run
from kullm.remote.seen import Seen
from kullm.rows import Failure
from kullm.translators import export_memory, import_memory

quick = settings(max_examples=60, deadline=None, derandomize=True)
ABOUT = {"source": "en", "target": "ko", "unit": "characters"}


def upper(batch: Sequence[str]) -> list[str | Failure]:
    return [text.upper() for text in batch]


def fill(path: Path, *items: str, identity: str = "x") -> None:
    run(upper, list(items), identity=identity, limits=Limits(items=10), memory=path, about=ABOUT)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=folder, capture_output=True, text=True, timeout=60
    )


# One writer


def test_a_second_run_says_who_adds_to_the_memory_before_it_asks_anybody(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    asked: list[str] = []

    def noting(batch: Sequence[str]) -> list[str | Failure]:
        asked.extend(batch)
        return upper(batch)

    with Memory(path) as first:
        first.claim()
        with pytest.raises(
            MemoryInUse, match=rf"m\.sqlite is in use by another run: process {os.getpid()} on .* since"
        ):
            run(noting, ["a"], identity="x", limits=Limits(), memory=path)
    assert asked == []
    fill(path, "a")


def test_a_run_that_needs_no_call_works_beside_one_that_adds(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    fill(path, "a", "b")
    with Memory(path) as first:
        first.claim()
        assert run(upper, ["b", "a"], identity="x", limits=Limits(), memory=path) == ["B", "A"]


def test_another_process_is_kept_out_and_a_killed_one_is_not(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import kullm; m = kullm.Memory('m.sqlite'); m.claim(); print(1, flush=True); input()"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        with Memory(tmp_path / "m.sqlite") as memory, pytest.raises(MemoryInUse, match=f"process {child.pid}"):
            memory.claim()
        child.kill()
    fill(tmp_path / "m.sqlite", "a")


def test_only_the_owner_may_enter_a_folder_that_a_memory_makes(tmp_path: Path) -> None:
    path = tmp_path / "secret" / "m.sqlite"
    fill(path, "a")
    with Memory(path) as memory:
        memory.claim()
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {"m.sqlite", "m.sqlite.lock", "m.sqlite.holder", "m.sqlite.room"} <= set(modes)
    assert set(modes.values()) == {0o600}


# Full disks


def test_without_room_for_answers_nothing_is_asked(tmp_path: Path) -> None:
    said = python(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        from kullm.remote import Limits, run
        from kullm.errors import StorageFailed
        try:
            run(lambda batch: print("ASKED"), ["a"], identity="x", limits=Limits(), memory="m.sqlite")
        except StorageFailed as error:
            print(error)
        """,
        tmp_path,
    )
    assert "ASKED" not in said.stdout, said.stderr
    assert "no room for answers beside m.sqlite: File too large" in said.stdout
    assert "Nothing was asked and nothing was paid." in said.stdout


FULL = """
    import resource, sys
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))
    from kullm.remote import Limits, run
    from kullm.errors import StorageFailed
    def call(batch):
        with open("paid.txt", "a") as file:
            file.writelines(item + "\\n" for item in batch)
        return ["x" * 20_000 + item for item in batch]
    items = [str(n) for n in range(2_000)]
    try:
        run(call, items, identity="x", limits=Limits(items=10, in_flight=4), memory="m.sqlite")
    except StorageFailed as error:
        print(error)
        sys.exit(error.exit_code)
"""


def test_a_disk_that_fills_up_costs_no_answer(tmp_path: Path) -> None:
    said = python(FULL, tmp_path)
    assert said.returncode == 5, said.stderr
    assert "takes no more" in said.stdout
    assert "the next run takes them in" in said.stdout
    paid = (tmp_path / "paid.txt").read_text().split()
    assert 10 < len(paid) < 2_000
    again: list[str] = []

    def call(batch: Sequence[str]) -> list[str | Failure]:
        again.extend(batch)
        return [f"again {item}" for item in batch]

    with Memory(tmp_path / "m.sqlite") as memory:
        memory.claim()
        assert not [outcome for _, _, _, outcome in memory.calls() if outcome == "unknown"]
    found = run(call, paid, identity="x", limits=Limits(), memory=tmp_path / "m.sqlite")
    assert again == []
    assert found == ["x" * 20_000 + item for item in paid]
    assert not (tmp_path / "m.sqlite.rescued.jsonl").exists()


def test_a_memory_that_is_locked_from_outside_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    fill(path, "a")
    said = python(
        f"""
        import sqlite3
        other = sqlite3.connect({str(path)!r}, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        import kullm.remote.memory as home
        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, **(k | {{"timeout": 0.1}}))
        from kullm.remote import Limits, run
        from kullm.errors import StorageFailed
        try:
            run(lambda batch: print("ASKED"), ["b"], identity="x", limits=Limits(), memory={str(path)!r})
        except StorageFailed as error:
            print(error)
        """,
        tmp_path,
    )
    assert "ASKED" not in said.stdout
    assert "locked" in said.stdout, said.stderr


# Older files


def test_a_memory_of_the_first_version_is_read_with_all_that_was_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    fill(path, "a", "b")
    with Memory(path) as memory:
        keys = {item: key for key, item in memory._db.execute("SELECT key, item FROM answers")}
    path.unlink()
    old = sqlite3.connect(path)
    old.executescript(
        """PRAGMA application_id=1802857581; PRAGMA user_version=1;
        CREATE TABLE calls (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, items INTEGER NOT NULL,
            started TEXT NOT NULL, outcome TEXT);
        CREATE TABLE answers (key BLOB NOT NULL, identity TEXT NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL,
            call INTEGER NOT NULL);
        CREATE UNIQUE INDEX answers_key ON answers (key);
        INSERT INTO calls VALUES (1, 'x', 2, '2026-01-01', 'answered'), (2, 'x', 1, '2026-01-02', NULL);"""
    )
    with old:
        rows = [(key, "x", item, json.dumps(item.upper()), 1) for item, key in keys.items()]
        old.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", rows)
    old.close()
    with Memory(path) as memory:
        assert memory.recall("x", ["a", "b", "c"]) == {"a": "A", "b": "B"}
        assert [outcome for *_, outcome in memory.calls()] == ["answered", None]


# In and out


def test_stats_say_what_was_paid_and_to_whom(tmp_path: Path) -> None:
    fill(tmp_path / "m.sqlite", "a", "b", identity="deepl en>ko")
    fill(tmp_path / "m.sqlite", "a", identity="other en>ko")
    with Memory(tmp_path / "m.sqlite") as memory:
        parts = {part.identity: (part.answers, part.calls, part.unknown) for part in memory.stats()}
    assert parts == {"deepl en>ko": (2, 1, 0), "other en>ko": (1, 1, 0)}


def test_forget_deletes_one_identity_and_no_other(tmp_path: Path) -> None:
    fill(tmp_path / "m.sqlite", "a", "b", identity="deepl en>ko")
    fill(tmp_path / "m.sqlite", "a", identity="deepl en>ja")
    with Memory(tmp_path / "m.sqlite") as memory:
        assert memory.forget("deepl en>ko") == 2
        assert memory.recall("deepl en>ko", ["a"]) == {}
        assert memory.recall("deepl en>ja", ["a"]) == {"a": "A"}


def test_merge_takes_what_is_lacking_and_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path / "a.sqlite", "a", "b")
    fill(tmp_path / "b.sqlite", "b", "c")
    with Memory(tmp_path / "a.sqlite") as memory:
        assert memory.merge(tmp_path / "b.sqlite") == 1
        assert memory.recall("x", ["a", "b", "c"]) == {"a": "A", "b": "B", "c": "C"}
    with Memory(tmp_path / "b.sqlite") as memory:
        assert memory.recall("x", ["a", "b", "c"]) == {"b": "B", "c": "C"}


def test_a_run_that_adds_to_a_memory_finds_what_it_held_what_it_brought_and_what_was_merged(tmp_path: Path) -> None:
    """It notes what there is when it begins, so that it need not look for what is new."""
    fill(tmp_path / "a.sqlite", "a", "b")
    fill(tmp_path / "b.sqlite", "c")
    with Memory(tmp_path / "a.sqlite") as memory:
        memory.claim()
        assert memory.recall("x", ["a", "b", "c", "d"]) == {"a": "A", "b": "B"}
        memory.add("x", ABOUT, {"d": "D"})
        assert memory.recall("x", ["a", "c", "d"]) == {"a": "A", "d": "D"}
        assert memory.recall("y", ["a"]) == {}
        memory.merge(tmp_path / "b.sqlite")
        assert memory.recall("x", ["a", "c", "d"]) == {"a": "A", "c": "C", "d": "D"}


@quick
@given(st.lists(st.binary(min_size=16, max_size=16)), st.binary(min_size=16, max_size=16))
def test_what_was_seen_is_never_denied(keys: list[bytes], other: bytes) -> None:
    seen = Seen()
    seen.add(keys)
    assert all(key in seen for key in keys)
    if not keys:
        assert other not in seen


def test_what_was_not_seen_is_hardly_ever_taken_for_seen() -> None:
    chance = random.Random(0)
    seen = Seen()
    seen.add(chance.randbytes(16) for _ in range(400_000))
    wrong = sum(chance.randbytes(16) in seen for _ in range(100_000))
    assert wrong < 100, "some 14 are expected of 100,000"


def test_merging_what_is_no_memory_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "a.sqlite", "a")
    (tmp_path / "b.sqlite").write_text("not a database, and long enough to be looked at as one")
    with Memory(tmp_path / "a.sqlite") as memory:
        with pytest.raises(InputError, match=r"b\.sqlite is not a kullm memory"):
            memory.merge(tmp_path / "b.sqlite")
        assert len(memory) == 1


encodable = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)


@quick
@given(st.dictionaries(encodable, encodable, min_size=1, max_size=8))
def test_what_jsonl_exports_comes_back_in_another_memory(
    tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    with Memory(None) as memory:
        memory.add("deepl en>ko", ABOUT, pairs)
        assert export_memory(memory, folder / "m.jsonl").done == len(pairs)
    with Memory(None) as memory:
        import_memory(memory, folder / "m.jsonl")
        assert memory.recall("deepl en>ko", pairs) == pairs


def test_answers_of_models_go_out_as_jsonl_and_come_back(tmp_path: Path) -> None:
    answer = {"text": "네.", "finish_reason": "stop"}
    with Memory(None) as memory:
        memory.add("openai/gpt-4", {}, {"Yes?": answer})
        export_memory(memory, tmp_path / "m.jsonl")
    with Memory(None) as memory:
        import_memory(memory, tmp_path / "m.jsonl")
        assert memory.recall("openai/gpt-4", ["Yes?"]) == {"Yes?": answer}


xml = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")).filter(str.strip)


@quick
@given(st.dictionaries(xml, xml, min_size=1, max_size=8))
def test_what_tmx_exports_answers_as_imported_pairs(
    tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    with Memory(None) as memory:
        memory.add("deepl en>ko", ABOUT, pairs)
        assert export_memory(memory, folder / "m.tmx").done == len(pairs)
    with Memory(None) as memory:
        import_memory(memory, folder / "m.tmx", source="en", target="ko")
        assert memory.recall("imported en>ko", pairs) == pairs


def tmx(path: Path, *units: dict[str, str]) -> Path:
    """A TMX file; each of `units` has segments by language."""
    told = ["".join(f'<tuv xml:lang="{name}"><seg>{seg}</seg></tuv>' for name, seg in unit.items()) for unit in units]
    body = "".join(f"<tu>{unit}</tu>" for unit in told)
    path.write_text(f'<tmx version="1.4"><header/><body>{body}</body></tmx>', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("target", "held", "found"),
    [
        ("pt-BR", {"pt-br": "Trem."}, "Trem."),
        ("pt-BR", {"pt": "Trem."}, "Trem."),
        ("pt", {"pt_BR": "Trem."}, "Trem."),
        ("pt-BR", {"pt-PT": "Comboio.", "pt-BR": "Trem."}, "Trem."),
        ("zh-Hant", {"zh-Hans": "火车。", "zh-Hant-TW": "火車。"}, "火車。"),
    ],
)
def test_a_region_counts_as_its_language_unless_both_sides_have_different_ones(
    tmp_path: Path, target: str, held: dict[str, str], found: str
) -> None:
    with Memory(None) as memory:
        assert import_memory(memory, tmx(tmp_path / "m.tmx", {"en-US": "Train."} | held), target=target).done == 1
        assert memory.recall(f"imported en>{target.lower()}", ["Train."]) == {"Train.": found}


def test_a_file_without_a_pair_in_the_wanted_languages_says_which_it_holds(tmp_path: Path) -> None:
    file = tmx(tmp_path / "m.tmx", {"en": "Train.", "pt-PT": "Comboio."}, {"en": "Yes.", "de-CH": "Ja."})
    with (
        Memory(None) as memory,
        pytest.raises(InputError, match=r"m\.tmx .* en to pt-BR\.\nIt holds en, pt-PT, de-CH\."),
    ):
        import_memory(memory, file, target="pt-BR")
    with Memory(None) as memory, pytest.raises(InputError, match="holds no text"):
        import_memory(memory, tmx(tmp_path / "m.tmx"))


def test_units_whose_inline_elements_say_nothing_are_counted_as_left_out(tmp_path: Path) -> None:
    marked = [
        {"en": 'Say <ph x="1"/> again.', "ko": 'Say <ph x="1"/> 다시.'}, {"en": "Go.", "ko": '<ph x="1"/>가세요.'},
        {"en": 'A <bpt i="1">&lt;b&gt;</bpt>line<ept i="1">&lt;/b&gt;</ept>.', "ko": "한 줄."},
        {"en": "Yes.", "ko": " "}, {"en": "Yes.", "ja": '<ph x="1"/>はい。'},
    ]  # fmt: skip
    with Memory(None) as memory:
        counted = import_memory(memory, tmx(tmp_path / "m.tmx", *marked))
        assert (counted.done, counted.left_out) == (1, 3)
        assert memory.recall("imported en>ko", ["A <b>line</b>."]) == {"A <b>line</b>.": "한 줄."}


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", '{"source": "a"}', '{"source": 1, "target": "b"}', '{"source": "a", "target": null}',
        '{"identity": "x"}', '{"identity": "x", "about": {}, "item": 1, "value": "b"}',
        '{"identity": "x", "about": {}, "item": "a", "value": 7}',
        '{"identity": "x", "about": {}, "item": "a", "value": null}',
        '{"identity": "x", "about": {}, "item": "a", "value": ["b"]}',
        '{"identity": "x", "about": {"target": "ko"}, "item": "a", "value": {"text": "b"}}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(f'{{"source": "a", "target": "b"}}\n{line}\n')
    with Memory(None) as memory, pytest.raises(InputError, match=r"pairs\.jsonl:2: expected"):
        import_memory(memory, file)
