"""The op inside torch.func.grad, jvp, vmap, ...: refused where it would be differentiated or mapped.

Without this a derivative would be zero in silence. torch has no public name for what tells a transformed tensor, so the
private ones are looked for here and nowhere else; where a torch has them no longer, transforms are not refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from linfair.ops._tensors import refuse_gradients

try:
    from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard
    from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor, is_gradtrackingtensor
except ImportError:
    KNOWN = False
else:
    KNOWN = True


def refuse_transforms(library: torch.library.Library, ops: Iterable[Any]) -> None:
    """Registers the refusal for each op, under a key that only transforms meet: elsewhere it costs nothing."""
    if KNOWN:
        for op in ops:
            library.impl(op, _transformed(op), "FuncTorchDynamicLayerFrontMode")


def _transformed(op: Any) -> Callable[..., Any]:
    """The op for tensors that a transform has wrapped: a refusal, or for constants what it is outside."""
    names = [argument.name for argument in op._schema.arguments]
    transforms = DispatchKeySet(DispatchKey.FuncTorchDynamicLayerFrontMode) | DispatchKeySet(
        DispatchKey.FuncTorchDynamicLayerBackMode
    )

    def refuse_or_call(*args: Any) -> Any:
        values = []
        for name, value in zip(names, args, strict=False):
            while isinstance(value, Tensor) and is_functorch_wrapped_tensor(value):
                refuse_gradients({name: value})
                if not is_gradtrackingtensor(value):
                    raise ValueError(
                        f"{name} must be a batch of samples, got a tensor that torch.func transforms, as vmap does; "
                        "put the mapped dimension among the samples"
                    )
                value = get_unwrapped(value)
            values.append(value)
        with _ExcludeDispatchKeyGuard(transforms):
            return op(*values)

    return refuse_or_call
