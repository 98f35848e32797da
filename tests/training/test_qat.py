"""Fake-quantized values lie on their grids, calibration ends, and 32 bits change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.backend import Compute, computing
from autoquant.errors import RunError, UserError
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import Grid
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme, Training
from autoquant.training import qat
from autoquant.training.activations import scale_dropout
from autoquant.training.loop import train
from autoquant.training.qat import (
    CALIBRATION_BATCHES,
    MAX_CALIBRATION_BATCHES,
    build_candidate,
    calibrate,
    quantize,
    recalibrate,
    share_magnitude,
)
from tests import toys
from tests.runtime.pairs import flat, pair
from tests.toys import RegressionTask, described, output_of, plan_of, prepared

SCHEMES = {
    "lsq channel": Scheme(),
    "lsq tensor": Scheme(granularity="tensor", scale_bits=32),
    "midtread": Scheme(grid="midtread", bias_bits=8),
    "bit-rnn": Scheme.bit_rnn(),
    "tanh": Scheme(reparametrization="tanh"),
}


def built(
    source: nn.Module, plan: Plan | LayerChoice, scheme: Scheme, steps: int = 0
) -> tuple[nn.Module, Network]:
    torch.manual_seed(0)
    task = RegressionTask(source, torch.randn(6, 3, 5))
    model, network = prepared(source)
    plan = Plan.uniform(network.names, plan) if isinstance(plan, LayerChoice) else plan
    candidate = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    if steps:
        settings = Training(steps=steps, lr=1e-2)
        train(candidate.train(), task, settings, seed=0)
    return candidate, network.resized(plan)


def levels_of(weight: Tensor, quantizer: WeightQuantizer, original: Tensor) -> Tensor:
    """Steps from zero, minus the grid's offset: whole numbers where the weight is on the grid."""
    assert quantizer.grid is not None
    scale = quantizer.scale(quantizer.effective(original)).detach()
    return weight / scale - quantizer.grid.offset


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_on_their_grids(scheme: str, bits: int) -> None:
    """Also after training moved both weights and scales; 1e-3 steps for float32 division."""
    source = toys.stack(cell="LSTM", layers=2, bidirectional=True)
    model, network = built(source, LayerChoice(bits, 8), SCHEMES[scheme], steps=3)
    kind = SCHEMES[scheme].grid
    seen = 0
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        for parameter in layer.parameters:
            wanted = SCHEMES[scheme].bias_bits if parameter.role == "bias" else bits
            if wanted > 8:
                continue
            held = module.parametrizations[parameter.name]
            values = getattr(module, parameter.name).detach()
            levels = levels_of(values, held[0], held.original.detach())
            grid = Grid.signed(wanted, kind)
            assert float((levels - levels.round()).abs().max()) < 1e-3
            assert float(levels.min()) > grid.qmin - 0.5
            assert float(levels.max()) < grid.qmax + 0.5
            assert len(levels.round().unique()) > 1
            seen += 1
    weights = sum(p.role != "bias" for layer in network.layers for p in layer.parameters)
    assert seen >= weights == 10


@pytest.mark.parametrize(("bits", "dtype"), [(16, torch.float16)])
def test_half_precision(bits: int, dtype: torch.dtype) -> None:
    model, _ = built(toys.stack(), LayerChoice(bits, 32), Scheme())
    for name in ("front.weight", "rnn.l0.weight_hh", "rnn.l0.bias", "back.bias"):
        owner, _, last = name.rpartition(".")
        values = getattr(model.get_submodule(owner), last).detach()
        assert torch.equal(values, values.to(dtype).float()), name


def test_recurrent_weights_have_bits_of_their_own() -> None:
    choice = LayerChoice(8, 32, recurrent_bits=2)
    model, _ = built(nn.LSTM(5, 12), choice, Scheme(granularity="tensor"))
    assert len(model.l0.weight_hh.unique()) == 4
    assert len(model.l0.weight_ih.unique()) > 16


@pytest.mark.parametrize("model", ["stack", "projected", "packed", "deep speech", "language"])
def test_32_bits_change_nothing(model: str) -> None:
    """No parametrization, no hook that computes: equal, bit for bit."""
    source = {
        "stack": lambda: toys.stack(cell="GRU", layers=2, bidirectional=True),
        "deep speech": lambda: toys.deep_speech(features=5),
        "language": toys.language_model,
        "projected": lambda: toys.stack(layers=2, bidirectional=True, projection=3),
        "packed": toys.tagger,
    }[model]()
    ready, network = prepared(source)
    scheme = Scheme(bias_bits=32)
    words = model in ("language", "packed")
    inputs = torch.randint(1, 15, (7, 3)) if words else torch.randn(7, 3, 5)
    before = output_of(ready, inputs)
    quantize(ready, network, plan_of(network), scheme)
    assert torch.equal(output_of(ready, inputs), before)


def test_32_bits_under_bit_rnn_change_nothing_but_rounding() -> None:
    """tanh(atanh(w)) is w while |w| < 1; biases, here above 1, are not held inside tanh's range.

    Tolerance: 1e-5 of the largest output.
    """
    source = toys.stack()
    with torch.no_grad():
        source.rnn.bias_ih_l0[6:12] = 2.5  # a forget gate's usual start
        source.back.bias[0] = -3.0
    ready, network = prepared(source)
    inputs = torch.randn(7, 3, 5)
    before = output_of(ready, inputs)
    quantize(ready, network, plan_of(network), Scheme.bit_rnn())
    assert isinstance(ready.rnn.l0.parametrizations.weight_hh[0], WeightQuantizer)
    torch.testing.assert_close(
        output_of(ready, inputs), before, atol=1e-5 * float(before.abs().max()), rtol=0
    )


# --- one mean for input and recurrent weights -----------------------------------------------------


def recurrent_of(model: nn.Module) -> RecurrentLayer:
    return next(each for each in model.modules() if isinstance(each, RecurrentLayer))


def scales(layer: RecurrentLayer, suffix: str = "") -> list[float]:
    found = []
    for part in ("ih", "hh"):
        held = layer.parametrizations[f"weight_{part}{suffix}"]
        found.append(float(held[0].scale(held[0].effective(held.original))))
    return found


def test_joint_recurrent_gives_one_scale_a_direction() -> None:
    """s = 2.5 * mean|tanh V| over the whole [x; h] -> 4H matrix, as steps of 2^k - 1 (notes)."""
    source = nn.LSTM(5, 8, bidirectional=True)
    with torch.no_grad():
        source.weight_hh_l0 *= 3  # so that the two means differ
        source.weight_hh_l0_reverse *= 0.1
    model, _ = built(source, LayerChoice(4, 8), Scheme.bit_rnn(), steps=2)
    model(torch.randn(4, 2, 5))
    layer = recurrent_of(model)
    by_direction = []
    for suffix in ("", "_reverse"):
        first, second = scales(layer, suffix)
        assert first == second
        parts = [
            layer.parametrizations[f"weight_{part}{suffix}"].original.detach().tanh().flatten()
            for part in ("ih", "hh")
        ]
        expected = 2.5 * float(torch.cat(parts).abs().mean()) / 15
        assert first == pytest.approx(expected, rel=1e-5)
        by_direction.append(first)
    assert by_direction[0] != pytest.approx(by_direction[1], rel=0.1)


def test_without_it_each_has_its_own() -> None:
    source = nn.LSTM(5, 8)
    with torch.no_grad():
        source.weight_hh_l0 *= 3
    model, _ = built(source, LayerChoice(4, 8), Scheme.bit_rnn(joint_recurrent=False))
    first, second = scales(recurrent_of(model))
    assert second > 1.5 * first


@pytest.mark.parametrize("choice", [LayerChoice(4, 32, recurrent_bits=32), LayerChoice(32, 32)])
def test_joint_recurrent_where_weights_stay_as_they_are(choice: LayerChoice) -> None:
    """Without a reparametrization 32-bit weights have no quantizer; the mean is over both still."""
    scheme = Scheme(scale="mean", granularity="tensor", joint_recurrent=True)
    source = nn.LSTM(5, 8)
    model, _ = built(source, choice, scheme, steps=1)
    layer = recurrent_of(model)
    share_magnitude(layer)
    if choice.weight_bits == 32:
        assert not parametrize.is_parametrized(layer, "weight_ih")
        return
    held = layer.parametrizations.weight_ih
    both = torch.cat([held.original.detach().flatten(), layer.weight_hh.detach().flatten()])
    expected = 2.5 * float(both.abs().mean()) / 15
    assert float(held[0].scale(held.original)) == pytest.approx(expected, rel=0.004)  # bfloat16


# --- activations ----------------------------------------------------------------------------------


def quantizers(model: nn.Module) -> dict[str, ActivationQuantizer]:
    return {
        name: each for name, each in model.named_modules() if isinstance(each, ActivationQuantizer)
    }


def test_activation_quantizers_are_where_the_plan_says_and_calibrated() -> None:
    model, _ = built(toys.deep_speech(features=5), LayerChoice(4, 6), Scheme())
    found = quantizers(model)
    layers = ("fc1", "fc2", "fc3", "rnn.l0", "fc5", "fc6")
    assert set(found) == {f"{name}.input_quantizer" for name in layers} | {
        "rnn.l0.hidden_quantizer"
    }
    for name, each in found.items():
        assert each.observed is None, name
        assert each.bits == 6
    # frames and hidden states have negative values, clipped ReLUs have none
    assert {name for name, each in found.items() if int(each.qmin) == 0} == {
        f"{name}.input_quantizer" for name in ("fc2", "fc3", "rnn.l0", "fc6")
    }
    assert int(found["fc1.input_quantizer"].qmin) == -32


def test_embeddings_read_indices_that_are_not_quantized() -> None:
    ready, network = prepared(toys.language_model(layers=1))
    quantize(ready, network, plan_of(network, LayerChoice(4, 8)), Scheme())
    assert set(quantizers(ready)) == {
        "rnn.l0.input_quantizer",
        "rnn.l0.hidden_quantizer",
        "decoder.input_quantizer",
    }


def test_hidden_bits_and_32_bit_inputs() -> None:
    model, _ = built(nn.LSTM(5, 8), LayerChoice(8, 32, hidden_bits=3), Scheme())
    assert {name: each.bits for name, each in quantizers(model).items()} == {
        "l0.hidden_quantizer": 3
    }
    with torch.no_grad():
        outputs, _ = model.eval()(torch.randn(20, 4, 5))
    assert len(outputs.unique()) <= 8


def test_a_layer_reads_what_its_quantizer_gives() -> None:
    """The inputs of the last layer take at most 2^bits values, on the quantizer's own grid."""
    model, _ = built(toys.stack(), LayerChoice(8, 3, hidden_bits=32), Scheme())
    read: list[Tensor] = []
    original = nn.functional.linear

    def spy(values: Tensor, *rest: Any) -> Tensor:
        read.append(values.detach())
        return original(values, *rest)

    nn.functional.linear = spy
    try:
        with computing(Compute(kernel="torch")):
            output_of(model, torch.randn(9, 3, 5))
    finally:
        nn.functional.linear = original
    scale = model.back.input_quantizer.scale().detach()
    levels = (read[-1] / scale).unique()
    assert read[-1].shape[-1] == 6
    assert 2 < len(levels) <= 8
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_calibration_is_of_the_training_batches() -> None:
    """Against the definition: the MSE-optimal step of the values that the layer really read."""
    source = nn.Linear(5, 3)
    torch.manual_seed(0)
    inputs = torch.rand(6, 3, 5) * 4
    task = RegressionTask(source, inputs)
    model, network = prepared(source)
    quantize(model, network, plan_of(network, LayerChoice(32, 4)), Scheme(bias_bits=32))
    calibrate(model.train(), task, 0)
    assert model.training

    def error(scale: float) -> float:
        codes = (inputs / scale).round().clamp(0, 15)
        return float((codes * scale - inputs).square().mean())

    chosen = float(model.input_quantizer.scale().detach())
    best = min(error(scale) for scale in torch.linspace(0.05, 0.5, 400).tolist())
    assert error(chosen) <= 1.05 * best


def test_calibration_sees_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of packed sentences of 4, 7, 1 and 5 words: 17 rows, longest sentence first, in each batch.

    Dropout is off; hidden states are seen step by step, of as many sentences as are still read.
    """
    seen: dict[str, list[tuple[int, ...]]] = {}
    observe = ActivationQuantizer._observe

    def spy(quantizer: ActivationQuantizer, values: Tensor) -> None:
        seen.setdefault(names[id(quantizer)], []).append(tuple(values.shape))
        observe(quantizer, values)

    monkeypatch.setattr(ActivationQuantizer, "_observe", spy)
    source, words = toys.tagger(bidirectional=True), toys.sentences((4, 7, 1, 5))
    model, network = prepared(source)
    quantize(model, network, plan_of(network, LayerChoice(8, 8)), Scheme())
    names = {id(each): name for name, each in quantizers(model).items()}
    calibrate(model, RegressionTask(source, words), 0)
    assert seen["rnn.l0.input_quantizer"] == [(17, 4)] * CALIBRATION_BATCHES
    active = [4, 4, 3, 3, 3, 2, 1, 1]  # the initial state first
    direction = [(count, 6) for count in active]
    assert seen["rnn.l0.hidden_quantizer"] == direction * 2 * CALIBRATION_BATCHES


class Experts(nn.Module):
    """Some rows go to a second layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor, rows: int = 0) -> Tensor:
        return self.first(inputs).sum() + self.second(inputs[:rows]).sum()


class Rare(RegressionTask):
    """Only the tenth batch has rows for the second layer."""

    def __init__(self, rows: int) -> None:
        super().__init__(Experts(), torch.randn(4, 3))
        self.rows, self.seen = rows, 0

    def batches(self, seed: int, start: int = 0) -> Any:
        return iter(range(1000))

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, None]:
        self.seen += 1
        return model(self._inputs, self.rows if batch == 9 else 0), None


@pytest.mark.parametrize(
    ("rows", "batches"), [(2, 10), (0, MAX_CALIBRATION_BATCHES)], ids=["late", "never"]
)
def test_a_layer_without_rows_waits_for_some(rows: int, batches: int) -> None:
    task = Rare(rows)
    model = prepare(task.build_model())
    network = describe(model, None)
    quantize(model, network, plan_of(network, LayerChoice(4, 4)), Scheme())
    calibrate(model, task, 0)
    assert task.seen == batches
    quantizer = quantizers(model)["second.input_quantizer"]
    assert not quantizer.waiting
    with torch.no_grad():
        outputs = quantizer(torch.tensor([-0.5, 0.0, 0.5]))
    torch.testing.assert_close(outputs, torch.tensor([-0.5, 0.0, 0.5]), atol=0.1, rtol=0)


ROWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(6, 4), (5, 6)),
    "LSTM": (lambda: nn.LSTM(6, 4, batch_first=True), (5, 2, 6)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True),
        (5, 2, 6),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_no_rows_give_no_outputs_and_finite_gradients(name: str, tmp_path: Path) -> None:
    build, shape = ROWS[name]
    both = pair(tmp_path, build, LayerChoice(4, 4), torch.randn(shape))
    empty = torch.randn(0, *shape[1:])
    outputs = flat(both.fake.train()(empty))
    sum(output.sum() for output in outputs).backward()  # type: ignore[union-attr]
    assert all(bool(p.grad.isfinite().all()) for p in both.fake.parameters() if p.grad is not None)
    assert [output.shape for output in flat(both.loaded(empty))] == [o.shape for o in outputs]


def test_calibration_keeps_weights_and_gradients_alone() -> None:
    model, _ = built(toys.stack(), LayerChoice(4, 8), Scheme())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def grow(model: nn.Module, times: float) -> None:
    """Every float weight and bias becomes that many times as large; scales stay."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("log_scale"):
                parameter.mul_(times)


@pytest.mark.parametrize("rule", ["learned", "fixed"])
def test_recalibration_is_a_new_start(rule: str) -> None:
    """Against a model that was built from the weights as they are now."""
    source, scheme = toys.stack(), Scheme(scale=rule)
    model, _ = built(source, LayerChoice(4, 4), scheme)
    grow(model, 5.0)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    recalibrate(model.train(), RegressionTask(source, torch.randn(6, 3, 5)), 0)
    assert model.training
    assert all(each.observed is None for each in quantizers(model).values())
    other = toys.stack()
    other.load_state_dict({k: 5 * v for k, v in source.state_dict().items()})
    fresh, _ = built(other, LayerChoice(4, 4), scheme)
    after = model.state_dict()
    scales = [name for name in after if name.endswith("log_scale")]
    assert {name for name in after if not torch.equal(after[name], before[name])} <= {
        *scales,
        *(name for name in after if name.endswith(".qmin")),
    }
    weights = [name for name in scales if "parametrizations" in name]
    assert weights
    for name in weights:
        torch.testing.assert_close(after[name], fresh.state_dict()[name], atol=1e-5, rtol=0)
    activations = [name for name in scales if "quantizer" in name]
    assert activations
    assert any(after[name] > before[name] + 0.5 for name in activations)


def test_recalibration_of_bit_rnn_changes_nothing() -> None:
    """Its scales follow from the weights, or are of the unit range."""
    source = toys.stack()
    model, _ = built(source, LayerChoice(4, 4), Scheme.bit_rnn())
    before = {name: each.clone() for name, each in model.state_dict().items()}
    recalibrate(model, RegressionTask(source, torch.randn(6, 3, 5)), 0)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_bit_rnn_assumes_the_unit_range() -> None:
    model, _ = built(toys.stack(), LayerChoice(4, 4), Scheme.bit_rnn())
    for each in quantizers(model).values():
        assert float(each.scale().detach()) == pytest.approx(1 / 15)
        assert not each.log_scale.requires_grad


# --- dropout --------------------------------------------------------------------------------------


class Dropping(nn.Module):
    """A dropout right before a layer, whose inputs are all the same value."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(probability)
        self.fc = nn.Linear(5, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.fc(self.dropout(values))


def test_dropout_does_not_move_values_off_the_range() -> None:
    """In training the kept values are 1 / keep larger: they take the same codes as in eval."""
    torch.manual_seed(0)
    inputs = torch.rand(40, 10, 5)
    task = RegressionTask(Dropping(0.5), inputs)
    model, network = prepared(task.build_model())
    quantize(model, network, plan_of(network, LayerChoice(32, 2)), Scheme(bias_bits=32))
    calibrate(model, task, 0)
    seen: list[Tensor] = []
    model.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    model.eval()(inputs)
    model.train()(inputs)
    kept = seen[1] != 0
    torch.testing.assert_close(seen[1][kept], 2 * seen[0][kept])
    assert 0.3 < float(kept.float().mean()) < 0.6


# --- a whole candidate ----------------------------------------------------------------------------


def test_candidate_is_widened_and_leaves_the_base_alone() -> None:
    source = toys.stack()
    model, network = prepared(source)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task = RegressionTask(source, torch.randn(6, 3, 5))
    plan = plan_of(network, LayerChoice(8, 8), rnn__l0=1.5)
    candidate = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    assert candidate.rnn.l0.hidden_size == 10
    assert candidate.rnn.l0.weight_hh.shape == (40, 10)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    # 8 bits: near the float model (2% of the largest output)
    inputs = torch.randn(6, 3, 5)
    expected = output_of(model, inputs)
    torch.testing.assert_close(
        output_of(candidate, inputs), expected, atol=0.02 * float(expected.abs().max()), rtol=0
    )


def test_candidate_refuses_what_does_not_fit() -> None:
    source = toys.stack()
    model, network = prepared(source)
    task = RegressionTask(source, torch.randn(6, 3, 5))
    plan = plan_of(network, back=2.0)
    with pytest.raises(UserError, match=r"width of back must be 1\.0"):
        build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)


def test_candidate_is_checked_after_widening(monkeypatch: pytest.MonkeyPatch) -> None:
    source = toys.stack()
    model, network = prepared(source)
    task = RegressionTask(source, torch.randn(6, 3, 5))
    from autoquant.graph import parameter_growth

    grow = parameter_growth._grow_rows

    def wrong(*arguments: Any) -> Tensor:
        return grow(*arguments) * 1.5

    monkeypatch.setattr(parameter_growth, "_grow_rows", wrong)
    plan = plan_of(network, rnn__l0=1.5)
    with pytest.raises(RunError, match="must compute the same"):
        build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)


# --- dropout --------------------------------------------------------------------------------------


def test_dropout_is_scaled_wherever_a_module_has_it():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dropout(0.4)
            self.flat = nn.Dropout2d(0.2)
            self.rnn = nn.LSTM(3, 4, 2, dropout=0.5)
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.1)
            self.quantizer = ActivationQuantizer(4, Scheme())
            self.quantizer.keep = 0.6

    model = Model()
    scale_dropout(model, 0.5)
    assert (model.first.p, model.flat.p) == (0.2, 0.1)
    assert (model.rnn.dropout, model.attention.dropout) == (0.25, 0.05)
    assert model.quantizer.keep == pytest.approx(0.8)


def test_training_without_dropout_is_the_same_whatever_the_random_state():
    task = toys.language_task(dropout=0.5)
    torch.manual_seed(0)
    model = prepare(task.build_model())
    network = described(model)
    plan = Plan.uniform(network.names, LayerChoice(4, 8))
    losses = {}
    for share in (0.0, 1.0):
        candidate = qat.build_candidate(
            model, network, plan, Scheme(), task, method="split", seed=0
        )
        scale_dropout(candidate, share)
        candidate.train()
        batch = next(task.batches(0))
        losses[share] = {float(task.loss(candidate, batch, None)[0].detach()) for _ in range(3)}
    assert len(losses[0.0]) == 1
    assert len(losses[1.0]) == 3


class ByForward(nn.Module):
    """Calls a layer's forward instead of the layer, and another layer by the argument's name."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(input=self.one.forward(x))


def test_inputs_are_quantized_however_a_layer_is_called() -> None:
    model, _ = built(ByForward(), LayerChoice(8, 2), Scheme())
    for layer in (model.one, model.two):
        assert layer.input_quantizer.observed is None
        x = torch.linspace(-1, 1, 60).view(-1, layer.in_features)
        quantized = layer.input_quantizer(x)
        assert not torch.equal(quantized, x)
        for result in (layer(x), layer(input=x), layer.forward(x), layer.forward(input=x)):
            assert torch.equal(result, type(layer).forward(layer, quantized))


def test_a_copy_uses_its_own_quantizers() -> None:
    model, _ = built(ByForward(), LayerChoice(8, 2), Scheme())
    other: Any = copy.deepcopy(model)
    x = torch.linspace(-1, 1, 60).view(-1, 5)
    before = model(x)
    with torch.no_grad():
        other.one.input_quantizer.log_scale.add_(1)
    assert torch.equal(model(x), before)
    assert not torch.equal(other(x), before)
