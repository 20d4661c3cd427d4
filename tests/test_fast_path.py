"""Every fast way of training has the gradients of the plain loop: one row at a time, all logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AttentionInterface

from kullm.models.loading import load_causal, quiet
from kullm.templates import CHATML, KULLM
from kullm.trainers.batches import Encoded, encode
from kullm.trainers.exact import exact_way
from kullm.trainers.loss import Way, computing_loss, plain_loss
from kullm.trainers.packed import NAME, attention, tensors
from kullm.trainers.steps import Pass, packed, padded, prefixes
from samples import rows

pytestmark = pytest.mark.slow

FAMILIES = ("gpt_neox", "llama", "gemma2", "gemma3", "qwen2", "cohere", "granite")
"""Polyglot-Ko's architecture, and those with grouped heads, windows, capped or scaled logits, and norms of heads."""


def model_of(tiny: Path, family: str, **changes: Any) -> Any:
    """A small random model of an architecture; GPT-NeoX is the one of the fixture."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if family == "gpt_neox":
        return load_causal(str(tiny), dtype="float32")[0]
    torch.manual_seed(1)
    common = {"vocab_size": 600, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "num_hidden_layers": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    own: dict[str, dict[str, Any]] = {
        "gemma2": sizes | {"head_dim": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        "gemma3_text": sizes
        | {"head_dim": 8, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "cohere": sizes | {"logit_scale": 0.25},
        "granite": sizes | {"logits_scaling": 8.0, "attention_multiplier": 0.2, "embedding_multiplier": 2.0},
        "opt": {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 4, "word_embed_proj_dim": 32},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "falcon": {"hidden_size": 32, "num_attention_heads": 4, "alibi": True},
    }  # fmt: skip
    name = {"gemma3": "gemma3_text"}.get(family, family)
    config = AutoConfig.for_model(name, **(common | own.get(name, sizes) | changes))
    build: Any = AutoModelForCausalLM.from_config
    return build(config, attn_implementation="eager" if family in ("gemma2", "bloom") else "sdpa")


def adapted(model: Any, **changes: Any) -> Any:
    """With an adapter whose second half is not zero, so that every gradient is there."""
    with quiet():
        from peft import LoraConfig, get_peft_model

    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = [name for name in ("query_key_value", "q_proj", "v_proj") if name in names]
    with quiet():
        made = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **({"target_modules": targets} | changes))
        )
    torch.manual_seed(2)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.fixture(scope="module")
def encoded(tiny: Path) -> list[Encoded]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    return [row for part in encode(rows(9), KULLM, tokenizer, max_tokens=512) for row in part.rows]


def gradients(model: Any) -> dict[str, Any]:
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


def plain(model: Any, several: Sequence[Encoded]) -> dict[str, Any]:
    """The gradients of the plain loop, of the mean over all trained tokens."""
    for row in several:
        loss: Any = plain_loss(model, row.ids.tolist(), row.answers) / sum(one.trained for one in several)
        loss.backward()
    return gradients(model)


def fast(model: Any, passes: Sequence[Pass], way: Way) -> dict[str, Any]:
    trained = sum(row.trained for one in passes for row in one.rows)
    with computing_loss(model, way):
        for one in passes:
            (model(**tensors(one)) / trained).backward()
    return gradients(model)


def apart(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """How far gradients are from those that are wanted, relative to their size."""
    assert found.keys() == wanted.keys()
    error = sum(float((found[name].double() - wanted[name].double()).square().sum()) for name in wanted)
    size = sum(float(one.double().square().sum()) for one in wanted.values())
    assert size > 0
    return float((error / size) ** 0.5)


WAYS: dict[str, tuple[Way, Callable[[Sequence[Encoded]], list[Pass]]]] = {
    "packed, shared beginning": (Way(True, True), lambda rows: packed(rows, 700, prefixes(rows))),
    "packed": (Way(True, True), lambda rows: packed(rows, 700)),
    "packed, all logits": (Way(True, False), lambda rows: packed(rows, 700, prefixes(rows))),
    "padded": (Way(False, True), lambda rows: padded(rows, 700)),
    "padded, all logits": (Way(False, False), lambda rows: padded(rows, 700)),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_plain_loop(tiny: Path, encoded: list[Encoded], family: str, name: str) -> None:
    way, divide = WAYS[name]
    model = adapted(model_of(tiny, family))
    passes = divide(encoded)
    assert any(len(one.rows) > 1 for one in passes)
    assert any(one.shared for one in passes) == ("shared" in name or name == "packed, all logits")
    assert apart(fast(model, passes, way), plain(model, encoded)) <= 1e-6


@pytest.mark.parametrize("family", ["gpt_neox", "gemma2", "gemma3", "qwen2"])
def test_gradients_are_those_of_the_plain_loop_the_way_a_gpu_computes_them(
    tiny: Path, encoded: list[Encoded], family: str
) -> None:
    """Rows of about one length in one call, padded; here on a CPU."""
    passes = packed(encoded, 2000, prefixes(encoded))
    assert any(len(one) <= 1.25 * len(two) for each in passes for one, two in pairwise(each.rows))
    model = adapted(model_of(tiny, family))
    AttentionInterface.register(NAME, partial(attention, together=True))
    try:
        assert apart(fast(model, passes, Way()), plain(model, encoded)) <= 1e-6
    finally:
        AttentionInterface.register(NAME, attention)


@pytest.mark.parametrize("way", ["packed, shared beginning", "padded"])
@pytest.mark.parametrize("everything", [False, True])
def test_gradients_are_those_of_the_plain_loop_on_conversations(tiny: Path, everything: bool, way: str) -> None:
    """Several answers in a row, short ones, and the loss on all of it."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    said = [{"instruction": f"물음 {n}", "output": "네" if n % 2 else f"답은 {n}입니다."} for n in range(4)]
    chats = [{**said[n], "id": f"c{n}", "input": "", "history": said[:n]} for n in range(4)]
    made = encode(chats, CHATML, tokenizer, max_tokens=512, everything=everything)
    several = [row for part in made for row in part.rows]
    assert max(len(row.answers) for row in several) == (1 if everything else 4)
    how, divide = WAYS[way]
    model = adapted(model_of(tiny, "gpt_neox"))
    assert apart(fast(model, divide(several), how), plain(model, several)) <= 1e-6


@pytest.mark.parametrize("what", ["all weights", "a head with an adapter", "gradient checkpointing", "long rows"])
def test_gradients_are_those_of_the_plain_loop_whatever_is_trained(
    tiny: Path, encoded: list[Encoded], what: str
) -> None:
    model = model_of(tiny, "gpt_neox")
    if what == "all weights":
        model.requires_grad_(True)
    elif what == "a head with an adapter":
        model = adapted(model, target_modules=["query_key_value", "lm_head"])
    else:
        model = adapted(model)
    wanted = plain(model, encoded)
    if what == "gradient checkpointing":
        with quiet():
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    tokens = 100 if what == "long rows" else 700  # each row is longer than that
    assert apart(fast(model, packed(encoded, tokens, prefixes(encoded)), Way()), wanted) <= 1e-6


def test_in_bfloat16_the_fast_way_is_as_near_to_float32_as_the_plain_loop(tiny: Path, encoded: list[Encoded]) -> None:
    """Bits differ in the third digit whatever the order of sums: the error of both is stated against float32."""
    wanted = plain(adapted(model_of(tiny, "gpt_neox")), encoded)
    model = adapted(load_causal(str(tiny), dtype="bfloat16")[0])
    loop = apart(plain(model, encoded), wanted)
    ours = apart(fast(model, packed(encoded, 700, prefixes(encoded)), Way()), wanted)
    assert ours <= max(1.5 * loop, 0.02)


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "gemma2", "gemma3", "qwen2", "opt"])
def test_the_fastest_way_is_taken_where_it_is_exact(tiny: Path, encoded: list[Encoded], family: str) -> None:
    model = adapted(model_of(tiny, family, **({"max_position_embeddings": 1024} if family == "opt" else {})))
    tried: dict[str, Any] = {"longest": encoded[3], "quantised": False}
    assert exact_way(model, encoded[:3], shared=20, packing=True, **tried) == Way(True, True)
    assert exact_way(model, encoded[:3], shared=0, packing=False, **tried) == Way(False, True)


def test_a_window_that_only_the_mask_knows_is_seen_on_the_longest_row(tiny: Path, encoded: list[Encoded]) -> None:
    """As in phimoe, whose layers hand no window to the attention."""
    model = model_of(tiny, "qwen2", use_sliding_window=True, sliding_window=40, max_window_layers=0)
    for layer in model.model.layers:
        layer.self_attn.sliding_window = None
    short = [Encoded(row.id, row.ids[:30], ((20, 30),)) for row in encoded[:3]]
    tried: dict[str, Any] = {"shared": 0, "packing": True, "quantised": False}
    assert exact_way(model, short, longest=short[0], **tried) == Way(True, True)
    assert exact_way(model, short, longest=encoded[0], **tried) == Way(False, True)


@pytest.mark.parametrize("family", ["bloom", "falcon"])
def test_rows_are_not_packed_where_they_would_see_each_other(tiny: Path, encoded: list[Encoded], family: str) -> None:
    model = model_of(tiny, family)
    way = exact_way(model, encoded[:3], longest=encoded[3], shared=0, packing=True, quantised=False)
    assert way == Way(False, True)
    assert model.config._attn_implementation != NAME


def test_a_head_that_does_what_nobody_knows_gets_all_logits(tiny: Path, encoded: list[Encoded]) -> None:
    model = model_of(tiny, "gpt_neox")
    own = model.forward

    def forward(*arguments: Any, **given: Any) -> Any:
        out = own(*arguments, **given)
        out.logits = out.logits * 1.1
        return out

    model.forward = forward
    way = exact_way(model, encoded[:2], longest=encoded[2], shared=0, packing=True, quantised=False)
    assert way == Way(True, False)


def test_the_model_is_its_own_again_afterwards(tiny: Path, encoded: list[Encoded]) -> None:
    model = model_of(tiny, "gpt_neox")
    ids = torch.tensor([encoded[0].ids.tolist()])
    before = model(ids).logits
    with pytest.raises(ZeroDivisionError), computing_loss(model, Way()):
        raise ZeroDivisionError
    assert torch.equal(model(ids).logits, before)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=6),
    shared=st.integers(0, 12),
    window=st.none() | st.integers(2, 20),
    softcap=st.none() | st.just(2.0),
    together=st.booleans(),
)
def test_a_row_attends_to_the_shared_beginning_and_to_itself_alone(
    lengths: list[int], shared: int, window: int | None, softcap: float | None, together: bool
) -> None:
    """Against attention over the whole pass with a mask that says who sees whom, in float64."""
    torch.manual_seed(sum(lengths))
    tokens = shared + sum(lengths)
    query, key, value = (torch.randn(1, heads, tokens, 4, dtype=torch.float64) for heads in (4, 2, 2))
    owner = torch.tensor([0] * shared + [row for row, length in enumerate(lengths, 1) for _ in range(length)])
    place = torch.tensor([*range(shared), *(shared + n for length in lengths for n in range(length))])
    sees = (place[None] <= place[:, None]) & ((owner[None] == owner[:, None]) | (owner[None] == 0))
    if window is not None:
        sees &= place[None] > place[:, None] - window
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * 0.5
    scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
    wanted = scores.masked_fill(~sees, float("-inf")).softmax(-1) @ value.repeat_interleave(2, 1)
    found, _ = attention(
        torch.nn.Module(), query, key, value, None, rows_apart=(shared, tuple(lengths)), scaling=0.5,
        sliding_window=window, softcap=softcap, together=together,
    )  # fmt: skip
    assert np.abs((found.transpose(1, 2) - wanted).numpy()).max() <= (1e-12 if softcap is None else 1e-6)
