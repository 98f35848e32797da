"""The loss of a student against its definition and against numeric gradients."""

import pytest
import torch
from torch.nn import functional as F

from autoquant.kernels import distillation_cross_entropy

TARGETS = torch.tensor([0, 4, -100, 2, 2])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_is_cross_entropy_against_the_mix(share):
    torch.manual_seed(0)
    logits, taught = torch.randn(2, 5, 7, dtype=torch.float64)
    kept = TARGETS != -100
    hard = F.one_hot(TARGETS.clamp_min(0), 7)
    mix = share * taught.softmax(1) + (1 - share) * hard
    expected = -(mix * logits.log_softmax(1)).sum(1)[kept].mean()
    torch.testing.assert_close(distillation_cross_entropy(logits, taught, TARGETS, share), expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_its_gradient_is_the_numeric_one(share):
    torch.manual_seed(1)
    logits, taught = torch.randn(2, 5, 7, dtype=torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda each: distillation_cross_entropy(each, taught, TARGETS, share), (logits,)
    )


def test_without_a_share_it_is_cross_entropy():
    logits, taught = torch.randn(2, 5, 7)
    torch.testing.assert_close(
        distillation_cross_entropy(logits, taught, TARGETS, 0.0), F.cross_entropy(logits, TARGETS)
    )


def test_logits_that_never_count_give_no_nan():
    logits, taught = torch.randn(2, 5, 7)
    logits[:, 3] -= 1e4
    taught[:, 3] -= 1e4
    assert bool(torch.isfinite(distillation_cross_entropy(logits, taught, TARGETS, 0.5)))
