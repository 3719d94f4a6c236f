# synvid: `make` prints what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check cases bench bench-train faults docs clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/synvid: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev: $(BIN)/synvid constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(BIN)/synvid  ## render a small dataset into demo/ and draw it
	$(BIN)/synvid render --preset moving_shapes --n 32 --shard-size 8 --out $(OUT)/data
	$(BIN)/synvid preview moving_shapes --out $(OUT)/moving_shapes.png
	@echo "Look at $(OUT)/moving_shapes.png; the dataset is in $(OUT)/data, described by $(OUT)/data/README.md"

test: $(VENV)/dev  ## run the whole test suite
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/dev  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev  ## check types
	$(BIN)/mypy

check: test lint types  ## all that CI does

cases: $(VENV)/dev  ## write the golden cases anew: a change of output, say so in CHANGELOG.md
	$(BIN)/python tests/regenerate_cases.py

bench: $(VENV)/dev  ## measure everything that is said to be fast
	$(BIN)/python benchmarks/bench.py

bench-train: $(VENV)/dev  ## measure training: model, loader, waiting for data
	$(BIN)/python benchmarks/bench_train.py

faults: $(VENV)/dev  ## disturb renders and trainings at random and check that nothing is lost
	$(BIN)/python benchmarks/faults.py

docs: $(VENV)/dev  ## draw the pictures of the documentation anew
	$(BIN)/python docs/draw.py

clean:  ## remove what make made
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
