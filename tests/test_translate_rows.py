"""What `kullm.translate` promises for whole rows: nothing changes that should not, nothing is lost in silence."""

from __future__ import annotations

import html
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import ENGINES, made
from kullm import load, translate
from kullm.errors import BudgetSpent, InputError, ServiceError, UsageError
from kullm.remote import Budget, Limits, Memory
from kullm.remote.packing import size
from kullm.rows import TEXT_FIELDS, Failure, dataset
from kullm.sources import save, scan
from kullm.testing import DeepLServer, FakeTranslator, pseudo_korean
from kullm.translators import DeepL, Recorded, export_memory, import_memory, parse_budget, plan_translation

quick = settings(max_examples=40, deadline=None, derandomize=True)
TAG = re.compile(r'<x id="\d+"/>')


def rows(*texts: Sequence[str | None], **columns: list[Any]) -> datasets.Dataset:
    """Rows with the ids r0, r1, …; each of `texts` is an instruction, then perhaps an input and an output."""
    records = [
        {"id": f"r{number}"}
        | dict(zip(TEXT_FIELDS, [*row, "", "", ""][:3], strict=True))
        | {name: values[number] for name, values in columns.items()}
        for number, row in enumerate(texts)
    ]
    return dataset(records, ["id", *TEXT_FIELDS, *columns])


def chat(*turns: tuple[str, str]) -> datasets.Dataset:
    """A row for each turn of one conversation, with the earlier turns as its history."""
    told = [{"instruction": asked, "output": said} for asked, said in turns]
    records = [{"id": f"c-{n}", **turn, "input": "", "history": told[:n]} for n, turn in enumerate(told)]
    return dataset(records, ["id", *TEXT_FIELDS, "history"])


class Unchanged:
    """A translator that gives back what it gets."""

    identity = "unchanged"
    limits = Limits(items=500)

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> Sequence[str]:
        return list(texts)


def deepl(server: DeepLServer, **options: Any) -> DeepL:
    return DeepL("test-key", server_url=server.url, **options)


def sent(server: DeepLServer) -> list[str]:
    return [text for billed in server.ledger for text in billed.texts]


def by_deepl(translations: Any, english: datasets.Dataset, **more: Any) -> tuple[Any, list[Failure], DeepLServer]:
    """A translation by a local DeepL: rows, failures, and the server with its ledger."""
    failures: list[Failure] = []
    with DeepLServer(translations) as server:
        done = translate(english, deepl(server), memory=None, failures=failures, **more)
    return done, failures, server


def fields(table: datasets.Dataset) -> list[dict[str, Any]]:
    names = [name for name in (*TEXT_FIELDS, "history") if name in table.column_names]
    return [{name: row[name] for name in names} for row in table]


# Untouched text comes back byte for byte


def real(shared: Path, name: str) -> datasets.Dataset:
    """The rows of a real file; what is no file of rows is put into rows, a conversation with its earlier turns."""
    path = shared / "data" / "english" / name
    lines = path.read_text(encoding="utf-8").split("\n")
    if name.startswith("sharegpt"):
        return conversations(json.loads(line) for line in lines[:80])
    if name.endswith(".tsv"):
        return rows(*(line.split("\t") for line in lines[::5] if line))
    if name.startswith(("vicuna", "p3", "instructwild")):
        records = [json.loads(line) for line in lines[:: 5 if name.startswith("p3") else 1] if line]
        return rows(*([text for value in record.values() for text in texts_in(value)] for record in records))
    table = load(path)
    return table.select(range(0, len(table), 3)) if len(table) > 1000 else table


def texts_in(value: Any) -> list[str]:
    return (
        [value]
        if isinstance(value, str)
        else [x for x in value if isinstance(x, str)]
        if isinstance(value, list)
        else []
    )


def conversations(records: Iterator[dict[str, Any]]) -> datasets.Dataset:
    found = []
    for record in records:
        told: list[dict[str, str]] = []
        turns = record["conversations"]
        for asked, said in pairwise(turns):
            if (asked["from"], said["from"]) == ("human", "gpt"):
                turn = {"instruction": asked["value"], "output": said["value"]}
                found.append({"id": f"{record['id']}-{len(told)}", "input": "", **turn, "history": told[-2:]})
                told.append(turn)
    return dataset(found, ["id", *TEXT_FIELDS, "history"])


FILES = (
    "alpaca_5000.json", "answers_text-davinci-003.jsonl", "flan_cot_qasc_train.tsv", "instructwild_user_1.jsonl",
    "p3_t0_2000.jsonl", "seed_tasks.jsonl", "sharegpt_500.jsonl", "user_oriented_instructions.en.jsonl",
    "vicuna_questions_80.jsonl",
)  # fmt: skip


@pytest.mark.shared
def test_every_real_file_is_among_those_that_are_translated_here(shared: Path) -> None:
    assert sorted(FILES) == sorted(path.name for path in (shared / "data" / "english").iterdir())


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_an_engine_that_changes_nothing_leaves_every_row_of_a_real_file_as_it_was(shared: Path, name: str) -> None:
    english, failures = real(shared, name), list[Failure]()
    done = translate(english, Unchanged(), memory=None, failures=failures)
    assert failures == []
    assert fields(done) == fields(english)


FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
ADDRESS = re.compile(r"\b(?:https?://|www\.)\w")


@pytest.mark.shared
def test_a_deepl_that_changes_nothing_leaves_real_rows_as_they_were_and_is_sent_no_fence_and_no_address(
    shared: Path,
) -> None:
    several = [real(shared, name) for name in FILES]
    english = datasets.concatenate_datasets([table.select_columns(TEXT_FIELDS).select(range(60)) for table in several])
    english = english.add_column("id", [str(number) for number in range(len(english))])
    chats = real(shared, "sharegpt_500.jsonl").select(range(25))
    for table in (english, chats):
        done, failures, server = by_deepl(lambda text: text, table)
        assert failures == []
        assert fields(done) == fields(table)
        assert server.requests == len(server.ledger), "the server refused a call"
        assert [text for text in sent(server) if FENCE.search(text) or ADDRESS.search(text)] == []


CODE = (
    "```python\nfor x in range(3):\n    print(x)\n```",
    "def area(r):\n    return 3.14 * r ** 2",
    "SELECT name FROM person WHERE id = 1;",
    "https://example.com/a_b?q=1",
    "$$\nE = mc^2\n$$",
    "<!-- a remark -->",
    "`git status`",
    "{{name}}",
    "12345",
    " \n\t",
)


def test_a_text_that_is_all_code_is_not_sent_not_billed_and_stays() -> None:
    english = rows(*([text, "", text] for text in CODE))
    done, failures, server = by_deepl(pseudo_korean, english)
    assert (fields(done), failures) == (fields(english), [])
    assert (server.requests, server.ledger, server.characters) == (0, [], 0)


@pytest.mark.shared
@pytest.mark.parametrize("how", ["recorded", "deepl"])
def test_without_protection_the_252_published_translations_come_out_byte_for_byte(
    shared: Path, tmp_path: Path, how: str
) -> None:
    english = load(shared / "data/english/user_oriented_instructions.en.jsonl")
    korean = load(shared / "data/korean/user_oriented_instructions_eval.ko.jsonl")
    asked = ("instruction", "input")
    pairs = {old[f]: new[f] for old, new in zip(english, korean, strict=True) for f in asked if old[f]}
    if how == "recorded":
        file = tmp_path / "pairs.jsonl"
        file.write_text("".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in pairs.items()))
        done = translate(english, Recorded(file), fields=asked, protect=False, memory=None)
    else:
        done, _, server = by_deepl(pairs, english, fields=asked, protect=False)
        assert Counter(sent(server)) == dict.fromkeys(pairs, 1)
        assert not any(billed.tags for billed in server.ledger)
    assert [[row[f] for f in asked] for row in done] == [[row[f] for f in asked] for row in korean]
    assert done["output"][:] == english["output"][:]


# Engines that do damage: spans are whole, or the row is a failure


def accounted(english: datasets.Dataset, done: datasets.Dataset, failures: list[Failure]) -> None:
    """Every row is translated or a failure that names id, field and cause; the translated ones keep their order."""
    lost = {failure.id for failure in failures}
    assert [row["id"] for row in done] == [id for id in english["id"] if id not in lost]
    assert lost <= set(english["id"])
    for failure in failures:
        assert failure.stage == "translate"
        assert re.match(r"(?:instruction|input|output|history\[\d+\]\.(?:instruction|output)): \w", failure.cause)


def whole(english: datasets.Dataset, done: datasets.Dataset, spans: Sequence[Sequence[str]]) -> None:
    """The spans of every row that was translated stand in it, as often as before."""
    place = {id: number for number, id in enumerate(english["id"])}
    for row in done:
        number = place[row["id"]]
        for span in spans[number]:
            assert row["instruction"].count(span) >= english[number]["instruction"].count(span), (span, row)


@pytest.mark.parametrize("number", range(len(ENGINES)), ids=[engine.__name__ for engine in ENGINES])
def test_no_engine_damages_a_span_of_a_row_in_silence(number: int) -> None:
    texts, spans = zip(*(made(seed) for seed in range(100 * number, 100 * number + 20)), strict=True)
    english, failures = rows(*([text] for text in texts)), list[Failure]()
    for options in (("xml",), ()):
        engine = FakeTranslator(
            lambda text: ENGINES[number](text, random.Random(text)),
            options=options,
        )
        failures.clear()
        done = translate(english, engine, memory=None, failures=failures)
        accounted(english, done, failures)
        whole(english, done, spans)


def as_deepl_does(text: str) -> str:
    """Words translated, names in programs too where they are shown; tags moved, lines joined, entities escaped."""
    chance = random.Random(text)
    said = pseudo_korean(re.sub(r"[_.(){}]", " ", TAG.sub(lambda tag: f" {tag[0]} ", text)))
    tags = TAG.findall(text)
    if tags and chance.random() < 0.5:
        said = "".join(tags) + TAG.sub("", said)
    return html.escape(" ".join(said.split()), quote=False) if chance.random() < 0.3 else " ".join(said.split())


KEPT = [
    re.compile(pattern, re.MULTILINE | re.ASCII)
    for pattern in (r"^```[^`]*^```$", r"https?://[\w./?=&%-]*[A-Za-z0-9/]", r"`[^`\s]+`", r"</?[a-z]+>")
]


@pytest.mark.shared
def test_what_deepl_does_to_code_reaches_no_real_row_in_silence(shared: Path) -> None:
    english = load(shared / "data/english/alpaca_5000.json", limit=2500)
    hits = [n for n, row in enumerate(english) if any(p.search(row[f]) for p in KEPT for f in TEXT_FIELDS)]
    english = english.select(hits)
    done, failures, server = by_deepl(as_deepl_does, english)
    accounted(english, done, failures)
    assert len(done) > 0.8 * len(english) > 30
    assert server.requests == len(server.ledger)
    for row in done:
        for name in TEXT_FIELDS:
            for pattern in KEPT:
                lost = Counter(pattern.findall(row["original"][name])) - Counter(pattern.findall(row[name]))
                assert not lost, (row["id"], name)
            assert len(row[name].splitlines()) == len(row["original"][name].splitlines())


# The ladder: asked again in smaller pieces, with numbers protected, and then given up by name


def test_a_damaged_span_is_asked_for_again_in_smaller_pieces_and_every_piece_is_billed() -> None:
    text = "Open the file `a_b` today. Then close it again."

    def drops_tags(said: str) -> str:
        return TAG.sub("", said) if "file" in said and "Then" in said else said.upper()

    done, failures, server = by_deepl(drops_tags, rows([text]))
    assert failures == []
    tag = '<x id="0"/>'
    assert sent(server) == [text.replace("`a_b`", tag), f"Open the file {tag} today.", "Then close it again."]
    assert done["instruction"][0] == "OPEN THE FILE `a_b` TODAY. THEN CLOSE IT AGAIN."
    assert server.characters == 2 * len(text.replace("`a_b`", "")) - len(" ")
    assert [billed.tags for billed in server.ledger] == [True, True, False]


def test_where_every_tag_is_lost_the_words_around_the_span_are_asked_without_it() -> None:
    done, failures, server = by_deepl(lambda said: TAG.sub("", said), rows(["Open the file `a_b` now"]))
    assert failures == []
    assert done["instruction"][0] == "Open the file `a_b` now"
    assert sent(server) == ['Open the file <x id="0"/> now', "Open the file", "now"]


def test_a_lost_number_is_asked_for_once_more_with_the_number_protected() -> None:
    text = "It costs 350 won and 42 cents."
    done, failures, server = by_deepl(lambda said: re.sub(r"\b350\b", "many", said), rows([text]))
    assert failures == []
    assert sent(server) == [text, 'It costs <x id="0"/> won and 42 cents.']
    assert done["instruction"][0] == text
    assert [verdict["kind"] for verdict in done["verdicts"][0]] == ["untranslated"]


def test_a_number_that_cannot_be_had_back_stays_lost_and_the_verdict_says_so() -> None:
    calls: list[str] = []

    def loses(said: str) -> str:
        calls.append(said)
        return "값은 오늘 비쌉니다." if "350" in said else ""

    done, failures, _ = by_deepl(loses, rows(["It costs 350 won today."]))
    assert failures == []
    assert calls[:2] == ["It costs 350 won today.", 'It costs <x id="0"/> won today.']
    assert len(calls) <= 4
    assert done["instruction"][0] == "값은 오늘 비쌉니다."
    assert ("numbers", "instruction") in {(found["kind"], found["field"]) for found in done["verdicts"][0]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("They save 50 % of it.", "They save # of it."),
        ("The 10 men had 10 thousand men.", "The # men had 10 thousand men."),
    ],
)
def test_a_lost_number_is_protected_and_no_other_number_is(text: str, shown: str) -> None:
    _, _, server = by_deepl(lambda said: re.sub(r"^(\D*)\d+", r"\1many", said), rows([text]))
    assert sent(server)[1] == shown.replace("#", '<x id="0"/>')


@pytest.mark.parametrize("text", ["It costs 10 million won.", "A budget of 10-million won."])
def test_a_lost_number_with_a_word_of_its_scale_is_told_by_a_verdict_and_not_asked_for_again(text: str) -> None:
    done, failures, server = by_deepl(lambda said: "비용은 많습니다.", rows([text]))
    assert (sent(server), failures) == ([text], [])
    assert "numbers" in {found["kind"] for found in done["verdicts"][0]}


def test_a_number_that_is_the_whole_text_is_not_asked_for_as_a_bare_tag() -> None:
    done, failures, server = by_deepl({"10 million": "몇 백만"}, rows(["10 million"]))
    assert (sent(server), failures, done["instruction"][0]) == (["10 million"], [], "몇 백만")


def test_a_number_that_is_protected_leaves_no_english_word_behind() -> None:
    done, _, _ = by_deepl(lambda said: TAG.sub(r"\g<0> ", "비용은 " + "".join(TAG.findall(said)) + "원입니다."),
                          rows(["It costs 10 million won."]))  # fmt: skip
    assert "million" not in done["instruction"][0]


def test_what_stays_damaged_is_a_failure_with_row_field_and_cause_and_costs_no_other_row() -> None:
    english = rows(["Say yes."], ["Say no.", "Ask `f(x)` again", "Fine."], ["Go on.", "", "Say no."])
    engine = FakeTranslator(lambda text: "" if text in ("again", "Ask", "Say no.") or "⟦" in text else "네.")
    failures: list[Failure] = []
    done = translate(english, engine, memory=None, failures=failures)
    accounted(english, done, failures)
    assert done["id"][:] == ["r0"]
    assert [(one.id, one.cause) for one in failures] == [
        ("r1", "instruction: the translation is empty"),
        ("r1", "input: the translation is empty"),
        ("r2", "output: the translation is empty"),
    ]


def test_a_second_run_repairs_from_the_memory_and_asks_nobody(tmp_path: Path) -> None:
    english = rows(["Open the file `a_b` today. It costs 350 won."], ["Keep `c_d` 7 times here."])

    def breaks(text: str) -> str:
        return "값" if len(text) > 20 else text

    with DeepLServer(breaks) as server:
        first = translate(english, deepl(server), memory=tmp_path / "m.sqlite")
        requests = server.requests
        assert requests > 1
        assert translate(english, deepl(server), memory=tmp_path / "m.sqlite").to_list() == first.to_list()
        assert server.requests == requests


anything = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["⟦0⟧", "⟦1⟧", '<x id="0"/>', "&lt;", "\n", "값", " ", "350", ".", "⟦", "`a_b`"]), max_size=9
    ).map("".join),
)


@quick
@given(st.lists(anything, min_size=1, max_size=9), st.sampled_from([("xml",), (), ("xml", "context")]))
def test_whatever_an_engine_says_a_row_is_whole_or_a_failure(said: list[str], options: tuple[str, ...]) -> None:
    english = rows(
        ["Use `a_b` and https://e.org/x 350 times.\n- Then {name} stops.\n\n```\ncode\n```\nEnd.", "", "Fine."],
        ["Say 7 words.", "| a cell | <b>bold</b> |\n|---|---|", "Write to a.b@example.org today. And `a_b` again!"],
    )
    turn = iter(range(10**6))
    failures: list[Failure] = []
    engine = FakeTranslator(lambda text: said[next(turn) % len(said)], options=options, limits=Limits(items=1))
    done = translate(english, engine, memory=None, failures=failures)
    accounted(english, done, failures)
    spans = {"r0": ["`a_b`", "https://e.org/x", "{name}", "```\ncode\n```"], "r1": ["a.b@example.org", "`a_b`", "|"]}
    for row in done:
        for name in TEXT_FIELDS:
            old, new = row["original"][name], row[name]
            assert len(old.split("\n")) == len(new.split("\n"))
            assert bool(old) == bool(new)
            assert all(new.count(span) >= old.count(span) for span in spans[row["id"]])


# Rows: fields, earlier turns, context


def test_a_field_that_is_named_twice_is_translated_once_and_shifts_nothing() -> None:
    done = translate(
        rows(["Ask", "", "Tell"]), FakeTranslator(), memory=None, fields=("instruction",) * 2 + ("output",)
    )
    assert [done[0][name] for name in TEXT_FIELDS] == ["Ask (ko)", "", "Tell (ko)"]


def test_one_field_may_be_named_without_a_list() -> None:
    done = translate(rows(["Ask", "", "Tell"]), FakeTranslator(), memory=None, fields="output")
    assert [done[0][name] for name in TEXT_FIELDS] == ["Ask", "", "Tell (ko)"]


@pytest.mark.parametrize("start", [translate, plan_translation])
def test_a_column_of_nested_values_is_no_field_and_the_error_says_that_earlier_turns_need_no_name(start: Any) -> None:
    with pytest.raises(UsageError, match=r"history(?s:.)*translated without being named"):
        start(chat(*TURNS), FakeTranslator(), memory=None, fields=("output", "history"))


def test_the_english_of_any_other_field_that_was_translated_is_kept_too() -> None:
    done = translate(rows(["Ask"], title=["A title"]), FakeTranslator(), fields=("title",), memory=None)
    assert done[0]["title"] == "A title (ko)"
    assert done[0]["original"]["title"] == "A title"


def test_a_stream_and_a_table_keep_the_same_english_of_other_fields_also_when_translated_once_more() -> None:
    english = rows(["Ask"], ["Tell"], title=["A title", ""], note=["One", "Two"])
    table = translate(english, FakeTranslator(), fields=("title", "output"), memory=None)
    stream = translate(english.to_iterable_dataset(), FakeTranslator(), fields=("title", "output"), memory=None)
    assert (stream.features, list(stream)) == (table.features, table.to_list())
    again = translate(table, FakeTranslator(), fields="note", memory=None)
    assert again[0]["original"] == {
        "instruction": "Ask", "input": "", "output": "", "title": "A title", "note": "One", "history": None
    }  # fmt: skip


TURNS = (("Who are you?", "A program."), ("What can you do?", "Many things."), ("Show me one.", "Here it is."))


def test_the_english_of_earlier_turns_is_kept_too() -> None:
    done = translate(chat(*TURNS), FakeTranslator(), memory=None)
    assert "Who are you?" in json.dumps(done[2]["original"])


def test_earlier_turns_are_translated_and_each_is_billed_once_though_several_rows_hold_it() -> None:
    english = chat(*TURNS)
    done, failures, server = by_deepl(lambda text: f"«{text}»", english)
    assert failures == []
    assert Counter(sent(server)) == dict.fromkeys([text for turn in TURNS for text in turn], 1)
    assert server.characters == sum(len(text) for turn in TURNS for text in turn)
    assert done[2]["history"] == [{"instruction": f"«{asked}»", "output": f"«{said}»"} for asked, said in TURNS[:2]]
    assert (done[2]["instruction"], done[2]["output"]) == ("«Show me one.»", "«Here it is.»")


def test_what_was_said_before_is_sent_along_in_english_and_nothing_that_comes_later() -> None:
    _, _, server = by_deepl(lambda text: f"«{text}»", chat(*TURNS))
    before = {text: billed.context for billed in server.ledger for text in billed.texts}
    assert before == {
        "Who are you?": "", "A program.": "",
        "What can you do?": "Who are you?\nA program.", "Many things.": "Who are you?\nA program.",
        "Show me one.": "Who are you?\nA program.\nWhat can you do?\nMany things.",
        "Here it is.": "Who are you?\nA program.\nWhat can you do?\nMany things.",
    }  # fmt: skip


def test_without_context_none_is_sent_and_all_texts_share_a_call() -> None:
    _, _, server = by_deepl(lambda text: f"«{text}»", chat(*TURNS), context=False)
    assert [billed.context for billed in server.ledger] == [""]


def test_the_same_words_in_another_conversation_are_translated_in_its_own_context() -> None:
    one, other = (
        chat(("Tell me of the bank.", "Which?"), ("The river.", "Well.")),
        chat(("Money?", "Yes."), ("The river.", "Well.")),
    )
    english = datasets.concatenate_datasets([one, other.map(lambda row: {"id": "d" + row["id"]})])
    _, _, server = by_deepl(lambda text: text, english)
    assert sum(text == "The river." for text in sent(server)) == 2


def test_an_engine_that_takes_no_context_gets_none_and_one_that_does_gets_it() -> None:
    plain, knowing = FakeTranslator(), FakeTranslator(options=("context",))
    translate(chat(*TURNS), plain, memory=None)
    translate(chat(*TURNS), knowing, memory=None)
    assert set(map(str, plain.given)) == {"{}"}
    assert {given["context"] for given in knowing.given} == {
        "", "Who are you?\nA program.", "Who are you?\nA program.\nWhat can you do?\nMany things.",
    }  # fmt: skip


def test_long_conversations_and_long_orders_keep_to_the_size_of_a_request() -> None:
    turns = [(f"{n} " + "가" * 3000 + " why?", f"{n} " + "나" * 3000 + " so.") for n in range(6)]
    with DeepLServer(lambda text: text) as server:
        translate(chat(*turns), deepl(server), memory=None)
        assert server.requests == len(server.ledger), "the server refused a call that was too large"
        assert max(len(billed.context) for billed in server.ledger) <= 2000


def test_ten_long_instructions_leave_room_for_themselves() -> None:
    with DeepLServer(lambda text: text) as server:
        orders = tuple(f"{n}" + "가" * 299 for n in range(10))
        translate(
            rows(*([f"{n} why" + "한" * 1000] for n in range(60))), deepl(server, instructions=orders), memory=None
        )
        assert server.requests == len(server.ledger)


def test_orders_take_room_from_texts_with_tags_too() -> None:
    orders = tuple(f"{n}" + "가" * 299 for n in range(10))
    texts = [f"{n} why `a_b`" + "한" * 1000 for n in range(40)]
    sizes = []
    for instructions in ((), orders):
        with DeepLServer(lambda text: text) as server:
            translate(rows(*([text] for text in texts)), deepl(server, instructions=instructions), memory=None)
            sizes.append(max(len(json.dumps([*billed.texts, *instructions])) for billed in server.ledger))
    assert sizes[1] <= 72 * 1024 + 200
    assert sizes[0] <= 72 * 1024 + 200


# Tasks bound to English


BOUND = ("Correct the grammar of this sentence.", "He go to school.", "He goes to school.")


def test_a_bound_row_is_flagged_with_its_evidence_and_translated() -> None:
    done = translate(rows(BOUND, ["Name a colour.", "", "Red."]), FakeTranslator(), memory=None)
    assert done["input"][0] == "He go to school. (ko)"
    assert done[0]["bound"]["kind"] == "grammar"
    assert done[0]["bound"]["evidence"] in BOUND[0]
    assert done[1]["bound"] is None


def test_with_keep_the_fields_that_the_task_is_about_stay_english_and_are_not_sent() -> None:
    fake = FakeTranslator()
    done = translate(rows(BOUND), fake, bound="keep", memory=None)
    row = done[0]
    assert set(row["bound"]["fields"]) == {"input", "output"}
    assert [row[name] for name in TEXT_FIELDS] == [f"{BOUND[0]} (ko)", *BOUND[1:]]
    assert fake.calls == [(BOUND[0],)]
    assert {found["field"] for found in row["verdicts"]} <= {"instruction"}


def test_with_reject_a_bound_row_is_a_failure_with_its_evidence_and_costs_nothing() -> None:
    fake, failures = FakeTranslator(), list[Failure]()
    done = translate(rows(["Name a colour."], BOUND), fake, bound="reject", memory=None, failures=failures)
    assert done["id"][:] == ["r0"]
    assert [failure.id for failure in failures] == ["r1"]
    assert re.search(r"bound to the language en: grammar \(Correct the grammar", failures[0].cause)
    assert failures[0].remedy
    assert fake.calls == [("Name a colour.",)]


@pytest.mark.parametrize("source", ["EN", "en-US"])
def test_a_bound_row_is_found_however_english_is_written(source: str) -> None:
    assert translate(rows(BOUND), FakeTranslator(), source=source, memory=None)[0]["bound"] is not None


def test_an_unknown_policy_is_a_usage_error_before_any_call_and_in_a_plan() -> None:
    fake = FakeTranslator()
    for start in (translate, plan_translation):
        with pytest.raises(UsageError, match="flag, keep or reject"):
            start(rows(BOUND), fake, bound="drop", memory=None)  # type: ignore[arg-type]
    assert fake.calls == []


# Verdicts, columns, values that are no text


def test_a_verdict_says_kind_field_and_evidence_and_a_good_row_has_none() -> None:
    known = {
        "Name two of the 17 rivers here.": "여기 강 두 개의 이름을 말하세요.",
        "Name a river.": "강의 이름을 말하세요.",
    }
    with_tag = {'Name two of the <x id="0"/> rivers here.': "여기 강의 이름을 말하세요."}
    done, _, _ = by_deepl(known | with_tag, rows(["Name two of the 17 rivers here."], ["Name a river."]))
    assert done["verdicts"][:] == [
        [{"kind": "numbers", "field": "instruction", "evidence": "17 is missing"}],
        [],
    ]


def test_a_translator_that_gives_no_text_at_all_makes_every_row_a_failure() -> None:
    wrong: tuple[Any, ...] = (None, 7, b"text", ["a"], {})
    for nothing in wrong:
        failures: list[Failure] = []
        done = translate(
            rows(["Ask"], ["Say `a_b` now"]), lambda texts, *, source, target, value=nothing: [value for _ in texts],
            memory=None, failures=failures,
        )  # fmt: skip
        assert len(done) == 0
        assert [failure.id for failure in failures] == ["r0", "r1"]
        assert all(type(nothing).__name__ in failure.cause for failure in failures)


def test_a_field_without_a_value_asks_nobody_and_the_original_says_so() -> None:
    fake = FakeTranslator()
    done = translate(rows(["Ask", None, "Tell"], ["Say", "more", None]), fake, memory=None)
    assert fake.calls == [("Ask", "Tell", "Say", "more")]
    assert [done["original"][0][name] for name in TEXT_FIELDS] == ["Ask", None, "Tell"]
    assert not done[0]["input"]
    assert not done[1]["output"]


def test_a_column_of_nulls_beside_the_texts_stays() -> None:
    english = rows(["Ask"], ["Say"]).add_column("note", [None, None])
    done = translate(english, FakeTranslator(), memory=None)
    assert done["note"][:] == [None, None]
    stream = translate(english.to_iterable_dataset(), FakeTranslator(), memory=None)
    assert [row["note"] for row in stream] == [None, None]


def test_rows_none_of_which_has_an_input_are_translated() -> None:
    records = [{"id": str(n), "instruction": f"Ask {n}", "input": None, "output": "Tell"} for n in range(3)]
    done = translate(datasets.Dataset.from_list(records), FakeTranslator(), memory=None)
    assert done["instruction"][:] == [f"Ask {n} (ko)" for n in range(3)]
    assert done.features["input"].dtype == "string"


def test_a_field_of_numbers_is_an_input_error_that_names_it() -> None:
    records = [{"id": "1", "instruction": 5, "input": "", "output": ""}]
    for start in (translate, plan_translation):
        with pytest.raises(InputError, match=r"The row 1: instruction holds .* int, and not a text"):
            start(datasets.Dataset.from_list(records), FakeTranslator(), memory=None)


# Streams


def counted(count: int, pulled: list[int], texts: Callable[[int], str]) -> datasets.IterableDataset:
    def generate() -> Iterator[dict[str, Any]]:
        for n in range(count):
            pulled.append(n)
            yield {"id": f"r{n}", "instruction": texts(n), "input": "", "output": f"Use `v_{n}` here."}

    return datasets.IterableDataset.from_generator(generate, features=rows(["a"]).features)


def test_a_stream_becomes_a_stream_and_nothing_is_read_or_asked_before_it_is_iterated() -> None:
    fake, pulled = FakeTranslator(lambda text: f"«{text}»"), list[int]()
    stream = translate(counted(50, pulled, "Say {}".format), fake, memory=None)
    assert isinstance(stream, datasets.IterableDataset)
    assert stream.column_names == ["id", *TEXT_FIELDS, "original", "verdicts", "bound"]
    assert (fake.calls, pulled) == ([], [])
    assert sum(1 for _ in stream) == 50
    assert fake.calls


def test_a_stream_gives_the_rows_that_a_data_set_gives() -> None:
    english = datasets.concatenate_datasets([rows(BOUND, ["Say 350", "", "`a_b` & so."]), rows(["Ask", "", "x" * 20])])
    ways: list[dict[str, Any]] = [{}, {"bound": "keep"}, {"bound": "reject"}, {"protect": False}]
    for more in ways:
        fake = FakeTranslator(lambda text: text.replace("3", "4") + " 값")
        whole, lost = translate(english, fake, memory=None, **more), list[Failure]()
        stream = translate(english.to_iterable_dataset(), fake, memory=None, failures=lost, **more)
        assert list(stream) == whole.to_list()
        assert len(lost) == len(english) - len(whole)


def test_a_stream_that_is_left_early_is_paid_for_only_as_far_as_it_was_read_ahead(tmp_path: Path) -> None:
    pulled: list[int] = []
    with DeepLServer(lambda text: f"«{text}»") as server:
        stream = translate(
            counted(9000, pulled, "Say {} now".format), deepl(server, in_flight=2), memory=tmp_path / "m.sqlite"
        )
        assert [row["id"] for row, _ in zip(stream, range(3), strict=False)] == ["r0", "r1", "r2"]
        paid = sent(server)
        assert len(paid) < 9000
        first = translate(rows(*([f"Say {n} now"] for n in range(3))), deepl(server), memory=tmp_path / "m.sqlite")
        assert first["instruction"][:] == [f"«Say {n} now»" for n in range(3)]
        assert sent(server) == paid


def test_the_failures_of_a_stream_are_in_the_file_when_it_has_ended(tmp_path: Path) -> None:
    fake = FakeTranslator(lambda text: "" if text.endswith(("3", "7")) else "값")
    english = rows(*([f"Say it {n}"] for n in range(10))).to_iterable_dataset()
    stream = translate(english, fake, memory=None, failures=tmp_path / "lost.jsonl")
    assert not (tmp_path / "lost.jsonl").exists()
    assert [row["id"] for row in stream] == [f"r{n}" for n in range(10) if n not in (3, 7)]
    lost = [json.loads(line) for line in (tmp_path / "lost.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [failure["id"] for failure in lost] == ["r3", "r7"]


def test_a_stream_that_is_read_twice_is_paid_for_once(tmp_path: Path) -> None:
    fake = FakeTranslator()
    stream = translate(counted(20, [], "Say {}".format), fake, memory=tmp_path / "m.sqlite")
    first = list(stream)
    calls = len(fake.calls)
    assert list(stream) == first
    assert len(fake.calls) == calls


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_is_scanned_translated_and_saved_as_a_loaded_one_is(tmp_path: Path, ending: str) -> None:
    same = {"source": "s", "licence": "l", "input": ""}
    made_up = [
        {"id": f"r{n}", "instruction": f"Say {n}", "output": f"`a_{n}` it is", **same}
        | {"history": [{"instruction": "Who?", "output": f"Me {n}"}] * (n % 2)}
        for n in range(30)
    ]
    columns = ["id", "source", "licence", *TEXT_FIELDS, "history"]
    save(dataset(made_up, columns), tmp_path / f"english.{ending}")
    done = translate(scan(tmp_path / f"english.{ending}"), FakeTranslator(), memory=None)
    back = load(save(done, tmp_path / f"korean.{ending}"))
    assert back.to_list() == translate(dataset(made_up, columns), FakeTranslator(), memory=None).to_list()


# Pairs of one's own


def pairs(path: Path, source: str, target: str, *known: tuple[str, str]) -> Path:
    if path.suffix == ".tmx":
        units = (f'<tu><tuv xml:lang="{source}"><seg>{html.escape(a)}</seg></tuv>'
                 f'<tuv xml:lang="{target}"><seg>{html.escape(b)}</seg></tuv></tu>' for a, b in known)  # fmt: skip
        text = f'<tmx version="1.4"><header/><body>{"".join(units)}</body></tmx>'
    else:
        text = "".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in known)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["jsonl", "tmx"])
def test_pairs_of_ones_own_answer_before_deepl_for_whole_texts_and_for_lines(tmp_path: Path, ending: str) -> None:
    known = [
        ("Whole text.\nTwo lines & `code`.", "통째로.\n두 줄 & `code`."),
        ("A line.", "한 줄."),
        ("Open `a_b` now.", "지금 `a_b`를 열어."),
    ]
    english = rows(["Whole text.\nTwo lines & `code`."], ["- A line.\n- Another line.\n- Open `a_b` now."], ["A line."])
    with Memory(tmp_path / "m.sqlite") as memory, DeepLServer(str.upper) as server:
        assert import_memory(memory, pairs(tmp_path / f"p.{ending}", "en", "ko", *known)).done == 3
        done = translate(english, deepl(server), memory=memory)
        assert sent(server) == ["Another line."]
    assert done["instruction"][:] == [known[0][1], "- 한 줄.\n- ANOTHER LINE.\n- 지금 `a_b`를 열어.", "한 줄."]


def test_pairs_that_are_mended_and_imported_again_replace_the_old_ones(tmp_path: Path) -> None:
    with Memory(tmp_path / "m.sqlite") as memory:
        for said in ("안녕.", "안녕하세요."):
            import_memory(memory, pairs(tmp_path / "p.jsonl", "en", "ko", ("Hello.", said)))
        assert translate(rows(["Hello."]), FakeTranslator(), memory=memory)["instruction"][0] == "안녕하세요."


def test_what_was_exported_saves_another_machine_every_request(tmp_path: Path) -> None:
    english = datasets.concatenate_datasets([rows(["Say `a_b` 3 times.", "A line.\nMore."])])
    with DeepLServer(pseudo_korean) as server:
        with Memory(tmp_path / "one.sqlite") as memory:
            first = translate(english, deepl(server), memory=memory)
            talk = translate(chat(*TURNS), deepl(server), memory=memory)
            export_memory(memory, tmp_path / "all.jsonl")
        requests = server.requests
        with Memory(tmp_path / "two.sqlite") as memory:
            import_memory(memory, tmp_path / "all.jsonl")
            assert translate(english, deepl(server), memory=memory).to_list() == first.to_list()
            assert translate(chat(*TURNS), deepl(server), memory=memory).to_list() == talk.to_list()
        assert server.requests == requests


def test_an_import_counts_the_units_that_it_leaves_out(tmp_path: Path) -> None:
    with DeepLServer(pseudo_korean) as server, Memory(None) as memory:
        translate(rows(["Say `a_b` again."], ["Say it."]), deepl(server), memory=memory)
        assert export_memory(memory, tmp_path / "all.tmx").done == 2
    with Memory(None) as memory:
        counted = import_memory(memory, tmp_path / "all.tmx")
        assert (counted.done, counted.left_out) == (1, 1)


@pytest.mark.parametrize("identity", ["imported en>ko", "fake en>ko spans=1"])
def test_a_translation_that_is_no_text_is_refused_at_the_import_or_is_a_failure(tmp_path: Path, identity: str) -> None:
    file, failures = tmp_path / "odd.jsonl", list[Failure]()
    file.write_text(json.dumps({"identity": identity, "about": {}, "item": "Hello.", "value": 7}))
    with Memory(None) as memory:
        try:
            import_memory(memory, file)
        except InputError:
            return
        translate(rows(["Hello."]), FakeTranslator(), memory=memory, failures=failures)


@pytest.mark.parametrize(("target", "said"), [("ja", "はい、そうです。"), ("de", "Ja, so ist es heute.")])
def test_english_becomes_japanese_or_german_with_pairs_of_its_own_and_bands_of_its_own(
    tmp_path: Path, target: str, said: str
) -> None:
    english = rows(["Yes, that is so today."], ["Yes."], ["Use `a_b` here, and wait for 3 days."])
    with Memory(tmp_path / "m.sqlite") as memory, DeepLServer(lambda text: text if "<x" in text else said) as server:
        import_memory(memory, pairs(tmp_path / "p.tmx", "en-GB", target, ("Yes.", "!")), source="en", target=target)
        done = translate(english, deepl(server), to=target, memory=memory)
        assert {billed.options["target_lang"] for billed in server.ledger} == {target.upper()}
        assert "Yes." not in sent(server)
    assert done["instruction"][0] == said
    assert done["instruction"][1] == "!"
    assert "`a_b`" in done["instruction"][2]
    assert done["verdicts"][0] == []


def test_pairs_into_a_language_with_a_region_are_found(tmp_path: Path) -> None:
    with Memory(None) as memory:
        assert (
            import_memory(memory, pairs(tmp_path / "p.tmx", "en", "pt-BR", ("Yes.", "Sim.")), target="pt-BR").done == 1
        )


def test_a_language_is_the_same_in_capitals_for_the_memory_and_the_plan() -> None:
    fake = FakeTranslator()
    with Memory(None) as memory:
        translate(rows(["Ask."]), fake, source="EN", to="KO", memory=memory)
        assert [part.identity for part in memory.stats()] == ["fake en>ko spans=1"]
        assert plan_translation(rows(["Ask."]), fake, source="en", to="Ko", memory=memory).texts == 0
        translate(rows(["Ask."]), fake, memory=memory)
    assert len(fake.calls) == 1


# DeepL's options


@pytest.mark.parametrize(
    ("source", "target", "codes"),
    [
        ("en", "ko", ("EN", "KO")),
        ("ko", "en", ("KO", "EN-US")),
        ("en", "pt", ("EN", "PT-BR")),
        ("en", "pt-PT", ("EN", "PT-PT")),
        ("EN", "pt-BR", ("EN", "PT-BR")),
        ("en", "en-GB", ("EN", "EN-GB")),
        ("en-US", "de", ("EN", "DE")),
    ],
)
def test_languages_are_named_as_deepl_wants_them(source: str, target: str, codes: tuple[str, str]) -> None:
    _, _, server = by_deepl(lambda text: text, rows(["Ask me."]), source=source, to=target)
    assert [(billed.options["source_lang"], billed.options["target_lang"]) for billed in server.ledger] == [codes]


def test_tags_are_handled_only_for_texts_that_hold_spans_and_their_version_is_pinned() -> None:
    _, _, server = by_deepl(
        lambda text: text, rows(["Bare & plain < words."], ["Use `a_b` & <b>more</b> of R&D <3 it."])
    )
    with_tags = {billed.texts: billed.options.get("tag_handling_version") for billed in server.ledger if billed.tags}
    without = [billed for billed in server.ledger if not billed.tags]
    assert list(with_tags.values()) == ["v2"]
    assert all("&amp;" in text and TAG.search(text) for texts in with_tags for text in texts)
    assert [(billed.texts, "tag_handling_version" in billed.options) for billed in without] == [
        (("Bare & plain < words.",), False)
    ]


SIGNS = [
    "&", "<", ">", "]]>", "&amp;", "&#38;", "<![CDATA[", '<x id="0"/>', "⟦0⟧", "`a_b`", "word", " ", "'", '"', "\x08",
    "\ufffe", "\x00", "<!--", "?>", "%s", "한", "\n", "7",
]  # fmt: skip
signs = st.lists(st.sampled_from(SIGNS), max_size=14).map("".join)


@pytest.fixture(scope="module")
def same() -> Iterator[DeepLServer]:
    with DeepLServer(lambda text: text) as server:
        yield server


@settings(max_examples=40, deadline=None, derandomize=True)
@given(text=signs)
def test_whatever_signs_a_text_holds_deepl_is_sent_good_xml_and_the_text_comes_back(
    same: DeepLServer, text: str
) -> None:
    requests, billed = same.requests, len(same.ledger)
    failures: list[Failure] = []
    english = rows([f"Say `c_d` {text} again"])
    done = translate(english, deepl(same), memory=None, failures=failures)
    assert failures == []
    assert done["instruction"][:] == english["instruction"][:]
    assert same.requests - requests == len(same.ledger) - billed, "the server refused a call"


OPTIONS: tuple[tuple[dict[str, Any], str, Any], ...] = (
    ({"model_type": "quality_optimized"}, "model_type", "quality_optimized"),
    ({"instructions": ("Use 합니다체.",)}, "custom_instructions", ["Use 합니다체."]),
    ({"glossaries": ("g-1", "g-2")}, "glossary_ids", ["g-1", "g-2"]),
    ({"formality": "prefer_more"}, "formality", "prefer_more"),
)


@pytest.mark.parametrize(("option", "name", "value"), OPTIONS)
def test_an_option_reaches_deepl_and_is_another_translation_for_the_memory(
    tmp_path: Path, option: dict[str, Any], name: str, value: Any
) -> None:
    with DeepLServer(lambda text: text) as server:
        for _ in range(2):
            for options in ({}, option):
                translate(rows(["Ask me."]), deepl(server, **options), memory=tmp_path / "m.sqlite")
        assert [billed.options.get(name) for billed in server.ledger] == [None, value]


def test_an_instruction_and_a_glossary_of_the_same_letters_are_two_translators() -> None:
    assert DeepL("k", instructions=("a",)).identity != DeepL("k", glossaries=("a",)).identity
    assert DeepL("k", instructions=("a",)).identity != DeepL("k", formality="a").identity
    assert DeepL("k").identity == "deepl/default"


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://127.0.0.1.example.com", "http://localhost@example.com", "ftp://a.b"]
)
def test_the_key_is_not_sent_to_another_host_without_encryption(url: str) -> None:
    with pytest.raises(UsageError, match="unencrypted") as caught:
        DeepL("s3cr3t", server_url=url)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"instructions": ["x"] * 11}, {"instructions": "x" * 301}, {"glossaries": ["x"] * 6}]
)
def test_more_than_deepl_takes_is_refused_before_any_request(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at most"):
        DeepL("k", **options)


def test_a_formality_that_korean_does_not_have_is_a_usage_error_before_any_request() -> None:
    with DeepLServer(lambda text: text) as server:
        with pytest.raises(UsageError, match=r"formality[\s\S]*instructions"):
            translate(rows(["Ask"]), deepl(server, formality="more"), memory=None)
        assert server.requests == 0


@pytest.mark.parametrize(
    ("options", "to", "name"),
    [
        ({"model_type": "best"}, "ko", "model_type"),
        ({"formality": "more"}, "zh", "formality"),
    ],
)
def test_a_setting_that_deepl_refuses_stops_the_run_with_its_reason_and_few_requests(
    options: dict[str, Any], to: str, name: str
) -> None:
    english = rows(*([f"Ask {n}"] for n in range(30)))
    with DeepLServer(lambda text: text) as server:
        with pytest.raises((UsageError, ServiceError), match=name):
            translate(english, deepl(server, in_flight=1, per_second=None, **options), to=to, memory=None)
        assert server.requests < 20


def test_a_text_that_deepl_refuses_is_a_failure_with_deepls_own_words_and_is_not_billed() -> None:
    failures: list[Failure] = []
    with DeepLServer({"Say.": "말."}) as server:
        done = translate(rows(["Ask."], ["Say."]), deepl(server), memory=None, failures=failures)
        assert (done["id"][:], server.characters) == (["r1"], len("Say."))
    assert [failure.id for failure in failures] == ["r0"]
    assert "there is no translation of 'Ask.' here" in failures[0].cause


# Budgets as they are written


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("500000", {"characters": 500_000}),
        ("500_000", {"characters": 500_000}),
        (" 70 characters ", {"characters": 70}),
        ("20 EUR", {"money": 20}),
        ("1.50 eur", {"money": Decimal("1.50")}),
    ],
)
def test_a_budget_is_read_as_it_is_written(text: str, left: dict[str, Any]) -> None:
    budget = parse_budget(text, FakeTranslator(), "20 EUR")
    assert budget is not None
    assert budget.left == left


@pytest.mark.parametrize(
    "text",
    ["1,5 EUR", "500 000", "5,000", "1,000 EUR", "1.5", "5_0", "70 tokens", "20EUR", "-3", "nan EUR", "", "20 €"],
)
def test_any_other_budget_is_refused_with_the_forms_there_are_and_no_comma_is_guessed(text: str) -> None:
    with pytest.raises(UsageError, match=r"500_000.*1\.50 EUR"):
        parse_budget(text, FakeTranslator(), "20 EUR")


# Functions as translators


def test_a_function_is_the_same_translator_in_the_next_process() -> None:
    code = """if True:
        from kullm.translators.translator import engine
        def papago(texts, *, source, target): return [text.upper() for text in texts]
        print(engine(papago).plugin.identity)"""
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert said[0].stdout == said[1].stdout != ""


def test_a_function_that_holds_a_client_is_the_same_translator_in_the_next_process() -> None:
    code = """if True:
        from kullm.translators.translator import engine
        class Client: pass
        def make(client): return lambda texts, *, source, target: client.ask(texts)
        print(engine(make(Client())).plugin.identity)"""
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert said[0].stdout == said[1].stdout != ""


def test_what_a_function_does_and_the_plain_values_around_it_make_another_translator() -> None:
    code = """if True:
        from kullm.translators.translator import engine
        def make(register, keep=("a", 1)):
            def papago(texts, *, source, target, style=None):
                def one(text): return text if text in {"b", "c", "d", keep} else text + register
                return [one(text) for text in texts]
            return papago
        def papago(texts, *, source, target):
            return [(lambda text: text + "!")(text) for text in texts]
        one = engine(papago).plugin.identity
        def papago(texts, *, source, target):
            return [(lambda text: text + "?")(text) for text in texts]
        print(engine(papago).plugin.identity, one, *(engine(make(*more)).plugin.identity for more in
              [("polite",), ("plain",), (1,), (True,), ("polite", ("a", 2)), ("polite", None)]))"""
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert said[0].stdout == said[1].stdout
    assert len(set(said[0].stdout.split())) == 8


def test_a_run_that_is_stopped_by_an_error_still_tells_the_rows_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "failures.jsonl"
    english = rows(["Say no."], ["Say yes."], ["Say it all again."])
    engine = FakeTranslator(lambda text: "" if text == "Say no." else "네.", limits=Limits(items=1, in_flight=1))
    with pytest.raises(BudgetSpent):
        translate(english, engine, memory=None, failures=file, budget=Budget(characters=16))
    assert [json.loads(line)["id"] for line in file.read_text(encoding="utf-8").splitlines()] == ["r0"]


@pytest.mark.parametrize("added", ["# {}", "- {}", "> {}", "* - {}", "{}\u200b", "\ufeff{}"])
def test_a_mark_that_the_engine_puts_at_the_line_is_taken_off(added: str) -> None:
    done = translate(
        rows(["Say it.\n\n- One more `x_y` here."]), lambda t, **_: [added.format(x) for x in t], memory=None
    )
    assert done["instruction"][0] == "Say it.\n\n- One more `x_y` here."


def test_code_that_the_engine_makes_up_is_damage() -> None:
    failures: list[Failure] = []
    translate(rows(["Say it."]), lambda texts, **_: ["`말`해 줘." for _ in texts], memory=None, failures=failures)
    assert "damaged" in failures[0].cause


def test_a_line_that_no_request_can_hold_is_cut_into_sentences_and_its_plan_is_its_bill() -> None:
    english = rows(["This sentence is one of many. " * 9_000])
    with DeepLServer(lambda text: text.replace("This sentence is one of many.", "이 문장은 여럿 중 하나다.")) as server:
        engine = deepl(server)
        plan = plan_translation(english, engine, memory=None)
        done = translate(english, engine, memory=None)
        assert plan.billed == server.characters
    assert done["instruction"][0] == "이 문장은 여럿 중 하나다. " * 9_000


@pytest.mark.parametrize("budget", [10_000, 11_110, 12_170])
def test_rows_that_are_done_come_out_before_the_error_that_stops_a_long_run(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)  # with a second process

    def said(text: str) -> str:
        if text == "0500 words":
            time.sleep(1.5)  # until it is there
        return text

    engine = FakeTranslator(said, limits=Limits(items=10))
    english = rows(*([f"{number:04} words"] for number in range(3_000)))
    stream = translate(english.to_iterable_dataset(), engine, memory=None, budget=Budget(characters=budget))
    done: list[str] = []
    with pytest.raises(BudgetSpent) as stopped:
        done.extend(row["id"] for row in stream)
    assert budget // 10 - 20 < len(done) <= budget // 10, "but for the last call's rows"
    assert stopped.value.safe.startswith(f"{len(done)} rows are whole")


class Small:
    """Takes 6,000 bytes of texts and context in a call."""

    identity, limits, options = "small", Limits(items=10, bytes=6_000), ("context",)

    def __init__(self) -> None:
        self.largest = 0

    def translate(self, texts: Sequence[str], *, source: str, target: str, context: str = "") -> list[str]:
        self.largest = max(self.largest, sum(map(size, [*texts, context])))
        return [text.replace("This is one of many.", "여럿 중 하나다.") for text in texts]


def test_a_line_that_fits_a_request_but_not_beside_its_context_is_cut_too() -> None:
    before = {"instruction": "What was said before. " * 70, "output": "Yes."}
    row = {"id": "1", "instruction": "This is one of many. " * 230, "input": "", "output": "", "history": [before]}
    engine = Small()
    done = translate(dataset([row], ("id", *TEXT_FIELDS, "history")), engine, memory=None)
    assert done["instruction"] == ["여럿 중 하나다. " * 230]
    assert engine.largest <= 6_000


class Answers:
    def __init__(self, said: str) -> None:
        self.said = said

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        return [self.said for _ in texts]


def test_a_method_whose_object_nobody_can_tell_from_another_is_refused() -> None:
    with pytest.raises(UsageError, match="identity"):
        translate(rows(["Go."]), Answers("가.").translate, memory=None)


@pytest.mark.parametrize(("source", "to"), [("en", "en"), ("EN", "en"), ("en", ""), ("", "ko")])
def test_two_languages_are_wanted(source: str, to: str) -> None:
    with pytest.raises(UsageError, match="two languages"):
        translate(rows(["Go."]), FakeTranslator(), source=source, to=to, memory=None)
