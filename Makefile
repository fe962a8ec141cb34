# The few verbs. Each makes .venv by itself where there is none.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BENCH  := .venv-bench

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

bench: $(BENCH)/.ready  ## measure rounds beside gloo, Open MPI and Ray, fan-in, memory, MNIST: benchmarks/results/
	$(BENCH)/bin/python benchmarks/run.py $(ARGS)

# What the comparison needs lives apart; a peer that cannot be installed is named in the report as missing.
$(BENCH)/.ready: pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@echo '*' > $(BENCH)/.gitignore
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	for peer in matplotlib torch==2.13.0 ray mpi4py; do \
	  $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" || echo "no $$peer"; done
	@touch $@

clean:           ## remove the virtual environment and what runs left
	rm -rf $(VENV) $(BENCH) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
