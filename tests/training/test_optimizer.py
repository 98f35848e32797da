"""One update of the weights: learning rates, decay, clipping, autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from autoquant.errors import UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme, Training
from autoquant.training import qat
from autoquant.training.scoring import score
from tests import toys
from tests.toys import described
from tests.training.runs import Toy, float_model, quietly, same_weights


class Watched(nn.Module):
    """A weight, a bias, a quantizer's scale, and a parameter of the user's with the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 2), 2.0))
        self.bias = nn.Parameter(torch.full((2,), 2.0))
        self.quantizer = WeightQuantizer(torch.ones(2, 2), 4, Scheme())
        self.quantizer.log_scale.data.fill_(2.0)
        self.log_scale = nn.Parameter(torch.full((2,), 2.0))
        self.fixed = nn.Parameter(torch.full((2, 2), 2.0), requires_grad=False)

    def values(self) -> tuple[float, ...]:
        scale = self.quantizer.log_scale
        parts = self.weight, self.bias, scale, self.log_scale, self.fixed
        return tuple(float(part.detach().mean()) for part in parts)


def test_the_first_step_has_the_size_of_the_learning_rate():
    """Adam's first step is the learning rate in the direction of the gradient's sign."""
    model = Watched()
    settings = Training(steps=1, warmup=0.0, lr=0.25, scale_lr=0.125)
    quietly(model, Toy(), settings)
    assert model.values() == pytest.approx((1.75, 1.75, 1.875, 1.75, 2.0), rel=1e-6)


def test_scales_have_a_learning_rate_of_their_own():
    model = Watched()
    quietly(model, Toy(), Training(steps=5, scale_lr=0.0))
    weight, _, scale, named_like_a_scale, _ = model.values()
    assert scale == 2.0
    assert max(weight, named_like_a_scale) < 2.0


def test_only_weights_decay():
    model = Watched()
    toy = Toy(lambda model, step: 0.0 * sum(p.sum() for p in model.parameters()))
    settings = Training(steps=1, warmup=0.0, lr=0.1, weight_decay=0.5)
    quietly(model, toy, settings)
    assert model.values() == pytest.approx((2.0 * (1 - 0.1 * 0.5), 2.0, 2.0, 2.0, 2.0), rel=1e-6)


@pytest.mark.parametrize(("slope", "norm"), [(100.0, 0.5), (0.01, 0.02)], ids=["large", "small"])
def test_the_gradient_is_clipped(slope, norm):
    norms = []

    def look(optimizer, args, kwargs) -> None:
        parts = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat([part.flatten() for part in parts]).norm()))

    model = nn.Linear(2, 2, bias=False)
    hook = register_optimizer_step_pre_hook(look)
    toy = Toy(lambda model, step: slope * model.weight.sum())  # a norm of 2 * slope
    try:
        quietly(model, toy, Training(steps=2, clip_norm=0.5))
    finally:
        hook.remove()
    assert norms == pytest.approx([norm, norm], rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_sparse_gradients_train_as_dense_ones(optimizer):
    tables = []
    for sparse in (True, False):
        torch.manual_seed(0)
        tables.append(nn.Embedding(9, 4, sparse=sparse))
        toy = Toy(lambda model, step: (model(torch.tensor([step % 3, 5])) ** 2).sum())
        quietly(tables[-1], toy, Training(steps=4, lr=0.1, optimizer=optimizer))
    assert same_weights(*tables)


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        (lambda model, step: model.weight, r"one number, got a tensor \[2, 2\]"),
        (lambda model, step: (model.weight.sum(), 0), "one number, got tuple"),
        (lambda model, step: None, "one number, got NoneType"),
        (lambda model, step: model.weight.sum().detach(), "trained, got one without a gradient"),
    ],
    ids=["not reduced", "tuple", "None", "detached"],
)
def test_a_loss_that_cannot_be_minimized_is_refused(loss, came):
    with pytest.raises(UserError, match=f"the loss of a batch must .*{came}"):
        quietly(nn.Linear(2, 2), Toy(loss), Training(steps=2))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bits", [None, (3, 4), (4, 32), (16, 16)], ids=str)
def test_bfloat16_autocast_on_the_cpu(cell, bits):
    """It trains as float32 does, nearly, and scores are taken in float32."""
    task, scores = toys.language_task(cell=cell), []
    for autocast in ("none", "bfloat16"):
        model = float_model(task)
        if bits is not None:
            model = prepare(model)
            network = described(model)
            plan = Plan.uniform(network.names, LayerChoice(*bits))
            qat.quantize(model, network, plan, Scheme())
            qat.calibrate(model, task, 0)
        quietly(model, task, Training(steps=20, lr=0.01, autocast=autocast))
        assert {each.dtype for each in model.parameters()} == {torch.float32}
        scores.append(score(model, task, "valid"))
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.02)
    assert torch.backends.mkldnn.enabled


def test_only_the_loss_is_under_autocast(task):
    seen = []

    def look(model: nn.Module, step: int) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return model.weight.sum()

    quietly(nn.Linear(2, 2), Toy(look), Training(steps=2, scores=1, autocast="bfloat16"))
    assert seen == [True, False, True]


def test_float16_autocast_needs_cuda():
    with pytest.raises(UserError, match=r"autocast=float16 must have a CUDA device .* device=cpu"):
        quietly(nn.Linear(2, 2), Toy(), Training(steps=2, autocast="float16"))


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
def test_autocast_on_a_gpu(task, autocast, tmp_path):
    model = float_model(task).cuda()
    before = score(model, task, "valid")
    settings = Training(steps=60, lr=0.03, autocast=autocast)
    quietly(model, task, settings, checkpoint=tmp_path / "checkpoint")
    assert score(model, task, "valid") < 0.8 * before
    saved = torch.load(tmp_path / "checkpoint", weights_only=True)
    assert ("scaler" in saved) is (autocast == "float16")
