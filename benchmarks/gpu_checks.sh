#!/usr/bin/env bash
# Everything that only a GPU can show, in order: build, tests, sanitizers, speed. Logs go to $1 [gpu_checks].
# Needs nvcc and a Python (PYTHON=, 3.11 or newer) with torch for CUDA, numpy, pybind11, ninja, setuptools, pytest,
# pytest-benchmark, hypothesis, matplotlib, scipy and tqdm; no network, no cvxpy, no tyro. Docs: docs/gpu.md
set -uo pipefail
cd "$(dirname "$0")/.."
logs=${1:-gpu_checks}
python=${PYTHON:-python3}
mkdir -p "$logs"
failed=()

step() { # step NAME COMMAND...
  echo "== $1"
  "${@:2}" 2>&1 | tee "$logs/$1.log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed+=("$1")
}

export LINFAIR_CUDA=1 LINFAIR_CUDA_ARCH=${LINFAIR_CUDA_ARCH:-native} PYTHONUNBUFFERED=1
step build "$python" -m pip install --no-deps --no-build-isolation -e .
step info "$python" -m linfair.info
step tests "$python" -m pytest -m gpu tests/test_ops_gpu*.py tests/test_models.py tests/test_attacks*.py tests/test_methods_gpu.py \
  tests/test_train_loop.py tests/test_evaluate*.py
for tool in memcheck racecheck synccheck initcheck; do
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$tool" \
    compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 20 "$python" benchmarks/gpu_sanitize.py
done
step speed "$python" benchmarks/bench_pgd_step.py --device cuda --no-peers
step attack "$python" benchmarks/bench_attack.py --device cuda

[ ${#failed[@]} = 0 ] && echo "gpu checks: all passed" || { echo "gpu checks: failed: ${failed[*]}"; exit 1; }
