"""The op as torch sees it: schemas, the implementation for every device, and its shapes for tracing.

`linfair::pgd_step` and `linfair::project` return a new tensor. Their `_out` forms write into `out`, and read the
iterate from `out` itself where it is None, so that a step in place is declared as just that. A budget or a bound is a
tensor, or None and a number. Call the functions of :mod:`linfair.ops`, which put their arguments in this form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linfair.ops._run import run
from linfair.ops._tensors import check_tensors
from linfair.ops._transforms import refuse_transforms

_BALL = "float lo_value, float hi_value, Tensor? lo=None, Tensor? hi=None, bool exact=False"
_PROJECT = f"Tensor x0, Tensor? eps, float eps_value, str norm, {_BALL}"
_STEP = (
    "Tensor x0, Tensor grad, Tensor? eps, Tensor? step, float eps_value, float step_value, str norm, "
    f"{_BALL}, bool descend=False, int? top_q=None"
)
_SCHEMAS = (
    f"pgd_step(Tensor x, {_STEP}) -> Tensor",
    f"pgd_step_out(Tensor(a!) out, Tensor? x, {_STEP}) -> ()",
    f"project(Tensor y, {_PROJECT}) -> Tensor",
    f"project_out(Tensor(a!) out, Tensor? y, {_PROJECT}) -> ()",
)
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides)


def _functions(work: Callable[..., Tensor]) -> dict[str, Callable[..., Any]]:
    """One function a schema, each of which unpacks its arguments for ``work``."""

    def pgd_step(
        x, x0, grad, eps, step, e, s, norm, low, high, lo=None, hi=None, exact=False, descend=False, top_q=None
    ):
        eps, step = e if eps is None else eps, s if step is None else step
        lo, hi = low if lo is None else lo, high if hi is None else hi
        return work("x", None, x, x0, grad, eps, step, norm, lo, hi, exact, descend, top_q)

    def pgd_step_out(
        out, x, x0, grad, eps, step, e, s, norm, low, high, lo=None, hi=None, exact=False, descend=False, top_q=None
    ):
        eps, step = e if eps is None else eps, s if step is None else step
        lo, hi = low if lo is None else lo, high if hi is None else hi
        work("x", out, out if x is None else x, x0, grad, eps, step, norm, lo, hi, exact, descend, top_q)

    def project(y, x0, eps, e, norm, low, high, lo=None, hi=None, exact=False):
        lo, hi = low if lo is None else lo, high if hi is None else hi
        return work("y", None, y, x0, None, e if eps is None else eps, 0.0, norm, lo, hi, exact)

    def project_out(out, y, x0, eps, e, norm, low, high, lo=None, hi=None, exact=False):
        lo, hi = low if lo is None else lo, high if hi is None else hi
        y = out if y is None else y
        work("y", out, y, x0, None, e if eps is None else eps, 0.0, norm, lo, hi, exact)

    return {f.__name__: f for f in (pgd_step, pgd_step_out, project, project_out)}


def _trace(named, out, x, x0, grad, eps, step, norm, lo, hi, exact, descend=False, top_q=None) -> Tensor:
    """What tracing may know: whether the tensors belong together, and the shape and layout of the result."""
    check_tensors(named, out, x, x0, grad, eps, step, lo, hi, top_q)
    return torch.empty_like(x)


library = torch.library.Library("linfair", "DEF")
for _schema in _SCHEMAS:
    library.define(_schema, tags=_TAGS)
for _name, _function in _functions(run).items():
    library.impl(_name, _function, "CompositeExplicitAutograd")
for _name, _function in _functions(_trace).items():
    torch.library.register_fake(f"linfair::{_name}", _function, lib=library)

pgd_step = torch.ops.linfair.pgd_step.default
pgd_step_out = torch.ops.linfair.pgd_step_out.default
project = torch.ops.linfair.project.default
project_out = torch.ops.linfair.project_out.default

refuse_transforms(library, (pgd_step, pgd_step_out, project, project_out))
