"""Whole attacks, PGD in l_inf on a batch of 128: torchattacks, foolbox and linfair on the same networks.

    python benchmarks/bench_attack.py                      linear, small_cnn, resnet18; benchmarks/results/attack.json
    python benchmarks/bench_attack.py --quick              a look of seconds: batch 16, PGD-2; figures/quick
    python benchmarks/bench_attack.py --device cuda        synchronised, and the whole attack as a CUDA graph
    python benchmarks/bench_attack.py --models small_cnn --weights FILE --data-dir D --unverified
                                                           accuracy in place of speed, PGD-20 in float32 against a
                                                           search in bf16; benchmarks/results/attack-accuracy.json

All arms run in interleaved rounds; compare the ratios of medians within a run, never images a second across runs.
torchattacks and foolbox are those of benchmarks/requirements.txt, best in an environment of their own; skipped if
missing. Networks have random weights unless --weights is given; every arm starts at a random point of the ball.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from linfair import runs
from linfair.attacks import pgd, robust_flags
from linfair.data import DataError, stratified_subset
from linfair.data.catalogue import load_images
from linfair.evaluate.plugged import plug
from linfair.models import MODELS, attack_copy, build, read_weights

ROOT = Path(__file__).resolve().parents[1]
EPS, STEP = 8 / 255, 2 / 255
STEPS, CPU_STEPS = 10, {"resnet18": 3}
"""Of PGD; a step of a ResNet takes seconds on a CPU, and the ratios do not depend on their number."""
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
BASE = "torchattacks"
LABELS = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "float32": "linfair, float32, the model as it is",
    "folded": "linfair, float32 copy, folded, channels_last",
    "bf16": "linfair, bf16 copy, folded, channels_last",
    "torchattacks-bf16": "torchattacks on linfair's bf16 copy",
    "graph": "linfair, bf16 copy, one CUDA graph",
}
Attack = Callable[[], object]


class Callable32(nn.Module):
    """An attack copy as the module that torchattacks asks for."""

    def __init__(self, call: Any):
        super().__init__()
        self.call, self.net = call, call.net

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def torchattacks(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Attack:
    attack = importlib.import_module("torchattacks").PGD(model, EPS, STEP, steps, random_start=True)
    return lambda: attack(x, y)


def foolbox(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Attack:
    library = importlib.import_module("foolbox")
    wrapped = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
    attack = library.attacks.LinfPGD(steps=steps, abs_stepsize=STEP, random_start=True)
    return lambda: attack.run(wrapped, x, y, epsilon=EPS)


def ours(model: Any, x: Tensor, y: Tensor, steps: int) -> Attack:
    return lambda: pgd(model, x, y, eps=EPS, step=STEP, steps=steps)


def graph(model: Any, x: Tensor, y: Tensor, steps: int) -> Attack:
    """The attack captured once. The start is drawn before each replay; new images would be copied in likewise."""
    start = torch.empty_like(x)

    def attack() -> Tensor:
        return pgd(model, x, y, eps=EPS, step=STEP, steps=steps, start=start)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        attack()
    torch.cuda.current_stream().wait_stream(stream)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        attack()

    def replay() -> None:
        start.uniform_(-EPS, EPS).add_(x)
        captured.replay()

    return replay


def arms(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> dict[str, Attack]:
    """Name -> attack of the batch, for what is installed and fits the device."""
    half = attack_copy(model, dtype=torch.bfloat16)
    convolves = any(p.ndim == 4 for p in model.parameters())
    last = x.to(memory_format=torch.channels_last) if convolves else x
    made = {
        "float32": ours(model, x, y, steps),
        "folded": ours(attack_copy(model), last, y, steps),
        "bf16": ours(half, last, y, steps),
    }
    if x.is_cuda:
        made["graph"] = graph(half, last, y, steps)
    if runs.version("torchattacks"):
        made["torchattacks"] = torchattacks(model, x, y, steps)
        made["torchattacks-bf16"] = torchattacks(Callable32(half).eval(), last, y, steps)
    if runs.version("foolbox"):
        made["foolbox"] = foolbox(model, x, y, steps)
    return {name: made[name] for name in LABELS if name in made}


def seconds(attack: Attack, device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    attack()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def throughput(model: nn.Module, name: str, options: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One row an arm."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(options.batch, 3, 32, 32, generator=draw).to(device)
    y = torch.randint(10, (options.batch,), generator=draw).to(device)
    steps = options.steps or (CPU_STEPS.get(name, STEPS) if device.type == "cpu" else STEPS)
    contest = arms(model, x, y, steps)
    times: dict[str, list[float]] = {arm: [] for arm in contest}
    order = list(contest)
    for turn in tqdm(range(-1, options.rounds), desc=name, unit="round", disable=None, leave=False):
        for arm in (*order[turn % len(order) :], *order[: turn % len(order)]):
            took = seconds(contest[arm], device)
            if turn >= 0:  # the first round warms up
                times[arm].append(took)
    middle = {arm: float(np.median(t)) for arm, t in times.items()}
    return [
        {
            "model": name,
            "arm": arm,
            "label": LABELS[arm],
            "steps": steps,
            "images_per_second": options.batch / middle[arm],
            "ratio": middle[BASE] / middle[arm] if BASE in middle else None,
            "seconds": [round(t, 6) for t in times[arm]],
        }
        for arm in order
    ]


def accuracy(model: nn.Module, name: str, options: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """PGD-20 in float32 and searched in bf16: accuracy where float32 confirms, and the loss that float32 sees."""
    data = load_images(options.data_dir, unverified=options.unverified, label=options.data_label)
    picked = stratified_subset(data.test_labels, options.n, 0)
    images, labels = data.test_images[picked], data.test_labels[picked]
    x, y = (torch.from_numpy(v).to(device) for v in (images[:500], labels[:500]))
    x = x / data.levels
    rows = []
    for arm, copy in (("float32", None), ("bf16", attack_copy(model, dtype=torch.bfloat16))):
        began = time.perf_counter()
        flags = robust_flags(model, images, labels, "pgd20", levels=data.levels, device=device, search_model=copy)
        took = time.perf_counter() - began
        draw = torch.Generator(device).manual_seed(0)
        made = pgd(copy or model, x, y, eps=EPS, step=STEP, steps=20, generator=draw)
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(model(made), y))
        row = {"model": name, "arm": arm, "n": len(flags), "pgd20": float(flags.mean()), "loss": loss}
        rows.append(row | {"loss_n": len(y), "seconds": round(took, 2), "data": data.label})
    return rows


def machine(device: torch.device) -> dict[str, Any]:
    """What decides the numbers."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    known = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else runs.cpu(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": [flag for flag in FLAGS if flag in known],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 16, PGD-2, 2 rounds")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["linear", "small_cnn", "resnet18"])
    parser.add_argument("--batch", type=int, help="images [128]")
    parser.add_argument("--steps", type=int, help="steps of PGD [10; resnet18 on a CPU 3]")
    parser.add_argument("--rounds", type=int, help="interleaved rounds [5]")
    parser.add_argument("--threads", type=int, help="CPU threads [as torch finds them]")
    parser.add_argument("--weights", type=Path, help="weights of the one model: measure PGD-20 accuracy, no speed")
    parser.add_argument("--data-dir", type=Path, help="images for --weights, 3 x 32 x 32 in 10 classes")
    parser.add_argument("--unverified", action="store_true", help="accept a changed copy of the data")
    parser.add_argument("--data-label", help="what the record calls it")
    parser.add_argument("--n", type=int, default=1000, help="test images, stratified [1000]")
    parser.add_argument("--out", type=Path, help="folder of the record [benchmarks/results]")
    options = parser.parse_args()
    options.batch = options.batch or (16 if options.quick else 128)
    options.steps = options.steps or (2 if options.quick else None)
    options.rounds = options.rounds or (2 if options.quick else 5)
    if options.weights and (len(options.models) != 1 or options.data_dir is None):
        parser.error("--weights goes with one of --models and with --data-dir; pass both")
    return options


def main() -> int:
    options = parse()
    try:
        device = torch.device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.backends.cudnn.benchmark = True
        rows, checks = [], []
        for name in options.models:
            torch.manual_seed(0)
            if options.weights:
                model = plug(name, options.weights, 10, (3, 32, 32)).model.to(device).eval()
                checks += accuracy(model, name, options, device)
            else:
                rows += throughput(build(name, 10).to(device).eval(), name, options, device)
        folder = runs.prepare_folder(options.out or ROOT / ("figures/quick" if options.quick else "benchmarks/results"))
        stem = "attack-accuracy" if checks else "attack" if device.type == "cpu" else f"attack-{device.type}"
        record = {
            "schema": runs.SCHEMA,
            "experiment": "attack",
            "quick": options.quick,
            "config": {"batch": options.batch, "rounds": options.rounds, "norm": "linf"},
            "machine": machine(device),
            "peers": {peer: runs.version(peer) for peer in ("torchattacks", "foolbox")},
            **runs.environment(),
            "rows": rows,
            "accuracy": checks,
        }
        if options.weights:
            trained = read_weights(options.weights)[1].get("config", {})
            record["weights"] = {key: trained.get(key) for key in ("method", "epochs", "seed", "data")}
        runs.write_json(folder / f"{stem}.json", record)
    except (DataError, ValueError, OSError) as error:
        print(f"attack: {error}", file=sys.stderr)
        return 2
    show(rows, checks)
    return 0


def show(rows: list[dict[str, Any]], checks: list[dict[str, Any]]) -> None:
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:6.2f} x torchattacks"
        speed = f"{row['images_per_second']:>10.1f} images/s {ratio}"
        print(f"{row['model']:<10} PGD-{row['steps']:<3} {row['label']:<44} {speed}")
    for row in checks:
        found = f"{row['pgd20']:.2%} of {row['n']} in {row['seconds']} s, loss reached {row['loss']:.4f}"
        print(f"{row['model']:<16} PGD-20 by {row['arm']:<8} {found}")


if __name__ == "__main__":
    sys.exit(main())
