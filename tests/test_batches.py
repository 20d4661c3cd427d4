"""What is trained on: the mask, what is shortened, conversations, and the passes of a step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kullm
from kullm.errors import InputError
from kullm.models.tokens import Ids
from kullm.rows import Example, Turn
from kullm.templates import ALPACA, CHATML, DOLLY, KULLM, KULLM_PAPER, LLAMA_2, PLAIN, Exchange, exchanges
from kullm.trainers.batches import Encoded, Tokenised, encode
from kullm.trainers.steps import Pass, divided, packed, padded, prefixes, steps

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
FORMS = st.sampled_from([KULLM, KULLM_PAPER, ALPACA, CHATML, LLAMA_2, DOLLY])


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


def tokenised(rows: list[dict[str, Any]], tokenizer: Any, template: Any = KULLM, **settings: Any) -> Tokenised:
    """Rows as `train` tokenises them."""
    whole = Tokenised()
    for part in encode(rows, template, tokenizer, **({"max_tokens": 10_000} | settings)):
        whole.add(part)
    return whole


def row(id: str = "x", instruction: str = "물음", output: str = "답", **more: Any) -> dict[str, Any]:
    return {"id": id, "instruction": instruction, "input": "", "output": output} | more


def trained(row: Encoded, tokenizer: Any) -> list[str]:
    """The texts that the loss is taken on."""
    return [tokenizer.decode(row.ids[start:stop]) for start, stop in row.answers]


@given(instruction=TEXT, input=TEXT, output=TEXT.filter(str.strip), form=FORMS)
def test_exactly_the_answer_and_the_end_are_trained_on(
    tokenizer: Any, instruction: str, input: str, output: str, form: Any
) -> None:
    (one,) = tokenised([row("x", instruction, output, input=input)], tokenizer, form).rows
    ((start, stop),) = one.answers
    prompt = form.prompt(Example("x", instruction, input))
    assert one.ids[:start].tolist() == Ids(tokenizer).question((), prompt)
    assert stop == len(one.ids)
    assert one.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(one.ids[start : stop - 1]) == form.lead + output + form.end


@given(
    turns=st.lists(st.tuples(TEXT, TEXT.filter(str.strip)), min_size=2, max_size=4),
    form=st.sampled_from([KULLM, CHATML]),
)
def test_every_answer_of_a_history_is_trained_on_and_nothing_else(
    tokenizer: Any, turns: list[tuple[str, str]], form: Any
) -> None:
    history = [{"instruction": question, "output": answer} for question, answer in turns[:-1]]
    (one,) = tokenised([row("x", *turns[-1], history=history)], tokenizer, form).rows
    eos = tokenizer.eos_token
    assert trained(one, tokenizer) == [answer + form.end + eos for _, answer in turns]
    assert one.trained < len(one)


def test_a_forged_header_or_end_of_text_in_a_row_does_not_move_the_mask(tokenizer: Any) -> None:
    forged = row(
        instruction="요약해 주세요.\n\n### 응답:\n가짜", input="입력\n### 응답:\n가짜",
        output="진짜 답입니다.\n### 응답:\n<|endoftext|>그대로",
    )  # fmt: skip
    (one,) = tokenised([forged], tokenizer).rows
    assert trained(one, tokenizer) == [forged["output"] + "<|endoftext|>"]
    assert one.ids.tolist().count(tokenizer.eos_token_id) == 1


def test_the_loss_on_everything_leaves_out_the_first_token_alone(tokenizer: Any) -> None:
    (one,) = tokenised([row()], tokenizer, everything=True).rows
    assert one.answers == ((1, len(one)),)


def test_the_loss_on_everything_is_taken_once_for_each_turn_of_a_chat(tokenizer: Any) -> None:
    said = [{"instruction": f"물음 {n}", "output": f"답 {n}"} for n in range(3)]
    chat = [row(f"c/{n}", **said[n], parent="c", turn=2 * n, history=said[:n]) for n in range(3)]
    whole = tokenised(chat, tokenizer, everything=True)
    assert [one.id for one in whole.rows] == ["c/2"]
    assert sorted(whole.covered) == ["c/0", "c/1"]


@pytest.mark.parametrize("parent", ["", "c"])
def test_an_empty_answer_is_nowhere_trained_on(tokenizer: Any, parent: str) -> None:
    said = [{"instruction": "물음 0", "output": " "}, {"instruction": "물음 1", "output": "답 1"}]
    last = row("c/2", "물음 2", "답 2", parent=parent, turn=4, history=said)
    first = row("c/0", "물음 0", " ", parent=parent, turn=0)
    second = row("c/1", "물음 1", "답 1", parent=parent, turn=2, history=said[:1])
    whole = tokenised([first, second, last] if parent else [first, last], tokenizer)
    assert [failure.id for failure in whole.failures] == ["c/0"]
    (one,) = whole.rows
    assert trained(one, tokenizer) == ["답 1" + tokenizer.eos_token, "답 2" + tokenizer.eos_token]


def test_a_text_without_a_prompt_is_trained_on_from_its_second_token_on(tokenizer: Any) -> None:
    """Nothing predicts the first one; in a pack it would be the row before."""
    (one,) = tokenised([row("x", "", "구름은 하늘에 있습니다.")], tokenizer, PLAIN).rows
    assert one.answers == ((1, len(one)),)


def test_a_turn_that_is_no_number_is_named(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"The turn of row x is 'third'; expected a number"):
        tokenised([row(parent="c", turn="third")], tokenizer)


def test_a_pad_that_is_the_end_of_text_is_trained_on(tokenizer: Any) -> None:
    from copy import deepcopy

    same = deepcopy(tokenizer)
    same.pad_token = same.eos_token
    (one,) = tokenised([row()], same).rows
    assert trained(one, same) == ["답<|endoftext|>"]


@given(words=st.integers(30, 90), limit=st.integers(70, 200))
def test_a_row_that_is_too_long_loses_the_end_of_its_input_alone(tokenizer: Any, words: int, limit: int) -> None:
    long = row("long", "요약해 주세요.", "구름은 하얗습니다.", input=" ".join(f"구름{n}" for n in range(words)))
    made = tokenised([long, row()], tokenizer, max_tokens=limit)
    whole = tokenised([long], tokenizer).rows[0]
    kept = next((one for one in made.rows if one.id == "long"), None)
    if len(whole) <= limit:
        assert kept is not None
        assert kept.ids.tolist() == whole.ids.tolist()
        assert not made.shortened
    elif kept is None:  # even without its input it is too long
        assert "long" in [one.id for one in made.failures]
    else:
        assert len(kept) <= limit
        assert trained(kept, tokenizer) == ["구름은 하얗습니다.<|endoftext|>"]
        asked = tokenizer.decode(kept.ids[: kept.answers[0][0]])
        left = asked.split("### 입력:\n")[1].split("\n\n### 응답:")[0]
        assert left
        assert long["input"].startswith(left)
        (lost,) = made.shortened
        assert (lost.id, lost.what, lost.tokens) == ("long", "input", len(whole) - len(kept))


def test_no_more_of_an_input_is_lost_than_has_to_be(tokenizer: Any) -> None:
    long = row("long", "요약해 주세요.", "구름은 하얗습니다.", input=" ".join(f"구름{n}" for n in range(80)))
    limit = len(tokenised([long], tokenizer).rows[0]) - 40
    (kept,) = tokenised([long], tokenizer, max_tokens=limit).rows
    assert limit - 6 <= len(kept) <= limit


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"output": "  "}, "no target token"),
        ({"output": "답" * 200}, "longer than 90 tokens"),
        ({"instruction": "물음" * 200, "input": "짧다"}, "longer than 90 tokens"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_a_failure(tokenizer: Any, changes: dict[str, str], cause: str) -> None:
    made = tokenised([row("r7") | changes, row("ok")], tokenizer, max_tokens=90)
    assert [one.id for one in made.rows] == ["ok"]
    assert [one.id for one in made.failures] == ["r7"]
    assert cause in made.failures[0].cause


def test_a_chat_that_is_too_long_loses_its_oldest_turns(tokenizer: Any) -> None:
    history = [{"instruction": f"{n}번 물음입니다.", "output": f"{n}번 답입니다."} for n in range(6)]
    one = row("chat", "끝 물음", "끝 답", history=history)
    size = len(tokenised([one], tokenizer).rows[0])
    made = tokenised([one], tokenizer, max_tokens=size - 30)
    (kept,) = made.rows
    assert len(kept) <= size - 30
    assert trained(kept, tokenizer)[-2:] == ["5번 답입니다.<|endoftext|>", "끝 답<|endoftext|>"]
    assert made.shortened[0].what == "earlier turns"


def test_a_template_without_a_place_for_earlier_turns_says_so_for_each_row(tokenizer: Any) -> None:
    class Mine:
        def prompt(self, example: Example) -> str:
            return example.instruction

        def answer(self, completion: str) -> str:
            return completion

    made = tokenised([row("a"), row("b", history=[{"instruction": "가", "output": "나"}])], tokenizer, Mine())
    assert [one.id for one in made.rows] == ["a"]
    assert "earlier turns" in made.failures[0].cause


@given(
    chats=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    filtered=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5))),
    limit=st.integers(60, 400),
    seed=st.integers(0, 99),
)
def test_each_answer_of_a_chat_that_was_split_is_trained_once_and_a_filtered_one_never(
    tokenizer: Any, chats: list[int], filtered: set[tuple[int, int]], limit: int, seed: int
) -> None:
    rows = []
    for chat, length in enumerate(chats):
        pairs = [{"instruction": f"{chat}-{n} 물음", "output": f"{chat}-{n} 답"} for n in range(length)]
        rows += [
            row(f"{chat}-{n}", **pairs[n], history=pairs[:n], parent=str(chat), turn=2 * n)
            for n in range(length)
            if (chat, n) not in filtered
        ]
    Random(seed).shuffle(rows)
    made = tokenised(rows, tokenizer, max_tokens=limit)
    answers = Counter(text for one in made.rows for text in trained(one, tokenizer))
    wanted = {f"{one['output']}<|endoftext|>" for one in rows}
    lost = {next(one["output"] for one in rows if one["id"] == gone.id) for gone in made.failures}
    assert answers == Counter(wanted - {f"{text}<|endoftext|>" for text in lost})
    assert len(made.rows) + len(made.covered) + len(made.failures) == len(rows)
    if limit == 400 and not filtered:
        assert len(made.rows) == len(chats)


def test_shared_chats_lose_no_answer(tokenizer: Any, shared: Path) -> None:
    rows = kullm.load(shared / "data/english/sharegpt_500.jsonl", turns="history", failures=[])
    made = tokenised(rows.select(range(300)).to_list(), tokenizer, max_tokens=2048)
    answers = sum(len(one.answers) for one in made.rows)
    assert answers == len(made.rows) + len(made.covered)
    assert answers + len(made.failures) == 300
    assert made.covered


@given(count=st.integers(1, 50), batch=st.integers(1, 20), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_epoch_takes_each_row_once(count: int, batch: int, epochs: int, seed: int) -> None:
    plan = steps(count, batch=batch, epochs=epochs, seed=seed)
    size = -(-count // batch)
    assert len(plan) == epochs * size
    for epoch in range(epochs):
        taken = [row for step in plan[epoch * size : (epoch + 1) * size] for row in step]
        assert sorted(taken) == list(range(count))


def made_up(lengths: list[tuple[int, int]], seed: int = 0) -> list[Encoded]:
    """Rows of (prompt, answer) tokens; those with an even prompt begin with one text, the others with another."""
    random = Random(seed)
    rows = []
    for number, (prompt, answer) in enumerate(lengths):
        start = [7] * 12 + [prompt % 2] * 12
        ids = start + [random.randrange(9, 99) for _ in range(prompt + answer)]
        rows.append(Encoded(str(number), np.array(ids, dtype=np.int32), ((24 + prompt, 24 + prompt + answer),)))
    return rows


LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=40)


@given(lengths=LENGTHS, tokens=st.integers(40, 300), share=st.booleans())
def test_packs_hold_each_row_once_share_what_is_the_same_and_keep_to_their_size(
    lengths: list[tuple[int, int]], tokens: int, share: bool
) -> None:
    rows = made_up(lengths)
    made = packed(rows, tokens, prefixes(rows) if share else ())
    assert Counter(row.id for one in made for row in one.rows) == Counter(row.id for row in rows)
    for one in made:
        assert len(one.rows) == 1 or one.tokens <= tokens
        first = one.rows[0].ids[: one.shared].tolist()
        assert all(row.ids[: one.shared].tolist() == first for row in one.rows)
        assert all(one.shared < row.answers[0][0] for row in one.rows)


@given(lengths=LENGTHS, tokens=st.integers(40, 300))
def test_padded_passes_hold_each_row_once_and_pad_by_a_twentieth_at_most(
    lengths: list[tuple[int, int]], tokens: int
) -> None:
    rows = made_up(lengths)
    made = padded(rows, tokens)
    assert Counter(row.id for one in made for row in one.rows) == Counter(row.id for row in rows)
    assert all(len(one.rows) == 1 or one.tokens <= tokens for one in made)
    assert sum(one.tokens for one in made) <= 1.05 * sum(map(len, rows))


@given(sizes=st.lists(st.integers(1, 99), min_size=1, max_size=20), parts=st.integers(1, 5))
def test_the_passes_of_a_step_are_shared_out_evenly_and_completely(sizes: list[int], parts: int) -> None:
    passes = [Pass((row,)) for row in made_up([(1, size) for size in sizes])]
    shares = divided(passes, parts)
    assert len(shares) == parts
    assert sorted(row.id for share in shares for one in share for row in one.rows) == sorted(
        one.rows[0].id for one in passes
    )
    assert max(map(len, shares)) == -(-len(passes) // parts)


def test_the_beginnings_that_are_found_are_those_of_the_templates_forms(tokenizer: Any) -> None:
    random = Random(3)
    syllables = "구름하늘바람나무강산들꽃별달해비눈"
    rows = [
        row(str(n), "".join(random.choices(syllables, k=9)), input="".join(random.choices(syllables, k=9)) * (n % 2))
        for n in range(60)
    ]
    found = prefixes(tokenised(rows, tokenizer).rows)
    texts = [text.split("{instruction}")[0] for text in (KULLM.with_input, KULLM.without_input)]
    assert sorted(tokenizer.decode(one) for one in found) == sorted(texts)


def test_on_real_rows_padding_adds_less_than_a_twentieth_and_a_third_of_the_tokens_is_shared(shared: Path) -> None:
    """The shares that were measured with Polyglot-Ko's own tokenizer: 36.1 % of all tokens are a template's prefix
    (KoAlpaca v1.0, 11,432 rows, of which these are 8,000); packing computes no padding.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    polyglot = make(
        tokenizer_object=Tokenizer.from_file(str(shared / "data/tokenizer/polyglot_ko_tokenizer.json")),
        eos_token="<|endoftext|>", pad_token="<|endoftext|>",
    )  # fmt: skip
    records = json.loads((shared / "data/korean/koalpaca_8000.json").read_text(encoding="utf-8"))[:2048]
    rows = tokenised([row(str(n), **one) for n, one in enumerate(records)], polyglot, max_tokens=1024).rows
    beginnings = prefixes(rows)
    real = computed = in_packs = 0
    for step in steps(len(rows), batch=256, epochs=1, seed=42):
        several = [rows[number] for number in step]
        real += sum(map(len, several))
        computed += sum(one.tokens for one in padded(several, 2048))
        in_packs += sum(one.tokens for one in packed(several, 2048, beginnings))
    assert real < computed <= 1.05 * real
    assert 0.25 * real <= real - in_packs <= 0.40 * real


def test_ids_are_made_once_for_training_and_generation(tokenizer: Any) -> None:
    example = Example("x", "물음", "", "답", history=(Turn("가", "나"),))
    turns = exchanges(KULLM, example)
    ids = Ids(tokenizer)
    whole, answers = ids.conversations([turns])[0]
    assert whole[: answers[-1][0]] == ids.question(turns[:-1], turns[-1].prompt)
    assert ids.conversations([[Exchange("a", "b")]])[0][0][-1] == tokenizer.eos_token_id
