# make figures   recompute the experiments on embedded data, redraw the rest from their committed records
# make test      lint, types, tests
# Both install into .venv first (once); choose the interpreter with PYTHON=python3.12, the width with JOBS=4.

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.linfair-installed

# One thread a process: the processes are the parallelism, and summation order stays the same on every machine.
export OMP_NUM_THREADS      ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS      ?= 1

EXPERIMENTS = $(wildcard experiments/[!_]*.py)

.PHONY: all figures test install clean
all: test

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "PYTHON must be Python 3.11 or newer, got '$(PYTHON)'; pass PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed; install its venv and ensurepip modules (Debian: python3-venv) or pass PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing linfair and its pinned dependencies into $(VENV)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[test,data]' -c constraints.txt
	@touch $@

figures: $(STAMP)
	@printf '%s\n' $(EXPERIMENTS) | xargs -P $(JOBS) -I{} $(PY) {} --force
	@printf '%s\n' $(EXPERIMENTS) | xargs -P $(JOBS) -I{} $(PY) {} --plot-only

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(PY) -m pytest -n $(JOBS)

clean:
	rm -rf build dist *.egg-info figures/quick .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
