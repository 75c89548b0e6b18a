# make figures   recompute the experiments on embedded data, redraw the rest from their committed records
# make test      lint, types, tests
# Both install into .venv first, and again when the build or the native sources have changed; choose the interpreter with
# PYTHON=python3.12, the width with JOBS=4. csrc/README.md lists the switches of the native build.

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.linfair-installed
NATIVE := $(wildcard csrc/*.h csrc/*.cpp csrc/*.cu)

# One thread a process: the processes are the parallelism, and summation order stays the same on every machine.
export OMP_NUM_THREADS      ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS      ?= 1

EXPERIMENTS = $(wildcard experiments/[!_]*.py)

.PHONY: all figures test install clean
all: test

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE) $(wildcard csrc/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "PYTHON must be Python 3.11 or newer, got '$(PYTHON)'; pass PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed; install its venv and ensurepip modules (Debian: python3-venv) or pass PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing linfair and its pinned dependencies into $(VENV)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[test,data]' -c constraints.txt
	@$(PY) -m linfair.info | sed -n '/^native/,$$p'
	@touch $@

figures: $(STAMP)
	@printf '%s\n' $(EXPERIMENTS) | xargs -P $(JOBS) -I{} $(PY) {} --force
	@printf '%s\n' $(EXPERIMENTS) | xargs -P $(JOBS) -I{} $(PY) {} --plot-only
	@$(PY) benchmarks/bench_pgd_step.py --plot-only
	@$(PY) benchmarks/bench_pgd_step.py --device cuda --plot-only

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(NATIVE)
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(PY) -m pytest -n $(JOBS)

clean:
	rm -rf build dist *.egg-info linfair/_C*.so linfair/_build.json $(STAMP) figures/quick .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
