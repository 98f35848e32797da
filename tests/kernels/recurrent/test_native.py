"""The compiled engine against the reference, code by code and gradient by gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoquant import kernels
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.kernels.recurrent import native_struct, torch_loop
from autoquant.kernels.recurrent.engine import BackwardOperands, Job, Operands
from autoquant.kernels.recurrent.native import Native, native_engine
from autoquant.kernels.recurrent.native_calls import PackedOperands, run_forward
from autoquant.quantization import native
from autoquant.quantization.codes import Grid, QuantParams, QuantSpec, decode
from autoquant.quantization.fake_quantize import fake_quantize
from autoquant.settings import Scheme
from tests.quantization.native.machine import (
    EVERY_SET,
    NEEDS_KERNELS,
    bfloat16_everywhere,
    running_on,
    same_bits,
    threads,
)
from tests.quantization.native.recurrences import (
    CELLS,
    NATIVE,
    REFERENCE,
    Plan,
    Run,
    activations,
    compare,
    compare_fixed,
    made,
    plans,
)

pytestmark = NEEDS_KERNELS

PACKED = (4, 3, 3, 1)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
BIT_RNN = Scheme.bit_rnn()
bit_rnn_plans = plans(cell=st.just("sigmoid-lstm"), signed=st.just(False), scheme=st.just(BIT_RNN))


# --- the same numbers as the reference -----------------------------------------------------------


@settings(max_examples=100)
@given(plans())
def test_equals_the_reference(plan):
    assume(compare(plan))


@settings(max_examples=40)
@given(plans(units=st.integers(16, 70)))
def test_gradients_of_bfloat16_products_are_near(plan):
    with bfloat16_everywhere():
        assume(compare(plan, "bfloat16"))


@settings(max_examples=40)
@given(bit_rnn_plans)
def test_equals_the_reference_on_bit_rnn(plan):
    """Neither clipped nor masked, with tanh of the weights and the range [0, 1]."""
    assume(compare(plan))


@pytest.mark.slow
@settings(max_examples=3000, derandomize=False)
@given(plans() | bit_rnn_plans)
def test_equals_the_reference_on_many_more(plan):
    assume(compare(plan))


@EVERY_SET
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@EVERY_CELL
def test_every_instruction_set_equals_the_reference(cell, precision, instructions):
    plan = Plan(cell, (7, 7, 5, 2), units=37, weight_bits=3, signed=cell != "rnn_relu")
    with running_on(instructions), bfloat16_everywhere():
        compare_fixed(plan, precision)


@EVERY_SET
@pytest.mark.parametrize("units", [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_every_width_around_the_vectors_of_an_instruction_set(units, instructions):
    with running_on(instructions):
        compare_fixed(Plan("gru", (5, 5, 2), units=units))
        compare_fixed(Plan("rnn_tanh", (5, 5, 2), units=units))


@EVERY_SET
@pytest.mark.parametrize("weight_bits", [1, 1.6, *range(2, 9)])
def test_every_number_of_bits(weight_bits, instructions):
    with running_on(instructions):
        for hidden_bits in range(2, 9):
            plan = Plan(sizes=(3, 2), weight_bits=weight_bits, hidden_bits=hidden_bits)
            compare_fixed(plan)
            compare_fixed(replace(plan, signed=False))


@EVERY_SET
@pytest.mark.parametrize("bits", [1, 1.6, *range(2, 8)])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_a_weight_in_bit_planes_gives_the_same(cell, bits, instructions):
    """As a packed file holds it: below 8 bits it is taken apart on the way."""
    kind, scale = CELLS[cell], torch.tensor(0.01)
    grid, generator = Grid.signed(bits), torch.Generator().manual_seed(int(bits))
    shape = kind.gates * 21, 21
    codes = torch.randint(grid.qmin, grid.qmax + 1, shape, generator=generator).to(torch.int8)
    params = QuantParams(torch.tensor(0.03), grid)
    projected = torch.randn(6, shape[0], generator=generator)
    state = tuple(torch.zeros(3, 21) for _ in range(2 if kind.kind == "lstm" else 1))
    for hidden in (Grid.signed(8), Grid.unsigned(8)):
        job, outputs = Job(kind, (3, 2, 1), QuantSpec(hidden), params, training=False), []
        for held in (8, math.ceil(bits)):
            with running_on(instructions):
                matrix = native.pack_codes(codes, grid, held, kind.gates)
                rest = params.scale.view(1), None, state, scale
                result = run_forward(job, PackedOperands(projected.clone(), matrix, *rest))
                outputs.append(result.hidden)
        assert same_bits(*outputs)
        assert len(outputs[0].unique()) > 2


@EVERY_SET
@pytest.mark.parametrize("start", [0, 255])
def test_the_largest_codes_do_not_saturate(start, instructions):
    """70 products of 255 and -128, and back to a small number by what is added to them."""
    grid, weight = Grid.unsigned(8), Grid.signed(8)
    scale, step = torch.tensor(2.0**-8), torch.tensor(2.0**-7)
    params = QuantParams(step, weight)
    recurrent = torch.full((70, 70), -128 * 2.0**-7)
    total = start * 2.0**-8 * -1.0 * 70
    projected = torch.full((5, 70), 77 * 2.0**-8 - total)
    state = (torch.full((5, 70), start * 2.0**-8),)
    job = Job(CELLS["rnn_relu"], (5,), QuantSpec(grid), params)
    with running_on(instructions):
        hidden, *_ = Native().forward(job, Operands(projected, recurrent, None, state, scale))
    assert torch.equal(hidden, torch.full((5, 70), 77 * 2.0**-8))


def activated(cell: str, x: Tensor) -> Tensor:
    """What the gates of a cell make of numbers [N], [N, G]; nothing comes from the state."""
    gates = CELLS[cell].gates
    params = QuantParams(torch.tensor(1.0), Grid.signed(8))
    job = Job(CELLS[cell], (len(x),), QuantSpec(Grid.signed(8)), params)
    projected = x[:, None].repeat(1, gates)
    state = tuple(torch.zeros(len(x), 1) for _ in range(2 if cell == "lstm" else 1))
    recurrent = torch.zeros(gates, 1)
    operands = Operands(projected, recurrent, None, state, torch.tensor(0.01))
    return Native().forward(job, operands).saved.gates


@EVERY_SET
def test_gate_functions_are_right_to_the_last_bits(instructions):
    """Measured, over the value and the distance of 1 from the next number: 1.2 and 1.0."""
    ends = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 200.0, -200.0, 1e30, -1e30])
    x = torch.cat([torch.linspace(-20, 20, 100_001), torch.linspace(-1, 1, 10_001), ends])
    with running_on(instructions):
        tanh, gates = activated("rnn_tanh", x)[:, 0], activated("lstm", x)
    for ours, exact in (
        (tanh, x.double().tanh()),
        (gates[:, 2], x.double().tanh()),
        (gates[:, 0], x.double().sigmoid()),
    ):
        unit = torch.finfo(torch.float32).eps * exact.abs().clamp_min(2.0**-126)
        assert float(((ours - exact).abs() / unit)[exact.abs() > 1e-37].max()) < 1.5
        assert float((ours - exact).abs().max()) < 1.5e-7


@EVERY_SET
@pytest.mark.parametrize("units", [1, 6, 37])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_products_in_bfloat16_are_of_rounded_gradients_and_exact_codes(bits, units, instructions):
    """One step of a relu that is open everywhere, so that the product stands alone."""
    grid, generator = Grid.signed(bits), torch.Generator().manual_seed(0)
    codes = torch.randint(grid.qmin, grid.qmax + 1, (units, units), generator=generator)
    scale = torch.rand(units, 1, generator=generator) + 0.5
    recurrent = decode(codes.float(), scale, grid)
    spec, step, params = QuantSpec(Grid.unsigned(8)), torch.tensor(0.01), QuantParams(scale, grid)
    job = Job(CELLS["rnn_relu"], (5,), spec, params, precision="bfloat16")
    zeros, grad = torch.zeros(5, units), torch.randn(5, units, generator=generator)
    with running_on(instructions):
        engine = Native()
        projected = torch.ones(5, units)
        result = engine.forward(job, Operands(projected, recurrent, None, (zeros,), step))
        operands = BackwardOperands(recurrent, None, step, grad, (zeros,))
        back = engine.backward(job, operands, result.saved)
    assert torch.equal(back.projected, grad)
    expected = (grad * scale.t()).bfloat16().double() @ (codes + grid.offset).double()
    torch.testing.assert_close(back.state[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_no_luxury_copy_of_float32():
    """The test above would not see a precision that is not used."""
    recurrence = made(Plan(units=20))
    with bfloat16_everywhere():
        compute = Compute("native", "bfloat16")
        narrow = recurrence.gradients(recurrence.run(compute), compute)
    exact = recurrence.gradients(recurrence.run())
    for name in ("inputs", "recurrent", "h"):
        assert not torch.equal(narrow[name], exact[name])


# --- lengths -------------------------------------------------------------------------------------


@EVERY_CELL
@pytest.mark.parametrize("batch", [1, 3])
def test_one_step_of_one_unit(cell, batch):
    compare_fixed(Plan(cell, (batch,), units=1, features=1))


def test_two_thousand_steps():
    compare_fixed(Plan("lstm", (1,) * 2000, units=1, features=1))


@pytest.mark.slow
@pytest.mark.parametrize("units", [1, 50])
@EVERY_CELL
def test_two_thousand_steps_of_every_cell(cell, units):
    largest = 9.0 if cell == "rnn_relu" else 1.2  # so that nothing is near the edge of the grid
    compare_fixed(Plan(cell, (2,) * 2000, units=units, largest=largest))


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (3, 0), (3, 0, 0)], ids=str)
@EVERY_CELL
def test_steps_without_a_sequence(cell, sizes):
    recurrence = made(Plan(cell, sizes))
    run = recurrence.run()
    assert run.outputs.shape == (sum(sizes), 9)
    expected = recurrence.run(Compute(kernel="torch"))
    torch.testing.assert_close(run.outputs, expected.outputs)
    torch.testing.assert_close(run.last, expected.last)
    if sizes[0]:
        grads = recurrence.gradients(run)
        assert all(grad.isfinite().all() for grad in grads.values())


# --- packed sequences, layouts, graphs -----------------------------------------------------------


@EVERY_CELL
def test_a_packed_sequence_runs_as_if_alone(cell):
    packed = made(Plan(cell, PACKED))
    run = packed.run()
    starts = [sum(PACKED[:t]) for t in range(len(PACKED))]
    for sequence in range(PACKED[0]):
        rows = [start + sequence for start, n in zip(starts, PACKED, strict=True) if sequence < n]
        own = replace(
            packed,
            plan=replace(packed.plan, sizes=(1,) * len(rows)),
            leaves=packed.leaves
            | {"inputs": packed.leaves["inputs"][rows]}
            | {
                name: packed.leaves[name][[sequence]]
                for name in ("h", "c")
                if name in packed.leaves
            },
        )
        alone = own.run()
        assert same_bits(run.outputs[rows], alone.outputs)
        for whole, part in zip(run.last, alone.last, strict=True):
            assert same_bits(whole[[sequence]], part)


@EVERY_CELL
def test_without_gradients_the_numbers_are_the_same_and_nothing_is_saved(cell):
    recurrence = made(Plan(cell, PACKED))
    expected = recurrence.run()
    with torch.no_grad():
        run = recurrence.run()
    assert same_bits(run.outputs, expected.outputs)
    assert all(same_bits(*pair) for pair in zip(run.last, expected.last, strict=True))
    assert not run.outputs.requires_grad


def strided(values: Tensor) -> Tensor:
    """The same numbers, every other one in memory."""
    room = torch.stack([values.detach(), torch.full_like(values, 1e6)], -1)
    return room.flatten(-2)[..., ::2].requires_grad_()


@EVERY_CELL
def test_tensors_with_gaps_in_memory(cell):
    plain = made(Plan(cell, PACKED))
    gaps = replace(plain, leaves={name: strided(each) for name, each in plain.leaves.items()})
    assert not gaps.leaves["recurrent"].is_contiguous()
    expected, run = plain.run(), gaps.run()
    assert same_bits(run.outputs, expected.outputs)
    theirs = plain.gradients(expected)
    for name, grad in gaps.gradients(run).items():
        torch.testing.assert_close(grad, theirs[name], rtol=1e-5, atol=1e-6)


@EVERY_CELL
def test_gradients_with_gaps_in_memory(cell):
    recurrence = made(Plan(cell, (3, 3)))
    run = recurrence.run()
    leaf = recurrence.leaves["inputs"]
    upstream = torch.randn(run.outputs.shape, generator=torch.Generator().manual_seed(3))
    (expected,) = torch.autograd.grad(run.outputs, leaf, upstream, retain_graph=True)
    (gaps,) = torch.autograd.grad(run.outputs, leaf, strided(upstream).detach(), retain_graph=True)
    assert same_bits(gaps, expected)
    one = torch.ones(()).expand(run.outputs.shape)
    (spread,) = torch.autograd.grad(run.outputs, leaf, one, retain_graph=True)
    (plain,) = torch.autograd.grad(run.outputs, leaf, torch.ones_like(run.outputs))
    assert same_bits(spread, plain)


@EVERY_CELL
def test_a_graph_may_be_walked_twice(cell):
    recurrence = made(Plan(cell, PACKED))
    run = recurrence.run()
    first, again = recurrence.gradients(run), recurrence.gradients(run)
    assert all(torch.equal(first[name], again[name]) for name in first)


@EVERY_CELL
@pytest.mark.parametrize("part", ["outputs", "last"])
def test_a_change_of_what_is_kept_is_noticed(cell, part):
    recurrence = made(Plan(cell))
    run = recurrence.run()
    loss = run.outputs.sum() + run.last[0].sum()
    with torch.no_grad():
        run.outputs.mul_(2)
    if part == "outputs":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    spans = {each.untyped_storage().data_ptr() for each in (run.outputs, *run.last)}
    assert len(spans) == 1 + len(run.last)  # so that the last state did not change


@pytest.mark.parametrize("wanted", ["inputs", "recurrent", "bias", "candidate_bias", "h"])
def test_one_gradient_alone_is_the_same(wanted):
    recurrence = made(Plan("gru", PACKED))
    run = recurrence.run()
    (expected,) = torch.autograd.grad(run.outputs.sum(), recurrence.leaves[wanted])
    for name, leaf in recurrence.leaves.items():
        leaf.requires_grad_(name == wanted)
    for quantizer in (recurrence.inputs, recurrence.hidden, *recurrence.weights.values()):
        quantizer.requires_grad_(False)
    (ours,) = torch.autograd.grad(recurrence.run().outputs.sum(), recurrence.leaves[wanted])
    assert same_bits(ours, expected)


# --- threads -------------------------------------------------------------------------------------


def engine_results(plan: Plan) -> list[Tensor | None]:
    """Forward and back by the engine alone, without torch's products around it."""
    cell, rows, (batch, units) = CELLS[plan.cell], sum(plan.sizes), (plan.sizes[0], plan.units)
    generator = torch.Generator().manual_seed(plan.seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    grid, scale = Grid.signed(4, "midtread"), torch.tensor(0.1)
    recurrent = fake_quantize(randn(cell.gates * units, units), torch.tensor(0.2), grid)
    job = Job(cell, plan.sizes, QuantSpec(grid), QuantParams(torch.tensor(0.2), grid))
    first = fake_quantize(randn(batch, units), scale, grid)
    state = (first, randn(batch, units)) if cell.kind == "lstm" else (first,)
    engine = Native()
    projected = randn(rows, cell.gates * units)
    operands = Operands(projected, recurrent, None, state, scale)
    hidden, last, saved = engine.forward(job, operands)
    grads = [randn(*part.shape) for part in (hidden, *last)]
    upstream = BackwardOperands(recurrent, None, scale, grads[0], tuple(grads[1:]))
    back = engine.backward(job, upstream, saved)
    return [hidden, *last, back.projected, back.recurrent_product, *back.state, back.scale]


@EVERY_CELL
@pytest.mark.parametrize("sizes", [(24,) * 3, (24, 13, 5, 1), (1, 1)], ids=str)
def test_two_threads_change_no_bit(cell, sizes, monkeypatch):
    """But for the step size's gradient, which is summed up over the batch."""
    monkeypatch.setattr(native_struct, "WORTH_A_THREAD", 1)
    counts: list[int] = []
    share = native.parallel

    def watched(work, count, least=1):
        counts.append(count // least)
        return share(work, count, least)

    monkeypatch.setattr(native, "parallel", watched)
    *one, slope = engine_results(Plan(cell, sizes, units=40))
    with threads(2):
        *two, other = engine_results(Plan(cell, sizes, units=40))
    assert min(counts) == sizes[0]  # so many could have had a thread
    assert all(same_bits(*pair) for pair in zip(one, two, strict=True))
    torch.testing.assert_close(other, slope, rtol=1e-4, atol=1e-7)


# --- NaN and Inf ---------------------------------------------------------------------------------

VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
PLACES = {  # where the value goes
    "inputs": (2, 1),
    "input": (4, 2),
    "recurrent": (5, 3),
    "bias": (6,),
    "candidate_bias": (3,),
    "h": (1, 4),
    "c": (2, 5),
}


ODD = [(cell, place) for cell in CELLS for place in PLACES if place in made(Plan(cell)).leaves]


def patterns(run: Run) -> list[Tensor]:
    return [each.detach().isnan() for each in (run.outputs, *run.last)]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(("cell", "place"), ODD)
def test_what_is_not_finite_spreads_as_in_the_reference(cell, place, value):
    recurrence = made(Plan(cell, PACKED, units=7))
    before = recurrence.run()
    leaf = recurrence.leaves[place]
    kept = leaf.detach().clone()
    with torch.no_grad():
        leaf[PLACES[place]] = value
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    if math.isnan(value):
        assert ours.outputs.isnan().any()
    assert all(torch.equal(*pair) for pair in zip(patterns(ours), patterns(theirs), strict=True))
    pairs = zip((ours.outputs, *ours.last), (theirs.outputs, *theirs.last), strict=True)
    for mine, expected in pairs:
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    with torch.no_grad():
        leaf.copy_(kept)
    after = recurrence.run()  # nothing is left behind
    assert same_bits(after.outputs, before.outputs)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@EVERY_CELL
def test_gradients_of_what_is_not_finite_are_where_the_references_are(cell, value):
    recurrence = made(Plan(cell, PACKED, units=7))
    with torch.no_grad():
        recurrence.leaves["inputs"][2, 1] = value
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    grads = recurrence.gradients(ours)
    for name, expected in recurrence.gradients(theirs, REFERENCE).items():
        assert torch.equal(grads[name].isfinite(), expected.isfinite()), name


@EVERY_CELL
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_a_step_size_that_is_not_finite(cell, value):
    recurrence = made(Plan(cell, PACKED, units=7))
    with torch.no_grad():
        recurrence.hidden.log_scale.fill_(value)
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    assert ours.outputs.isnan().any()
    assert all(torch.equal(*pair) for pair in zip(patterns(ours), patterns(theirs), strict=True))


@EVERY_CELL
@pytest.mark.parametrize("size", [1e4, 1e30], ids=str)
def test_huge_numbers_saturate(cell, size):
    recurrence = made(Plan(cell, PACKED, units=7))
    with torch.no_grad():
        recurrence.leaves["bias"].mul_(size)
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    assert ours.outputs.isfinite().all()
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)


# --- which jobs it takes -------------------------------------------------------------------------


@pytest.fixture
def engines(monkeypatch) -> list[str]:
    """Names of the engines that ran forward."""
    names: list[str] = []
    for name, engine in (("native", Native), ("torch", torch_loop.TorchLoop)):

        def watched(self, *given, name=name, forward=engine.forward):
            names.append(name)
            return forward(self, *given)

        monkeypatch.setattr(engine, "forward", watched)
    return names


AUTO, TORCH = Compute(), Compute(kernel="torch")


@EVERY_CELL
def test_it_is_the_best_that_suits(cell, engines):
    made(Plan(cell)).run(AUTO)
    made(Plan(cell)).run(TORCH)
    assert engines == ["native", "torch"]


def of_type(recurrence, dtype: torch.dtype):
    """A recurrence in other numbers."""
    for part in (*recurrence.weights.values(), recurrence.inputs, recurrence.hidden):
        part.to(dtype)
    leaves = {name: each.detach().to(dtype) for name, each in recurrence.leaves.items()}
    return replace(recurrence, leaves=leaves)


UNSUITABLE = {
    "double precision": (lambda: of_type(made(Plan()), torch.float64), "float32 on the CPU"),
    "unclipped": (lambda: made(Plan(scheme=Scheme(activation_clip=False))), "clipped to its grid"),
    "a grid without zero": (lambda: one_bit(made(Plan())), "a level at zero"),
}


def one_bit(recurrence):
    """The hidden state in one signed bit, whose levels are -1/2 and 1/2."""
    return replace(recurrence, hidden=activations(1, Scheme(), signed=True, largest=0.5))


@pytest.mark.parametrize(("make", "words"), UNSUITABLE.values(), ids=UNSUITABLE)
def test_by_name_it_says_why_it_cannot(make, words):
    with pytest.raises(UserError, match=f"kernel must be .*{words}.*, got 'native'"):
        make().run()


@pytest.mark.parametrize(("make", "words"), UNSUITABLE.values(), ids=UNSUITABLE)
def test_where_it_cannot_another_engine_does(make, words, engines):
    recurrence = make()
    ours, theirs = recurrence.run(AUTO), recurrence.run(REFERENCE)
    assert engines == ["torch"]
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)


def test_by_name_it_says_that_it_was_not_built(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.raises(UserError, match=r"kernel must be .*not built.*, got 'native'"):
        made(Plan()).run()


def test_by_name_it_says_that_weights_must_be_quantized():
    recurrence = made(Plan())
    given = recurrence.recurrence(Run())
    leaves = recurrence.leaves
    plain = kernels.Weights(leaves["input"], leaves["recurrent"], leaves["bias"])
    with computing(NATIVE), pytest.raises(UserError, match=r"at most 8 bits.*, got 'native'"):
        kernels.recur(replace(given, weights=plain))


@pytest.mark.parametrize("part", ["state", "recurrent"])
def test_numbers_of_two_types_are_no_job_for_it(part):
    grid = Grid.signed(4)
    params = QuantParams(torch.tensor(0.1), grid)
    job = Job(CELLS["gru"], (2,), QuantSpec(grid), params)
    state = (torch.zeros(2, 3),)
    operands = Operands(torch.zeros(2, 9), torch.zeros(9, 3), None, state, torch.tensor(0.1))
    assert isinstance(native_engine(job, operands), Native)
    if part == "state":
        operands = operands._replace(state=(state[0].double(),))
    else:
        operands = operands._replace(recurrent=operands.recurrent.double())
    assert native_engine(job, operands) is None


@pytest.mark.parametrize("size", [1, 8, 10])
def test_a_candidate_bias_of_another_size(size):
    """One number is for all units; others are an error, as in the reference."""
    recurrence = made(Plan("gru", units=9))
    recurrence.leaves["candidate_bias"] = torch.full((size,), 0.7)
    if size > 1:
        with pytest.raises(RuntimeError, match="size"):
            recurrence.run()
        return
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", ["h", "c"])
def test_a_state_of_another_width_is_refused(wrong):
    recurrence = made(Plan(units=9))
    recurrence.leaves[wrong] = torch.zeros(3, 8)
    with pytest.raises(Exception, match=r"width|size|shape") as caught:
        recurrence.run()
    assert isinstance(caught.value, RuntimeError | UserError)


def test_the_default_type_of_torch_does_not_matter():
    recurrence = made(Plan("gru", PACKED))
    run = recurrence.run()
    expected = recurrence.gradients(run)
    for dtype in (torch.float64, torch.float16):
        torch.set_default_dtype(dtype)
        try:
            again = recurrence.run()
        finally:
            torch.set_default_dtype(torch.float32)
        assert same_bits(again.outputs, run.outputs)
        grads = recurrence.gradients(again)
        assert all(torch.equal(grads[name], expected[name]) for name in grads)


# --- hidden states that are not clipped ----------------------------------------------------------


def unclipped(largest: float, **changes: object):
    """Bit-RNN's cell on a grid that reaches as far as that."""
    scheme = Scheme(activation_clip=False)
    return made(Plan("sigmoid-lstm", signed=False, scheme=scheme, largest=largest, **changes))


def test_an_unclipped_state_that_stays_on_the_grid(engines):
    recurrence = unclipped(1.0)
    with torch.no_grad():
        recurrence.leaves["h"].clamp_(0, 1)
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)
    assert engines == ["native"]


def test_an_unclipped_state_that_leaves_the_grid():
    recurrence = unclipped(0.3)
    with torch.no_grad():
        recurrence.leaves["h"].clamp_(0, 0.3)
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    assert theirs.outputs.max() > 0.35
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_an_unclipped_state_that_starts_outside_the_grid(value):
    recurrence = unclipped(1.0)
    with torch.no_grad():
        recurrence.leaves["h"].clamp_(0, 1)[1, 2] = value
    ours, theirs = recurrence.run(), recurrence.run(REFERENCE)
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=1e-5, atol=1e-5)
