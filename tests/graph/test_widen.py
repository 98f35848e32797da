"""Old and new models run on the same input; replicas diverge in training; splits survive rounding.

Tolerance of "the same function": 1e-5 of the largest output (float32; the two models add the same
products in another order).
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.graph.unit_sources import FRESH
from autoquant.graph.widen import WideningRequest, resize, source_dtype, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.codes import Grid, decode, encode
from autoquant.quantization.scale_rules import mse_scale
from autoquant.settings import Scheme, Training
from autoquant.tasks.language import LanguageTask
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate, quantize
from autoquant.training.scoring import score
from tests import toys
from tests.toys import described, output_of, plan_of, prepared

METHODS = ("split", "fresh")
WIDTHS = (1.0, 1.25, 1.5, 2.0, 3.4)


def assert_same(new: Tensor, old: Tensor) -> None:
    torch.testing.assert_close(new, old, atol=1e-5 * max(1.0, float(old.abs().max())), rtol=0)


# --- the function stays ---------------------------------------------------------------------------


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    cell, hidden = draw(st.sampled_from(["LSTM", "GRU", "RNN"])), draw(st.integers(2, 7))
    projected = cell == "LSTM" and draw(st.booleans())
    return {
        "cell": cell,
        "layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "hidden": hidden,
        "projection": draw(st.integers(1, hidden - 1)) if projected else 0,
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }


@st.composite
def plans(draw: st.DrawFn, network: Network) -> Plan:
    """Any widths on what may grow, any bits."""
    return Plan(
        {
            name: LayerChoice(
                weight_bits=draw(st.sampled_from([1, 2, 3, 4, 8, 16, 32])),
                width=1.0 if network.why_fixed(name) else draw(st.sampled_from(WIDTHS)),
            )
            for name in network.names
        }
    )


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {f"{layer.name}.{p.name}": p.shape for layer in network.layers for p in layer.parameters}


@settings(max_examples=60)
@given(options=stacks(), method=st.sampled_from(METHODS), seed=st.integers(0, 9), data=st.data())
def test_same_function_and_promised_shapes(
    options: dict[str, Any], method: Any, seed: int, data: st.DataObject
) -> None:
    source = toys.stack(**options)
    model, network = prepared(source)
    plan = data.draw(plans(network))
    scheme = Scheme(granularity=data.draw(st.sampled_from(["channel", "tensor"])))
    grown, promised = widen(model, network, WideningRequest(plan, scheme, method, seed))

    assert promised == network.resized(plan)
    built = {name: tuple(p.shape) for name, p in grown.named_parameters()}
    assert built == shapes(promised)
    actual = described(grown)  # the network of the grown model itself
    assert shapes(actual) == shapes(promised)
    assert dict(actual.inputs) == dict(promised.inputs)

    inputs = torch.randn(5, 3, 5)  # [T, B, I], or [B, T, I]
    state = toys.stack_state(source, 5 if options["batch_first"] else 3)
    assert_same(output_of(grown, inputs), output_of(source, inputs))
    assert_same(output_of(grown, inputs, state), output_of(source, inputs, state))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_state_of_the_widened_model_can_be_passed_back(cell: str, method: Any) -> None:
    """Layers of three widths: the returned state is as wide as the widest."""
    model, network = prepared(toys.stack(cell=cell, layers=3))
    plan = plan_of(network, rnn__l0=1.5, rnn__l1=3.0)
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    inputs = torch.randn(8, 2, 5)
    with torch.no_grad():
        whole, _ = model(inputs)
        _, state = grown(inputs[:4])
        rest, _ = grown(inputs[4:], state)
    assert (state[0] if cell == "LSTM" else state).shape == (3, 2, 18)
    assert_same(rest, whole[4:])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("width", "units"),
    [
        (1.25, 4),
        (1.5, 6),
        (2.0, 8),
    ],
)
def test_a_projection_grows_past_its_cells(width: float, units: int, method: Any) -> None:
    """Units of a projected LSTM are the rows of the projection, as many as its 6 cells or more."""
    source = toys.stack(layers=2, bidirectional=True, projection=4)
    model, network = prepared(source)
    plan = plan_of(network, rnn__l0=width, rnn__l1=2.0)
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    assert grown.rnn.l0.weight_hr.shape == (units, 6)
    inputs, state = torch.randn(8, 2, 5), toys.stack_state(source, 2)
    assert_same(output_of(grown, inputs, state), output_of(source, inputs, state))
    with torch.no_grad():
        _, wide = grown(inputs, state)
        _, narrow = source(inputs, state)
    assert [part.shape for part in wide] == [(4, 2, 8), (4, 2, 6)]
    # either model goes on from its own state, or the grown one from that of the original
    expected = output_of(source, inputs, narrow)
    assert_same(output_of(grown, inputs, wide), expected)
    assert_same(output_of(grown, inputs, narrow), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_packed_sequences(options: dict[str, Any], method: Any) -> None:
    source = toys.tagger(**options)
    model, network = prepared(source)
    widths = {"embedding": 1.5, "rnn__l0": 2.0}
    widths |= {"rnn__l1": 1.4} if options else {}
    grown, _ = widen(
        model, network, WideningRequest(plan_of(network, **widths), Scheme(), method, 0)
    )
    assert grown.rnn.l0.hidden_size == 12
    words = toys.sentences()
    assert_same(output_of(grown, words), output_of(source, words))


def test_a_state_of_another_width_is_refused() -> None:
    model, network = prepared(toys.stack(cell="GRU"))
    grown, _ = widen(
        model, network, WideningRequest(plan_of(network, rnn__l0=2.0), Scheme(), "split", 0)
    )
    with pytest.raises(UserError, match=r"shape \[1, 2, 6 or 12\], got \[1, 2, 7\]"):
        grown(torch.randn(4, 2, 5), torch.zeros(1, 2, 7))


@pytest.mark.parametrize("method", METHODS)
def test_deep_speech(method: Any) -> None:
    source = toys.deep_speech()
    model, network = prepared(source)
    plan = plan_of(network, fc1=1.5, fc2=2.0, fc3=1.25, rnn__l0=1.5, fc5=1.75)
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    inputs = 3 * torch.randn(6, 2, 10)
    assert_same(output_of(grown, inputs), output_of(source, inputs))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_language_model_whose_embedding_grows(cell: Any, method: Any) -> None:
    source = toys.language_model(cell=cell)
    model, network = prepared(source)
    plan = plan_of(network, embedding=2.0, rnn__l0=1.25, rnn__l1=1.5)
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    tokens = torch.randint(15, (7, 3))
    assert_same(output_of(grown, tokens), output_of(source, tokens))


@pytest.mark.parametrize("method", METHODS)
def test_tied_layers_grow_together(method: Any) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 6)
            self.last = nn.Linear(6, 2)

        def forward(self, values: Tensor) -> Tensor:
            first = torch.tanh(self.one(values))
            return self.last(torch.relu(first * self.two(first) + first))

    torch.manual_seed(0)
    model, network = prepared(Residual())
    grown, _ = widen(
        model, network, WideningRequest(plan_of(network, one=1.7, two=1.7), Scheme(), method, 0)
    )
    inputs = torch.randn(9, 5)
    assert grown.one.out_features == grown.two.out_features == 10
    assert_same(output_of(grown, inputs), output_of(model, inputs))


# --- seeds and identity ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_width_one_is_the_identity(method: Any) -> None:
    model, network = prepared(toys.language_model())
    same, grown = widen(model, network, WideningRequest(plan_of(network), Scheme(), method, 0))
    assert grown == network
    assert same is not model
    assert same.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(same.state_dict()[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_seed(method: Any) -> None:
    model, network = prepared(toys.language_model())
    plan = plan_of(network, embedding=1.5, rnn__l0=2.0)
    before = copy.deepcopy(model.state_dict())

    def grow(seed: int) -> dict[str, Tensor]:
        return widen(model, network, WideningRequest(plan, Scheme(), method, seed))[0].state_dict()

    torch.manual_seed(1)
    first = grow(5)
    torch.manual_seed(2)  # torch's global generator is not used
    again, other = grow(5), grow(6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["rnn.l0.weight_ih"], other["rnn.l0.weight_ih"])
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_a_plan_that_does_not_fit_is_refused() -> None:
    model, network = prepared(toys.language_model())
    with pytest.raises(UserError, match=r"width of decoder must be 1\.0"):
        widen(model, network, WideningRequest(plan_of(network, decoder=2.0), Scheme(), "split", 0))


@pytest.mark.parametrize("method", METHODS)
def test_resize_makes_what_widen_makes(method: Any) -> None:
    model, network = prepared(toys.stack(cell="GRU", layers=2, bidirectional=True))
    plan = plan_of(network, front=2.0, rnn__l1=1.5)
    grown, promised = widen(model, network, WideningRequest(plan, Scheme(), method, 0))
    empty = resize(model, promised)
    kinds = {name: (t.shape, t.dtype) for name, t in grown.state_dict().items()}
    assert {name: (t.shape, t.dtype) for name, t in empty.state_dict().items()} == kinds
    empty.load_state_dict(grown.state_dict())
    inputs = torch.randn(4, 3, 5)
    assert torch.equal(output_of(empty, inputs), output_of(grown, inputs))


def test_source_dtype_holds_every_unit() -> None:
    assert source_dtype(2**15 - 1) == torch.int16
    assert source_dtype(2**15) == torch.int32


# --- the split ------------------------------------------------------------------------------------


def test_the_largest_outgoing_weights_are_split_first() -> None:
    model, network = prepared(toys.stack(hidden=6))
    with torch.no_grad():
        model.back.weight[1, 4] = 90.0
        model.back.weight[0, 2] = -70.0
    scheme = Scheme(granularity="tensor")
    grown, _ = widen(
        model, network, WideningRequest(plan_of(network, rnn__l0=8 / 6), scheme, "split", 0)
    )
    assert grown.rnn.l0.unit_sources.tolist() == [0, 1, 2, 3, 4, 5, 4, 2]


@pytest.mark.parametrize("width", [1.5, 2.0, 3.0, 5.0])
def test_replicas_share_rows_and_their_columns_add_up(width: float) -> None:
    """Against the definition: each group of replicas sums to the old column, rows are copies."""
    model, network = prepared(toys.stack(layers=2))
    grown, _ = widen(
        model, network, WideningRequest(plan_of(network, rnn__l0=width), Scheme(), "split", 0)
    )
    sources = grown.rnn.l0.unit_sources.long()
    columns = {
        "l1.weight_ih": (grown.rnn.l1.weight_ih, model.rnn.l1.weight_ih),
        "l0.weight_hh": (grown.rnn.l0.weight_hh, model.rnn.l0.weight_hh),
    }
    for name, (new, old) in columns.items():
        summed = torch.zeros(len(new), old.shape[1]).index_add(1, sources, new.detach())
        rows = torch.cat([sources + 6 * gate for gate in range(4)]) if "hh" in name else slice(None)
        torch.testing.assert_close(summed, old.detach()[rows], atol=1e-6, rtol=0)
    for name in ("weight_ih", "weight_hh", "bias"):
        new = getattr(grown.rnn.l0, name).detach()
        blocks = new.view(4, len(sources), *new.shape[1:])
        for unit, source in enumerate(sources.tolist()):
            assert torch.equal(blocks[:, unit], blocks[:, source]), (name, unit)


@settings(max_examples=60)
@given(
    bits=st.integers(1, 8),
    kind=st.sampled_from(["midtread", "midrise"]),
    per_channel=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_split_pair_rounds_no_worse_than_the_single_weight(
    bits: int, kind: str, per_channel: bool, seed: int
) -> None:
    """Outlier channel splitting (Zhao et al. 2019, section 3.3) at the scale that ``widen`` uses.

    On a grid with a level at zero a pair rounds to the very sum that the single weight rounds to,
    and where the single weight is clipped the pair is nearer. On a grid without one a pair sums
    to whole scales: the error stays within half a scale, as that of an unclipped single weight.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 6))
    model, network = prepared(model)
    choice = LayerChoice(weight_bits=bits)
    plan = Plan({"0": LayerChoice(width=2.0), "1": choice})
    scheme = Scheme(grid=kind, granularity="channel" if per_channel else "tensor")
    grown, _ = widen(model, network, WideningRequest(plan, scheme, "split", seed))

    grid = Grid.signed(min(bits, 4), kind)
    weight = model[1].weight.detach()
    scale = mse_scale(weight, grid, per_channel=per_channel)
    inner = (weight / scale).abs() < grid.qmax - 1  # far from the ends, halves are too

    def rounded(values: Tensor) -> Tensor:
        return decode(encode(values, scale, grid), scale, grid)

    replicas = rounded(grown[1].weight.detach())
    sources = torch.cat([torch.arange(8), _order(grown, model)])
    pair = torch.zeros_like(weight).index_add(1, sources, replicas)
    noise = 1e-5 * float(weight.abs().max())
    error, single = (pair - weight).abs(), (rounded(weight) - weight).abs()
    if grid.offset == 0:
        tie = (weight / scale - (weight / scale).floor() - 0.5).abs() < 1e-4
        assert bool(((error <= single + noise) | tie).all())
    else:
        assert bool((error[inner] <= 0.5 * scale.expand_as(error)[inner] + noise).all())


def _order(grown: nn.Module, model: nn.Module) -> Tensor:
    """Which old unit each added row of the first layer copies."""
    old, added = model[0].weight.detach(), grown[0].weight.detach()[8:]
    return (added[:, None] == old[None]).all(-1).int().argmax(1)


def test_split_offsets_are_a_quarter_scale_of_random_sign() -> None:
    torch.manual_seed(0)
    model, network = prepared(nn.Sequential(nn.Linear(3, 64), nn.Linear(64, 32)))
    plan = Plan({"0": LayerChoice(width=2.0), "1": LayerChoice(weight_bits=4)})
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), "split", 0))
    scale = mse_scale(model[1].weight, Grid.signed(4), per_channel=True)
    offset = (grown[1].weight[:, :64] - model[1].weight / 2).detach() / scale
    torch.testing.assert_close(offset.abs(), torch.full_like(offset, 0.25), atol=1e-4, rtol=0)
    # 2048 fair signs: the mean stays within 5 standard deviations (5 * 0.25 / sqrt(2048) = 0.028)
    assert abs(float(offset.mean())) < 0.028


# --- after quantization, and in training ----------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[LanguageTask, nn.Module, Network]:
    """A language model trained well below the perplexity of guessing (20 words)."""
    task = toys.language_task()
    torch.manual_seed(0)
    model, network = prepared(task.build_model())
    train(model, task, Training(epochs=6, lr=1e-2), seed=0)
    assert score(model, task, "valid") < 12
    return task, model, network


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", ["auto", "midrise", "midtread"])
@pytest.mark.parametrize(("bits", "tolerance"), [(2, 1.15), (4, 1.05)])
def test_quantized_widened_model_scores_like_the_quantized_original(
    trained: tuple[LanguageTask, nn.Module, Network],
    bits: int,
    tolerance: float,
    grid: str,
    method: Any,
) -> None:
    """Before any training: perplexity within 15% (2 bits) or 5% (4 bits) of the narrow model's."""
    task, model, network = trained
    scheme, choice = Scheme(grid=grid), LayerChoice(bits, 8)

    def built(plan: Plan) -> float:
        candidate = build_candidate(model, network, plan, scheme, task, method=method, seed=0)
        return score(candidate, task, "valid")

    narrow = built(plan_of(network, choice))
    wide = built(plan_of(network, choice, embedding=1.5, rnn__l0=1.5))
    assert wide < tolerance * narrow


def test_fresh_units_without_pairs_would_explode(
    trained: tuple[LanguageTask, nn.Module, Network],
) -> None:
    """Why fresh units come in pairs: a 2-bit midrise grid has no level at zero."""
    task, model, network = trained
    plan = plan_of(network, LayerChoice(2, 32), rnn__l0=2.0)
    outputs = {}
    for kind in ("pairs", "zeros"):
        grown, promised = widen(model, network, WideningRequest(plan, Scheme(), "fresh", 0))
        if kind == "zeros":
            grown.decoder.weight.data[:, 12:] = 0.0
            grown.rnn.l0.weight_hh.data[:, 12:] = 0.0
        quantize(grown, promised, plan, Scheme())
        outputs[kind] = output_of(grown, *task.example().inputs)
    narrow = copy.deepcopy(model)
    quantize(narrow, network, plan_of(network, LayerChoice(2, 32)), Scheme())
    reference = output_of(narrow, *task.example().inputs)
    off = {kind: float((out - reference).square().mean().sqrt()) for kind, out in outputs.items()}
    assert off["pairs"] < 0.001 * off["zeros"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_replicas_diverge_in_training(
    trained: tuple[LanguageTask, nn.Module, Network], bits: int, method: Any
) -> None:
    """After 10 steps every pair of rows differs by at least 1% of its norm; float noise is 1e-6."""
    task, model, network = trained
    plan = plan_of(network, LayerChoice(bits, 8), embedding=1.5, rnn__l0=1.5)
    candidate = build_candidate(model, network, plan, Scheme(), task, method=method, seed=0)
    recurrent = candidate.rnn.l0
    if method == "fresh":
        assert recurrent.unit_sources.tolist()[12:] == [FRESH] * 6
        pairs = [(unit, unit + 1) for unit in (12, 14, 16)]
    else:
        pairs = [(int(recurrent.unit_sources[unit]), unit) for unit in range(12, 18)]

    def distances() -> list[float]:
        values = []
        for name in ("weight_ih", "weight_hh"):
            gates = recurrent.parametrizations[name].original.detach().view(4, 18, -1)
            values += [
                float((gates[:, a] - gates[:, b]).norm() / gates[:, a].norm()) for a, b in pairs
            ]
        return values

    assert max(distances()) == 0.0
    train(candidate, task, Training(steps=10, lr=1e-2), seed=0)
    assert min(distances()) > 0.01
