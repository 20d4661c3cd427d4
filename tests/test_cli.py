"""The `kullm` command as a user runs it: files in and out, exit codes, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import sleep
from typing import Any

import pytest

import kullm
from kullm.sources import read
from kullm.testing import DeepLServer

KULLM = Path(sys.executable).with_name("kullm")
TEXTS = ("instruction", "input", "output")
ENGLISH = [
    {"instruction": "Name the capital of Korea.", "input": "", "output": "The capital is Seoul."},
    {"instruction": "Translate into Korean.", "input": "Good morning.", "output": "Good morning in Korean."},
    {"instruction": "Say yes.", "input": "", "output": "Yes."},
    {"instruction": "Name the capital of Korea.", "input": "One word.", "output": "Seoul is the capital."},
]
KOREAN = {
    "Name the capital of Korea.": "대한민국의 수도를 말해 주세요.",
    "Translate into Korean.": "한국어로 번역해 주세요.",
    "Say yes.": "예라고 말해 주세요.",
    "The capital is Seoul.": "대한민국의 수도는 서울입니다.",
    "Good morning.": "좋은 아침입니다.",
    "Good morning in Korean.": "한국어로는 좋은 아침이라고 합니다.",
    "Yes.": "네.",
    "One word.": "한 단어로.",
    "Seoul is the capital.": "서울이 대한민국의 수도입니다.",
}


def kullm_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the working folder of the test."""
    return subprocess.run(
        [KULLM, *map(str, arguments)],
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def well(*arguments: object, **environment: str) -> str:
    """Run a command that must succeed; gives what it printed."""
    done = kullm_command(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stopped(code: int, *arguments: object, **environment: str) -> str:
    """Run a command that must stop with an exit code and a short message; gives the message."""
    done = kullm_command(*arguments, **environment)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert 0 < len(done.stderr.strip().splitlines()) <= 8, done.stderr
    return done.stderr


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def rows(count: int = 4) -> Path:
    """A file of rows as `kullm load` writes it."""
    records = [{"id": f"r{n}", "source": "s", "licence": "l", **ENGLISH[n % 4], "history": []} for n in range(count)]
    return lines(Path("rows.jsonl"), *records)


# Files in, files out


def test_rows_go_from_load_through_translate_to_keep() -> None:
    lines(Path("mine.jsonl"), *ENGLISH)
    well("load", "mine.jsonl", "-o", "english.parquet", "--licence", "CC-BY-4.0")
    with DeepLServer(KOREAN) as server:
        command = ["translate", "english.parquet", "-o", "korean.parquet", "--server-url", server.url]
        well(*command, DEEPL_AUTH_KEY="test-key")
        assert Counter(text for billed in server.ledger for text in billed.texts) == dict.fromkeys(KOREAN, 1)
    well("keep", "korean.parquet", "-o", "kept.parquet", "--rejected", "rejected.jsonl")
    kept = kullm.load("kept.parquet")
    wanted: list[dict[str, Any]] = [
        {name: KOREAN.get(row[name], "") for name in TEXTS} | {"original": row | {"history": []}}
        for row in ENGLISH
        if row["output"] != "Yes."
    ]
    assert kept.select_columns([*TEXTS, "original"]).to_list() == wanted
    assert set(kept["licence"]) == {"CC-BY-4.0"}
    rejected = [json.loads(line) for line in Path("rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["reason"]) for row in rejected] == [
        (kullm.load("mine.jsonl")["id"][2], "output has fewer than 10 characters")
    ]


def test_jsonl_and_parquet_hold_the_same_rows_at_every_step() -> None:
    lines(Path("mine.jsonl"), *ENGLISH)
    lines(Path("pairs.jsonl"), *({"source": text, "target": KOREAN[text]} for text in KOREAN))
    for one, other in (("jsonl", "parquet"), ("parquet", "jsonl")):
        well("load", "mine.jsonl", "-o", f"english.{one}")
        well("translate", f"english.{one}", "-o", f"korean.{other}", "--translator", "recorded:pairs.jsonl")
        well("keep", f"korean.{other}", "-o", f"kept.{one}", "--filter", "min-length:3")
    for step in ("english", "korean", "kept"):
        first, second = kullm.load(f"{step}.jsonl"), kullm.load(f"{step}.parquet")
        assert first.features == second.features
        assert first.to_list() == second.to_list()
    assert len(kullm.load("kept.jsonl")) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "openai:gpt-4", "temperature=0.7"), "temperature=0.7 is not sent to a server"),
        (("--model", "package:none", "--base-url", "http://localhost:1/v1"), "--base-url is for models of a server"),
    ],
)
def test_what_no_model_would_take_is_an_error(arguments: tuple[str, ...], said: str) -> None:
    lines(Path("questions.jsonl"), {"instruction": "수도는?"})
    done = kullm_command("answer", "questions.jsonl", "-o", "answers.jsonl", *arguments, OPENAI_API_KEY="none")
    assert done.returncode == 2
    assert said in done.stderr
    assert not Path("answers.jsonl").exists()


def test_answers_go_through_a_judge_without_a_key_to_a_report() -> None:
    good = {"instruction": "수도는?", "answer": "대한민국의 수도는 서울입니다.", "finish_reason": "stop"}
    looped = good | {"answer": "서울 서울 서울 서울 서울 서울", "finish_reason": "length"}
    answers = [
        {"id": f"q{n}", "model": model, "reference": "대한민국의 수도는 서울입니다.", **answer}
        for model, answer in (("base", looped), ("tuned", good))
        for n in range(3)
    ]
    lines(Path("answers.jsonl"), *answers)
    well("judge", "answers.jsonl", "-o", "scores.parquet", "--judge", "reference")
    scores = read("scores.parquet")
    assert scores["id"][:] == [row["id"] for row in answers]
    assert scores["ended"][:] == [0.0] * 3 + [1.0] * 3
    printed = well("report", "scores.parquet", "--answers", "answers.jsonl", "-o", "r.md", "-o", "r.html")
    for text in (printed, Path("r.md").read_text(encoding="utf-8"), Path("r.html").read_text(encoding="utf-8")):
        assert all(word in text for word in ("base", "tuned", "chrF", "no_loops"))
    assert "대한민국의 수도는 서울입니다." in Path("r.html").read_text(encoding="utf-8")


def test_only_the_fields_that_are_named_are_translated() -> None:
    with DeepLServer(KOREAN) as server:
        command = ["translate", rows(), "-o", "k.jsonl", "--server-url", server.url, "--fields", "instruction, input"]
        well(*command, DEEPL_AUTH_KEY="test-key")
    done = kullm.load("k.jsonl")
    assert done["output"][:] == [row["output"] for row in ENGLISH]
    assert done["instruction"][:] == [KOREAN[row["instruction"]] for row in ENGLISH]


def test_rows_that_cannot_be_translated_are_written_down_and_the_others_go_on() -> None:
    lines(Path("pairs.jsonl"), *({"source": text, "target": KOREAN[text] * (text != "Yes.")} for text in KOREAN))
    well("translate", rows(), "-o", "k.jsonl", "--translator", "recorded:pairs.jsonl", "--failures", "no.jsonl")
    assert kullm.load("k.jsonl")["id"][:] == ["r0", "r1", "r3"]
    assert json.loads(Path("no.jsonl").read_text(encoding="utf-8"))["id"] == "r2"


def test_the_plug_ins_and_the_version_are_shown() -> None:
    printed = well("plugins")
    assert all(
        name in printed for name in ("deepl", "recorded", "langid", "polyglot-lora", "gpt-4", "self-instruct-252-ko")
    )
    assert kullm.__version__ in well("version")


@pytest.mark.parametrize("verb", ["", "load", "translate", "keep", "train", "answer", "judge", "report", "run", "demo"])
def test_every_verb_has_a_help_that_shows_how_it_is_used(verb: str) -> None:
    printed = well(*([verb] if verb else []), "--help")
    assert f"Usage: kullm {verb}".strip() in printed
    assert "kullm demo" in printed if verb in ("", "demo") else f"Example: kullm {verb} " in printed


# What bad input gets


def test_an_unknown_plug_in_lists_the_names_that_there_are() -> None:
    said = stopped(2, "translate", rows(), "-o", "k.jsonl", "--translator", "depl")
    assert re.search(r"no translator 'depl'[\s\S]*deepl, recorded", said)
    assert "flagged, langid, max-length" in stopped(2, "keep", rows(), "-o", "k.jsonl", "--filter", "lang-id")
    assert not Path("k.jsonl").exists()


def test_a_file_that_is_not_json_is_named_with_its_line() -> None:
    Path("bad.jsonl").write_text(json.dumps(ENGLISH[0]) + "\n<html>\n", encoding="utf-8")
    assert "bad.jsonl:2" in stopped(2, "load", "bad.jsonl", "-o", "out.jsonl")
    assert "bad.jsonl:2" in stopped(2, "keep", "bad.jsonl", "-o", "out.jsonl")
    assert not Path("out.jsonl").exists()


def test_a_file_that_is_not_there_is_named() -> None:
    assert "nothing.jsonl" in stopped(2, "load", "nothing.jsonl", "-o", "out.jsonl")
    assert "nothing.jsonl" in stopped(2, "report", "nothing.jsonl")


def test_a_missing_key_is_named_and_where_to_get_one() -> None:
    said = stopped(2, "translate", rows(), "-o", "k.jsonl")
    assert "DEEPL_AUTH_KEY" in said
    assert "https://www.deepl.com" in said
    lines(Path("a.jsonl"), {"id": "1", "instruction": "a", "answer": "b"})
    said = stopped(2, "judge", "a.jsonl", "-o", "s.jsonl")
    assert "OPENAI_API_KEY" in said
    assert "https://" in said


def test_a_wrong_key_ends_with_the_code_of_a_service_and_shows_no_key() -> None:
    with DeepLServer(KOREAN) as server:
        command = ["translate", rows(), "-o", "k.jsonl", "--server-url", server.url]
        said = stopped(4, *command, DEEPL_AUTH_KEY="wr0ng-k3y")
    assert "DEEPL_AUTH_KEY" in said
    assert "wr0ng-k3y" not in said
    assert not Path("k.jsonl").exists()


def quota_spent(server: DeepLServer) -> str:
    """What is said when the quota ends in the middle of 60 rows."""
    lines(Path("many.jsonl"), *({"instruction": f"Question {n:04}", "output": f"Answer {n:04}"} for n in range(60)))
    well("load", "many.jsonl", "-o", "rows.jsonl")
    command = ["translate", "rows.jsonl", "-o", "k.jsonl", "--server-url", server.url]
    return stopped(4, *command, DEEPL_AUTH_KEY="test-key")


def test_a_spent_quota_says_what_is_safe() -> None:
    with DeepLServer(lambda text: f"«{text}»", quota=600) as server:
        said = quota_spent(server)
        done = sum(len(billed.texts) for billed in server.ledger)
    assert 0 < done < 120
    assert f"rows are whole. {done} items are done and kept in .kullm/memory.sqlite" in said
    assert not Path("k.jsonl").exists()


def test_a_spent_quota_says_the_command_that_goes_on() -> None:
    with DeepLServer(lambda text: f"«{text}»", quota=600) as server:
        assert f"kullm translate rows.jsonl -o k.jsonl --server-url {server.url}" in quota_spent(server)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["load"], "missing"),
        (["load", "a.jsonl"], "out"),
        (["tranlsate"], "tranlsate"),
        (["keep", "a.jsonl", "-o", "b.jsonl", "--colour", "red"], "--colour"),
    ],
)
def test_a_command_that_is_typed_wrong_gets_a_sentence(arguments: list[str], word: str) -> None:
    assert word in stopped(2, *arguments).lower()


def test_a_setting_of_a_filter_that_is_no_number_gets_a_sentence() -> None:
    assert "min-length" in stopped(2, "keep", rows(), "-o", "k.jsonl", "--filter", "min-length:ten")


def test_an_output_of_another_kind_is_refused_before_anything_is_paid() -> None:
    with DeepLServer(KOREAN) as server:
        command = ["translate", rows(), "-o", "korean.csv", "--server-url", server.url]
        assert "korean.csv" in stopped(2, *command, DEEPL_AUTH_KEY="test-key")
        assert server.ledger == []


# Interrupts


def interrupted(server: DeepLServer, *arguments: object) -> subprocess.Popen[str]:
    """A command that is interrupted as soon as the server has billed something."""
    child = subprocess.Popen(
        [KULLM, *map(str, arguments)],
        env=os.environ | {"PYTHONUTF8": "1", "DEEPL_AUTH_KEY": "test-key"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    while not server.ledger and child.poll() is None:
        sleep(0.01)
    child.send_signal(signal.SIGINT)
    return child


def many(folder: str) -> tuple[Path, Counter[str]]:
    """A file of 600 rows, and every text in it."""
    Path(folder).mkdir()
    records = [{name: f"{name} {n:04}" for name in ("instruction", "output")} for n in range(600)]
    extra = {"id": "", "source": "s", "licence": "l"}
    file = lines(Path(folder) / "many.jsonl", *(extra | record for record in records))
    return file, Counter(text for record in records for text in record.values())


def test_an_interrupted_translation_exits_130_and_later_only_the_rest_is_paid() -> None:
    file, texts = many("rows")
    with DeepLServer(lambda text: f"«{text}»", delay=0.4) as server:
        command = ["translate", file, "-o", "korean.jsonl", "--server-url", server.url]
        child = interrupted(server, *command)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 130, said
        assert "Traceback" not in said
        assert not Path("korean.jsonl").exists()
        assert 0 < sum(len(billed.texts) for billed in server.ledger) < len(texts)
        server.delay = 0
        well(*command, DEEPL_AUTH_KEY="test-key")
        assert Counter(text for billed in server.ledger for text in billed.texts) == texts
    done = kullm.load("korean.jsonl")
    assert done["instruction"][:] == [f"«instruction {n:04}»" for n in range(600)]
    assert done["output"][:] == [f"«output {n:04}»" for n in range(600)]


@pytest.mark.parametrize("folder", ["plain", "with a space"])
def test_an_interrupted_command_prints_the_command_that_goes_on(folder: str) -> None:
    file, texts = many(folder)
    with DeepLServer(lambda text: f"«{text}»", delay=0.4) as server:
        child = interrupted(server, "translate", file, "-o", Path(folder) / "k.jsonl", "--server-url", server.url)
        _, said = child.communicate(timeout=60)
        server.delay = 0
        printed = re.search(r"To go on: kullm (.*)", said)
        assert printed, said
        well(*shlex.split(printed[1]), DEEPL_AUTH_KEY="test-key")
        assert Counter(text for billed in server.ledger for text in billed.texts) == texts
    assert len(kullm.load(Path(folder) / "k.jsonl")) == 600


# Real data that nobody here wrote


@pytest.mark.shared
def test_the_252_questions_come_out_as_they_were_published_and_each_text_is_billed_once(shared: Path) -> None:
    english = shared / "data/english/user_oriented_instructions.en.jsonl"
    korean = shared / "data/korean/user_oriented_instructions_eval.ko.jsonl"
    sides = [
        [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        for path in (english, korean)
    ]
    fields = [
        [(record["id"], record["instruction"], record["instances"][0]["input"]) for record in side] for side in sides
    ]
    pairs = [
        (old, new)
        for (id, *olds), (other, *news) in zip(*fields, strict=True)
        for old, new in zip(olds, news, strict=True)
        if id == other and old
    ]
    assert (len(fields[0]), len(pairs)) == (252, 460)
    known = dict(pairs)
    # One English text stands there twice, and both times with the same Korean: 459 distinct texts, no contradiction.
    # Were there one, no server could give both, and this line would say so instead of choosing one in silence.
    assert (len(known), set(pairs)) == (459, set(known.items()))

    well("load", english, "-o", "english.jsonl")
    with DeepLServer(known) as server:
        command = ["translate", "english.jsonl", "-o", "korean.jsonl", "--server-url", server.url]
        command += ["--from", "en", "--to", "ko", "--fields", "instruction,input", "--memory", "paid.sqlite"]
        command += ["--no-protect"]
        well(*command, DEEPL_AUTH_KEY="test-key")
        first = Path("korean.jsonl").read_bytes()
        records = [json.loads(line) for line in first.decode().split("\n") if line]
        assert [(row["id"], row["instruction"], row["input"]) for row in records] == fields[1]
        assert [row["output"] for row in records] == [record["instances"][0]["output"] for record in sides[0]]
        assert [(row["id"], row["original"]["instruction"], row["original"]["input"]) for row in records] == fields[0]
        assert Counter(text for billed in server.ledger for text in billed.texts) == dict.fromkeys(known, 1)
        assert server.characters == sum(map(len, known))
        requests = server.requests
        well(*command, DEEPL_AUTH_KEY="test-key")
        assert server.requests == requests
        assert Path("korean.jsonl").read_bytes() == first


def test_a_finished_translation_is_not_made_again_until_something_about_it_changes() -> None:
    file = rows()
    out = Path("korean.jsonl")
    with DeepLServer(lambda text: f"«{text}»") as server:
        command = ["translate", file, "-o", out, "--server-url", server.url]
        well(*command, DEEPL_AUTH_KEY="test-key")
        first, requests = out.read_bytes(), server.requests
        assert "made before" in kullm_command(*command, DEEPL_AUTH_KEY="test-key").stderr
        out.write_text("spoiled")
        assert "made before" not in kullm_command(*command, DEEPL_AUTH_KEY="test-key").stderr
        assert out.read_bytes() == first
        assert server.requests == requests, "the memory knew every text"
        well(*command, "--fields", "instruction", DEEPL_AUTH_KEY="test-key")
        assert out.read_bytes() != first


def test_the_demo_reads_its_own_run_file_and_names_a_key_that_it_does_not_have(tmp_path: Path) -> None:
    done = kullm_command("demo", "train.epochz=3", "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "epochz" in done.stderr
