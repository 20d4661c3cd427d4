"""Fixtures that several test files share: the real data beside the repository, and a tiny model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # the libraries look once, when they are imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and threads that wait for each other crawl

# The same examples on every machine: a run that failed fails again. `pytest --hypothesis-profile default` searches on.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of real data; a test that asks for it is skipped where it is absent."""
    if not SHARED.is_dir():
        assert not os.environ.get("KULLM_REQUIRE_SHARED"), "the shared data must be here"
        pytest.skip("the shared data is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _no_keys_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test pays, asks a hub, or leaves a memory in the working folder."""
    for name in ("DEEPL_AUTH_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny base models of several architectures."""
    from chaos_train import bases

    folder = tmp_path_factory.mktemp("bases")
    bases(folder)
    return folder


@pytest.fixture(scope="session")
def begun(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed with the checkpoints of its steps 2 and 4."""
    from chaos_train import Runs, Stop

    out = tmp_path_factory.mktemp("begun") / "out"
    assert Runs(models).code(out, {}, Stop("step", 5)) == -9
    return out


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-NeoX of two small layers, as Polyglot-Ko is built, and a Korean tokenizer of 600 pieces."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "neox"
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    demo = Path(__file__).parents[1] / "src" / "kullm" / "demo"
    texts = [path.read_text(encoding="utf-8") for path in sorted(demo.glob("*.ko.jsonl"))]
    special = ["<pad>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=pieces, pad_token="<pad>", eos_token="<|endoftext|>", padding_side="left")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_ran: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed and "shared" in report.keywords:
        _ran.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where KULLM_REQUIRE_SHARED is set, a run of everything in which no test read the real data has failed."""
    controller = not hasattr(session.config, "workerinput")
    if os.environ.get("KULLM_REQUIRE_SHARED") and controller and not _ran:
        print("\nThe shared data is here and no test marked shared has passed.")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
