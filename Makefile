# Two commands matter: `make demo` does the main job, `make test` checks everything. Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/data

.PHONY: demo test check docs bench setup clean

demo: .venv/.demo  ## translate, filter, tune, answer, judge, report: on small data, without a key
	$(BIN)/kullm demo

test: check  ## style, types, layers, and all tests
	$(BIN)/pytest -n 2 --dist loadgroup

check: .venv/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.dev  ## the site, in site/; a broken link is an error
	$(BIN)/zensical build --strict

bench: .venv/.bench  ## ratios against named baselines; the newest figures are in docs/benchmarks.md
	$(BIN)/python benchmarks/translate.py
	@test -d $(DATA) || echo "The other benchmarks take real rows, in the folder DATA; $(DATA) is not there."
	test ! -d $(DATA) || $(BIN)/python benchmarks/train.py --data $(DATA)
	test ! -d $(DATA) || $(BIN)/python benchmarks/chats.py $(DATA)/english/sharegpt_500.jsonl
	test ! -d $(DATA) || $(BIN)/python benchmarks/rouge.py $(DATA)/korean/koalpaca_8000.json
	test ! -d $(DATA) || $(BIN)/python benchmarks/langid.py --data $(DATA)
	test ! -d $(DATA) || $(BIN)/python benchmarks/translated.py $(DATA)
	test ! -d $(DATA) || $(BIN)/python benchmarks/duplicates.py $(DATA)
	test ! -d $(DATA) || $(BIN)/python benchmarks/contamination.py $(DATA)
	test ! -d $(DATA) || $(BIN)/python benchmarks/keep.py $(DATA)/korean/koalpaca_8000.json

setup: .venv/.dev

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps dataset-translator==0.2.0
	@touch $@

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kullm needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

.venv/.dev: .venv/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@ .venv/.demo

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache site runs
