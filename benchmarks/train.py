"""Training: PolyglotLoRA against transformers.Trainer used the way KULLM's script used it (padded batches, all logits).

Same rows, model, adapter, effective batch and precision; each in a process of its own, in turn. Prints tokens a second
(real tokens of the rows, the padding not counted), peak memory and the ratios.

    python benchmarks/train.py [--rows 96] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

DEMO = Path(__file__).parents[1] / "src" / "kullm" / "demo"
RANK, ALPHA, BATCH, MICRO = 16, 32, 32, 8


def rows(count: int) -> Any:
    """Korean rows of the demo."""
    import kullm
    from kullm.translators import Recorded

    english = kullm.load(*(str(DEMO / name) for name in ("alpaca.json", "dolly.jsonl", "sharegpt.json")))
    pairs = Recorded(*(str(DEMO / f"{name}.ko.jsonl") for name in ("alpaca", "dolly", "sharegpt")))
    return kullm.translate(english, pairs, memory=None).select(range(count))


def base(folder: Path) -> None:
    """A GPT-NeoX of about 30 million weights, a vocabulary of 30,000, and a tokenizer made from the demo texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=30_000, special_tokens=["<pad>", "<|endoftext|>"], show_progress=False)
    pieces.train_from_iterator([path.read_text(encoding="utf-8") for path in DEMO.glob("*.ko.jsonl")], trainer)
    PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="<pad>", eos_token="<|endoftext|>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=30_000, hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)


def ours(folder: Path, count: int) -> dict[str, float]:
    import kullm.trainers.sft  # noqa: F401 - what is imported is not timed
    from kullm.templates import KULLM
    from kullm.trainers import PolyglotLoRA

    trainer = PolyglotLoRA(
        str(folder), rank=RANK, alpha=ALPHA, epochs=1, batch=BATCH, pack_tokens=1024, dtype="float32"
    )
    data = rows(count)
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        card = trainer.train(data, KULLM, out).card
    return {"seconds": time.perf_counter() - start, "tokens": card["tokens"]}


def plain(folder: Path, count: int) -> dict[str, float]:
    """transformers.Trainer with its seq2seq collator: padded micro-batches, labels of -100 on the prompt."""
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from kullm.models.huggingface import load_causal, quiet
    from kullm.rows import example
    from kullm.templates import KULLM
    from kullm.trainers.batches import Encoded, encode

    data = rows(count)
    start = time.perf_counter()
    with quiet(), tempfile.TemporaryDirectory() as out:
        model, tokenizer = load_causal(str(folder), dtype="float32")
        encoded = [encode(example(row), KULLM, tokenizer, 1024) for row in data]
        good = [row for row in encoded if isinstance(row, Encoded)]
        items = [
            {"input_ids": list(row.ids), "labels": [-100] * row.prompt + list(row.ids[row.prompt :])} for row in good
        ]
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["query_key_value"], task_type="CAUSAL_LM")
        arguments = TrainingArguments(
            output_dir=out, num_train_epochs=1, per_device_train_batch_size=MICRO, learning_rate=3e-4,
            disable_tqdm=True, gradient_accumulation_steps=BATCH // MICRO, report_to="none",
            dataloader_pin_memory=False, save_strategy="no",
        )  # fmt: skip
        collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
        trainer = Trainer(
            get_peft_model(model, config), arguments, train_dataset=items, data_collator=collator  # type: ignore[arg-type]
        )  # fmt: skip
        trainer.train()
    return {"seconds": time.perf_counter() - start, "tokens": sum(len(row.ids) for row in good)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("WHICH", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        which, folder = options.one
        result = (ours if which == "kullm" else plain)(Path(folder), options.rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print("RESULT", json.dumps(result | {"peak": peak}))
        return
    found: dict[str, list[dict[str, float]]] = {"kullm": [], "Trainer": []}
    with tempfile.TemporaryDirectory() as folder:
        base(Path(folder))
        for _ in range(options.rounds):
            for which, results in found.items():
                command = [sys.executable, __file__, "--rows", str(options.rows), "--one", which, folder]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                results.append(json.loads(said.split("RESULT", 1)[1].splitlines()[0]))
    speed = {which: median(one["tokens"] / one["seconds"] for one in results) for which, results in found.items()}
    peak = {which: median(one["peak"] for one in results) for which, results in found.items()}
    for which in found:
        print(f"{which:<8} {speed[which]:8.0f} tokens/s {peak[which]:6.2f} GiB peak")
    print(f"ratio    {speed['kullm'] / speed['Trainer']:8.2f} speed    {peak['kullm'] / peak['Trainer']:6.2f} memory")


if __name__ == "__main__":
    main()
