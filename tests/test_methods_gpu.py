"""The methods on a CUDA device: a step waits for nothing, and gives what the CPU gives."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from linfair.train.methods import METHODS, get_method
from linfair.train.state import ClassState, ClassWeights
from test_methods import C, batch, context, network
from waiting import synchronising_is_an_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def step(name, second: Callable[[], AbstractContextManager] = nullcontext):
    """Two passes of a method on the device; the second, inside ``second``, runs with everything loaded."""
    ctx = context(network().cuda())
    ctx.generator = torch.Generator("cuda").manual_seed(0)
    assert isinstance(ctx.teacher, torch.nn.Module)
    ctx.teacher.cuda()
    x, y = (t.cuda() for t in batch())
    method, weights, state = get_method(name), ClassWeights.neutral(C, "cuda"), ClassState(C, "cuda")
    for inside in (nullcontext, second):
        torch.cuda.synchronize()
        with inside():
            mixed = method.transform(x, y, weights, ctx)
            x_adv = method.attack(mixed, y, weights, ctx)
            out = method.loss(mixed, x_adv, y, weights, ctx)
            out.loss.backward()
            state.update(y, out.logits_adv, out.logits_nat)
    return method.rule(state, weights, 0, 1), state


@pytest.mark.parametrize("name", METHODS)
def test_a_step_does_not_wait_for_the_device(name):
    weights, state = step(name, synchronising_is_an_error)
    assert state.n.sum().item() == 128
    assert all(value.is_cuda and value.isfinite().all() for value in weights.state_dict().values())
