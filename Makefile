# make demo   trains three Meta-World tasks, evaluates them and writes the dashboard
# make test   the tests (make test ARGS="-k cli" for some of them)
#
# Each target makes what it needs in .venv. PYTHON=python3.12 chooses the interpreter. On Linux pip's torch is the large
# CUDA build; PIP_EXTRA_INDEX_URL=... with PyTorch's index of CPU builds takes the small one instead.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Processes that share the tests; ARGS="-n 0" runs them in one, as a debugger needs.
JOBS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# One thread a process: on a machine that does anything else, torch with two was twenty times slower.
RUN := OMP_NUM_THREADS=1 $(BIN)/python
# Type checkers cannot follow setuptools' map of envs/ and agents/ into mtrl, so they read a copy laid out like that.
TYPES := .build/types

.PHONY: demo test test-slow lint format types dist clean

demo: $(VENV)/.core
	@OMP_NUM_THREADS=1 $(BIN)/mtrl demo $(ARGS)

test: $(VENV)/.dev
	@$(RUN) -m pytest -q -rs -n $(JOBS) --dist loadgroup $(ARGS)

test-slow: $(VENV)/.dev
	@$(RUN) -m pytest -q -m slow --timeout 3600 -n $(JOBS) --dist loadgroup $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev
	@rm -rf $(TYPES) && mkdir -p $(TYPES)
	@cp -R mtrl experiments $(TYPES)/ && cp -R envs agents $(TYPES)/mtrl/
	@echo '{"pythonVersion": "3.11"}' > $(TYPES)/pyrightconfig.json
	@$(BIN)/pyright -p $(TYPES) --pythonpath $(BIN)/python

dist: $(VENV)/.dev
	@rm -rf dist && $(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) .build build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is not Python 3.11 or newer: name one, as in PYTHON=python3.12 make demo" >&2; exit 2; }
	@echo "Making $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing mtrl and what it needs into $(VENV) (once, some minutes) ..."
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing mtrl and its development tools into $(VENV) (once, some minutes) ..."
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.core $@
