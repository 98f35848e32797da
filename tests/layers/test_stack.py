"""``Recurrent`` against torch's modules, and what torch's modules cannot do."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from autoquant.errors import UserError
from autoquant.kernels import Cell
from autoquant.layers.recurrent import RecurrentLayer
from autoquant.layers.stack import Recurrent
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme

MODULES = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **rest: nn.RNN(*sizes, nonlinearity="relu", **rest),
}
T, B, F, H = 6, 3, 4, 5
SORTED, UNSORTED = (6, 4, 1), (1, 6, 4)


def torch_module(kind: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    return MODULES[kind](F, H, **options).double()


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def state_for(kind: str, *shape: int) -> Tensor | tuple[Tensor, Tensor]:
    return (noise(*shape, seed=2), noise(*shape, seed=3)) if kind == "lstm" else noise(*shape)


def parts_of(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def assert_same(ours: Any, theirs: Any) -> None:
    """Outputs and states, in float64."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


# --- the same function as torch's ----------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A module, how its input comes, and whether the recurrence is torch's fused one."""

    kind: str = "lstm"
    features: int = F
    cells: int = H
    projection: int = 0
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    form: str = "batch"
    lengths: tuple[int, ...] = (T,) * B
    given: bool = True
    fused: bool = True
    seed: int = 0

    def module(self) -> nn.RNNBase:
        torch.manual_seed(self.seed)
        return MODULES[self.kind](
            self.features,
            self.cells,
            num_layers=self.layers,
            bidirectional=self.bidirectional,
            bias=self.bias,
            batch_first=self.batch_first,
            **({"proj_size": self.projection} if self.projection else {}),
        ).double()

    def inputs(self) -> tuple[Tensor, Any]:
        """The leaf that wants a gradient, and what is given to the module."""
        steps, batch = max(self.lengths), len(self.lengths)
        shape = [steps] if self.form == "single" else [steps, batch]
        shape = shape[::-1] if self.batch_first else shape
        leaf = noise(*shape, self.features, seed=self.seed + 1).requires_grad_()
        if self.form in ("batch", "single"):
            return leaf, leaf
        in_order = sorted(self.lengths, reverse=True) if self.form == "sorted" else self.lengths
        lengths, ordered = torch.tensor(in_order), self.form == "sorted"
        return leaf, pack_padded_sequence(leaf, lengths, self.batch_first, enforce_sorted=ordered)

    def state(self) -> tuple[Tensor, ...]:
        rows = self.layers * (2 if self.bidirectional else 1)
        batch = [] if self.form == "single" else [len(self.lengths)]
        widths = [self.projection or self.cells, self.cells][: 2 if self.kind == "lstm" else 1]
        return tuple(
            noise(rows, *batch, width, seed=self.seed + 2 + i).requires_grad_()
            for i, width in enumerate(widths)
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind, cells = draw(st.sampled_from(list(MODULES))), draw(st.integers(1, 6))
    projected = kind == "lstm" and cells > 1 and draw(st.booleans())
    return Case(
        kind=kind,
        features=draw(st.integers(1, 5)),
        cells=cells,
        projection=draw(st.integers(1, cells - 1)) if projected else 0,
        layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        bias=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        form=draw(st.sampled_from(["batch", "single", "sorted", "unsorted"])),
        lengths=tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))),
        given=draw(st.booleans()),
        fused=draw(st.booleans()),
        seed=draw(st.integers(0, 999)),
    )


def result_of(module: nn.Module, case: Case) -> tuple[Any, list[Tensor], list[Tensor]]:
    """Outputs, last state, and gradients of inputs and initial state; parameters get theirs."""
    (leaf, inputs), state = case.inputs(), case.state()
    hx = (state if case.kind == "lstm" else state[0]) if case.given else None
    outputs, last = module(inputs, hx)
    values = outputs.data if isinstance(outputs, PackedSequence) else outputs
    every = [values, *parts_of(last)]
    loss = sum((each * noise(*each.shape, seed=i)).sum() for i, each in enumerate(every))
    loss.backward()
    return outputs, [*parts_of(last)], [leaf.grad, *(part.grad for part in state if case.given)]


def assert_same_gradients(ours: Recurrent, theirs: nn.RNNBase) -> None:
    suffixes = ("", "_reverse") if theirs.bidirectional else ("",)
    for (i, layer), suffix in product(enumerate(ours.layers), suffixes):
        found = {name: p.grad for name, p in layer.named_parameters()}
        for name in ("weight_ih", "weight_hh", "weight_hr"):
            if name + suffix in found:
                expected = getattr(theirs, f"{name}_l{i}{suffix}").grad
                close(found[name + suffix], expected)
        if theirs.bias:  # the one bias stands for both: it sees the gradient of the first
            close(found["bias" + suffix], getattr(theirs, f"bias_ih_l{i}{suffix}").grad)
        if "bias_hn" + suffix in found:
            expected = getattr(theirs, f"bias_hh_l{i}{suffix}").grad[-layer.hidden_size :]
            close(found["bias_hn" + suffix], expected)


def close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_equals_torch(case: Case) -> None:
    """Outputs, last states, gradients of inputs, initial states and weights; whatever comes in."""
    module = case.module()
    stack = Recurrent.from_torch(module)
    if not case.fused:
        for layer in stack.layers:
            layer.hidden_quantizer = nn.Identity()  # the loop over time instead
    (outputs, last, grads), (theirs, their_last, their_grads) = (
        result_of(each, case) for each in (stack, module)
    )
    assert type(outputs) is type(theirs)
    if isinstance(outputs, PackedSequence):
        assert torch.equal(outputs.batch_sizes, theirs.batch_sizes)
        for name in ("sorted_indices", "unsorted_indices"):
            close(getattr(outputs, name), getattr(theirs, name))
        outputs, theirs = outputs.data, theirs.data
    close(outputs, theirs)
    close(last, their_last)
    close(grads, their_grads)
    assert_same_gradients(stack, module)


def test_a_batch_of_none() -> None:
    module = torch_module("lstm", bidirectional=True)
    outputs, last = Recurrent.from_torch(module)(noise(T, 0, F))
    assert_same((outputs, last), module(noise(T, 0, F)))


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("form", ["batch", "sorted", "unsorted"])
def test_dropout_between_layers_is_torch_s(kind: str, form: str) -> None:
    """In training, with torch's own generator: the same numbers are dropped."""
    case = Case(kind, form=form, lengths=UNSORTED)
    module = torch_module(kind, num_layers=3, dropout=0.4, bidirectional=True).train()
    stack = Recurrent.from_torch(module)
    found = []
    for each in (stack, module):
        torch.manual_seed(5)
        outputs, _ = each(case.inputs()[1])
        found.append(outputs.data if form != "batch" else outputs)
    assert_same(*found)
    plain = stack.eval()(case.inputs()[1])[0]
    assert not torch.allclose(found[0], plain.data if form != "batch" else plain)


@pytest.mark.parametrize(
    ("kind", "fewer"), [("lstm", 4 * H), ("gru", 2 * H), ("rnn_tanh", H), ("rnn_relu", H)]
)
def test_has_no_bias_twice_but_the_candidate_s(kind: str, fewer: int) -> None:
    module = torch_module(kind)
    count = sum(p.numel() for p in module.parameters())
    assert sum(p.numel() for p in Recurrent.from_torch(module).parameters()) == count - fewer


def test_holds_a_copy_in_the_module_s_dtype_and_mode() -> None:
    module = torch_module("lstm", proj_size=3).float().eval()
    ours = Recurrent.from_torch(module)
    before = {name: p.clone() for name, p in ours.named_parameters()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.dtype is torch.float32
    assert not ours.training
    assert Recurrent.from_torch(module.train()).training


@pytest.mark.parametrize("projection", [0, 3])
def test_has_the_attributes_that_user_code_reads(projection: int) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.3}
    module = torch_module("lstm", proj_size=projection, **options)
    ours = Recurrent.from_torch(module)
    for name in ["input_size", "hidden_size", "proj_size", "training", *options]:
        assert getattr(ours, name) == getattr(module, name)
    assert ours.flatten_parameters() is None


# --- layers of different widths ------------------------------------------------------------------

WIDTHS = (5, 9, 7)


def uneven(kind: str, *, bidirectional: bool = False, batch_first: bool = False) -> Recurrent:
    torch.manual_seed(0)
    features, layers = F, []
    for units in WIDTHS:
        layer = RecurrentLayer(Cell(kind), features, units, bidirectional=bidirectional, bias=True)
        layers.append(layer.double())
        features = layer.directions * units
    return Recurrent(layers, dropout=0.0, batch_first=batch_first)


def unevenly_projected() -> Recurrent:
    """Widths 5, 9 and 7 before cells of one number, 6."""
    torch.manual_seed(0)
    features, layers = F, []
    for units in WIDTHS:
        cell = Cell("lstm")
        options = {"bidirectional": False, "bias": True, "projection": units}
        layers.append(RecurrentLayer(cell, features, 6, **options).double())
        features = units
    return Recurrent(layers, dropout=0.0, batch_first=False)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_the_state_is_padded_to_the_widest_layer(kind: str, bidirectional: bool) -> None:
    stack = uneven(kind, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    outputs, state = stack(noise(T, B, F))
    assert outputs.shape == (T, B, directions * 7)
    for part in parts_of(state):
        assert part.shape == (3 * directions, B, 9)
        for i, units in enumerate(WIDTHS):
            own = part[i * directions : (i + 1) * directions]
            assert bool((own[..., units:] == 0).all())
            # a ReLU may leave zeros of its own; any unit counts
            assert bool((own[..., :units] != 0).any())
    last = parts_of(state)[0][-directions:, :, :7]
    assert torch.equal(last[0], outputs[-1, :, :7])
    if bidirectional:
        assert torch.equal(last[1], outputs[0, :, 7:])


def test_the_memory_behind_projections_is_as_wide_as_its_cells() -> None:
    outputs, (h, c) = unevenly_projected()(noise(T, B, F))
    assert outputs.shape == (T, B, 7)
    assert h.shape == (3, B, 9)
    assert c.shape == (3, B, 6)
    assert torch.equal(h[2, :, :7], outputs[-1])
    assert bool((c != 0).all())


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_a_given_state_can_be_fed_back(kind: str, batch_first: bool, batched: bool) -> None:
    assert_carries_on(uneven(kind, batch_first=batch_first), batch_first, batched)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_a_state_with_a_projection_can_be_fed_back(batched: bool) -> None:
    assert_carries_on(unevenly_projected(), False, batched)


def assert_carries_on(stack: Recurrent, batch_first: bool, batched: bool) -> None:
    time = 1 if batch_first and batched else 0
    shape = (T, F) if not batched else (B, T, F) if batch_first else (T, B, F)
    inputs = noise(*shape)
    whole, end = stack(inputs)
    first, state = stack(inputs.narrow(time, 0, 2))
    second, last = stack(inputs.narrow(time, 2, T - 2), state)
    assert_same(torch.cat([first, second], time), whole)
    assert_same(last, end)


# --- several lengths -----------------------------------------------------------------------------


def quantized(kind: str, **options: Any) -> Recurrent:
    """Hidden states of 4 bits, on the grid 0, 1/15, ... 1."""
    stack = Recurrent.from_torch(torch_module(kind, num_layers=2, bidirectional=True, **options))
    for layer in stack.layers:
        layer.hidden_quantizer = ActivationQuantizer(4, Scheme.bit_rnn()).double()
    return stack


@pytest.mark.parametrize("kind", MODULES)
def test_a_packed_sequence_is_as_each_sequence_alone(kind: str) -> None:
    """Quantized too, in both directions, from states of their own."""
    stack = quantized(kind)
    alone = [noise(length, F, seed=length) for length in UNSORTED]
    state = state_for(kind, 4, B, H)
    outputs, last = stack(pack_sequence(alone, enforce_sorted=False), state)
    for i, (sequence, output) in enumerate(
        zip(alone, nn.utils.rnn.unpack_sequence(outputs), strict=True)
    ):
        own = tuple(part[:, i] for part in parts_of(state))
        expected, end = stack(sequence, own if kind == "lstm" else own[0])
        assert_same(output, expected)
        assert_same([part[:, i] for part in parts_of(last)], [*parts_of(end)])
    levels = outputs.data * 15
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-5)


def test_a_projected_hidden_state_is_quantized_after_the_projection() -> None:
    outputs, (h, c) = quantized("lstm", proj_size=3)(noise(T, B, F))
    for values, on_grid in ((outputs, True), (h, True), (c, False)):
        off = (values * 15 - (values * 15).round()).abs().max()
        assert bool(off < 1e-5) == on_grid


def layer_inputs(stack: Recurrent, inputs: Any) -> list[Tensor]:
    """What a forward pre-hook of each layer sees first: what calibration is made of."""
    read: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        for layer in stack.layers
    ]
    stack(inputs)
    for handle in handles:
        handle.remove()
    return read


def test_layers_read_no_padding() -> None:
    stack = Recurrent.from_torch(torch_module("gru", num_layers=2, bidirectional=True))
    packed = pack_sequence([noise(length, F, seed=length) for length in SORTED])
    first, second = layer_inputs(stack, packed)
    assert first is packed.data
    assert second.shape == (sum(SORTED), 2 * H)
    assert bool((second != 0).all())


def test_batch_first_does_not_concern_packed_sequences() -> None:
    module = torch_module("gru", batch_first=True)
    packed = pack_sequence([noise(length, F, seed=length) for length in SORTED])
    first = Recurrent.from_torch(module)
    second = Recurrent.from_torch(module)
    second.batch_first = False
    assert torch.equal(first(packed)[0].data, second(packed)[0].data)


# --- what it refuses -----------------------------------------------------------------------------


def packed_of(features: int) -> PackedSequence:
    return pack_sequence([noise(4, features), noise(2, features)])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (noise(T, B, 3), r"must be \[T, B, 4\] or \[T, 4\], got \[6, 3, 3\]"),
        (noise(T, 3), r"must be \[T, B, 4\] or \[T, 4\], got \[6, 3\]"),
        (noise(F), r"must be \[T, B, 4\] or \[T, 4\], got \[4\]"),
        (noise(1, T, B, F), r"must be \[T, B, 4\] or \[T, 4\], got \[1, 6, 3, 4\]"),
        (noise(0, B, F), "must have at least one step, got none"),
        ([[1.0] * F], "must be a tensor or a PackedSequence, got list"),
        (packed_of(3), r"must be \[N, 4\], got \[6, 3\]"),
        (
            PackedSequence(noise(5, F), torch.tensor([2, 3])),
            r"must not increase and must add up to its 5 rows, got \[2, 3\]",
        ),
        (PackedSequence(noise(5, F), torch.tensor([2, 2])), r"5 rows, got \[2, 2\]"),
        (PackedSequence(noise(2, F), torch.tensor([2, 0])), r"2 rows, got \[2, 0\]"),
    ],
)
def test_refused_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        uneven("lstm")(inputs)


def test_refused_batch_first_inputs() -> None:
    with pytest.raises(UserError, match=r"must be \[B, T, 4\] or \[T, 4\], got \[3, 6, 5\]"):
        uneven("lstm", batch_first=True)(noise(B, T, 5))


@pytest.mark.parametrize(
    ("kind", "inputs", "state", "message"),
    [
        ("gru", noise(T, B, F), noise(3, B, 6), r"\[3, 3, 5 or 9\], got \[3, 3, 6\]"),
        ("gru", noise(T, B, F), noise(2, B, 9), r"\[3, 3, 5 or 9\], got \[2, 3, 9\]"),
        ("gru", noise(T, B, F), noise(3, 2, 9), r"\[3, 3, 5 or 9\], got \[3, 2, 9\]"),
        ("gru", noise(T, B, F), noise(3, 9), r"\[3, 3, 5 or 9\], got \[3, 9\]"),
        ("gru", noise(T, F), noise(3, 1, 9), r"\[3, 5 or 9\], got \[3, 1, 9\]"),
        ("gru", packed_of(F), noise(3, B, 9), r"\[3, 2, 5 or 9\], got \[3, 3, 9\]"),
        ("gru", noise(T, B, F), (noise(3, B, 9),), "must be a tensor, got tuple of 1"),
        ("lstm", noise(T, B, F), noise(3, B, 9), r"a pair of tensors \(h, c\), got Tensor"),
        ("lstm", noise(T, B, F), [noise(3, B, 9)], r"pair .* \(h, c\), got list of 1"),
        ("lstm", noise(T, B, F), (noise(3, B, 9), None), r"pair .*, got tuple of 2"),
        ("lstm", noise(T, B, F), (noise(3, B, 9), noise(3, B, 8)), r"c of the .* \[3, 3, 8\]"),
    ],
)
def test_refused_states(kind: str, inputs: Any, state: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        uneven(kind)(inputs, state)


def test_widths_that_are_allowed_are_named_once() -> None:
    stack = Recurrent.from_torch(torch_module("lstm", proj_size=3))
    h, c = noise(1, B, 3), noise(1, B, 5)
    stack(noise(T, B, F), (h, c))
    with pytest.raises(UserError, match=r"h of the .* shape \[1, 3, 3\], got \[1, 3, 5\]"):
        stack(noise(T, B, F), (c, h))


# --- dropout, copies -----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_dropout_is_between_layers_and_only_in_training(training: bool) -> None:
    module = torch_module("gru", num_layers=2, dropout=0.5)
    stack = Recurrent.from_torch(module).train(training)
    inputs = noise(50, B, F)
    gave: list[Tensor] = []
    for layer in stack.layers:
        layer.register_forward_hook(lambda *args: gave.append(args[2][0]))
    first, second = layer_inputs(stack, inputs)
    assert torch.equal(first, inputs.flatten(0, 1))
    if not training:
        assert torch.equal(second, gave[0])
        return
    dropped = second == 0
    assert 0.4 < float(dropped.double().mean()) < 0.6
    torch.testing.assert_close(second[~dropped], 2 * gave[0][~dropped])
    assert not bool((gave[1] == 0).any())


def test_one_layer_has_nowhere_to_drop() -> None:
    layer = RecurrentLayer(Cell("lstm"), F, H, bidirectional=False, bias=True).double()
    stack = Recurrent([layer], dropout=0.9, batch_first=False).train()
    assert torch.equal(stack(noise(T, B, F))[0], stack(noise(T, B, F))[0])


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda stack: pickle.loads(pickle.dumps(stack))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("stack", [uneven("gru"), unevenly_projected(), quantized("lstm")])
def test_a_copy_is_independent(stack: Recurrent, how: str) -> None:
    twin = COPIES[how](stack)
    inputs = noise(T, B, F)
    assert torch.equal(twin(inputs)[0], stack(inputs)[0])
    with torch.no_grad():
        twin.layers[0].weight_hh.zero_()
    assert not torch.equal(twin(inputs)[0], stack(inputs)[0])


def test_names_of_the_state_dict() -> None:
    """Checkpoints of earlier versions hold these."""
    both = [
        [f"{name}{suffix}" for name in names]
        for names in (
            ("weight_ih", "weight_hh", "bias"),
            ("weight_ih", "weight_hh", "bias", "bias_hn"),
            ("weight_ih", "weight_hh", "bias", "weight_hr"),
        )
        for suffix in ("", "_reverse")
    ]
    for i, options in enumerate(({}, {}, {"proj_size": 3})):
        module = torch_module("gru" if i == 1 else "lstm", bidirectional=True, **options)
        expected = [f"l0.{name}" for name in both[2 * i] + both[2 * i + 1]]
        assert list(Recurrent.from_torch(module).state_dict()) == expected
