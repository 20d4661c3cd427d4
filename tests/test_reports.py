"""The figures of a report are those of the textbooks, and its texts harm nobody."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kullm
from kullm import paper
from kullm.errors import InputError, UsageError
from kullm.judges import Criterion, Rubric
from kullm.reports import mean, paired
from kullm.rows import dataset

if TYPE_CHECKING:
    from datasets import Dataset

RUBRIC = Rubric("small", (Criterion("clear", 0, 1), Criterion("overall", 1, 5)))
HOSTILE = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "</div></details><iframe src=javascript:alert(1)></iframe>",
    "[/b][link=https://example.com]여기[/link] [red]",
    "\x1b[31m빨강\x1b]0;title\x07",
    '" onclick="alert(1)" \'&amp; &lt;b&gt; &#60;',
    "줄 하나\n  줄 둘\n\n| a | b |",
    "<!-- ]]> {{7*7}} ${7*7}",
    "‮거꾸로 ﻿",
]


def scores(rows: Sequence[tuple[str, str, float | None, float | None]], rubric: Rubric = RUBRIC) -> Dataset:
    """A scores data set: (id, model, clear, overall) a row; None for both is a failure."""
    head = {"judge": "judge/1", "rubric": rubric.summary()}
    records = [
        head
        | {"id": id, "model": model, "clear": clear, "overall": overall}
        | ({"failure": "no form was filled in"} if clear is None else {"raw": "…"})
        for id, model, clear, overall in rows
    ]
    columns = ["id", "model", "judge", "rubric", "clear", "overall", "failure", "raw"]
    return dataset(records, columns, numbers=["clear", "overall"])


def answers(texts: Sequence[str], model: str = "m") -> Dataset:
    records = [
        {
            "id": f"q{n}",
            "model": model,
            "instruction": f"물음 {n} {text}",
            "input": text,
            "reference": text,
            "answer": text,
        }
        for n, text in enumerate(texts)
    ]
    columns = ["id", "model", "instruction", "input", "reference", "answer", "engine", "failure"]
    return dataset([record | {"engine": "e"} for record in records], columns)


def plain() -> Dataset:
    """Two models and three questions; the tuned model's third answer has no score."""
    rows = [("a", "base", 0, 1), ("b", "base", 1, 2), ("c", "base", 1, 4)]
    return scores([*rows, ("a", "tuned", 1, 3), ("b", "tuned", 1, 3), ("c", "tuned", None, None)])


# Statistics


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_newcombes(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    estimate = mean([1.0] * successes + [0.0] * (n - successes), within=(0, 1))
    assert estimate.mean == successes / n
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


SLEEP = {
    "first": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "second": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}
"""Student (1908), Biometrika 6, 1-25: hours of sleep gained by ten patients with each of two drugs."""


def test_t_intervals_are_students() -> None:
    """The paired t test of the sleep data as R's manual has it: mean 1.58, interval 0.7001142 to 2.4598858."""
    first, second = (dict(zip("abcdefghij", values, strict=True)) for values in SLEEP.values())
    estimate = paired(first, second)
    assert estimate.mean == pytest.approx(1.58, abs=1e-12)
    assert (estimate.low, estimate.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    assert estimate.n == 10


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_intervals_are_scipys(successes: int, n: int, level: float) -> None:
    successes = min(successes, n)
    estimate = mean([1.0] * successes + [0.0] * (n - successes), within=(0, 1), level=level)
    other = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_the_mean_lies_in_its_interval() -> None:
    """Whoever draws the interval takes differences, and a bar of negative length is an error in plotting libraries."""
    for n in range(1, 400):
        for share in (0.0, 1.0):
            estimate = mean([share] * n, within=(0, 1))
            assert estimate.low <= estimate.mean <= estimate.high


def test_paired_shares_are_agrestis() -> None:
    """Approval ratings of a prime minister, Agresti, Categorical Data Analysis, section on matched pairs: 1600 voters,
    794 approved twice, 150 only first, 86 only then, 570 never: a fall of 0.04, interval 0.02 to 0.06.
    """
    first = dict(enumerate([1.0] * 794 + [1.0] * 150 + [0.0] * 86 + [0.0] * 570))
    then = dict(enumerate([1.0] * 794 + [0.0] * 150 + [1.0] * 86 + [0.0] * 570))
    estimate = paired(first, then, within=(0, 1))  # type: ignore[arg-type]
    assert estimate.mean == pytest.approx(-0.04, abs=1e-12)
    assert (round(estimate.low, 2), round(estimate.high, 2)) == (-0.06, -0.02)


def test_two_models_that_agree_on_every_item_are_not_proven_equal() -> None:
    same = dict.fromkeys("abcdefghij", 1.0)
    estimate = paired(same, same, within=(0, 1))
    assert estimate.mean == 0
    assert estimate.low < -0.05
    assert estimate.high > 0.05


def test_no_interval_leaves_the_range_of_the_scores() -> None:
    estimate = mean([1, 1, 5], within=(1, 5))
    assert (estimate.low, estimate.high) == (1, 5)


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50), st.sampled_from([0.8, 0.95, 0.99]))
def test_t_intervals_are_scipys(values: list[float], level: float) -> None:
    estimate = mean(values, level=level)
    error = float(stats.sem(values)) if len(set(values)) > 1 else 0.0
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    middle = math.fsum(values) / len(values)
    assert (estimate.low, estimate.high) == pytest.approx((middle - half, middle + half), abs=1e-9)


@pytest.mark.parametrize("within", [(-math.inf, math.inf), (1, 5)])
def test_without_two_values_there_is_no_interval(within: tuple[float, float]) -> None:
    one, none = mean([3.0], within=within), mean([], within=within)
    assert one.mean == 3
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(none.mean)
    assert none.n == 0


@pytest.mark.shared
def test_alpaca_evals_published_figures(shared: Path) -> None:
    """52 models by 805 real preferences: the leaderboard's own win rates and standard errors, to 1e-9."""
    folder = shared / "golden/alpaca_eval1"
    preferences = json.loads(gzip.decompress((folder / "preferences.json.gz").read_bytes()))
    published = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert len(preferences) == len(published) == 52
    for model, values in preferences.items():
        assert len(values) == 805
        # 1: the base wins, 2: the model wins, 0 and 1.5: a draw (alpaca_eval); none: the judge failed
        wins = [100 * ({0: 1.5}.get(value, value) - 1) for value in values if value is not None]
        estimate = mean(wins, failures=len(values) - len(wins))
        assert estimate.n == published[model]["n_total"], model
        assert estimate.mean == pytest.approx(published[model]["win_rate"], abs=1e-9), model
        quantile = float(stats.t.ppf(0.975, estimate.n - 1))
        error = (estimate.high - estimate.low) / 2 / quantile
        assert error == pytest.approx(published[model]["standard_error"], abs=1e-9), model


# The paper's figures

NAMES = {"KoAlpaca-12.8b": "KoAlpaca 12.8b", "KoVicuna-7b": "KoVicuna 7b", "KULLM-5.8b": "KULLM 5.8b"}
NAMES |= {"KULLM-12.8b": "KULLM 12.8b", "GPT-4": "GPT-4", "GPT-3.5-turbo": "GPT-3.5-turbo"}


@pytest.mark.shared
def test_table_1_is_totals_over_252(shared: Path) -> None:
    golden = json.loads((shared / "golden/kullm_table1/table1.json").read_text(encoding="utf-8"))
    criteria = [criterion["name"] for criterion in golden["criteria"]]
    assert criteria == [criterion.name for criterion in paper.RUBRIC.criteria]
    assert [c["range"] for c in golden["criteria"]] == [[c.low, c.high] for c in paper.RUBRIC.criteria]
    assert set(paper.TABLE_1) == set(NAMES.values())
    for theirs, ours in NAMES.items():
        totals = [golden["totals"][theirs][name] for name in criteria]
        printed = [golden["means_as_printed"][theirs][name] for name in criteria]
        assert [f"{value:.3f}" for value in paper.TABLE_1[ours]] == printed
        assert [f"{total / 252:.3f}" for total in totals] == printed
        for total, criterion in zip(totals, paper.RUBRIC.criteria, strict=True):
            drawn = golden["rescaled_0_100"][theirs][criterion.name]
            assert paper.rescaled(total / 252, criterion.low, criterion.high) == pytest.approx(drawn, abs=0.005)


def test_figure_1_of_kullm_12_8b() -> None:
    """The means of table 1 have three decimals, so what is drawn from them is right to about 0.05."""
    drawn = [
        paper.rescaled(value, criterion.low, criterion.high)
        for value, criterion in zip(paper.TABLE_1["KULLM 12.8b"], paper.RUBRIC.criteria, strict=True)
    ]
    assert drawn == pytest.approx([80.2, 74.0, 65.5, 49.8, 75.4, 58.1], abs=0.05)


@pytest.mark.parametrize(
    ("model", "name", "low", "high"),
    [("KULLM 5.8b", 0, 0.697, 0.803), ("KULLM 12.8b", 0, 0.748, 0.846), ("KULLM 5.8b", 4, 0.518, 0.639)],
)
def test_intervals_of_table_1(model: str, name: int, low: float, high: float) -> None:
    """Wilson's intervals of the shares in table 1, computed elsewhere (with R, to three decimals)."""
    total = round(paper.TABLE_1[model][name] * 252)
    estimate = mean([1.0] * total + [0.0] * (252 - total), within=(0, 1))
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)


# report()


def test_failures_are_counted_and_not_averaged() -> None:
    table = kullm.report(plain())
    assert table.cells["tuned"]["overall"].mean == 3
    assert (table.cells["tuned"]["overall"].n, table.cells["tuned"]["overall"].failures) == (2, 1)
    assert (table.cells["base"]["overall"].n, table.cells["base"]["overall"].failures) == (3, 0)
    assert table.cells["base"]["overall"].mean == pytest.approx(7 / 3)
    assert "1 of 6 answers have no score; the first: no form was filled in." in str(table)
    head, base, tuned, *_ = table.table()
    assert head == ["model", "clear (0–1)", "overall (1–5)", "n", "failed"]
    assert (base[-2:], tuned[-2:]) == (["3", "0"], ["2", "1"])


def test_differences_are_taken_question_by_question() -> None:
    """On a and b alone, which both have: (3 - 1 + 3 - 2) / 2, and not the difference of the means."""
    table = kullm.report(plain())
    difference = table.differences["tuned"]["overall"]
    assert (difference.mean, difference.n) == (1.5, 2)
    # On the shares 1.5 gained, 0.5 lost of 4 (Agresti and Min); the others' t interval is cut at the range of 4.
    assert table.table()[-1][:3] == ["tuned − base", "+0.50 [-0.40, +0.90]", "+1.50 [-4.00, +4.00]"]
    assert "base" not in table.differences


def test_shares_have_wilsons_interval_and_other_scores_students() -> None:
    table = kullm.report(plain())
    assert table.cells["base"]["clear"] == mean([0, 1, 1], within=(0, 1))
    assert table.cells["base"]["overall"] == mean([1, 2, 4], within=(1, 5))
    assert table.cells["base"]["clear"] != mean([0, 1, 1])


def test_a_model_without_any_score_has_no_mean() -> None:
    table = kullm.report(scores([("a", "base", 1, 5), ("a", "lost", None, None)]))
    assert table.table()[2] == ["lost", "–", "–", "0", "1"]
    assert "nan" not in str(table) + table.markdown() + table.html()


def test_scores_by_two_rubrics_are_refused() -> None:
    other = Rubric("other", RUBRIC.criteria)
    both = scores([("a", "m", 1, 5)]).to_list() + scores([("b", "m", 1, 5)], other).to_list()
    mixed = dataset(both, list(both[0]), numbers=["clear", "overall"])
    with pytest.raises(InputError, match="one rubric; these have 2"):
        kullm.report(mixed)


def test_an_answer_that_was_scored_twice_is_no_failure() -> None:
    """Two files of scores put together: the second score of an answer is neither lost in silence nor "failed"."""
    twice = scores([("a", "m", 1, 5), ("a", "m", 1, 3), ("b", "m", 0, 1)])
    try:
        cell = kullm.report(twice).cells["m"]["overall"]
    except InputError:
        return
    assert (cell.n, cell.failures, cell.mean) == (3, 0, 3)


def test_what_is_no_scores_file_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="report needs the columns judge, rubric"):
        kullm.report(answers(["가"]))


def test_markdown_html_and_json_are_saved(tmp_path: Path) -> None:
    table = kullm.report(plain(), title="Base and tuned")
    for name in ("r.md", "r.html", "deep/er/r.json"):
        assert table.save(tmp_path / name).stat().st_size > 100
    content = json.loads((tmp_path / "deep/er/r.json").read_text(encoding="utf-8"))
    assert content["title"] == "Base and tuned"
    assert content["criteria"] == {"clear": [0, 1], "overall": [1, 5]}
    assert content["cells"]["base"]["overall"] | {"low": 0, "high": 0} == {
        "mean": pytest.approx(7 / 3), "low": 0, "high": 0, "n": 3, "failures": 0,
    }  # fmt: skip
    assert content["differences"]["tuned"]["overall"]["mean"] == 1.5
    with pytest.raises(UsageError, match=r"\.md, \.html, \.json"):
        table.save(tmp_path / "r.pdf")


def test_markdown_is_a_table_whatever_a_model_is_called() -> None:
    named = scores([("a", "one|two\nthree", 1, 5), ("b", "one|two\nthree", 0, 2)])
    lines = [line for line in kullm.report(named).markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 3
    assert {line.replace("\\|", "").count("|") for line in lines} == {6}


def test_a_failure_of_several_lines_stays_one_note() -> None:
    """The first failure's cause may be what a service said, over several lines."""
    records = scores([("a", "m", None, None), ("b", "m", 1, 5)]).to_list()
    records[0]["failure"] = "refused:\n\n# A heading\n- a point"
    text = kullm.report(dataset(records, list(records[0]), numbers=["clear", "overall"])).markdown()
    assert "\n# A heading" not in text


# Hostile texts


class Page(HTMLParser):
    """What a browser sees: the tags with their attributes, and the texts of the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.texts: list[str] = []
        self.cells: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        self.inside = "text" if ("class", "text") in attrs else tag
        if self.inside == "text":
            self.texts.append("")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "text":
            self.texts[-1] += data
        if self.inside in ("td", "th"):
            self.cells[-1] += data


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


def hostile_page(texts: Sequence[str]) -> Page:
    rows = [(f"q{number}", "m", 1.0, 5.0) for number in range(len(texts))]
    return parsed(kullm.report(scores(rows), answers(texts), title=texts[0]).html())


def test_no_answer_runs_in_the_page_and_every_text_is_shown_as_it_is() -> None:
    page = hostile_page(HOSTILE)
    assert page.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "table", "thead", "tbody", "tr", "th",
        "td", "ul", "li", "details", "summary", "p",
    }  # fmt: skip
    assert set(page.attributes) <= {"lang", "charset", "name", "content", "http-equiv", "class"}
    assert page.texts == [text for text in HOSTILE for _ in ("input", "reference", "answer")]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_texts_come_back_from_the_page(texts: list[str]) -> None:
    assert hostile_page(texts).texts == [text for text in texts for _ in range(3)]


def test_the_page_asks_nobody() -> None:
    html = kullm.report(plain()).html()
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_model_harms_no_page_and_no_terminal(name: str) -> None:
    table = kullm.report(scores([("a", name, 1, 5), ("b", name, 1, 4)]), title=name)
    assert name in parsed(table.html()).cells
    shown = str(table)
    assert not [character for character in shown if not character.isprintable() and character != "\n"]
    start = "".join(character for character in name.splitlines()[0] if character.isprintable())[:8]
    assert start in shown  # markup is shown as it is and not obeyed


def test_answers_stand_side_by_side_with_their_scores_and_causes() -> None:
    question = {"id": "a", "instruction": "수도?", "input": "", "reference": "서울"}
    rows: list[dict[str, Any]] = [
        question | {"model": "base", "answer": "부산", "engine": "e1"},
        question | {"model": "tuned", "answer": None, "engine": "e2", "failure": "the model was asleep"},
    ]
    said = dataset(rows, ["id", "model", "instruction", "input", "reference", "answer", "engine", "failure"])
    table = kullm.report(scores([("a", "base", 0, 2), ("a", "tuned", None, None)]), said)
    page = parsed(table.html())
    assert page.texts == ["서울", "부산", "(no answer: the model was asleep)"]
    assert "base · clear 0, overall 2" in table.html()
    assert "tuned · no form was filled in" in table.html()
    assert "base: e1" in str(table)
