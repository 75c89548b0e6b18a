"""What the tests of linfair.ops share: where to run, cases to run, and an independent oracle.

The oracle works from the definitions, one sample at a time in a wider type, and finds every multiplier by bisection; it
shares nothing with the package.
"""

import contextlib
import functools
import importlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from linfair import ops
from linfair.norms import NORMS

EXACT = {torch.float32: np.float64, torch.float64: np.longdouble}
"""What a type is judged in."""
DTYPES = [torch.float32, torch.float64]
P = {"l1": 1.0, "l2": 2.0, "linf": math.inf}
"""Norms that the oracle knows; the laws that need no oracle run over the registry."""

each_norm = pytest.mark.parametrize("norm", list(NORMS))
each_oracle = pytest.mark.parametrize("norm", list(P))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
each_projection = pytest.mark.parametrize("exact", [False, True], ids=["ball_then_clip", "exact"])
FREE: dict[str, Any] = {"lo": None, "hi": None}
"""No box."""
few = functools.partial(settings, suppress_health_check=[HealthCheck.too_slow], max_examples=30)


@dataclass(frozen=True)
class Run:
    """The public functions on one backend and, natively, one instruction set."""

    backend: str
    path: str | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with ops.use_backend(self.backend):
            if self.path is None:
                yield
                return
            native = importlib.import_module("linfair._C")
            before = native.cpu_path()
            native.use_cpu_path(self.path)
            try:
                yield
            finally:
                native.use_cpu_path(before)

    def pgd_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self():
            return ops.pgd_step(*args, **kwargs)

    def project(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self():
            return ops.project(*args, **kwargs)

    def pgd_step_classwise(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self():
            return ops.pgd_step_classwise(*args, **kwargs)

    def __str__(self) -> str:
        return "-".join(filter(None, [self.backend, self.path]))


REFERENCE = Run("reference")
BUILT = importlib.util.find_spec("linfair._C") is not None
NATIVE = [Run("native", path) for path in importlib.import_module("linfair._C").cpu_paths()] if BUILT else []
"""One a compiled instruction set; an extension that is there and does not load stops the collection."""
_NATIVE_PARAMS = NATIVE or [pytest.param(Run("native"), marks=pytest.mark.skip("linfair._C is not built"))]
each_native = pytest.mark.parametrize("run", _NATIVE_PARAMS, ids=str)
each_run = pytest.mark.parametrize("run", [REFERENCE, *_NATIVE_PARAMS], ids=str)


@dataclass(frozen=True)
class Case:
    """The arguments of one pgd_step."""

    x: torch.Tensor
    x0: torch.Tensor
    grad: torch.Tensor
    eps: Any
    step: Any
    norm: str = "linf"
    options: dict[str, Any] = field(default_factory=dict)

    def step_on(self, run: Run, **more: Any) -> torch.Tensor:
        args = (self.x, self.x0, self.grad, self.eps, self.step, self.norm)
        return run.pgd_step(*args, **{**self.options, **more})

    def but(self, **changes: Any) -> "Case":
        """The same case with other tensors, or other options where a name is none of the fields."""
        fields = {k: v for k, v in changes.items() if k in ("x", "x0", "grad", "eps", "step", "norm")}
        options = {k: v for k, v in changes.items() if k not in fields}
        return replace(self, **fields, options={**self.options, **options})

    def rows(self, index: Any) -> "Case":
        """The samples at ``index``."""
        eps, step = (v[index] if isinstance(v, torch.Tensor) and v.ndim else v for v in (self.eps, self.step))
        return replace(self, x=self.x[index], x0=self.x0[index], grad=self.grad[index], eps=eps, step=step)


def case(
    norm: str,
    n: int,
    shape: int | tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
    ratio: tuple[float, float] = (0.5, 4.0),
    scale: float = 1.0,
    tail: float = 1.0,
    **options: Any,
) -> Case:
    """Random samples in the box [0, scale] (the default box is set to it), a step, and a ball that it leaves:
    ||x + step dir - x0|| / eps is log-uniform in ``ratio``. ``tail`` > 1 raises normal numbers to that power."""
    rng = np.random.default_rng(seed)
    shape = (n, shape) if isinstance(shape, int) else (n, *shape)
    noise, grad = (np.sign(z) * np.abs(z) ** tail for z in rng.standard_normal((2, *shape)))
    x0 = scale * rng.random(shape)
    x = np.clip(x0 + 0.3 * scale * noise, 0, scale) if options.get("lo", 0.0) is not None else x0 + 0.3 * scale * noise
    rows = grad.reshape(n, math.prod(shape[1:]))
    top_q = options.get("top_q")
    toward = np.stack([direction(norm, g, top_q) for g in rows]) if n and top_q else direction(norm, rows)
    moved = (x - x0).reshape(rows.shape)
    step = np.asarray(rng.uniform(0.1, 1.0, n) * np.maximum(size(norm, moved), 1e-3 * scale), float)
    reach = np.asarray(size(norm, moved + step[:, None] * toward), float)
    eps = reach / np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), n))
    box = {"lo": 0.0, "hi": scale} if "lo" not in options and "hi" not in options else {}
    x, x0, grad, eps, step = (torch.from_numpy(np.ascontiguousarray(a)).to(dtype) for a in (x, x0, grad, eps, step))
    return Case(x, x0, grad, eps, step, norm, {**box, **options})


def size(norm: str, d: np.ndarray) -> np.ndarray:
    """||d|| along the last axis."""
    return np.linalg.norm(d, P[norm], axis=-1) if d.shape[-1] else np.zeros(d.shape[:-1], d.dtype)


def direction(norm: str, g: np.ndarray, top_q: int | None = None) -> np.ndarray:
    """Where a step of unit size goes; zero for g = 0."""
    if top_q is not None:
        chosen = (np.abs(g) >= np.sort(np.abs(g))[-top_q]) & (g != 0)
        return np.where(chosen, np.sign(g), 0) / max(int(chosen.sum()), 1)
    if norm == "linf":
        return np.sign(g)
    length = size(norm, g)[..., None]
    return np.divide(g, length, out=np.zeros_like(g), where=length > 0)


def _shrunk(norm: str, d: np.ndarray, t: Any) -> np.ndarray:
    """A point on the curve that proximal steps draw from 0 (t = 0) to d (t = 1): scaled for l2, thresholded for l1."""
    return t * d if norm == "l2" else np.sign(d) * np.maximum(np.abs(d) - (1 - t) * np.abs(d).max(), 0)


def nearest(norm: str, y, x0, eps, lo, hi, exact: bool) -> np.ndarray:
    """The nearest point of the ball met with the box; of the ball alone, clipped to the box, where not ``exact``."""

    def clipped(z):
        return np.minimum(np.maximum(z, lo), hi)

    if norm == "linf":
        return clipped(np.minimum(np.maximum(y, x0 - eps), x0 + eps))
    within = clipped if exact else lambda z: z

    def point(t):
        return within(x0 + _shrunk(norm, y - x0, t))

    if not y.size or size(norm, within(y) - x0) <= eps:
        return clipped(y)
    low, high = y.dtype.type(0), y.dtype.type(1)
    for _ in range(200):  # the size of point(t) - x0 grows with t
        middle = (low + high) / 2
        if middle in (low, high) or eps == 0:
            break
        low, high = (low, middle) if size(norm, point(middle) - x0) > eps else (middle, high)
    return clipped(point(low))


def wide(value: Any, dtype: torch.dtype) -> np.ndarray:
    """``value`` rounded to ``dtype`` as the op receives it, then in the type that judges it."""
    tensor = value.detach().to(dtype) if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
    return tensor.double().numpy().astype(EXACT[dtype])


def answer(c: Case) -> np.ndarray:
    """What the step should give, [N, D] in a wider type."""
    n, dtype, o = len(c.x), c.x.dtype, c.options
    x, x0, grad = (wide(t, dtype).reshape(n, -1) for t in (c.x, c.x0, c.grad))
    eps, step = (np.broadcast_to(wide(v, dtype), (n,)) for v in (c.eps, c.step))
    lo, hi = (
        wide(bound if bound is not None else default, dtype).reshape(-1)
        for bound, default in ((o.get("lo", 0.0), -math.inf), (o.get("hi", 1.0), math.inf))
    )
    sign = -1 if o.get("descend") else 1
    exact = bool(o.get("exact"))
    moved = [x[i] + sign * step[i] * direction(c.norm, grad[i], o.get("top_q")) for i in range(n)]
    rows = [nearest(c.norm, moved[i], x0[i], eps[i], lo, hi, exact) for i in range(n)]
    return np.stack(rows) if n else np.zeros_like(x)


@functools.cache
def judged(norm: str, n: int, shape: int | tuple[int, ...], dtype=torch.float32, **options: Any):
    """A case and its answer, worked out once for all backends."""
    c = case(norm, n, shape, dtype, **options)
    return c, answer(c)


def flat(t: torch.Tensor) -> np.ndarray:
    """[N, D] in the type that judges it, features in logical order."""
    return wide(t, t.dtype).reshape(len(t), -1)


def unit(t: torch.Tensor | torch.dtype) -> float:
    """Half a unit in the last place of 1."""
    return torch.finfo(t if isinstance(t, torch.dtype) else t.dtype).eps / 2


def error(got: torch.Tensor, want: np.ndarray, scale: np.ndarray) -> float:
    """The largest error over the samples in roundings of each sample's ``scale`` [N]."""
    if not want.size:
        return 0.0
    return float((np.abs(flat(got) - want).max(axis=1) / (unit(got) * scale)).max())


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal bit for bit, up to the sign of a zero and the payload of a NaN."""
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
