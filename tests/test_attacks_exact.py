"""float32 stays float32 while flags are measured, whatever the process has set."""

import copy
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from attack_models import gpu
from linfair.attacks import exact_float32


def precision():
    backends: Any = torch.backends
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul)
    return [place.fp32_precision for place in places], backends.cudnn.benchmark


@pytest.mark.parametrize(
    "setting",
    [
        "pass",
        "torch.backends.cudnn.benchmark = True",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.fp32_precision = 'tf32'",
    ],
)
def test_float32_is_float32_while_flags_are_measured(setting):
    """Whatever the process has set, by torch's old settings or its new ones; afterwards it is set again."""
    code = f"""if True:
        import torch
        {setting}
        from attack_models import small_net
        from linfair.attacks import robust_flags
        from test_attacks_exact import precision
        seen, before, net = [], precision(), small_net()
        net.register_forward_hook(lambda *_: seen.append(precision()))
        robust_flags(net, torch.rand(4, 1, 8, 8), torch.arange(4), "pgd20", progress=False)
        assert seen and all(one == (["ieee"] * 4, False) for one in seen), seen[0]
        assert precision() == before, precision()
    """
    folder = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_convolutions_on_a_gpu_do_not_round_to_tf32(device):
    net, x = torch.nn.Conv2d(64, 64, 3).to(device), torch.rand(8, 64, 16, 16, device=device)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(x.double())
        with exact_float32():
            assert (net(x) - exact).abs().max() < 1e-5
