"""One call of every CUDA kernel and branch, small enough for compute-sanitizer, against the CPU.

    compute-sanitizer --tool memcheck --error-exitcode 1 python benchmarks/gpu_sanitize.py

PYTORCH_NO_CUDA_MEMORY_CACHING=1 gives each tensor an allocation of its own, so that a step over its end shows.
"""

from __future__ import annotations

import functools
import itertools
import math

import torch

from linfair import ops

DIMS = (7, 128, 1000, 3072, 3073, 9216, 20000)
"""A warp with the sample in registers; a block so; a block that streams what is unaligned or too large."""
NORMS = [("linf", {}), ("l2", {}), ("l2", {"exact": True}), ("l1", {}), ("l1", {"exact": True}), ("l1", {"top_q": 3})]


def inputs(dim: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """x, x0, grad, eps, step of five samples; the gradients of the last three are tiny, zero and NaN."""
    g = torch.Generator().manual_seed(dim)
    x, x0 = torch.rand(2, 5, dim, generator=g, dtype=dtype)
    grad = torch.randn(5, dim, generator=g, dtype=dtype)
    grad[2] *= 1e-30
    grad[3] = 0
    grad[4, dim // 2] = math.nan
    return x, x0, grad, torch.tensor([0.1, 2.0, 0.5, 0.0, 1.0], dtype=dtype), torch.full((5,), 0.3, dtype=dtype)


def main() -> None:
    calls = 0
    for dim, dtype, (norm, options) in itertools.product(DIMS, (torch.float32, torch.float64), NORMS):
        x, x0, grad, eps, step = inputs(dim, dtype)
        lo = torch.full((dim,), 0.1, dtype=dtype)
        variants = [(grad, {}), (grad, {"lo": lo, "hi": lo + 0.8}), (grad, {"lo": None, "hi": None, "descend": True})]
        variants += [(grad.bfloat16(), {})] if dtype == torch.float32 else []
        for g, more in variants:
            want = ops.pgd_step(x, x0, g, eps, step, norm, **options, **more)
            more = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in more.items()}
            iterate, *rest = (t.cuda() for t in (x, x0, g, eps, step))
            step_on = functools.partial(ops.pgd_step, iterate, *rest, norm, **options, **more)
            for result in (step_on(), step_on(out=iterate)):
                tolerance = 0 if norm == "linf" else 64 * torch.finfo(dtype).eps
                torch.testing.assert_close(result.cpu(), want, rtol=0, atol=tolerance, equal_nan=True)
            calls += 2
        ops.project(x.cuda(), x0.cuda(), 0.25, norm)
    torch.cuda.synchronize()
    print(f"{calls} calls agree with the CPU")


if __name__ == "__main__":
    main()
