"""Batch norms whose scale and shift are halves: rounded in eval mode, as they were in training."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoquant.layers import LayerSpec, kind_of
from autoquant.layers.folded_norm import can_fold, folded, round_in_eval, set_folded


def trained(norm: nn.Module, *shape: int) -> nn.Module:
    """A norm with weights and statistics that are no ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    for _ in range(3):
        norm.train()(torch.randn(shape, generator=generator) * 3 + 1)
    return norm.eval()


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(6), (4, 6, 5)),
    "2d": (lambda: nn.BatchNorm2d(6, eps=0.1), (4, 6, 5, 3)),
    "3d": (lambda: nn.BatchNorm3d(6), (2, 6, 3, 2, 2)),
}


def described(norm: nn.Module) -> LayerSpec:
    kind = kind_of(norm)
    assert kind is not None
    return kind.describe("norm", norm)


@pytest.mark.parametrize("name", NORMS)
def test_eval_mode_computes_what_a_loaded_norm_does(name: str) -> None:
    """Bit for bit, and near what the float norm computes."""
    build, shape = NORMS[name]
    norm, inputs = trained(build(), *shape), torch.randn(shape)
    assert can_fold(described(norm))
    before = norm(inputs)
    round_in_eval(norm)
    loaded = build().eval()
    set_folded(loaded, *(half.half().float() for half in folded(norm)))
    assert torch.equal(norm(inputs), loaded(inputs))
    assert not torch.equal(norm(inputs), before)
    torch.testing.assert_close(norm(inputs), before, rtol=2e-3, atol=2e-3)


def test_a_scale_and_a_shift_by_hand() -> None:
    norm = trained(*_args("1d"))
    scale, shift = folded(norm)
    by_hand = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
    assert torch.equal(scale, by_hand.half().float())
    assert torch.equal(shift, (norm.bias - norm.running_mean * by_hand).half().float())  # type: ignore[operator]
    fresh = nn.BatchNorm1d(6).eval()
    set_folded(fresh, scale, shift)
    values = torch.randn(4, 6)
    torch.testing.assert_close(fresh(values), values * scale + shift)  # one rounding or two


def _args(name: str) -> tuple[nn.Module, *tuple[int, ...]]:
    build, shape = NORMS[name]
    return (build(), *shape)


def test_training_mode_is_not_rounded() -> None:
    """The batch's statistics, and those that the norm follows, are as without rounding."""
    norm = trained(*_args("1d"))
    plain, inputs = copy.deepcopy(norm).train(), torch.randn(4, 6, 5)
    round_in_eval(norm.train())
    assert torch.equal(norm(inputs), plain(inputs))
    assert torch.equal(norm.running_mean, plain.running_mean)
    assert torch.equal(norm.running_var, plain.running_var)


def test_gradients_pass_where_a_norm_is_in_eval_mode_while_others_train() -> None:
    """Frozen statistics: the gradient is that of the norm without rounding."""
    norm, inputs = trained(*_args("1d")), torch.randn(4, 6, 5)
    plain = copy.deepcopy(norm)
    round_in_eval(norm)
    for each in (norm, plain):
        each(inputs).square().sum().backward()
    for name in ("weight", "bias"):
        ours, theirs = getattr(norm, name).grad, getattr(plain, name).grad
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=0.5)


def test_a_hook_of_the_user_gets_the_rounded_output() -> None:
    norm, seen = trained(*_args("1d")), []
    norm.register_forward_hook(lambda module, args, output: seen.append(output))
    round_in_eval(norm)
    output = norm(torch.randn(4, 6))
    assert torch.equal(seen[0], output)


class WithActivation(nn.BatchNorm2d):
    """As timm has it: something follows the norm in its own forward."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


def test_what_a_norm_of_another_library_does_after_it_is_kept() -> None:
    norm = trained(WithActivation(6), 4, 6, 5, 3)
    round_in_eval(norm)
    assert float(norm(torch.randn(4, 6, 5, 3)).detach().min()) == 0.0


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(6, affine=False),
        nn.BatchNorm1d(6, track_running_stats=False),
        nn.InstanceNorm1d(6, affine=True, track_running_stats=True),
        nn.GroupNorm(2, 6),
    ],
    ids=["no weight", "no statistics", "instance norm", "group norm"],
)
def test_norms_that_stay_float(norm: nn.Module) -> None:
    assert not can_fold(described(norm))


def test_what_half_precision_cannot_hold_becomes_its_largest_number() -> None:
    norm = nn.BatchNorm1d(2).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1e6, 1.0]))
    scale, _ = folded(norm)
    assert scale[0] == torch.finfo(torch.float16).max
