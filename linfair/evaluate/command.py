"""The command ``linfair evaluate``; also ``python -m linfair.evaluate``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from linfair import runs
from linfair.attacks import ATTACKS, parse_radius, usable_device
from linfair.data.catalogue import load_images
from linfair.evaluate.answers import explained
from linfair.evaluate.images import Images, select
from linfair.evaluate.plugged import EvaluationError, Plugged, plug
from linfair.evaluate.record import Evaluation
from linfair.evaluate.run import DEFAULT_ATTACKS, check_attacks, entry, evaluate
from linfair.evaluate.table import aligned
from linfair.models import attack_copy

EXAMPLE = """examples:
  linfair evaluate --model small_cnn --weights runs/first/model.pt --eps 0.12       of fit, on the embedded digits
  linfair evaluate --model mynet:Net --weights weights.pt --data-dir cifar10 --n 1000 --attacks clean apgd --out a.json
  linfair compare a.json b.json                                                     two models, image by image"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see linfair evaluate --help")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = _Parser(
        prog="linfair evaluate",
        description="Class-wise accuracy of a classifier under attack: who pays, and how sure is that?",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument_group("model").add_argument
    add("--model", metavar="NAME", help="module:callable (a torch module, a class or function that makes one, or a"
        " function from images in [0, 1] to logits), or a network of linfair.models")  # fmt: skip
    add("--weights", metavar="FILE", help="its state_dict, as written by torch.save")
    add = made.add_argument_group("data").add_argument
    add("--data-dir", type=Path, metavar="D", help="folder of CIFAR-10, CIFAR-100 or STL-10 (default: digits)")
    add("--data", metavar="NAME", help="which, if the folder holds several: cifar10, cifar100, stl10")
    add("--download", action="store_true", help="fetch the official archive of --data into --data-dir first")
    add("--unverified", action="store_true", help="accept a copy that is not the official one")
    add("--data-label", metavar="TEXT", help="what to call such a copy")
    add("--n", type=int, help="as many images, the same number of every class (default: all of the test part)")
    add = made.add_argument_group("attacks").add_argument
    add("--attacks", nargs="+", default=list(DEFAULT_ATTACKS), metavar="NAME", help="default: clean pgd20; see --list")
    add("--norm", default="linf", help="linf, l2 or l1 (default %(default)s)")
    add("--eps", default="8/255", help="radius in pixel units (default %(default)s)")
    add("--search", choices=("float32", "bfloat16"), default="float32",
        help="bfloat16 attacks a cheaper copy; a break counts if the model itself confirms it")  # fmt: skip
    add("--seed", type=int, default=0, help="of the choice of images and the attacks (default %(default)s)")
    add("--list", action="store_true", help="the attacks, nothing is run")
    add = made.add_argument_group("running").add_argument
    add("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)")
    add("--batch-size", type=int, default=500, help="images at a time (default %(default)s)")
    add = made.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FILE", help="the record, with a flag for every image, as JSON; a killed"
        " evaluation goes on where it was (default: a file of the current folder, named after model and question;"
        " none with --json or --plain)")  # fmt: skip
    add("--json", action="store_true", help="the record on standard output, no tables")
    add(
        "--plain",
        action="store_true",
        help="tab-separated rows on standard output: attack, class, n, accuracy, low, high",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 2 for what the user can put right, 130 when interrupted."""
    options = None
    try:
        options = parser().parse_args(argv)
        if options.list:
            print(listing())
            return 0
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            found = run(options)
    except BrokenPipeError:  # an OSError, but nothing to put right: linfair.cli knows
        raise
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("LINFAIR_TRACEBACK"):
            raise
        print(f"linfair evaluate: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options is None or ((options.json or options.plain) and not options.out):
            what = "nothing is kept without --out FILE"
        elif options.out and _state(options.out).exists():
            what = "the same command goes on from there"
        else:
            what = "nothing is kept yet; of a function, which has no weights to tell it by, nothing ever is"
        print(f"linfair evaluate: interrupted; {what}", file=sys.stderr)
        return 130
    show(found, options)
    return 0


def _show_warning(message: Warning | str, *_: Any) -> None:
    """One line; where in the source it arose is nothing to the user of a command."""
    print(f"linfair evaluate: warning: {' '.join(str(message).split())}", file=sys.stderr)


def run(options: argparse.Namespace) -> Evaluation:
    """The evaluation the options ask for; what can be refused is refused before any work."""
    _check(options)
    data = load_images(
        options.data_dir,
        name=options.data,
        unverified=options.unverified,
        label=options.data_label,
        download=options.download,
    )
    images = select(data, n=options.n, seed=options.seed)
    channels, height, width = images.pixels.shape[1:]
    plugged = plug(options.model, options.weights, images.n_classes, (channels, height, width))
    module = plugged.model if isinstance(plugged.model, torch.nn.Module) else None
    device = options.device or ("cuda" if module is not None and torch.cuda.is_available() else None)
    if device is not None:
        usable_device(device)
    search = None
    if options.search != "float32":
        if module is None:
            raise EvaluationError(f"--search {options.search} needs a torch module, got a function; drop --search")
        with explained(options.batch_size):
            search = attack_copy(module.to(device or "cpu"), dtype=getattr(torch, options.search))
    own = None if options.out or options.json or options.plain else _own_record(options, plugged, images)
    options.out = options.out or own
    state = _state(options.out) if options.out and module is not None else None
    found = evaluate(
        plugged,
        images,
        attacks=list(dict.fromkeys(options.attacks)),
        norm=options.norm,
        eps=options.eps,
        seed=options.seed,
        batch_size=options.batch_size,
        device=device,
        search_model=search,
        state=state,
    )
    if own:
        options.out = _beside(own, found)
    if options.out:
        found.save(options.out)
    if state:
        state.unlink(missing_ok=True)
    return found


def _own_record(options: argparse.Namespace, plugged: Plugged, images: Images) -> Path:
    """Where the record goes if nobody says: named by the model with its weights, the images and the attacks."""
    asked = {name: getattr(options, name) for name in ("attacks", "norm", "eps", "search", "seed")}
    key = runs.config_hash("evaluate", asked | {"model": plugged.about(), "data": images.about})
    return Path(f"evaluate-{re.sub(r'[^0-9A-Za-z]+', '-', options.model)}-{key[:8]}.json")


def _beside(out: Path, found: Evaluation) -> Path:
    """`out`, or `out`-2, ... where that holds other answers, as after a change of the model's code: nothing is lost."""
    path, k = out, 1
    while path.exists() and not _answers(path, found):
        k += 1
        path = out.with_stem(f"{out.stem}-{k}")
    return path


def _answers(path: Path, found: Evaluation) -> bool:
    """Whether a record has these flags."""
    try:
        flags = Evaluation.load(path).flags
    except ValueError:
        return False
    return flags.keys() == found.flags.keys() and all((flags[a] == found.flags[a]).all() for a in flags)


def _state(out: Path) -> Path:
    """Where finished batches are while an evaluation runs."""
    return out.with_name(f"{out.name}.partial")


def _check(options: argparse.Namespace) -> None:
    if options.model is None:
        raise EvaluationError("--model must be given, got none; pass module:callable, see --help")
    if options.json and options.plain:
        raise EvaluationError("--json and --plain exclude each other, got both; drop one")
    for flag, value, least in (("--batch-size", options.batch_size, 1), ("--seed", options.seed, 0)):
        if value < least:
            raise EvaluationError(f"{flag} must be at least {least}, got {value}; pass a larger one")
    check_attacks(options.attacks)
    parse_radius(options.eps, options.norm, "--eps")
    if options.data_dir is None:
        for flag, given in (("--unverified", options.unverified), ("--data-label", options.data_label)):
            if given:
                raise EvaluationError(f"{flag} is for the copy in --data-dir, got none; pass --data-dir or drop {flag}")
    if options.out and options.out.is_dir():
        raise EvaluationError(
            f"--out must be a file, got the folder '{options.out}'; pass {options.out / 'record.json'}"
        )
    if options.out or not (options.json or options.plain):
        runs.prepare_folder((options.out or Path("any")).absolute().parent, "folder of --out")


def listing() -> str:
    """The attacks by name."""
    rows = [("attack", "norm", "eps", "what it is")]
    for name in ATTACKS:
        about = entry(name, "linf", 0)
        norm, eps = (about["norm"], about["eps"]) if ATTACKS[name].norm else ("--norm", "--eps")
        norm, eps = (norm, eps) if about["norm"] else ("-", "-")
        rows.append((name, norm, eps, about["title"] + (f" ({about['note']})" if about["note"] else "")))
    return aligned(rows)


def show(found: Evaluation, options: argparse.Namespace) -> None:
    """Print the result in the shape asked for."""
    if options.json:
        print(json.dumps(found.record()))
    elif options.plain:
        print("\n".join("\t".join(row) for row in plain(found)))
    else:
        print(found.table(max(60, shutil.get_terminal_size((100, 24)).columns)))
        seconds = sum(about["seconds"] for about in found.attacks.values())
        print(f"\n{seconds:.1f} s on {found.environment['device']}; record: {options.out}")


def plain(found: Evaluation) -> list[tuple[str, ...]]:
    """Rows of text: every measure and every class under every attack."""
    rows: list[tuple[str, ...]] = [("attack", "class", "n", "accuracy", "low", "high")]

    def add(attack: str, name: str, n: int, part: dict[str, Any], key: str) -> None:
        values = (part[key], part["low"], part["high"])
        rows.append((attack, name, str(n), *("" if value is None else f"{value:.6g}" for value in values)))

    for attack, measures in found.measures.items():
        for name in ("average", "worst", "bottom_3", "disparity", "nsd"):
            add(attack, f"({name})", len(found.labels), measures[name], "value")
        for row in measures["classes"]:
            add(attack, row["name"], row["n"], row, "value")
    return rows
