# make demo    the main job, for real, on a cluster of its own    make test       everything (Go, root for the node)
# make cluster the same cluster, to try things with kubectl       make test-fast  what needs no Go-built parts
# make chart   writes what is generated in charts/                make test-install  the chart, alone

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
export PYTHONPATH := tests

.PHONY: help demo cluster test test-fast test-install test-all lint format lock chart clean

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pullsecret-webhook needs Python 3.11 or newer; set PYTHON=python3.11")'
	@echo "installing the Python packages into $(VENV) (about half a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed
	@$(RUN)/python -m controlplane demo

cluster: $(VENV)/.installed
	@$(RUN)/python -m controlplane cluster

lint: $(VENV)/.installed
	$(RUN)/ruff check --quiet .
	$(RUN)/ruff format --quiet --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@rm .lint-imports.log

test-fast: lint
	$(RUN)/pytest -q -m "not cluster and not node and not helm"

test: lint
	$(RUN)/pytest -q

test-install: $(VENV)/.installed
	$(RUN)/pytest -q tests/install

test-all: test

format: $(VENV)/.installed
	$(RUN)/ruff check --quiet --fix . ; $(RUN)/ruff format .

lock: $(VENV)/.installed
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -c requirements-dev.lock pyproject.toml -o requirements.lock

chart: $(VENV)/.installed
	PYTHONPATH=. $(RUN)/python charts/generate.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
