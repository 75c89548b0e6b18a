"""Target classes from class priors: never the own class, and as often as the prior says."""

import pytest
import torch

from linfair.attacks import sample_targets

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
N = 60_000


def labels(device):
    return torch.arange(N, device=device) % 4


@each_device
@pytest.mark.parametrize(
    "prior",
    [
        torch.ones(4),
        torch.tensor([4.0, 0.0, 1.0, 0.5]),
        torch.tensor([[9.0, 1, 2, 3], [0, 0, 1, 0], [5, 0, 7, 5], [0.1, 0.1, 0.2, 0.0]]),
    ],
)
def test_frequencies(device, prior):
    y = labels(device)
    drawn = sample_targets(y, prior.to(device), torch.Generator(device).manual_seed(0))
    assert drawn.dtype == torch.int64
    assert drawn.device == y.device
    assert (drawn != y).all()
    wanted = prior.expand(4, 4).clone().fill_diagonal_(0).double()
    wanted /= wanted.sum(1, keepdim=True)
    seen = torch.zeros(4, 4, dtype=torch.float64)
    seen.index_put_((y.cpu(), drawn.cpu()), torch.ones(N, dtype=torch.float64), accumulate=True)
    share = seen / (N / 4)
    tolerance = 5 * torch.sqrt(wanted * (1 - wanted) / (N / 4))
    assert ((share - wanted).abs() <= tolerance).all()


def test_rows_need_not_sum_to_one():
    y, prior = labels("cpu"), torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    draws = [sample_targets(y, scale * prior, torch.Generator().manual_seed(2)) for scale in (1.0, 1e-6, 1e6)]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_two_classes_have_no_choice():
    y = torch.tensor([0, 1, 1, 0])
    assert torch.equal(sample_targets(y, torch.eye(2) + 0.5), 1 - y)


@pytest.mark.parametrize(
    "prior, message",
    [
        (torch.ones(()), "shape"),
        (torch.ones(1, 1), "shape"),
        (torch.ones(3, 4), "shape"),
        (torch.ones(2, 4, 4), "shape"),
        (torch.eye(4), "wrong class above 0"),
        (torch.tensor([1.0, -1, 1, 1]), ">= 0"),
        (torch.tensor([1.0, torch.nan, 1, 1]), ">= 0"),
    ],
)
def test_wrong_priors(prior, message):
    with pytest.raises(ValueError, match=message):
        sample_targets(labels("cpu"), prior)
