# synvid: `make` prints what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
QUICK := $(addprefix tests/test_,$(addsuffix .py,arguments clip determinism numerics presets public_api scene \
	growth api_errors dataset_api json_schema mixtures progress)) tests/datasets_on_disk

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick lint types imports site check cases bench bench-train faults docs clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/synvid: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev: $(BIN)/synvid constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(BIN)/synvid  ## render a small dataset and a contact sheet into demo/
	$(BIN)/synvid render --preset moving_shapes --n 32 --shard-size 8 --out $(OUT)/data
	$(BIN)/synvid preview moving_shapes --out $(OUT)/moving_shapes.png
	@echo "Look at $(OUT)/moving_shapes.png; the dataset is in $(OUT)/data, described by $(OUT)/data/README.md"

test: $(VENV)/dev  ## run the whole test suite
	$(BIN)/python -m pytest -n auto --dist worksteal

test-quick: $(VENV)/dev  ## run the quick tests of the generator, the datasets and the command line
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(QUICK)

lint: $(VENV)/dev  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev  ## check types
	$(BIN)/mypy

imports: $(VENV)/dev  ## check that modules import only from lower layers
	$(BIN)/lint-imports

site: $(VENV)/dev  ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: test lint types imports site  ## everything that CI runs

cases: $(VENV)/dev  ## regenerate the golden cases (a change of output: note it in CHANGELOG.md)
	$(BIN)/python tests/regenerate_cases.py

bench: $(VENV)/dev  ## measure speed against other libraries
	$(BIN)/python benchmarks/bench.py

bench-train: $(VENV)/dev  ## measure training: model, loader, time spent waiting for data
	$(BIN)/python benchmarks/bench_train.py

faults: $(VENV)/dev  ## disturb renders and training runs at random, check that no work is lost
	$(BIN)/python benchmarks/faults.py

docs: $(VENV)/dev  ## draw the images of the documentation and measure its tables
	$(BIN)/python docs/draw.py all

clean:  ## remove everything that make created
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
