"""robust_flags goes on after a kill, and believes a state of nothing else."""

import contextlib
import copy
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from attack_models import EPS, digits, flags
from linfair.attacks import robust_flags
from linfair.models import attack_copy

SCRIPT = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
import torch
from attack_models import small_net
from linfair.attacks import robust_flags
torch.set_num_threads(1)
x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
net = small_net()
y = net.eval()(x).argmax(1)
calls = 0
def count(*_):
    global calls
    calls += 1
    print(calls, flush=True)
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
net.register_forward_hook(count)
found = robust_flags(net, x, y, "pgd20", eps=0.03, batch_size=10, state=sys.argv[1] or None, progress=False)
print("flags", "".join(map(str, found.astype(int))))
"""


def test_what_is_called_before_a_batch_may_stop_and_the_rest_goes_on(tmp_path):
    """Stopped before every third batch, it comes to the same flags and begins each batch once."""
    calls = []

    def before():
        calls.append(len(calls) % 3)
        if calls[-1] == 2:
            raise InterruptedError

    found = None
    while found is None:
        assert len(calls) < 60
        with contextlib.suppress(InterruptedError):
            found = flags("pgd20", batch_size=20, before_batch=before, state=tmp_path / "state")
    assert np.array_equal(found, flags("pgd20", batch_size=20))
    right = flags("clean").sum()
    assert sum(call < 2 for call in calls) == 6 + -(-right // 20), "six batches of clean images, then of the right ones"


def test_a_killed_run_resumes_to_the_same_flags(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__)))

    def run(state, kill_at):
        done = subprocess.run([sys.executable, str(script), state, str(kill_at)], capture_output=True, text=True)
        lines = done.stdout.splitlines()
        calls = max([int(line) for line in lines if line.isdigit()], default=0)
        return done.returncode, calls, lines[-1].removeprefix("flags ")

    code, total, wanted = run("", -1)
    assert code == 0
    assert 0 < wanted.count("1") < 60
    state = str(tmp_path / "state.jsonl")
    code, _, _ = run(state, total * 2 // 3)
    assert code == -signal.SIGKILL
    code, resumed, found = run(state, -1)
    assert (code, found) == (0, wanted)
    assert 0 < resumed < total * 2 // 3


def test_the_state_belongs_to_model_data_and_question(tmp_path):
    net, images, labels = digits()
    calls = []
    net = copy.deepcopy(net)
    net.register_forward_hook(lambda *_: calls.append(1))

    def fresh(**options):
        calls.clear()
        settings = {"images": images[:30], "labels": labels[:30], "attack": "pgd20"} | options
        robust_flags(net, **{"eps": EPS, "levels": 16, "progress": False, **settings}, state=tmp_path / "s.jsonl")
        return len(calls) > 1  # one call is to see that the model still answers as it did

    assert fresh()
    assert not fresh()
    for other in ({"eps": 0.05}, {"norm": "l2"}, {"seed": 1}, {"batch_size": 7}, {"attack": "cw20"}):
        assert fresh(**other), other
        assert not fresh(**other), other
    assert not fresh(), "one file serves many attacks"
    assert fresh(images=images[30:60], labels=labels[30:60])
    assert fresh(), "another model or data makes it begin anew"
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1e-3
    assert fresh()


def test_a_state_needs_weights(tmp_path):
    with pytest.raises(TypeError, match="state needs a model whose weights"):
        flags("clean", model=lambda x: x.flatten(1)[:, :10], state=tmp_path / "s")


def test_a_state_is_not_believed_after_the_code_of_the_model_changed(tmp_path):
    """The same weights, other answers: a normalisation put in after the first run was stopped, say."""
    net, state = copy.deepcopy(digits()[0]), tmp_path / "s"
    first = flags("pgd20", model=net, state=state)
    net.register_forward_pre_hook(lambda _, args: 0.3 - args[0])
    second = flags("pgd20", model=net, state=state)
    assert np.array_equal(second, flags("pgd20", model=net))
    assert not np.array_equal(second, first)


def test_a_state_knows_what_searched(tmp_path):
    net, state = digits()[0], tmp_path / "s"
    calls = []

    def other(x):
        calls.append(1)
        return net(x)

    flags("pgd20", search_model=attack_copy(net), state=state)
    flags("pgd20", search_model=other, state=state)
    assert calls


def test_a_state_serves_a_model_that_leaves_classes_out(tmp_path):
    """Logits of minus infinity are the same answer the second time."""

    class Without(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.calls = digits()[0], 0

        def forward(self, x):
            self.calls += 1
            return self.net(x).index_fill(1, torch.tensor([7]), -torch.inf)

    net = Without()
    first = flags("noise-1", model=net, state=tmp_path / "s")
    net.calls = 0
    assert np.array_equal(flags("noise-1", model=net, state=tmp_path / "s"), first)
    assert net.calls == 1, "one look at the answers, no batch again"
