"""Translators over a real socket, recorded pairs from files, and `translate`, which owns order, money and failures."""

from __future__ import annotations

import json
import re
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm import load, translate
from kullm.errors import InputError, KeyRefused, KullmError, MissingKey, QuotaSpent, ServiceDown, UsageError
from kullm.remote import Limits, Memory
from kullm.rows import TEXT_FIELDS, Failure, dataset
from kullm.testing import DeepLServer, FakeTranslator, Fault
from kullm.translators import DeepL, Recorded

DEMO = Path(kullm.__path__[0]) / "demo"


def rows(*texts: Sequence[str]) -> Any:
    """A data set with the ids r0, r1, …; each of `texts` is an instruction, then perhaps an input and an output."""
    records = [
        {"id": f"r{number}"} | dict(zip(TEXT_FIELDS, [*row, "", "", ""][:3], strict=True))
        for number, row in enumerate(texts)
    ]
    return dataset(records, ["id", *TEXT_FIELDS])


def korean(text: str) -> str:
    return f"{text}의 번역"


def sent(server: DeepLServer) -> list[str]:
    """Every text that was billed, in the order of arrival."""
    return [text for billed in server.ledger for text in billed.texts]


def deepl(server: DeepLServer, in_flight: int = 1) -> DeepL:
    return DeepL("test-key", server_url=server.url, in_flight=in_flight)


# DeepL: order and money


def test_deepl_translates_in_order_bills_each_text_once_and_a_second_run_sends_nothing(tmp_path: Path) -> None:
    english = rows(*((f"Ask {n % 40}", f"Ask {n % 7}" if n % 2 else "", f"Tell {n}") for n in range(150)))
    with DeepLServer(korean) as server:
        first = translate(english, deepl(server, in_flight=8), memory=tmp_path / "m.sqlite")
        for old, new in zip(english, first, strict=True):
            assert new["id"] == old["id"]
            assert [new[name] for name in TEXT_FIELDS] == [old[name] and korean(old[name]) for name in TEXT_FIELDS]
        distinct = {row[name] for row in english for name in TEXT_FIELDS} - {""}
        assert Counter(sent(server)) == Counter(distinct)
        assert server.characters == sum(map(len, distinct))
        requests = server.requests
        assert translate(english, deepl(server), memory=tmp_path / "m.sqlite").to_list() == first.to_list()
        assert server.requests == requests


def test_deepl_calls_keep_to_50_texts_and_to_128_kib(tmp_path: Path) -> None:
    large = [f"{n}" + "한" * 7000 for n in range(12)]  # 42 kB each as DeepL's client sends them
    small = [f"short {n}" for n in range(130)]
    with DeepLServer(korean) as server:
        done = translate(rows(*([text] for text in large + small)), deepl(server), memory=None)
        assert done["instruction"][:] == [korean(text) for text in large + small]
        assert server.requests == len(server.ledger), "the server refused a call that was too large"
        assert max(len(billed.texts) for billed in server.ledger) == 50
        assert max(len(billed.texts) for billed in server.ledger if billed.texts[0] in large) > 1


def test_a_text_too_large_for_any_call_is_a_failure_that_names_it_and_costs_no_other(tmp_path: Path) -> None:
    failures: list[Failure] = []
    with DeepLServer(korean) as server:
        english = rows(["a"], ["b", "", "x" * 140_000], ["c"])
        done = translate(english, deepl(server), memory=None, failures=failures)
        assert done["instruction"][:] == ["a의 번역", "c의 번역"]
        assert [(failure.id, failure.cause.partition(":")[0]) for failure in failures] == [("r1", "output")]
        assert Counter(sent(server)) == Counter("abc")


def test_a_text_that_deepl_refuses_is_a_failure_and_the_others_are_translated() -> None:
    failures: list[Failure] = []
    with DeepLServer({f"t{n}": f"번역 {n}" for n in range(20) if n != 13}) as server:
        done = translate(rows(*([f"t{n}"] for n in range(20))), deepl(server), memory=None, failures=failures)
        assert done["instruction"][:] == [f"번역 {n}" for n in range(20) if n != 13]
        assert [failure.id for failure in failures] == ["r13"]
        assert "t13" in failures[0].cause
        assert Counter(sent(server)) == Counter(f"t{n}" for n in range(20) if n != 13)


# DeepL: keys, quotas, and answers that are none


def test_without_a_key_the_error_names_the_variable_and_where_to_get_one() -> None:
    with pytest.raises(MissingKey, match=r"DEEPL_AUTH_KEY[\s\S]*https://www\.deepl\.com"):
        DeepL()
    with pytest.raises(MissingKey, match="DEEPL_AUTH_KEY"):
        translate(rows(["a"]))


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPL_AUTH_KEY", "from-env")
    with DeepLServer(korean, key="from-env") as server:
        assert translate(rows(["a"]), DeepL(server_url=server.url), memory=None)["instruction"][0] == "a의 번역"


def test_a_wrong_key_is_refused_by_name_and_nothing_is_tried_again() -> None:
    with DeepLServer(korean, key="another") as server:
        with pytest.raises(KeyRefused, match="DEEPL_AUTH_KEY"):
            translate(rows(*([f"Ask {n}"] for n in range(200))), deepl(server), memory=None)
        assert server.requests == 1
        assert server.ledger == []


@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_spent_quota_keeps_what_is_done_and_later_only_the_rest_is_paid(tmp_path: Path, in_flight: int) -> None:
    texts = [f"text {n:05}" for n in range(230)]
    path = tmp_path / "m.sqlite"
    with DeepLServer(korean, quota=1200) as server:
        with pytest.raises(QuotaSpent) as caught:
            translate(rows(*([text] for text in texts)), deepl(server, in_flight), memory=path)
        done = len(sent(server))
        assert 0 < done < len(texts)
        assert f"of 230 rows are whole. {done} items are done and kept in" in caught.value.safe
        assert str(path) in caught.value.safe
        with Memory(path) as memory:
            assert len(memory) == done
        server.quota = None
        again = translate(rows(*([text] for text in texts)), deepl(server, in_flight), memory=path)
        assert again["instruction"][:] == [korean(text) for text in texts]
        assert Counter(sent(server)) == Counter(texts)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_busy_deepl_is_asked_again_and_billed_once(status: int) -> None:
    with DeepLServer(korean, faults=[Fault("status", [0], status=status, retry_after="0")]) as server:
        assert translate(rows(["a"], ["b"]), deepl(server), memory=None)["instruction"][:] == ["a의 번역", "b의 번역"]
        assert server.requests == 2
        assert sent(server) == ["a", "b"]


def test_the_wait_that_deepl_asks_for_reaches_the_driver() -> None:
    with DeepLServer(korean, faults=[Fault("status", [0], status=429, retry_after="7200")]) as server:
        with pytest.raises(ServiceDown, match="7200 s"):
            translate(rows(["a"]), deepl(server), memory=None)
        assert server.requests == 1


@pytest.mark.parametrize("kind", ["html", "half", "empty", "short", "reset"])
def test_an_answer_that_is_none_is_asked_for_again_and_never_shifts_or_empties_a_row(tmp_path: Path, kind: Any) -> None:
    texts = [f"t{n}" for n in range(120)]
    with DeepLServer(korean, faults=[Fault(kind, [1])]) as server:
        done = translate(rows(*([text] for text in texts)), deepl(server, 2), memory=tmp_path / "m.sqlite")
        assert done["instruction"][:] == [korean(text) for text in texts]
        assert server.requests == 4
    with Memory(tmp_path / "m.sqlite") as memory:
        assert Counter(outcome for *_, outcome in memory.calls()) == {"answered": 3, "unknown": 1}


@pytest.mark.parametrize("kind", ["html", "half", "empty", "short", "reset"])
def test_a_service_that_never_answers_usably_stops_the_run_and_nothing_is_made_up(tmp_path: Path, kind: Any) -> None:
    with DeepLServer(korean, faults=[Fault(kind, range(100))]) as server:
        with pytest.raises(ServiceDown, match="may have been billed"):
            translate(rows(["a"], ["b"], ["c"]), deepl(server), memory=tmp_path / "m.sqlite")
        assert server.requests == 2
    with Memory(tmp_path / "m.sqlite") as memory:
        assert len(memory) == 0


SECRET = "s3cr3t-k3y:fx"


def said(error: BaseException) -> str:
    return repr(error) + str(error) + repr(vars(error)) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize("status", [401, 403, 404, 418, 456])
def test_the_key_is_in_no_error_and_in_no_memory(tmp_path: Path, status: int) -> None:
    with DeepLServer(korean, key=SECRET, faults=[Fault("status", range(9), status=status)]) as server:
        engine = DeepL(SECRET, server_url=server.url)
        with pytest.raises(KullmError) as caught:
            translate(rows(["a"]), engine, memory=tmp_path / "m.sqlite")
        assert server.requests == 1
    assert SECRET not in said(caught.value)
    assert SECRET not in repr(engine) + str(engine) + engine.identity
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("status", [400, 413])
def test_the_key_is_in_no_failure(tmp_path: Path, status: int) -> None:
    with DeepLServer(korean, key=SECRET, faults=[Fault("status", range(9), status=status)]) as server:
        engine = DeepL(SECRET, server_url=server.url)
        assert len(translate(rows(["a"]), engine, memory=None, failures=tmp_path / "no.jsonl")) == 0
    assert "r0" in (tmp_path / "no.jsonl").read_text(encoding="utf-8")
    assert SECRET not in (tmp_path / "no.jsonl").read_text(encoding="utf-8")


def test_a_key_with_a_line_end_is_not_shown_by_the_error() -> None:
    with DeepLServer(korean, key=SECRET) as server:
        assert len(translate(rows(["a"]), DeepL(f"{SECRET}\n", server_url=server.url), memory=None)) == 1
        with pytest.raises(KullmError) as caught:
            translate(rows(["a"]), DeepL(f"{SECRET}\n{SECRET}", server_url=server.url), memory=None)
    assert SECRET not in said(caught.value)


# Recorded pairs


def jsonl(path: Path, *pairs: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in pairs), encoding="utf-8")
    return path


def tmx(path: Path, *units: str, head: str = "", attributes: str = 'version="1.4"', encoding: str = "utf-8") -> Path:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n{head}<tmx {attributes}><header/><body>\n'
    path.write_text(text + "\n".join(f"<tu>{unit}</tu>" for unit in units) + "\n</body></tmx>\n", encoding=encoding)
    return path


def unit(english: str, korean: str, en: str = 'xml:lang="en"', ko: str = 'xml:lang="ko"') -> str:
    return f"<tuv {en}><seg>{english}</seg></tuv><tuv {ko}><seg>{korean}</seg></tuv>"


def ask(recorded: Recorded, *texts: str) -> list[str]:
    return recorded.translate(texts, source="en", target="ko")


def test_recorded_pairs_answer_word_for_word_from_jsonl_and_tmx_together(tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "a.jsonl", (" Hello.\n", "안녕.\u2028"), ("Bye.", "잘 가."))
    units = tmx(tmp_path / "b.tmx", unit("1 &lt; 2 &amp; 3", "1은 2보다 작다"), unit("Bye.", "잘 가."))
    known = Recorded(lines, units)
    assert ask(known, "Bye.", " Hello.\n", "1 < 2 & 3") == ["잘 가.", "안녕.\u2028", "1은 2보다 작다"]
    assert len(known) == 3


@pytest.mark.parametrize(
    ("en", "ko"),
    [
        ('xml:lang="en-US"', 'xml:lang="ko-KR"'),
        ('xml:lang="EN_GB"', 'xml:lang="KO"'),
        ('lang="en"', 'lang="ko-kr"'),
    ],
)
def test_tmx_languages_may_have_regions_capitals_and_the_old_attribute(tmp_path: Path, en: str, ko: str) -> None:
    assert ask(Recorded(tmx(tmp_path / "a.tmx", unit("Yes.", "네.", en, ko))), "Yes.") == ["네."]


def test_tmx_of_other_languages_and_with_marks_in_a_text_is_read(tmp_path: Path) -> None:
    more = unit("Press <hi>OK</hi>.", "확인을 누르세요.") + '<tuv xml:lang="ja"><seg>OKを押す</seg></tuv>'
    known = Recorded(tmx(tmp_path / "a.tmx", more, unit("Non.", "아니요.", en='xml:lang="fr"')))
    assert (ask(known, "Press OK."), len(known)) == (["확인을 누르세요."], 1)


def test_tmx_in_utf_16_is_read(tmp_path: Path) -> None:
    assert ask(Recorded(tmx(tmp_path / "a.tmx", unit("Yes.", "네."), encoding="utf-16")), "Yes.") == ["네."]


def test_tmx_in_a_namespace_is_read(tmp_path: Path) -> None:
    file = tmx(tmp_path / "a.tmx", unit("Yes.", "네."), attributes='version="1.4" xmlns="http://www.lisa.org/tmx14"')
    assert ask(Recorded(file), "Yes.") == ["네."]


ENTITY = '<!DOCTYPE tmx [<!ENTITY a "boom"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8",
        pytest.param("utf-16"),
    ],
)
def test_tmx_that_declares_entities_is_refused(tmp_path: Path, encoding: str) -> None:
    file = tmx(tmp_path / "a.tmx", unit("Yes.", "&b;"), head=ENTITY, encoding=encoding)
    with pytest.raises(InputError, match=r"a\.tmx.*entities"):
        Recorded(file)


def test_tmx_that_is_broken_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmx(tmp_path / "a.tmx", "<tuv></seg>")
    with pytest.raises(InputError, match=r"a\.tmx:3: not a TMX file"):
        Recorded(file)


def test_a_text_without_a_recorded_translation_is_named_and_never_echoed(tmp_path: Path) -> None:
    known = Recorded(jsonl(tmp_path / "a.jsonl", ("Hello.", "안녕.")))
    with pytest.raises(InputError, match=r"Good night\.") as caught:
        translate(rows(["Hello."], ["Good night."]), known, memory=None)
    assert "a.jsonl" in str(caught.value)


@pytest.mark.parametrize("second", ["b.jsonl", "b.tmx"])
def test_two_translations_of_one_text_are_an_error_that_names_both_places(tmp_path: Path, second: str) -> None:
    first = jsonl(tmp_path / "a.jsonl", ("Bye.", "잘 가."), ("Hello.", "안녕."))
    other = tmp_path / second
    if second.endswith("tmx"):
        tmx(other, unit("Hello.", "여보세요."))
    else:
        jsonl(other, ("Hello.", "여보세요."))
    with pytest.raises(InputError, match=rf"{re.escape(second)}.*1.*otherwise than .*a\.jsonl:2.*Hello"):
        Recorded(first, other)


@pytest.mark.parametrize("line", ['{"source": "a"}', "[1]", "3", "nonsense", '{"source": 1, "target": "b"}', "\\xff"])
def test_a_line_that_holds_no_pair_is_named_with_file_and_line(tmp_path: Path, line: str) -> None:
    file = jsonl(tmp_path / "pairs.jsonl", ("a", "b"))
    with file.open("ab") as stream:
        stream.write(b"\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl:3: expected"):
        Recorded(file)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_a_file_of_pairs_that_is_not_there_or_holds_none_is_an_input_error(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match=r"pairs\.jsonl"):
        Recorded(tmp_path / "pairs.jsonl")


def test_recorded_pairs_of_other_languages_are_refused(tmp_path: Path) -> None:
    known = Recorded(jsonl(tmp_path / "a.jsonl", ("Hello.", "안녕.")))
    with pytest.raises(InputError, match=r"en to ko; asked for en to ja"):
        translate(rows(["Hello."]), known, to="ja", memory=None)


def test_other_pairs_are_another_translator_for_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    old = Recorded(jsonl(tmp_path / "a.jsonl", ("Hello.", "안녕.")))
    assert translate(rows(["Hello."]), old, memory=path)["instruction"][0] == "안녕."
    mended = Recorded(jsonl(tmp_path / "a.jsonl", ("Hello.", "안녕하세요.")))
    assert translate(rows(["Hello."]), mended, memory=path)["instruction"][0] == "안녕하세요."


@pytest.mark.parametrize("name", ["alpaca.json", "dolly.jsonl", "sharegpt.json", "questions.jsonl"])
def test_the_demo_has_a_translation_of_every_text_that_it_loads(name: str) -> None:
    known = Recorded(*sorted(DEMO.glob("*.ko.jsonl")), *DEMO.glob("*.tmx"))
    failures: list[Failure] = []
    english = load(DEMO / name)
    done = translate(english, known, memory=None, failures=failures)
    assert failures == []
    assert done["id"][:] == english["id"][:]
    for old, new in zip(english, done, strict=True):
        assert [bool(new[field]) for field in TEXT_FIELDS] == [bool(old[field]) for field in TEXT_FIELDS]


# translate


def test_rows_with_a_text_that_fails_are_failures_by_id_and_field_and_the_others_keep_their_order() -> None:
    known = {text: f"«{text}»" for text in ("a", "b", "c", "d", "e")}
    failures: list[Failure] = []
    english = rows(["a"], ["bad", "b", "c"], ["d", "", "bad"], ["e", "a"], ["c", "worse", "bad"])
    done = translate(english, FakeTranslator(known, limits=Limits(items=3)), memory=None, failures=failures)
    assert done.select_columns(["id", *TEXT_FIELDS]).to_list() == [
        {"id": "r0", "instruction": "«a»", "input": "", "output": ""},
        {"id": "r3", "instruction": "«e»", "input": "«a»", "output": ""},
    ]
    places = [(failure.id, failure.cause.partition(":")[0]) for failure in failures]
    assert places == [("r1", "instruction"), ("r2", "output"), ("r4", "input"), ("r4", "output")]
    assert all(failure.stage == "translate" for failure in failures)


def test_failures_may_go_to_a_file(tmp_path: Path) -> None:
    translate(rows(["a"], ["b"]), FakeTranslator({"a": "가"}), memory=None, failures=tmp_path / "lost.jsonl")
    lost = [json.loads(line) for line in (tmp_path / "lost.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [failure["id"] for failure in lost] == ["r1"]


FIELD = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=8), st.integers(1, 4))
def test_every_row_comes_out_in_order_with_its_english_and_its_empty_fields(
    texts: list[tuple[str, str, str]], items: int
) -> None:
    fake = FakeTranslator(lambda text: f"«{text}»", limits=Limits(items=items))
    english = rows(*texts)
    done = translate(english, fake, protect=False, memory=None)
    before = [{name: row[name] for name in TEXT_FIELDS} | {"history": None} for row in english]
    assert [row["original"] for row in done] == before
    for old, new in zip(english, done, strict=True):
        for name in TEXT_FIELDS:
            assert new[name] == (f"«{old[name]}»" if old[name].strip() else old[name])


def test_only_the_fields_that_are_asked_for_are_sent() -> None:
    fake = FakeTranslator()
    done = translate(rows(["a", "b", "c"]), fake, fields=("instruction", "input"), memory=None)
    assert fake.calls == [("a", "b")]
    assert [done[0][name] for name in TEXT_FIELDS] == ["a (ko)", "b (ko)", "c"]


def test_the_first_english_stays_the_original_when_rows_are_translated_twice() -> None:
    once = translate(rows(["a"]), FakeTranslator(), fields=("instruction",), memory=None)
    twice = translate(once, FakeTranslator(), source="ko", to="ja", fields=("instruction",), memory=None)
    assert twice[0]["instruction"] == "a (ko) (ja)"
    assert twice[0]["original"]["instruction"] == "a"


def test_other_columns_stay_as_they_are() -> None:
    records = [{"id": "1", "instruction": "a", "input": "", "output": "", "source": "s", "topic": "t"}]
    english = dataset(records, ["id", "topic", *TEXT_FIELDS, "source"])
    done = translate(english, FakeTranslator(), memory=None)
    assert done.column_names == [*english.column_names, "original", "verdicts", "bound"]
    assert (done[0]["topic"], done[0]["source"]) == ("t", "s")


def test_a_column_of_numbers_stays_as_it_is() -> None:
    english = rows(["a"], ["b"]).add_column("votes", [3, 4])
    assert translate(english, FakeTranslator(), memory=None)["votes"][:] == [3, 4]


def test_another_language_is_another_translation_for_the_memory(tmp_path: Path) -> None:
    for language in ("ko", "ja", "ko"):
        done = translate(rows(["a"]), FakeTranslator(), to=language, memory=tmp_path / "m.sqlite")
        assert done["instruction"][0] == f"a ({language})"


def shout(texts: Sequence[str], *, source: str, target: str) -> list[str]:
    return [f"{text.upper()} {source}-{target}" for text in texts]


@dataclass(frozen=True)
class Papago:
    """A translator of a user's own, as in DESIGN.md: nothing inherited, nothing registered."""

    identity: str = "papago/en-ko"
    limits: Limits = field(default_factory=lambda: Limits(items=1, in_flight=4, per_second=1000))

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> Sequence[str]:
        return tuple(f"{text} by Papago" for text in texts)


def test_a_plain_function_and_an_object_of_ones_own_are_translators() -> None:
    assert translate(rows(["a"], ["b"]), shout, memory=None)["instruction"][:] == ["A en-ko", "B en-ko"]
    assert translate(rows(["a"], ["b"]), Papago(), memory=None)["instruction"][:] == ["a by Papago", "b by Papago"]


def test_two_functions_do_not_answer_for_each_other(tmp_path: Path) -> None:
    done = [
        translate(rows(["a"]), engine, memory=tmp_path / "m.sqlite")["instruction"][0]
        for engine in (
            lambda texts, *, source, target: [f"{text} one" for text in texts],
            lambda texts, *, source, target: [f"{text} two" for text in texts],
        )
    ]
    assert done == ["a one", "a two"]


@pytest.mark.parametrize("wrong", [Papago, DeepL, FakeTranslator, object(), 3, None])
def test_what_is_no_translator_is_a_usage_error_that_says_what_is_wanted(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a translator: it needs identity, limits and translate"):
        translate(rows(["a"]), wrong, memory=None)


@pytest.mark.parametrize("given", [None, "A translation.", 3])
def test_a_translator_that_gives_no_list_is_a_usage_error_at_once(given: object) -> None:
    calls: list[int] = []

    def engine(texts: Sequence[str], *, source: str, target: str) -> Any:
        calls.append(len(texts))
        return given

    with pytest.raises(UsageError, match="not a list"):
        translate(rows(["a"], ["b"]), engine, memory=None)
    assert calls == [2]


def test_a_text_is_never_taken_for_a_list_of_translations() -> None:
    def engine(texts: Sequence[str], *, source: str, target: str) -> Any:
        return "가나"

    with pytest.raises(KullmError):
        translate(rows(["a"], ["b"]), engine, memory=None)


@pytest.mark.parametrize("columns", [["id", "input", "output"], ["instruction", "input", "output"]])
def test_a_missing_column_is_an_input_error_that_names_it(columns: list[str]) -> None:
    missing = ({"id", *TEXT_FIELDS} - set(columns)).pop()
    with pytest.raises(InputError, match=f"needs the column {missing}"):
        translate(dataset([dict.fromkeys(columns, "a")], columns), FakeTranslator(), memory=None)


@pytest.mark.parametrize(("given", "cause"), [("", "empty"), (" \n", "empty"), (None, "NoneType"), (7, "int")])
def test_a_translation_that_is_empty_or_no_text_is_a_failure(given: Any, cause: str) -> None:
    failures: list[Failure] = []
    done = translate(
        rows(["a"], ["b", "", "x"]),
        lambda texts, *, source, target: [given if text == "x" else text for text in texts],
        memory=None,
        failures=failures,
    )
    assert done["id"][:] == ["r0"]
    assert [failure.id for failure in failures] == ["r1"]
    assert failures[0].cause.startswith("output:")
    assert cause in failures[0].cause


def test_no_row_makes_no_call() -> None:
    fake = FakeTranslator()
    done = translate(rows(), fake, memory=None)
    assert (len(done), fake.calls, done.column_names) == (0, [], ["id", *TEXT_FIELDS, "original", "verdicts", "bound"])
