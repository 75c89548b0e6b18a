"""One setting (threads, allocator, device) and size of bench_pgd_step.py, measured in a process of its own."""

from __future__ import annotations

import gc
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import _pgd_arms
import peers
import torch
from _pgd_device import device_facts, graph_seconds, launches, synchronises
from _pgd_inputs import EPS, Inputs, input_sets, inputs, length
from _pgd_targets import CALL_MICROSECONDS, SLACK, judge, verdicts
from _timing import Arm, Clock, CpuClock, CudaClock, Term, interleave, quartiles, ratios
from torch import Tensor

from linfair import _native, ops, runs
from linfair.ops import reference

CLOSE = 1e-5
"""In units of eps: two float32 computations of the same update differ by less."""
FLAGS = re.compile(r"^(avx|avx2|fma|avx512\w*|avx_vnni|amx\w*|sve\w*|asimd)$")


# --- values ----------------------------------------------------------------------------------------------------------


def compare(arm: Arm, s: Inputs, norm: str) -> str:
    """How the arm's update of fresh inputs compares with the reference, on at most 256 of the samples."""
    if arm.once is None or arm.means is None:
        return ""
    some = slice(None, None, max(1, len(s.x) // 256))
    _pgd_arms.refill(s)
    got = arm.once(s)[some].detach().to(s.x.device)
    start, eps, step = s.master, s.eps[some], s.step[some]
    if arm.group == "libraries":
        start, eps, step = s.x0, torch.full_like(eps, EPS[norm]), torch.full_like(step, peers.CHECK * EPS[norm])
    x, x0, grad = (t[some] for t in (start, s.x0, s.grad))
    if torch.equal(got, reference.pgd_step(x, x0, grad, eps, step, norm, **arm.means)):
        return "same bits"
    x, x0, grad, eps, step, got = (t.double() for t in (x, x0, grad, eps, step, got))
    right = reference.pgd_step(x, x0, grad, eps, step, norm, **arm.means)
    off = ((got - right).abs() / eps.view(-1, 1, 1, 1)).max().item()
    if off <= CLOSE:
        return f"within {off:.0e} eps"
    free = reference.pgd_step(x, x0, grad, torch.inf, step, norm, lo=None, hi=None, **arm.means)
    farther = length(got - free, "l2") / length(right - free, "l2")
    return f"another point, {farther.median().item():.2f}x as far"


# --- arms ------------------------------------------------------------------------------------------------------------


def arms(norm: str, sets: list[Inputs], config: dict[str, Any]) -> Iterator[Arm]:
    if config["peers"]:
        yield from peers.arms(norm, sets)
    yield from _pgd_arms.eager(norm)
    if config["compile"]:
        yield from _pgd_arms.compiled(norm)
    yield from _pgd_arms.ours(norm)
    if native(config["device"]):
        yield from _pgd_arms.kernels(norm)


def native(device: str) -> bool:
    return ops.backend(device) == "native"


def ready(found: Sequence[Arm], sets: list[Inputs], norm: str) -> tuple[list[Arm], list[Arm]]:
    """(arms that ran once, arms that failed): compiled, compared with the reference, warm."""
    good, bad = [], []
    for arm in found:
        try:
            arm.values = compare(arm, sets[0], norm)
            for s in sets[1:]:
                if arm.once:
                    arm.once(s)
            good.append(arm)
        except Exception as error:  # whatever a compiler or a library raises is the arm's result
            arm.note = "failed: " + f"{type(error).__name__}: {error}".strip().splitlines()[0][:160]
            bad.append(arm)
    return good, bad


def row(arm: Arm, unit: Arm, norm: str, n: int) -> runs.Row:
    result: runs.Row = {"norm": norm, "n": n, "arm": arm.name, "label": arm.label, "group": arm.group}
    if arm.seconds:
        (net, low, high), (times, q1, q3) = quartiles(arm.seconds), ratios(arm, unit)
        raw = quartiles(arm.raw)[0]
        moved = (8 if arm.name == "copy" else 16) * n * _pgd_arms.DIM  # the least that an update moves
        result |= {"ms": net * 1e3, "ms_q1": low * 1e3, "ms_q3": high * 1e3, "x_floor": times, "x_q1": q1, "x_q3": q3}
        result |= {"raw_ms": raw * 1e3, "removed_ms": (raw - net) * 1e3, "gb_s": moved / net / 1e9 if net > 0 else None}
        result |= {"rounds": len(arm.seconds), "calls": arm.calls[0]}
    graph = arm.graph_seconds
    result |= {"launches": arm.launches, "graph_ms": None if graph is None else graph * 1e3}
    return result | {"values": arm.values, "note": arm.note}


# --- one setting and size ---------------------------------------------------------------------------------------------


def measure(config: dict[str, Any], tick: Callable[[], object]) -> dict[str, Any]:
    """All norms of one size in one setting: {"rows", "verdicts", "setting", "environment"}."""
    warnings.filterwarnings("ignore", module=r"(torch|torchattacks|foolbox|art|eagerpy|requests)\b")
    device, load = config["device"], os.getloadavg()
    if device == "cpu":
        torch.set_num_threads(config["threads"])
        if config["compile"]:  # part of the key of inductor's cache, as the number of threads alone is not
            import_module("torch._inductor.config").cpp.threads = config["threads"]
    clock: Clock = CpuClock() if device == "cpu" else CudaClock()
    rows, judged = [], []
    with tempfile.TemporaryDirectory() as folder:
        loop, how = _pgd_arms.compile_floor(Path(folder)) if device == "cpu" else (None, "twice the time of copy_")
        for norm in config["norms"]:
            torch.compiler.reset()  # else the graphs of all norms count against one limit of recompilation
            found = _one(norm, config["n"], clock, loop, config, tick)
            rows += found[0]
            judged += found[1]
            gc.collect()
    if native(device) and config["n"] == config["sizes"][0]:
        judged += _call(config)
    same = {"threads": config["threads"], "allocator": config["allocator"]}
    loads = {"load_before": load, "load_after": os.getloadavg()}
    return {
        "rows": [same | r for r in rows],
        "verdicts": [same | v for v in judged],
        "setting": same | {"n": config["n"], **loads, "floor": how} | facts(config),
        "environment": runs.environment(),
    }


def _one(
    norm: str, n: int, clock: Clock, loop: Any, config: dict[str, Any], tick: Callable[[], object]
) -> tuple[list[runs.Row], list[dict[str, Any]]]:
    device = config["device"]
    sets = input_sets(n, norm, device)
    unit = _pgd_arms.floor(loop)
    copy = Arm("copy", "copy_ (8 bytes an element)", "floor", (Term(1.0, _pgd_arms.refill),))
    good, bad = ready([copy, *arms(norm, sets, config)], sets, norm)
    interleave(clock, unit, good, sets, config["rounds"], tick)
    if device == "cuda" and n <= 512:
        for arm in good:
            if arm.group in ("linfair", "torch.compile") and arm.once:
                arm.launches, arm.graph_seconds = launches(arm.once, sets[0]), graph_seconds(arm.once, sets)
    rows = [row(arm, unit, norm, n) for arm in (unit, *good, *bad)]
    found = list(verdicts(norm, n, {arm.name: arm for arm in (unit, *good)}, device, config["allocator"]))
    if not native(device):
        return rows, []
    return rows, found + _device_verdicts(norm, n, good, sets)


def _device_verdicts(norm: str, n: int, good: Sequence[Arm], sets: list[Inputs]) -> list[dict[str, Any]]:
    """Launches, waits and graphs of our arms at N = 512, on a device."""
    if n != 512 or sets[0].x.device.type != "cuda":
        return []
    found = []
    for arm in good:
        if arm.group == "linfair" and arm.name != "ours-new" and arm.once:
            waits = int(synchronises(arm.once, sets[0]))
            for what, value, bound in (("launches", arm.launches, 1), ("host synchronisations", waits, 0)):
                verdict = "met" if value is not None and value <= bound else "missed"
                found.append(_verdict(norm, n, arm.name, f"{arm.label}: {what} a call", value, bound, verdict))
            captured = int(arm.graph_seconds is not None)
            verdict = "met" if captured else "missed"
            found.append(_verdict(norm, n, arm.name, f"{arm.label}: captured in a graph", captured, 1, verdict, True))
    return found


def _verdict(
    norm: str, n: int, arm: str, claim: str, value: float | None, bound: float, verdict: str, at_least: bool = False,
    quarters: tuple[float, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    q1, q3 = quarters or (value, value)
    return {
        "norm": norm, "n": n, "arm": arm, "of": None, "claim": claim, "bound": bound, "at_least": at_least,
        "value": value, "q1": q1, "q3": q3, "verdict": verdict,
    }  # fmt: skip


def _call(config: dict[str, Any]) -> list[dict[str, Any]]:
    """What a call costs before it does anything: one image, microseconds."""

    def call(s: Inputs) -> Tensor:
        return ops.pgd_step(s.x, s.x0, s.grad, s.eps, s.step, "linf", out=s.x)

    clock, one = CpuClock(), [inputs(1, "linf", config["device"], 0)]
    clock.seconds(call, one, 100)
    times = [clock.seconds(call, one, 500) * 1e6 for _ in range(config["rounds"])]
    value, q1, q3 = quartiles(times)
    verdict = judge(value, CALL_MICROSECONDS, at_least=False, slack=SLACK)
    claim = "a call on one image, µs:"
    return [_verdict("linf", 1, "ours", claim, value, CALL_MICROSECONDS, verdict, quarters=(q1, q3))]


def facts(config: dict[str, Any]) -> dict[str, Any]:
    """What a reader needs to judge the numbers: runtime libraries, instruction sets, builds, versions of the peers."""
    kept = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "LINFAIR_")
    build = {}
    if native(config["device"]):
        module = _native.load()
        build = {"build": module.build_info(), "cpu_path": module.cpu_path()}
    return {
        "environment_variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(kept)},
        "openmp_runtimes": openmp_runtimes(),
        "cpu_flags": cpu_flags(),
        "backend": ops.backend(config["device"]),
        **build,
        **({"device": device_facts()} if config["device"] == "cuda" else {}),
        "libraries": peers.versions() if config["peers"] else {},
        "skipped": peers.skipped() if config["peers"] else [],
    }


def openmp_runtimes() -> list[str]:
    """File names of the OpenMP runtimes in this process: two would fight for the cores."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    return sorted(set(re.findall(r"/((?:torch/lib/)?lib[gi]?omp[^/\s]*)$", maps, re.M)))


def cpu_flags() -> list[str]:
    try:
        line = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        return []
    return sorted(filter(FLAGS.match, line[1].split())) if line else []
