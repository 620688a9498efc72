# `make setup` once, then `make demo` or `make test`. Needs Python 3.11+, make and pip; no compiler.
#
#   make setup PYTHON=python3.12                  another interpreter
#   make setup VENV_FLAGS=--system-site-packages  keep a torch that is installed already
#   make setup PIP_FLAGS='--constraint my.txt'    pins of your own
#   make pytest PYTEST_FLAGS='-k tangent -x'      a part of the tests

PYTHON ?= python3
VENV ?= .venv
VENV_FLAGS ?=
PIP_FLAGS ?=
PYTEST_FLAGS ?=
JOBS ?= 3

BIN := $(VENV)/bin
# protoc looks for its plugins there, tests for the command line.
export PATH := $(abspath $(BIN)):$(PATH)
# Tests start hundreds of processes; each would compile the sources again where this is set.
export PYTHONDONTWRITEBYTECODE :=
STAMP := $(VENV)/.setup-stamp
IMAGE := build/proto.binpb

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format proto pytest bench clean

help:
	@echo 'setup   create $(VENV) and install the project with its development tools'
	@echo 'demo    train, record, audit, sign and verify a three-stage model in a minute'
	@echo 'test    lint, then all tests'
	@echo 'lint    ruff, mypy, import layers, generated code, protobuf style'
	@echo 'format  rewrite the sources as ruff would have them'
	@echo 'proto   regenerate service/pb/v1 from proto/'
	@echo 'bench   all benchmarks (BENCH_FLAGS=--quick for a short run)'
	@echo 'clean   remove what the other targets made, except $(VENV)'

setup: $(STAMP)

# The stamp makes setup run again only when the requirements changed. pip keeps a torch that
# satisfies the range: nothing here asks for an upgrade.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/stageaudit demo

test: lint pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -P proto/generate.py --check
	$(BIN)/python -P docs/reference/generate.py --check
	mkdir -p $(dir $(IMAGE))
	$(BIN)/python -P proto/generate.py --image $(IMAGE)
	$(BIN)/buf lint $(IMAGE) --path stageaudit --config proto/buf.yaml
	$(BIN)/hadolint Dockerfile

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(STAMP)
	$(BIN)/python -P proto/generate.py

# One thread a process: the tests share the cores, and float sums do not depend on their number. More
# processes than two cores: half of the time of each goes to waiting for servers that it started.
pytest: $(STAMP)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

BENCH_FLAGS ?=
bench: $(STAMP)
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python -m benchmarks.verify_speed $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.mutated_bundles $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.import_model $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.retrain_vs_eager $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.replay_memory $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.lanes $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.throughput $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.sweep_cost $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.bisect_trials $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.fidelity $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.second_audit $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.upload $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.overhead $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.scheduler $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.recorder_overhead $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.ray_workers $(BENCH_FLAGS)
	$(BIN)/python -m benchmarks.report_page $(BENCH_FLAGS)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
