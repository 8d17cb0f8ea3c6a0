# OpenClio. `make run` is all that is needed to begin; `make help` lists the rest.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
VENV := .venv
PY := $(VENV)/bin/python
# Numeric libraries start a thread per core each; tests run side by side already.
ONE_THREAD := env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(PY) -m pytest
FAST := -m "not browser and not crash and not simulation and not peers"
SIMULATE_SECONDS ?= 60
SIMULATE_SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help run environment dev-environment test check lint types layers templates migrations \
	deploy-check test-postgres test-redis peers browser crash crash-sqlite crash-postgres simulate \
	bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: environment ## install what is missing, set up, serve (PORT=8000)
	@PORT=$(PORT) $(PY) manage.py setup
	@PORT=$(PORT) exec $(PY) manage.py serve --host $(HOST) --port $(PORT)

environment:
	@PYTHON=$(PYTHON) .ci/environment $(VENV) requirements.txt

dev-environment:
	@PYTHON=$(PYTHON) .ci/environment $(VENV) requirements-dev.txt

test: dev-environment ## unit and integration tests on SQLite
	@$(PYTEST) -n 2 $(FAST) $(ARGS)

check: lint types layers templates migrations deploy-check test ## everything a change must pass

lint: dev-environment
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

types: dev-environment
	@$(VENV)/bin/mypy .

layers: dev-environment
	@PYTHONPATH=. DJANGO_SETTINGS_MODULE=config.settings $(VENV)/bin/lint-imports

templates: dev-environment
	@$(VENV)/bin/djlint templates --lint --quiet

migrations: dev-environment
	@$(PY) manage.py makemigrations --check --dry-run

deploy-check: dev-environment
	@HTTPS=1 $(PY) manage.py check --deploy --fail-level WARNING

test-postgres: dev-environment ## the same tests on a PostgreSQL server of their own
	@.ci/with-postgres $(PYTEST) -n 2 $(FAST) $(ARGS)

test-redis: dev-environment ## the core tests with a Redis server of their own
	@.ci/with-redis $(PYTEST) -n 2 $(FAST) tests/core $(ARGS)

browser: dev-environment ## browser tests; needs chromium
	@$(PYTEST) -m browser $(ARGS)

crash: crash-sqlite crash-postgres ## kill -9 a real installation CRASH_KILLS=200 times on each database

crash-sqlite: dev-environment
	@$(PYTEST) -m crash $(ARGS)

crash-postgres: dev-environment
	@.ci/with-postgres $(PYTEST) -m crash tests/crash/test_loop.py::test_any_number_of_kills_loses_nothing $(ARGS)

simulate: dev-environment ## play bad schedules for SIMULATE_SECONDS=60, and look for faults put in on purpose
	@SIMULATE_SECONDS=$(SIMULATE_SECONDS) SIMULATE_SEED=$(SIMULATE_SEED) $(PYTEST) -s tests/simulation $(ARGS)

peers: dev-environment ## check the gateway against LiteLLM's proxy, installed in an environment of its own
	-@$(PY) -m bench.peers
	@$(PYTEST) -m peers tests/providers/clients $(ARGS)

bench: dev-environment ## measure speed and quality; prints tables, writes bench/results
	@$(PY) -m bench $(ARGS)

clean: ## remove the environment and caches; data in var/ stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
