# The few verbs. Each makes .venv by itself where there is none.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:            ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)   ## train a 784-100-10 network on MNIST digits: a master and two workers
	$(BIN)/ps-local examples/mnist_mlp.py --workers 2 --out runs/mnist_mlp.safetensors

test: $(READY)   ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(READY)   ## ruff (lint and format) and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## measure a synchronisation round; writes benchmarks/results/
	$(BIN)/python benchmarks/round_trip.py

clean:           ## remove the virtual environment and what runs left
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
