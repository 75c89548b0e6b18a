"""One style for all figures, and files that come out the same byte for byte.

matplotlib is imported inside the functions, pyplot never: figures are plain objects without global state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linfair.runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

COLUMN_WIDTH, TEXT_WIDTH = 3.4, 7.0
"""Widths of one column and of the whole text of a two-column paper, in inches."""

# Okabe and Ito's eight colours: distinct under the common colour-vision deficiencies.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

COLOR = {
    "minus": BLUE,  # the easy class
    "plus": VERMILLION,  # the hard class
    "natural": BLACK,
    "robust": ORANGE,
    "mixup": GREEN,
    "minimax": PURPLE,
    "analytic": BLACK,
    "empirical": SKY,
    "bound": GREY,
}
SEQUENCE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Series without a meaning of their own take these in turn."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One a series, so that a print without colour can still be read."""

_RC: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 250,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "linfair",
}


@contextmanager
def style() -> Iterator[None]:
    """The house style, for the figures made and saved inside the block."""
    import matplotlib as mpl
    from cycler import cycler

    with mpl.rc_context({**_RC, "axes.prop_cycle": cycler(color=SEQUENCE)}):
        yield


def subplots(
    nrows: int = 1, ncols: int = 1, *, width: float = COLUMN_WIDTH, height: float | None = None, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure of `width` x `height` inches (default: panels of 4:3) and its axes, as `Figure.subplots` gives them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height or 0.75 * width / ncols * nrows))
    return figure, figure.subplots(nrows, ncols, **kwargs)


def with_errors(
    ax: Axes, x: ArrayLike, y: ArrayLike, se: ArrayLike, *, bars: float = 2.0, **kwargs: Any
) -> ErrorbarContainer:
    """Empirical points with bars of +- `bars` standard errors and no joining line (lines are for what is analytic)."""
    defaults = {
        "fmt": "o",
        "color": COLOR["empirical"],
        "elinewidth": 0.8,
        "capsize": 1.5,
        "capthick": 0.8,
        "zorder": 3,
        "markeredgecolor": "white",  # keeps points apart where they overlap
        "markeredgewidth": 0.4,
    }
    return ax.errorbar(x, y, yerr=bars * np.asarray(se), **{**defaults, **kwargs})


def letter(ax: Axes, text: str) -> None:
    """Mark a panel "a", "b", ... in bold before its title, outside the data."""
    ax.annotate(
        text, (0, 1), xytext=(-4, 4), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        weight="bold", size=9, annotation_clip=False,
    )  # fmt: skip


def save(figure: Figure, stem: Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write `<stem>.<format>` for each format, atomically and without dates: the same figure gives the same bytes.

    A PNG has a palette of 256 colours, a third of the size; the eye does not see which of a thousand shades of an edge
    were merged.
    """
    metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    paths = []
    with style():
        for kind in formats:
            if kind not in metadata:
                raise ValueError(f"formats must be among {', '.join(metadata)}, got '{kind}'; pass one of these")
            path = stem.with_name(f"{stem.name}.{kind}")
            with atomic(path) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata[kind])
                if kind == "png":
                    _to_palette(temporary)
            paths.append(path)
    return paths


def _to_palette(path: Path) -> None:
    """Rewrite a PNG with the 256 colours that serve it best."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        dpi = image.info["dpi"]
    small.save(path, format="png", optimize=True, dpi=dpi)
