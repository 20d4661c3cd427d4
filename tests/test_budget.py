"""What may be spent is not overspent by any race, and a plan says what will be billed, to the character."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm.errors import BudgetSpent, KeyRefused, MemoryInUse, Passing, Refused, ServiceDown, UnknownOutcome, UsageError
from kullm.remote import Budget, Limits, Memory, Price, Tariff, run
from kullm.rows import TEXT_FIELDS, Failure, dataset
from kullm.testing import DeepLServer, FakeTranslator, pseudo_korean
from kullm.translators import DeepL, Plan, parse_budget

quick = settings(max_examples=100, deadline=None, derandomize=True)
Item: TypeAlias = tuple[str, int]
"""A text and what it costs."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses after failures."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)


def bought(call: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[Item], budget: Budget, **more: Any) -> Any:
    """The results of items that have their cost beside them."""
    tariff: Tariff[Item] = Tariff(lambda item: item[1], more.pop("unit", "characters"), more.pop("price", None), budget)
    limits = more.pop("limits", Limits())
    return run(call, items, identity="x", key=lambda item: item[0], tariff=tariff, limits=limits, **more)


def names(batch: Sequence[Item]) -> list[str]:
    return [name for name, _ in batch]


# Races


class Till:
    """A service that bills: it adds up what it did, and sees that no moment is over the most."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.billed, self.over = most, 0, 0
        self.lock, self.chance = threading.Lock(), random.Random(seed)

    def __call__(self, batch: Sequence[Item]) -> list[str]:
        cost = sum(price for _, price in batch)
        with self.lock:
            fate = self.chance.random()
            if fate < 0.15:
                raise Passing("429")
            if fate < 0.2:
                raise Refused("no")
            self.billed += cost
            self.over = max(self.over, self.billed - self.most)
            if fate < 0.3:
                raise UnknownOutcome("reset")
            if fate < 0.32:
                raise RuntimeError("a bug after the work was billed")
        if fate < 0.4:
            time.sleep(0.0002)
        return names(batch)


def race(seed: int, pool: ThreadPoolExecutor) -> tuple[Till, Budget]:
    """Three streams at once, in threads of their own, that share a budget and a service."""
    chance = random.Random(seed)
    most = chance.randint(0, 60)
    till, budget = Till(most, seed), Budget(characters=most)

    def one(number: int) -> None:
        items = [(f"{number}.{count}", chance.randint(0, 9)) for count in range(6)]
        limits = Limits(items=chance.randint(1, 3), in_flight=chance.randint(1, 3))
        with suppress(BudgetSpent, RuntimeError, ServiceDown):
            bought(till, items, budget, limits=limits, tries=50)

    list(pool.map(one, range(3)))
    return till, budget


def test_no_race_of_1000_overspends_and_what_the_budget_says_is_what_was_billed(hurried: None) -> None:
    overspent, wrong, spent_whole = [], [], 0
    with ThreadPoolExecutor(3) as pool:
        for seed in range(1_000):
            till, budget = race(seed, pool)
            spent_whole += till.billed == till.most
            if till.over > 0 or till.billed > till.most:
                overspent.append(seed)
            if budget.spent != {"characters": till.billed}:
                wrong.append((seed, budget.spent, till.billed))
    assert overspent == []
    assert wrong == []
    assert spent_whole > 50, "budgets that never get short show nothing"


def test_a_budget_in_money_is_not_overspent_by_a_fraction_of_a_cent(hurried: None) -> None:
    price = Price.of("19.99 EUR")
    for seed in range(100):
        most = Decimal(seed + 1) * 7 / 1_000_000
        till, budget = Till(10**9, seed), Budget(money=most)
        items = [(str(count), 1 + (seed + count) % 5) for count in range(20)]
        with suppress(BudgetSpent, RuntimeError, ServiceDown):
            bought(till, items, budget, price=price, limits=Limits(items=2, in_flight=4), tries=50)
        assert price.money(till.billed) <= most
        assert budget.spent == {"money": price.money(till.billed)}


# What a small budget buys, and what the error says


def priced(count: int, cost: int) -> list[Item]:
    return [(str(number), cost) for number in range(count)]


def test_a_small_budget_buys_the_part_of_a_batch_that_fits_and_the_next_run_the_rest(tmp_path: Path) -> None:
    sent: list[list[str]] = []

    def call(batch: Sequence[Item]) -> list[str]:
        sent.append(names(batch))
        return names(batch)

    budget, path = Budget(characters=25), tmp_path / "m.sqlite"
    with pytest.raises(BudgetSpent) as caught:
        bought(call, priced(8, 10), budget, limits=Limits(items=5), memory=path)
    assert sent == [["0", "1"]]
    assert "(20 of 25 characters); the next call would cost 10 characters" in caught.value.what
    assert caught.value.safe == f"2 of 8 items are done and kept in {path}."
    assert "what is done is not paid for again" in caught.value.next
    assert budget.left == {"characters": 5}
    assert bought(call, priced(8, 10), Budget(characters=60), limits=Limits(items=5), memory=path) == names(
        priced(8, 10)
    )
    assert sent[1:] == [["2", "3", "4", "5", "6"], ["7"]]


def test_a_budget_that_is_exactly_enough_is_enough() -> None:
    budget = Budget(characters=80)
    assert bought(names, priced(8, 10), budget, limits=Limits(items=3, in_flight=3)) == names(priced(8, 10))
    assert budget.left == {"characters": 0}


def test_no_budget_at_all_pays_for_nothing_and_takes_what_is_free() -> None:
    sent: list[str] = []

    def call(batch: Sequence[Item]) -> list[str]:
        sent.extend(names(batch))
        return names(batch)

    with pytest.raises(BudgetSpent):
        bought(call, [("free", 0), ("dear", 1)], Budget(characters=0))
    assert sent == ["free"]


def test_what_the_memory_knows_and_what_stands_twice_costs_nothing() -> None:
    with Memory(None) as memory:
        memory.add("x", {}, {"known": "known"})
        items = [("known", 100), ("new", 5), ("new", 5), ("known", 100)]
        budget = Budget(characters=5)
        assert bought(names, items, budget, memory=memory) == ["known", "new", "new", "known"]
        assert budget.spent == {"characters": 5}


def test_one_budget_serves_one_run_after_the_other() -> None:
    budget = Budget(characters=50)
    bought(names, priced(3, 10), budget)
    with pytest.raises(BudgetSpent, match="50 of 50 characters"):
        bought(names, priced(3, 10), budget)


# What is given back, and what is not


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (KeyRefused("wrong key"), 0),
        (Passing("a long wait", retry_after=9_999), 0),
        (UnknownOutcome("reset"), 20),
        (RuntimeError("a bug"), 10),
    ],
)
def test_only_a_call_that_was_not_billed_gives_its_cost_back(error: Exception, kept: int) -> None:
    def call(batch: Sequence[Item]) -> list[str]:
        raise error

    budget = Budget(characters=100)
    with pytest.raises(Exception, match=r".") as caught:
        bought(call, priced(1, 10), budget)
    assert caught.type in (type(error), ServiceDown)
    assert budget.spent == {"characters": kept}


def test_a_refused_item_gives_its_cost_back_and_others_are_bought_with_it() -> None:
    def call(batch: Sequence[Item]) -> list[str]:
        if "0" in names(batch):
            raise Refused("no")
        return names(batch)

    budget = Budget(characters=30)
    found = bought(call, priced(4, 10), budget, limits=Limits(items=2))
    assert isinstance(found[0], Failure)
    assert found[1:] == ["1", "2", "3"]
    assert budget.spent == {"characters": 30}


def test_what_the_calls_in_flight_may_give_back_is_waited_for() -> None:
    def call(batch: Sequence[Item]) -> list[str]:
        if "0" in names(batch):
            raise Refused("no")
        return names(batch)

    found = bought(call, priced(2, 10), Budget(characters=10), limits=Limits(in_flight=2))
    assert isinstance(found[0], Failure)
    assert found[1] == "1"


def test_a_call_that_could_not_start_gives_its_cost_back(tmp_path: Path) -> None:
    budget = Budget(characters=10)
    with Memory(tmp_path / "m.sqlite") as other:
        other.claim()
        with pytest.raises(MemoryInUse):
            bought(names, priced(1, 10), budget, memory=tmp_path / "m.sqlite")
    assert budget.spent == {"characters": 0}


# Kinds of budgets and prices


@pytest.mark.parametrize("wrong", [-1, "-0.5", "much", "", "nan", "inf", "sNaN", True])
@pytest.mark.parametrize("kind", ["characters", "tokens", "money"])
def test_a_budget_that_is_no_amount_is_refused(kind: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=kind):
        Budget(**{kind: wrong})


def test_a_budget_of_nothing_in_particular_is_refused() -> None:
    with pytest.raises(UsageError, match="none was given"):
        Budget()


@pytest.mark.parametrize(
    ("budget", "unit", "price", "said"),
    [
        (Budget(tokens=9), "characters", None, "bills characters; the budget limits tokens"),
        (Budget(characters=9), "tokens", Price.of("1 EUR", "tokens"), "bills tokens; the budget limits characters"),
        (Budget(money=9), "characters", None, "the price of this service is unknown"),
    ],
)
def test_a_budget_that_does_not_fit_the_service_is_refused_before_any_call(
    budget: Budget, unit: str, price: Price | None, said: str
) -> None:
    sent: list[object] = []
    with pytest.raises(UsageError, match=said):
        bought(lambda batch: sent.append(batch) or [], priced(1, 1), budget, unit=unit, price=price)  # type: ignore[func-returns-value]
    assert sent == []


def test_a_budget_of_two_kinds_ends_where_the_first_ends() -> None:
    budget = Budget(characters=100, money="0.00003")
    with pytest.raises(BudgetSpent):
        bought(names, priced(9, 1), budget, price=Price.of("10 EUR"))
    assert budget.spent == {"characters": 3, "money": Decimal("0.00003")}


@quick
@given(st.text(max_size=20))
def test_any_text_is_a_price_or_a_usage_error(text: str) -> None:
    try:
        price = Price.of(text)
    except UsageError:
        return
    assert price.amount >= 0
    assert price.currency.isalpha()
    assert str(price).startswith(f"{price.amount} ")


@quick
@given(
    st.decimals(0, 10_000, allow_nan=False, allow_infinity=False, places=4),
    st.sampled_from(["EUR", "eur", "USD", "KRW"]),
    st.sampled_from([" ", "  "]),
)
def test_a_price_is_read_as_it_is_written(amount: Decimal, currency: str, gap: str) -> None:
    price = Price.of(f" {amount}{gap}{currency} ")
    assert (price.amount, price.currency) == (amount, currency.upper())
    assert price.money(1_000_000) == amount
    assert price.money(250_000) * 4 == amount


@pytest.mark.parametrize(
    "wrong",
    ["", "EUR", "20", "20EUR", "-1 EUR", "nan EUR", "inf EUR", "1,5 EUR", "20 E1R", "20 €", "two EUR", "20 EUR more"],
)
def test_what_is_no_price_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(UsageError, match="such as '20 EUR'"):
        Price.of(wrong)


def test_a_price_that_cannot_be_multiplied_is_refused() -> None:
    try:
        price = Price.of("1e9999999 EUR")
    except UsageError:
        return
    price.money(1_000_000)


class Sentences:
    """A translator that bills by the sentence."""

    identity, limits, unit = "sentences", Limits(), "sentences"

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> Sequence[str]:
        return texts


def test_a_budget_for_a_translator_with_a_unit_of_its_own_is_a_budget_or_a_usage_error() -> None:
    try:
        assert parse_budget("20", Sentences()) is not None
    except UsageError:
        return


# The plan says what DeepL bills


def rows(*texts: Sequence[str]) -> Any:
    records = [
        {"id": f"r{number}"} | dict(zip(TEXT_FIELDS, [*row, "", "", ""][:3], strict=True))
        for number, row in enumerate(texts)
    ]
    return dataset(records, ["id", *TEXT_FIELDS])


def deepl(server: DeepLServer) -> DeepL:
    return DeepL("test-key", server_url=server.url, in_flight=4, per_second=None)


REAL = rows(
    ["Explain what `sorted(key=len)` does & why.", "", "It sorts by <b>length</b>: see https://docs.python.org/3/."],
    ["Write a function that adds two numbers.", "", "Here:\n\n```python\ndef add(a, b):\n    return a+b\n```\nCall!"],
    ["Write a function that adds two numbers.", "", "Use the `+` operator."],
    ["Fill in the template.", "Dear {name},\nyour order %s of [Date] is ready.", "Dear Ann,\nyour order 7 is ready."],
    ["Give the area of a circle.", "r = 5 cm", "The area is $\\pi r^2$, which is about 78.5 cm² (5 < 6 & 7 > 2)."],
    ["List three colours.", "", "1. Red\n2. Green\n3. Blue"],
    ["List three colours.", "", "- Red\n- Green\n- Blue\n\n| name | hex |\n|---|---|\n| Red | #ff0000 |"],
    ["12345", "", "   "],
    ["Send a mail to ann.lee@example.com.", "", "Sent! \U0001f600 한국어도 있습니다."],
)  # fmt: skip


def planned_and_billed(server: DeepLServer, data: Any, memory: Path, **more: Any) -> tuple[Plan, int, int]:
    """The plan of a translation, and the characters and the requests that DeepL's ledger then has for it."""
    characters, requests = server.characters, server.requests
    plan = kullm.plan_translation(data, deepl(server), memory=memory, **more)
    assert server.requests == requests, "a plan asks nobody"
    failures: list[Failure] = []
    done = kullm.translate(data, deepl(server), memory=memory, failures=failures, **more)
    assert failures == []
    assert len(done) == len(data)
    return plan, server.characters - characters, server.requests - requests


@pytest.mark.parametrize("protect", [True, False])
def test_a_plan_is_what_deepl_bills_for_spans_duplicates_and_code(tmp_path: Path, protect: bool) -> None:
    with DeepLServer(pseudo_korean) as server:
        plan, characters, requests = planned_and_billed(server, REAL, tmp_path / "m.sqlite", protect=protect)
    assert (plan.billed, plan.requests) == (characters, requests)
    assert plan.twice > 0
    assert plan.kept > 0


def test_a_plan_leaves_out_what_the_memory_knows(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with DeepLServer(pseudo_korean) as server:
        planned_and_billed(server, REAL.select(range(4)), path)
        plan, characters, requests = planned_and_billed(server, REAL, path)
        assert (plan.billed, plan.requests) == (characters, requests)
        assert plan.known > 0
        plan, characters, requests = planned_and_billed(server, REAL, path)
        assert (plan.billed, plan.requests, plan.texts) == (characters, requests, 0) == (0, 0, 0)


def test_a_budget_of_what_is_planned_is_enough_and_one_character_less_is_not() -> None:
    with DeepLServer(pseudo_korean) as server:
        plan = kullm.plan_translation(REAL, deepl(server), memory=None)
        with pytest.raises(BudgetSpent):
            kullm.translate(REAL, deepl(server), memory=None, budget=Budget(characters=plan.billed - 1))
        assert server.characters < plan.billed
        before, budget = server.characters, Budget(characters=plan.billed)
        kullm.translate(REAL, deepl(server), memory=None, budget=budget)
        assert server.characters - before == plan.billed
        assert budget.left == {"characters": 0}


def test_a_plan_counts_no_more_requests_than_are_made_where_most_texts_are_known_already() -> None:
    data, translator = rows(*([f"Word {chr(97 + n % 26) * (1 + n // 26)}"] for n in range(3_000))), FakeTranslator()
    with Memory(None) as memory:
        kullm.translate(data.select([n for n in range(3_000) if n % 300]), translator, memory=memory)
        plan, before = kullm.plan_translation(data, translator, memory=memory), len(translator.calls)
        kullm.translate(data, translator, memory=memory)
    assert plan.texts == sum(map(len, translator.calls[before:])) == 10
    assert 1 <= plan.requests <= len(translator.calls) - before <= 10


@pytest.mark.shared
def test_a_plan_is_what_deepl_bills_for_300_rows_of_alpaca(shared: Path, tmp_path: Path) -> None:
    data = kullm.load(shared / "data" / "english" / "alpaca_5000.json", limit=300)
    with DeepLServer(pseudo_korean) as server:
        first, characters, requests = planned_and_billed(server, data.select(range(100)), tmp_path / "m.sqlite")
        assert (first.billed, first.requests) == (characters, requests)
        rest, characters, requests = planned_and_billed(server, data, tmp_path / "m.sqlite")
        assert (rest.billed, rest.requests) == (characters, requests)
        assert rest.known == first.characters - first.kept - first.twice
        assert min(rest.billed, rest.kept, rest.twice) > 0
