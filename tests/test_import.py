"""What `import kullm` costs, what is public, and what the source never does."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import kullm

SOURCE = Path(kullm.__path__[0])
ROOMS = [
    "remote", "templates", "models", "sources", "translators", "filters", "trainers", "judges", "reports", "testing",
    "cli",
]  # fmt: skip


def loads(code: str) -> set[str]:
    """The packages that a fresh interpreter loads for `code`, the standard library's apart."""
    script = f"""
import json, sys
before = set(sys.modules)
{code}
print("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    return names - set(sys.stdlib_module_names)


def test_what_this_file_measures_is_measured() -> None:
    assert "pydantic" in loads("import pydantic")


def test_importing_kullm_loads_no_other_package() -> None:
    assert loads("import kullm") == {"kullm"}


@pytest.mark.parametrize("module", ["testing", "errors", "rows", "plugins", "remote", "templates", "translators"])
def test_these_rooms_load_no_other_package_before_they_are_used(module: str) -> None:
    assert loads(f"import kullm.{module}") == {"kullm"}


def test_the_rooms_that_train_and_generate_load_without_torch() -> None:
    code = "import kullm\nfor name in kullm.__all__: getattr(kullm, name)"
    assert not loads(code) & {"torch", "transformers", "peft", "accelerate", "deepl", "openai", "langid"}


def test_the_help_of_the_command_line_loads_nothing_heavy() -> None:
    code = "sys.argv = ['kullm', '--help']\nfrom kullm.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
    heavy = {"torch", "transformers", "datasets", "pyarrow", "openai", "deepl", "langid", "numpy"}
    assert not loads(code + "    assert not end.code") & heavy


# What is public


def test_the_lazy_table_the_type_checkers_view_and_all_agree() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert isinstance(block.test, ast.Name)
    assert block.test.id == "TYPE_CHECKING"
    seen: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        seen |= {alias.name: node.module.removeprefix("kullm").removeprefix(".") for alias in node.names}
    assert set(seen) | {"__version__"} == set(kullm.__all__)
    assert {name: home for name, home in seen.items() if home} == kullm._HOME
    assert {name for name, home in seen.items() if not home} == set(kullm.__all__) - set(kullm._HOME) - {"__version__"}
    assert sorted(kullm.__all__) == sorted(set(kullm.__all__)) == sorted(dir(kullm))


@pytest.mark.parametrize("name", kullm.__all__)
def test_every_public_name_is_there_and_is_its_homes(name: str) -> None:
    value = getattr(kullm, name)
    if name in kullm._HOME:
        assert value is getattr(importlib.import_module(f"kullm.{kullm._HOME[name]}"), name)
    elif name != "__version__":
        assert isinstance(value, ModuleType)
        assert value.__name__ == f"kullm.{name}"


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tranlsate'"):
        _ = kullm.tranlsate


PUBLIC = [("", name) for name in kullm.__all__] + [
    (room, name) for room in ROOMS for name in importlib.import_module(f"kullm.{room}").__all__
]


def test_every_room_is_looked_at() -> None:
    assert sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")) == sorted(ROOMS)


@pytest.mark.parametrize(("room", "name"), PUBLIC)
def test_every_public_name_says_what_it_is(room: str, name: str) -> None:
    value = getattr(importlib.import_module(f"kullm.{room}" if room else "kullm"), name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        words = (value.__doc__ or "").strip()
        assert words, f"{name} has no docstring"
        assert not words.startswith(f"{name}("), f"{name} has only the docstring that a dataclass is given"


# What the source never does


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}", node


def forbidden(node: ast.AST) -> str:
    """What is wrong with a piece of source, or ""."""
    if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "shell"):
        return "" if isinstance(node.value, ast.Constant) and not node.value.value else node.arg
    if isinstance(node, ast.Dict):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        return "trust_remote_code" if "trust_remote_code" in keys else ""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        return next((name for name in names if name.partition(".")[0] in ("pickle", "dill", "marshal", "shelve")), "")
    if isinstance(node, ast.Call):
        call = ast.unparse(node.func)
        bad = ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
        if call == "torch.load":
            weights = [k.value for k in node.keywords if k.arg == "weights_only"]
            return "" if weights and ast.unparse(weights[0]) == "True" else call
        return call if call in bad else ""
    return ""


@pytest.mark.parametrize(
    "source",
    [
        "f(trust_remote_code=True)", "f(**{'trust_remote_code': True})", "f(trust_remote_code=x)", "import pickle",
        "from pickle import loads", "eval('1')", "yaml.load(x)", "os.system('ls')", "run('ls', shell=True)",
        "torch.load(x)",
    ],
)  # fmt: skip
def test_what_is_forbidden_is_found(source: str) -> None:
    assert any(forbidden(node) for node in ast.walk(ast.parse(source)))


def test_the_source_runs_no_code_from_elsewhere() -> None:
    assert [f"{place} {what}" for place, node in nodes() if (what := forbidden(node))] == []
