# The few verbs. Each makes .venv by itself where there is none.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PLOTS  := $(VENV)/.ready-plots
DEV    := $(VENV)/.ready-dev
BENCH  := .venv-bench
LAUNCHERS := openmpi-bin munge slurmctld slurmd slurm-client
APT    := -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300

COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) -f docker/compose.yaml

.DEFAULT_GOAL := help
.PHONY: help launchers demo compose compose-drill examples test lint bench soak fuzz chaos clean

help:            ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# Tests compare with PyTorch and JAX: much to install, which nobody needs who only wants to see a model train.
$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)   ## train a 784-100-10 network on MNIST digits: a master and two workers
	$(BIN)/ps-local examples/mnist_mlp.py --workers 2 --out runs/mnist_mlp.safetensors

compose:         ## the same with Docker: a container for the master and one for each of three workers
	$(COMPOSE) up --build --scale worker=3

compose-drill:   ## with a worker that is killed again and again, and one that is slow: the same weights
	PS_EPOCHS=$${PS_EPOCHS:-100} $(COMPOSE) --profile drill up --build --scale worker=2

examples: $(PLOTS)  ## run every example whole, with 1 and with 2 workers: examples/results/
	$(BIN)/python examples/run.py $(ARGS)

$(PLOTS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples]'
	@touch $@

# Hundreds of processes are started: each would compile all sources where no bytecode may be kept, and start
# threads of BLAS for every core, though it computes in as many as its job says.
test: $(DEV)   ## run the whole test suite; much of it waits, so three at once suit two cores
	PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadgroup

# As root on Debian. Without them the tests that need them are skipped, but not in CI.
launchers:       ## install Open MPI and Slurm, for the tests of ps-run
	dpkg -s $(LAUNCHERS) > /dev/null 2>&1 || { apt-get $(APT) update; apt-get $(APT) install -y --no-install-recommends $(LAUNCHERS); }

lint: $(DEV)   ## ruff (lint and format) and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BENCH)/.ready  ## measure rounds beside gloo, Open MPI and Ray, fan-in, memory, MNIST: benchmarks/results/
	$(BENCH)/bin/python benchmarks/run.py $(ARGS)

soak: $(DEV)   ## the random tests, ten times as long as in the suite
	RANDOM_RUNS=100 MASTER_KILLS=50 SIMULATION_SEEDS=5000 QUORUM_SEEDS=1000 $(BIN)/python -m pytest -n 2 \
	  tests/simulation/test_seeds.py tests/simulation/test_quorum_seeds.py \
	  tests/processes/test_random_runs.py tests/processes/test_master_strikes.py

fuzz: $(DEV)   ## a million inputs that are nearly right, to master, workers and averaging servers
	MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536 PYTHONPATH=tests $(BIN)/python -m security.fuzzing.run $(ARGS)

chaos: $(DEV)  ## kill, stop and cut off everything, and measure how long it takes to go on: benchmarks/results/
	$(BIN)/python benchmarks/chaos.py $(ARGS)

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
