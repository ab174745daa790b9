# Every target is one command a person could type; each prints the line that it runs.
#
#   make train CONFIG=large_dcn_clippy.gin SCALE=proxy
#   make train CONFIG=… DATA=kuairand RAW=folder RUN=runs/x SET="train_and_evaluate.seed=3"
#   make sweep SWEEP=experiments/lr_multipliers.gin
#   make test

CONFIG ?=
MODEL ?=
METHOD ?=
DATA ?= synthetic
SCALE ?= paper
RAW ?=
ENGINE ?=
HARDWARE ?=
RUN ?=
SET ?=
SWEEP ?=
REFERENCE ?= Clippy
JOBS ?=
SHARD ?=
TESTS ?= --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# The first Python 3.10 to 3.12 there is; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
  && echo $$p && break; done)
BIN := .venv/bin
# A value as one word of the shell, whatever quotes it holds.
quoted = '$(subst ','\'',$(strip $(1)))'
export TFDS_DATA_DIR ?= data/raw/tensorflow_datasets

.PHONY: help setup train prepare data-report sweep table2 table3 compare figures findings report test test-stacks test-spark tpu-check gpu-check lint doctor bench lock clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
	@sed -n 's/^\([a-z][a-z0-9 -]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: .venv/ready ## .venv with the locked versions; the others do it themselves

# The lock is complete, so pip need not resolve anything (--no-deps). All is compiled here, by all cores:
# where PYTHONDONTWRITEBYTECODE is set, every process would otherwise compile TensorFlow again, 5 s each.
.venv/ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.12 found; give PYTHON=/path/to/python" >&2; exit 2; }
	@test ! -L .venv || { echo "error: .venv is a link; remove it, or make setup where it leads" >&2; exit 2; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (once, about two minutes)"
	@$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null || true # some packages ship templates that are no Python
	@touch $@

# What is empty is not given, so that the command's own default holds.
flag = $(if $(strip $(2)),--$(1)=$(call quoted,$(2)))
LOG = $(call flag,data,$(DATA)) $(call flag,raw,$(RAW))
PREPARED = $(LOG) $(call flag,engine,$(ENGINE))
RUNS = $(call flag,raw,$(RAW)) $(call flag,jobs,$(JOBS)) $(call flag,shard,$(SHARD)) $(call flag,engine,$(ENGINE))

train: setup ## one run: CONFIG, or MODEL and METHOD; DATA, SCALE, HARDWARE, RAW, RUN, SET
	$(BIN)/ranking train $(call flag,config,$(CONFIG)) $(call flag,model,$(MODEL)) \
	  $(call flag,method,$(METHOD)) $(PREPARED) $(call flag,scale,$(SCALE)) $(call flag,hardware,$(HARDWARE)) \
	  $(call flag,run,$(RUN)) $(call flag,set,$(SET))

prepare: setup ## the day store of a log, which train makes itself: DATA, RAW, ENGINE, SET
	$(BIN)/ranking prepare $(PREPARED) $(call flag,set,$(SET))

data-report: setup ## what a log holds day by day: DATA, RAW, SET
	$(BIN)/ranking data-report $(PREPARED) $(call flag,set,$(SET))

sweep: setup ## a grid of runs: SWEEP, and RAW, JOBS, SHARD=1/2, ENGINE=ray
	$(BIN)/ranking sweep $(call quoted,$(SWEEP)) $(RUNS)

table2: setup ## the paper's comparison of methods: DATA, RAW, JOBS, SHARD
	$(BIN)/ranking sweep $(call quoted,experiments/table2_$(DATA).gin) $(RUNS)

table3: setup ## what makes training fragile: DATA, RAW, JOBS, SHARD
	$(BIN)/python -m experiments table3 $(call quoted,experiments/table3_$(DATA).gin) $(RUNS)

compare: setup ## every method against REFERENCE, paired: SWEEP, or DATA; RAW, JOBS, SHARD
	$(BIN)/ranking compare $(call quoted,$(or $(SWEEP),experiments/table2_$(DATA).gin)) \
	  $(call flag,reference,$(REFERENCE)) $(RUNS)

figures: setup ## the figures of the paper: DATA, RAW, JOBS
	$(BIN)/python -m experiments figures $(LOG) $(call flag,jobs,$(JOBS))

findings: setup ## experiments/findings.md from the finished runs
	$(BIN)/python -m experiments findings

report: setup ## runs/report.html, all that was run on one page
	$(BIN)/python -m experiments report $(if $(filter-out file,$(origin DATA)),$(call flag,data,$(DATA)))

# A thread each: processes that all want every core get in each other's way.
test: export OMP_NUM_THREADS ?= 1
test: export TF_NUM_INTRAOP_THREADS ?= 1
test: setup ## all tests, or TESTS=tests/test_window.py
	$(BIN)/python -m pytest $(TESTS)

# Beside .venv, which has neither library. pip takes PyTorch for GPUs, some GB, unless an index of CPU
# builds is named to it (PIP_EXTRA_INDEX_URL) or STACKS="torch==…" a version that lies on this disk.
STACKS ?= torch jax optax
test-stacks: setup ## the twins of the optimizers for PyTorch and JAX: STACKS
	test -d .venv-stacks || { $(BIN)/python -m venv .venv-stacks && \
	  echo "$(CURDIR)/$$(echo .venv/lib/python3*/site-packages)" > $$(echo .venv-stacks/lib/python3*/site-packages)/shared.pth; }
	.venv-stacks/bin/pip install --quiet --disable-pip-version-check $(STACKS)
	.venv-stacks/bin/python -m pytest tests/test_torch_twin.py tests/test_optax_twin.py

test-spark: setup ## the same stores from Spark as from DuckDB; needs Java 17
	$(BIN)/pip install --quiet --disable-pip-version-check "pyspark>=4.0"
	$(BIN)/python -m pytest tests/test_engine.py -k spark

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Each beside .venv, as its JAX is not for one process with TensorFlow.
TOPOLOGY ?= v5e:2x2
BATCH ?= 65536
tpu-check: setup ## compiles the training step for a TPU that is not here: CONFIG, DATA, SCALE, TOPOLOGY, BATCH
	test -d .venv-tpu || $(BIN)/python -m venv .venv-tpu
	.venv-tpu/bin/pip install --quiet --disable-pip-version-check -e '.[tpu-check]'
	$(BIN)/ranking tpu-check $(call flag,config,$(CONFIG)) $(call flag,model,$(MODEL)) \
	  $(call flag,method,$(METHOD)) $(PREPARED) $(call flag,scale,$(SCALE)) $(call flag,hardware,$(HARDWARE)) \
	  $(call flag,set,$(SET)) $(call flag,topology,$(TOPOLOGY)) $(call flag,batch-size,$(BATCH))

GPU ?= h100
gpu-check: setup ## compiles the training step for a GPU, and times it where there is one: CONFIG, DATA, SCALE, GPU, BATCH
	test -d .venv-gpu || $(BIN)/python -m venv .venv-gpu
	.venv-gpu/bin/pip install --quiet --disable-pip-version-check -e '.[gpu-check]'
	$(BIN)/ranking gpu-check $(call flag,config,$(CONFIG)) $(call flag,model,$(MODEL)) \
	  $(call flag,method,$(METHOD)) $(PREPARED) $(call flag,scale,$(SCALE)) $(call flag,hardware,$(HARDWARE)) \
	  $(call flag,set,$(SET)) $(call flag,gpu,$(GPU)) $(call flag,batch-size,$(BATCH))

doctor: setup ## checks Python, Keras, devices, memory, disk and data
	$(BIN)/ranking doctor

bench: setup ## speed of metrics and optimizers, as ratios
	$(BIN)/python -m scripts.bench_metrics
	$(BIN)/python -m scripts.bench_optimizers --quick

lock: ## requirements.lock from pyproject.toml; needs uv
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.10 \
	  --no-emit-index-url -o requirements.lock

clean: ## removes .venv and the others beside it
	rm -rf .venv .venv-stacks .venv-tpu .venv-gpu
