# make demo    the main job, for real, on a cluster of its own    make test       everything (Go, root for the node)
# make cluster the same cluster, to try things with kubectl       make test-fast  what needs no Go-built parts
# make demo-mirrors  who serves images, with whose credential, while mirrors answer and while they do not
# make image   the container image and its SBOM; BASE=... is the image that it is built on, IMAGE=... its name
# make chart   writes what is generated in charts/                make test-install  image and chart, alone
# make test-doctor  pulls that fail on the real node, and what is said about each
# make test-sources  the contract of sources of credentials, kept by each kind
# make bench   beside other webhooks; make bench-quick the same in two minutes
# make bench-issuers  how large the process is that issues credentials, and how fast 10,000 owners get theirs
# make bench-scale  how a changed token spreads over 2,000 namespaces, with PostgreSQL and two replicas
# make bench-100k  100,000 namespaces, on an API server in memory; ARGS="--namespaces 20000 --real" on the real one
# make test-faults  what faults cost, in an hour; FAULTS="--list", or names of some; the cheap ones are in `make test`

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
export PYTHONPATH := tests
# Tests start hundreds of processes: without bytecode each of them compiles all modules again.
export PYTHONDONTWRITEBYTECODE :=

BASE ?= docker.io/library/python:3.14-slim
IMAGE ?= localhost/pullsecret-webhook:dev

.PHONY: help demo demo-mirrors cluster build bench bench-quick bench-issuers bench-scale bench-100k image chart test test-fast test-install test-gitops test-doctor test-sources test-faults test-all lint format lock clean

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pullsecret-webhook needs Python 3.11 or newer; set PYTHON=python3.11")'
	@echo "installing the Python packages into $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed
	@$(RUN)/python -m controlplane demo

demo-mirrors: $(VENV)/.installed
	@$(RUN)/python -m controlplane demo-mirrors

cluster: $(VENV)/.installed
	@$(RUN)/python -m controlplane cluster

bench: $(VENV)/.installed
	@$(RUN)/python -m bench

bench-quick: $(VENV)/.installed
	@$(RUN)/python -m bench --quick

bench-issuers: $(VENV)/.installed
	@$(RUN)/python -m bench.issuers

bench-scale: $(VENV)/.installed
	@$(RUN)/python -m bench.scale

bench-100k: $(VENV)/.installed
	@$(RUN)/python -m bench.hundred $(ARGS)

# BUILD_FLAGS go to the build command, such as --platform or --volume.
image:
	@BASE=$(BASE) IMAGE=$(IMAGE) image/build.sh $(BUILD_FLAGS)

lint: $(VENV)/.installed
	$(RUN)/ruff check --quiet .
	$(RUN)/ruff format --quiet --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@rm .lint-imports.log

test-fast: lint
	$(RUN)/pytest -q -m "not cluster and not node and not helm and not slow"

# Three files at a time, each with a cluster of its own: much of a test is waiting. In the order of the folders, so that the
# small files come last and all three end together.
test: lint build
	$(RUN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

test-install: build
	$(RUN)/pytest -q -m "not slow" tests/install

test-doctor: build
	$(RUN)/pytest -q tests/doctor

test-sources: build
	$(RUN)/pytest -q -m "not slow" tests/unit/sources

# WRITE=1 writes docs/gitops-matrix.md from what is seen.
test-gitops: build
	$(RUN)/pytest -q -m gitops tests/e2e

# JSON=FILE also writes a line for each round.
test-faults: build
	$(RUN)/python -m faults $(FAULTS)

# The faults last: what they measure is time.
test-all: lint build
	$(RUN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder
	$(RUN)/python -m faults $(FAULTS)

build: $(VENV)/.installed
	@$(RUN)/python -m controlplane build

format: $(VENV)/.installed
	$(RUN)/ruff check --quiet --fix . ; $(RUN)/ruff format .

lock: $(VENV)/.installed
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 tests/aws/requirements.in -o tests/aws/requirements.lock

chart: $(VENV)/.installed
	$(RUN)/python charts/generate.py
	$(RUN)/python -m controlplane installed

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
