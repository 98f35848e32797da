"""Loaded models under torch.compile, export, jit.trace and torch.func: the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.tasks.language_model import LanguageModel
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import Pair, assert_equal, flat, noise, pair

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"
)

Inputs = tuple[Tensor, ...]
Way = Callable[[nn.Module, Inputs], nn.Module]
W4A8, W4A32, W4A16 = LayerChoice(4, 8), LayerChoice(4, 32), LayerChoice(4, 16)
W16A8 = LayerChoice(16, 8)


class Tagger(nn.Module):
    """An embedding, a stack in both directions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(17, 5)
        self.rnn = nn.GRU(5, 11, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(22, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.rnn(self.table(words))[0])


class Streaming(nn.Module):
    """A stack that is given its state, and returns it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 11, 2)

    def forward(self, inputs: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Any:
        return self.rnn(inputs, None if h is None else (h, c))


class Lengths(nn.Module):
    """Sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 11, 2, bidirectional=True)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Any:
        if lengths is None:
            lengths = torch.arange(len(inputs), len(inputs) - inputs.shape[1], -1).clamp_min(1)
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        outputs, state = self.rnn(packed)
        return pad_packed_sequence(outputs)[0], *state


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(37, 21), nn.ReLU(), nn.Linear(21, 3, bias=False))


def words(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).view(shape) % 17


MODELS: dict[str, tuple[Callable[[], nn.Module], Inputs, Inputs]] = {
    "linear": (mlp, (noise(6, 3, 37),), (noise(2, 3, 37),)),
    "tagger": (Tagger, (words(3, 7),), (words(2, 5),)),
    "unbatched": (lambda: nn.RNN(5, 11), (noise(6, 5),), (noise(4, 5),)),
    "streaming": (
        Streaming,
        (noise(1, 3, 5), noise(2, 3, 11, seed=2), noise(2, 3, 11, seed=3)),
        (noise(4, 2, 5), noise(2, 2, 11, seed=2), noise(2, 2, 11, seed=3)),
    ),
    "lengths": (
        Lengths,
        (noise(6, 3, 5), torch.tensor([3, 6, 2])),
        (noise(4, 2, 5), torch.tensor([1, 4])),
    ),
}
EVERY_MODEL = pytest.mark.parametrize("model", MODELS)
PADDED = pytest.mark.parametrize("model", [name for name in MODELS if name != "lengths"])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, LayerChoice], Pair]:
    made: dict[Any, Pair] = {}

    def of(model: str, choice: LayerChoice = W4A8) -> Pair:
        if (model, choice) not in made:
            build, inputs, _ = MODELS[model]
            made[model, choice] = pair(tmp_path_factory.mktemp("p"), build, choice, inputs[0])
        return made[model, choice].afresh()

    return of


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()


def compiled(backend: str, **options: Any) -> Way:
    return lambda model, inputs: torch.compile(model, backend=backend, **options)


def through_jit(model: nn.Module, inputs: Inputs) -> nn.Module:
    """Traced, stored and loaded."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), file)
    file.seek(0)
    return torch.jit.load(file)


def through_export(model: nn.Module, inputs: Inputs) -> nn.Module:
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, inputs), file)
    file.seek(0)
    return torch.export.load(file).module()


def same(way: Way, both: Pair, *batches: Inputs) -> None:
    """What was recorded on the first batch gives what the model gives, on each."""
    with torch.no_grad():
        recorded = way(both.loaded, batches[0])
        for batch in (batches[0], *batches):
            assert_equal(recorded(*batch), both.fake(*batch))


# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tagger", "lengths"])
def test_compiled(model: str, pairs: Any) -> None:
    same(compiled("eager"), pairs(model), *MODELS[model][1:])


@pytest.mark.parametrize("model", ["linear", "streaming"])
def test_compiled_in_one_graph(model: str, pairs: Any) -> None:
    """By itself torch compiles what is around an nn.LSTM, and what is in it."""
    with torch._dynamo.config.patch(allow_rnn=True):
        same(compiled("eager", fullgraph=True, dynamic=True), pairs(model), *MODELS[model][1:])


@pytest.mark.slow
@pytest.mark.parametrize("choice", [W4A8, W4A32, W4A16], ids=["a8", "a32", "a16"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@EVERY_MODEL
def test_compiled_by_other_backends(
    model: str, backend: str, choice: LayerChoice, pairs: Any
) -> None:
    same(compiled(backend), pairs(model, choice), *MODELS[model][1:])


@EVERY_MODEL
def test_traced(model: str, pairs: Any) -> None:
    """Also on inputs of another shape."""
    same(through_jit, pairs(model), *MODELS[model][1:])


@PADDED
def test_exported(model: str, pairs: Any) -> None:
    same(through_export, pairs(model), MODELS[model][1])


@pytest.mark.slow
@PADDED
def test_exported_from_its_bytecode(model: str, pairs: Any) -> None:
    def way(module: nn.Module, inputs: Inputs) -> nn.Module:
        return torch.export.export(module, inputs, strict=True).module()

    with torch._dynamo.config.patch(allow_rnn=True):
        same(way, pairs(model), MODELS[model][1])


RECORDERS: dict[str, dict[str, Any]] = {
    "real": {},
    "fake": {"tracing_mode": "fake", "_allow_non_fake_inputs": True},
    "symbolic": {"tracing_mode": "symbolic", "_allow_non_fake_inputs": True},
    "pre-dispatch": {"pre_dispatch": True},
}


@pytest.mark.parametrize("options", RECORDERS.values(), ids=RECORDERS)
@pytest.mark.parametrize("model", ["linear", "streaming"])
def test_recorded_by_make_fx(model: str, options: dict[str, Any], pairs: Any) -> None:
    same(lambda module, inputs: make_fx(module, **options)(*inputs), pairs(model), MODELS[model][1])


@PADDED
def test_over_an_axis_of_items(model: str, pairs: Any) -> None:
    both, batch = pairs(model), MODELS[model][1]
    stacked = [torch.stack([each, each.flip(0)]) for each in batch]
    with torch.no_grad():
        ours = flat(torch.vmap(both.loaded)(*stacked))
        for i in range(2):
            assert_equal([each[i] for each in ours], both.fake(*(each[i] for each in stacked)))


def test_functionalized(pairs: Any) -> None:
    same(lambda module, inputs: torch.func.functionalize(module), pairs("linear"), (noise(4, 37),))


@PADDED
def test_shapes_without_numbers(model: str, pairs: Any) -> None:
    both, batch = pairs(model), MODELS[model][1]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fakes = [mode.from_tensor(each) for each in batch]
    with mode, torch.no_grad():
        ours = flat(both.loaded(*fakes))
    theirs = flat(both.loaded(*batch))
    assert [(each.shape, each.dtype) for each in ours] == [(e.shape, e.dtype) for e in theirs]


@pytest.mark.parametrize("model", ["linear", "tagger", "lengths"])
@pytest.mark.parametrize("choice", [W4A32, W4A16], ids=["a32", "a16"])
def test_traced_with_float_activations(choice: LayerChoice, model: str, pairs: Any) -> None:
    """Also on inputs of another shape: no time step is recorded."""
    same(through_jit, pairs(model, choice), *MODELS[model][1:])


@pytest.mark.parametrize("model", ["streaming", "unbatched"])
@pytest.mark.parametrize("choice", [W4A16, W16A8], ids=["a16", "w16"])
def test_exported_with_any_sizes(choice: LayerChoice, model: str, pairs: Any) -> None:
    def way(module: nn.Module, inputs: Inputs) -> nn.Module:
        axes = [{0: Dim.AUTO}, {1: Dim.AUTO}, {1: Dim.AUTO}][: len(inputs)]
        axes[0] |= {1: Dim.AUTO} if inputs[0].ndim == 3 else {}
        return torch.export.export(module, inputs, dynamic_shapes=axes).module()

    first, second = MODELS[model][1:]
    same(way, pairs(model, choice), second, first)


CELLS: dict[str, tuple[Callable[[], nn.Module], LayerChoice, Scheme, dict[str, float]]] = {
    "projection": (lambda: nn.LSTM(5, 9, 2, proj_size=4), W4A8, Scheme(), {}),
    "two projections": (
        lambda: nn.LSTM(5, 9, 2, proj_size=4, bidirectional=True),
        LayerChoice(4, 16, 1.0, 3, 4),
        Scheme(),
        {"l0": 1.5},
    ),
    "relu": (lambda: nn.RNN(5, 9, nonlinearity="relu", bias=False), W16A8, Scheme(), {}),
    "widened": (lambda: nn.GRU(5, 9, 3), LayerChoice(4, 8, 1.0, 4, 16), Scheme(), {"l1": 1.5}),
    "not clipped": (lambda: nn.GRU(5, 9), W4A8, Scheme(activation_clip=False), {}),
    "a cell of sigmoids": (
        lambda: sigmoid_model("lstm"),
        LayerChoice(2, 4),
        Scheme.bit_rnn(),
        {},
    ),
    "resets first": (lambda: sigmoid_model("gru"), LayerChoice(2, 4), Scheme.bit_rnn(), {}),
}


def sigmoid_model(cell: str) -> nn.Module:
    return LanguageModel(17, 5, 9, 2, 0.0, cell, candidate="sigmoid", initial=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CELLS)
def test_traced_cells(name: str, tmp_path: Path) -> None:
    build, choice, scheme, widths = CELLS[name]
    is_torch = isinstance(build(), nn.RNNBase)
    batches = (
        [(noise(4, 3, 5),), (noise(6, 2, 5),)] if is_torch else [(words(4, 3),), (words(6, 2),)]
    )
    both = pair(tmp_path, build, choice, batches[0][0], scheme, **widths)
    same(through_jit, both, *batches)
    with torch.no_grad():
        recorded = make_fx(both.loaded)(*batches[0])
    names = [str(node.target) for node in recorded.graph.nodes]
    assert names.count("autoquant.packed_recurrence.default") == 1


@pytest.mark.parametrize("model", ["linear", "streaming", "lengths"])
@pytest.mark.parametrize("where", [0, -1], ids=["first", "last"])
def test_a_nan_in_a_recorded_model(where: int, model: str, pairs: Any) -> None:
    """Codes cannot be NaN: the operator computes in float then, as the model does."""
    both, (inputs, *rest) = pairs(model), MODELS[model][1]
    spoilt = inputs.clone()
    spoilt[where, 1, 1] = torch.nan
    with torch.no_grad():
        recorded = through_jit(both.loaded, (inputs, *rest))
        ours, theirs = recorded(spoilt, *rest), both.loaded(spoilt, *rest)
    assert flat(theirs)[0].isnan().any()
    assert_equal(ours, theirs)


@PADDED
def test_another_kernel_by_name(model: str, pairs: Any) -> None:
    with computing(Compute("reference")):
        same(through_jit, pairs(model), MODELS[model][1])


@NEEDS_KERNELS
def test_no_weight_is_decoded(pairs: Any, undecoded: None) -> None:
    both = pairs("tagger")
    with torch.no_grad():
        recorded = make_fx(both.loaded)(words(3, 7))
    names = {str(node.target) for node in recorded.graph.nodes}
    assert {"autoquant.packed_recurrence.default", "autoquant.packed_linear.default"} <= names


# --- refused --------------------------------------------------------------------------------------


def test_a_traced_loop_refuses_other_sizes(pairs: Any) -> None:
    """As many rows in another order would give numbers without a meaning."""
    both = pairs("tagger", W4A32)
    with torch.no_grad(), computing(Compute("reference")):
        traced = torch.jit.trace(both.loaded, (words(3, 7),), check_trace=False)
        with pytest.raises(RuntimeError, match=r"traced with, \[3, 7, 5\], got \[7, 3, 5\]"):
            traced(words(7, 3))


@pytest.mark.parametrize("model", ["linear", "streaming"])
def test_derivatives_through_torch_func_are_refused(model: str, pairs: Any) -> None:
    """Never zeros without a word."""
    both, (inputs, *rest) = pairs(model), MODELS[model][1]

    def total(values: Tensor) -> Tensor:
        return flat(both.loaded(values, *rest))[0].sum()

    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(total)(inputs)
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.jvp(total, (inputs,), (torch.ones_like(inputs),))
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="forward mode AD"),
    ):
        total(torch.autograd.forward_ad.make_dual(inputs, torch.ones_like(inputs)))


@NEEDS_KERNELS
def test_other_weights_for_each_item_are_refused(pairs: Any) -> None:
    linear = pairs("linear").loaded[0]
    matrix = linear.packed.matrix
    operator = torch.ops.autoquant.packed_recurrence
    codes, numbers = torch.stack([matrix.codes] * 2), [*matrix.layout] * 2

    logs = [linear.input_quantizer.log_scale] * 2
    inputs = noise(2, 3, 37), None, None, None, "lstm", "tanh", 1, "weight_ih,weight_hh"

    def run(each: Tensor) -> Any:
        tensors = [each, matrix.sums, linear.packed.scale] * 2
        return operator(*inputs, tensors, numbers, logs, [8, 0, 1, 8, 0, 1])

    with pytest.raises(UserError, match="must not have an axis of packed weights"):
        torch.vmap(run)(codes)


@NEEDS_KERNELS
def test_codes_of_another_machine_are_refused(pairs: Any) -> None:
    """A recorded model holds codes in the order of this processor's vectors."""
    linear = pairs("linear").loaded[0]
    matrix = linear.packed.matrix
    layout = matrix.layout._replace(lanes=24 - matrix.layout.lanes)
    arguments = matrix.codes, matrix.sums, linear.packed.scale, [*layout], linear.bias
    with pytest.raises(UserError, match=r"order of this machine's kernels.*load the packed file"):
        torch.ops.autoquant.packed_linear(
            noise(2, 37), *arguments, linear.input_quantizer.log_scale, [0, 255]
        )


@NEEDS_KERNELS
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", noise(2, 36), r"inputs must be \[\.\.\., 37\], got \[2, 36\]"),
        ("inputs", noise(2, 37).double(), "contiguous torch.float32"),
        ("codes", torch.zeros(3, dtype=torch.uint8), "contiguous torch.uint8"),
        ("sums", torch.zeros(3, dtype=torch.int32), "contiguous torch.int32"),
        ("bias", torch.zeros(3), "with 21 entries"),
        ("layout", [0, 37, 1, 4, -8, 7, 0, 16], "must have rows"),
        ("layout", [21, 37, 1, 9, -8, 7, 0, 16], "1 to 8 bits"),
        ("layout", [21, 37, 1, 3, -8, 7, 0, 16], "enough bits"),
        ("bounds", [0, 256], "8 bits with a level at zero"),
        ("bounds", [5, 9], "8 bits with a level at zero"),
    ],
    ids=lambda value: None if isinstance(value, Tensor | list) else str(value),
)
def test_operands_that_do_not_fit_are_refused(
    name: str, value: Any, message: str, pairs: Any
) -> None:
    linear = pairs("linear").loaded[0]
    matrix = linear.packed.matrix
    arguments = {
        "inputs": noise(2, 37),
        "codes": matrix.codes,
        "sums": matrix.sums,
        "scale": linear.packed.scale,
        "layout": [*matrix.layout],
        "bias": linear.bias,
        "log_scale": linear.input_quantizer.log_scale,
        "bounds": [0, 255],
    }
    assert torch.ops.autoquant.packed_linear(**arguments).shape == (2, 21)
    if name == "layout":
        value = [*value[:-1], matrix.layout.lanes]
    with pytest.raises(UserError, match=message):
        torch.ops.autoquant.packed_linear(**{**arguments, name: value})


# --- other callers --------------------------------------------------------------------------------


class Subclass(Tensor):
    """A tensor of a user's class."""


CALLERS: dict[str, Callable[..., Any]] = {
    "DataParallel": lambda model, *inputs: nn.DataParallel(model)(*inputs),
    "shared memory": lambda model, *inputs: model.share_memory()(*inputs),
    "functional call": lambda model, *inputs: torch.func.functional_call(
        model, dict(model.named_parameters()), inputs
    ),
    "subclass": lambda model, *inputs: model(inputs[0].as_subclass(Subclass), *inputs[1:]),
    "strided": lambda model, *inputs: model(
        torch.stack([inputs[0], inputs[0]], -1)[..., 0], *inputs[1:]
    ),
    "with gradients": lambda model, *inputs: model(inputs[0].clone().requires_grad_(), *inputs[1:]),
}


@pytest.mark.parametrize("call", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("model", ["linear", "streaming", "lengths"])
def test_other_callers_get_the_same(call: Callable[..., Any], model: str, pairs: Any) -> None:
    both, batch = pairs(model), MODELS[model][1]
    assert_equal(call(both.loaded, *batch), both.fake(*batch))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("model", ["linear", "streaming"])
def test_inputs_of_another_type_are_refused(dtype: torch.dtype, model: str, pairs: Any) -> None:
    batch = [each.to(dtype) for each in MODELS[model][1]]
    with pytest.raises(RuntimeError, match="dtype"):
        pairs(model).loaded(*batch)


def test_inputs_on_another_device_are_refused(pairs: Any) -> None:
    with pytest.raises(UserError, match="must be on the weights' device, cpu, got meta"):
        pairs("streaming").loaded(noise(4, 3, 5).to("meta"))
    with pytest.raises(RuntimeError, match="device meta"):
        pairs("linear").loaded(noise(4, 37).to("meta"))
