"""The kinds that come with autoquant, and one that is registered from outside of it."""

import copy
import re
from pkgutil import iter_modules

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import autoquant
from autoquant import layers
from autoquant.artifact import manifest, packed_file
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, resize, widen
from autoquant.kernels import Cell
from autoquant.layers import Axis, LayerSpec, ParameterSpec, kind_of, layer_kind, registry
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme, Training, Widening
from autoquant.training import qat
from autoquant.training.loop import train
from tests.toys import RegressionTask


def recurrent(kind: str, *, bidirectional: bool, bias: bool, projection: int = 0) -> RecurrentLayer:
    options = {"bidirectional": bidirectional, "bias": bias, "projection": projection}
    return RecurrentLayer(Cell(kind), 5, 6, **options)


MODULES = {
    "linear": nn.Linear(5, 6),
    "linear-no-bias": nn.Linear(5, 6, bias=False),
    "embedding": nn.Embedding(9, 4),
    **{
        f"{kind}-{ways}-{name}": recurrent(kind, bidirectional=ways == "two-way", bias=bias)
        for kind in ("lstm", "gru", "rnn_relu")
        for ways in ("one-way", "two-way")
        for name, bias in (("bias", True), ("no-bias", False))
    },
    "lstm-projected": recurrent("lstm", bidirectional=False, bias=True, projection=3),
    "lstm-projected-two-way": recurrent("lstm", bidirectional=True, bias=False, projection=3),
}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_a_kind_describes_every_parameter(module):
    spec = kind_of(module).describe("here", module)
    assert spec.name == "here"
    shapes = {parameter.name: parameter.shape for parameter in spec.parameters}
    assert shapes == {name: tuple(value.shape) for name, value in module.named_parameters()}
    assert {p.name for p in spec.parameters if p.role == "bias"} == {
        name for name in shapes if "bias" in name
    }


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_the_attributes_are_those_that_the_module_has(module):
    kind = kind_of(module)
    sizes = kind.attributes(kind.describe("here", module))
    assert sizes
    assert sizes == {name: getattr(module, name) for name in sizes}


# --- looking a kind up ---------------------------------------------------------------------------


def test_unknown_modules_have_no_kind():
    assert kind_of(nn.ReLU()) is None
    assert kind_of(nn.LSTM(3, 4)) is None  # until graph.prepare has turned it into layers


class Doubled(nn.Linear):
    """Not the function of its base class."""

    def forward(self, inputs):
        return 2 * super().forward(inputs)


class Identity(nn.Module):
    def forward(self, weight):
        return weight


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "copied"])
def test_a_parametrized_module_is_of_its_base_class(copied):
    module = nn.Linear(3, 4)
    parametrize.register_parametrization(module, "weight", Identity())
    module = copy.deepcopy(module) if copied else module
    assert type(module) is not nn.Linear
    assert kind_of(module) is kind_of(nn.Linear(3, 4))


def test_a_subclass_with_a_forward_needs_its_own_kind():
    module = Doubled(3, 4)
    assert kind_of(module) is None
    parametrize.register_parametrization(module, "weight", Identity())
    assert kind_of(module) is None


# --- a kind from outside the package -------------------------------------------------------------


class Taps(nn.Conv1d):
    """Somebody's own layer; it has the kind of its base class until it is given one."""


class TapsKind:
    """Taps (one group): weight [out, in, taps]; channels lie before time."""

    name = "taps"
    axis = -2

    def describe(self, name: str, module: Taps) -> LayerSpec:
        out, channels, (taps,) = module.out_channels, module.in_channels, module.kernel_size
        axes = Axis("out", out), Axis("in", channels), Axis("fixed", taps)
        parameters = (
            ParameterSpec("weight", axes, "weight"),
            ParameterSpec("bias", (Axis("out", out),), "bias"),
        )
        return LayerSpec(name, self.name, parameters, out, channels)

    def attributes(self, spec: LayerSpec) -> dict[str, int]:
        return {"out_channels": spec.units, "in_channels": spec.features}


@pytest.fixture
def taps(monkeypatch):
    """Register the kind for one test."""
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    layer_kind(Taps)(TapsKind)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Taps(3, 6, 4), nn.ReLU(), Taps(6, 5, 3)).eval()


INPUTS = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(1))
PLAN = Plan({"0": LayerChoice(4, 8, 1.5), "2": LayerChoice(3, 8)})
SCHEMES = pytest.mark.parametrize(
    "scheme", [Scheme(), Scheme(granularity="tensor")], ids=["channel", "tensor"]
)


@pytest.mark.usefixtures("taps")
def test_an_added_kind_is_described_and_resized(model):
    network = describe(prepare(model), (INPUTS,))
    assert network.names == ("0", "2")
    assert [layer.kind for layer in network.layers] == ["taps", "taps"]
    assert network.parameters == sum(p.numel() for p in model.parameters())
    assert network.why_fixed("0") is None
    assert network.why_fixed("2") == "feeds the model's output"
    grown = network.resized(PLAN)
    shapes = [[p.shape for p in layer.parameters] for layer in grown.layers]
    assert shapes == [[(10, 3, 4), (10,)], [(5, 10, 3), (5,)]]
    resized = resize(model, grown)
    assert resized(INPUTS).shape == model(INPUTS).shape
    assert (resized[0].out_channels, resized[2].in_channels) == (10, 10)


@SCHEMES
@pytest.mark.parametrize("method", ["split", "fresh"])
@pytest.mark.usefixtures("taps")
def test_an_added_kind_grows_and_keeps_its_function(model, scheme, method):
    wide, grown = widen(
        model, describe(model, (INPUTS,)), WideningRequest(PLAN, scheme, method, seed=0)
    )
    assert wide[0].weight.shape == grown.layers[0].parameters[0].shape == (10, 3, 4)
    assert check_same_function(model, wide, (INPUTS,)) < 1e-5


@SCHEMES
@pytest.mark.usefixtures("taps")
def test_an_added_kind_is_quantized_packed_and_restored(model, scheme, tmp_path):
    network = describe(model, (INPUTS,))
    candidate, grown = widen(model, network, WideningRequest(PLAN, scheme, "split", seed=0))
    qat.quantize(candidate, grown, PLAN, scheme)
    quantizers = [each for each in candidate.modules() if isinstance(each, ActivationQuantizer)]
    assert len(quantizers) == 2
    candidate(INPUTS)  # they observe
    for quantizer in quantizers:
        quantizer.finish()
    per_channel = scheme.granularity == "channel"
    rows = candidate[2].weight.detach() if per_channel else candidate[2].weight.detach()[None]
    assert all(len(row.unique()) <= 8 for row in rows)
    candidate(INPUTS).square().sum().backward()
    assert bool((candidate[0].parametrizations.weight.original.grad != 0).any())

    path = tmp_path / "conv.safetensors"
    size = packed_file.save(path, candidate, network, PLAN, scheme)
    assert size == path.stat().st_size == manifest.size_bytes(network, PLAN, scheme)
    restored = packed_file.load(path, model)
    with torch.no_grad():
        assert torch.equal(restored(INPUTS), candidate(INPUTS))


@pytest.mark.usefixtures("taps")
def test_an_added_kind_from_the_profile_to_the_packed_file(model, tmp_path):
    """By what users call, all in one: profiled, grown, quantized, trained, packed, reloaded."""
    task = RegressionTask(model, INPUTS)
    profile = autoquant.profile(task, Widening(max_share=1, max_growth=9))
    assert {layer.name: (layer.kind, layer.widenable) for layer in profile.layers} == {
        "0": ("taps", True),
        "2": ("taps", False),
    }
    counts = {layer.name: layer.parameters for layer in profile.layers}
    assert counts == {"0": 6 * 3 * 4 + 6, "2": 5 * 6 * 3 + 5}
    prepared_model, network = prepare(model), describe(prepare(model), (INPUTS,))
    built = qat.build_candidate(
        prepared_model, network, PLAN, Scheme(), task, method="split", seed=0
    )
    train(built, task, Training(steps=2), seed=0)
    path = tmp_path / "taps"
    size = packed_file.save(path, built.eval(), network, PLAN, Scheme())
    assert size == path.stat().st_size == manifest.size_bytes(network, PLAN, Scheme())
    restored = autoquant.load(path, model)
    assert restored[0].weight.shape == (10, 3, 4)
    with torch.no_grad():
        assert torch.equal(restored(INPUTS), built(INPUTS))


@pytest.mark.usefixtures("taps")
def test_an_added_kind_replaces_an_earlier_one():
    class Renamed(TapsKind):
        name = "mine"

    layer_kind(Taps)(Renamed)
    assert kind_of(Taps(3, 4, 2)).name == "mine"


def test_every_module_of_the_folder_is_imported():
    """A kind is known as soon as its file exists; there is no list to edit."""
    assert {module.name for module in iter_modules(layers.__path__)} <= set(vars(layers))


def test_an_added_kind_is_gone_after_its_test():
    assert kind_of(Taps(3, 4, 2)) is kind_of(nn.Conv1d(3, 4, 2))


@pytest.mark.parametrize(
    ("name", "axes", "says"),
    [
        ("weight", (Axis("in", 5), Axis("out", 6)), "0.weight as it is ((6, 5)), got .* (5, 6)"),
        ("kernel", (Axis("out", 6),), "0.kernel as it is (no such tensor), got"),
    ],
)
def test_a_kind_that_describes_what_its_module_does_not_have(name, axes, says, monkeypatch):
    class Wrong:
        name = "wrong"

        def describe(self, layer, module):
            return LayerSpec(layer, "wrong", (ParameterSpec(name, axes, "weight"),), 6, 5)

        def attributes(self, spec):
            return {}

    class Own(nn.Linear):
        pass

    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    layer_kind(Own)(Wrong)
    pattern = ".*".join(map(re.escape, says.split(".*")))
    with pytest.raises(UserError, match=f"^the layer kind 'wrong' must describe {pattern}"):
        describe(nn.Sequential(Own(5, 6)), None)
