"""Recorded passes, with graphs that are imitated: they compute again, into the same memory."""

import logging
from dataclasses import replace
from functools import partial

import pytest
import torch

from autoquant.kernels.recurrent import cuda_graphs
from autoquant.kernels.recurrent.cell import Weights
from autoquant.kernels.recurrent.cuda_graphs import CudaGraphLoop
from autoquant.kernels.recurrent.engine import Job, Operands
from autoquant.kernels.recurrent.recording import CudaGraphs
from tests.kernels.recurrent.cases import CELLS, RULES, all_of, assert_same, case, engined, looping

SIZES = {"padded": (3, 3, 3), "packed": (4, 3, 3, 1)}


class Imitation:
    """Graphs on the CPU."""

    def __init__(self, where=0, error=None):
        self.where, self.error = where, error
        self.recorded = self.replayed = 0

    def place(self, device):
        return self.where

    def record(self, work, device):
        if self.error is not None:
            raise self.error
        self.recorded += 1
        results = work()

        def replay():
            self.replayed += 1
            again = work()
            for old, new in zip(results, again, strict=True):
                assert (old is None) == (new is None)
                if old is not None:
                    old.copy_(new)

        return results, replay


def through(engine):
    return partial(engined, lambda *_: engine)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_plain_loop_on_new_numbers(name, rule, sizes):
    graphs = Imitation()
    run = through(CudaGraphLoop(graphs))
    for seed in range(5):
        made = case(name, sizes, rule, seed=seed)
        assert all(map(torch.equal, all_of(run, made), all_of(looping, made)))
    assert graphs.recorded == 2  # forward and back
    assert graphs.replayed == 2 * 3


def test_results_outlive_the_next_pass():
    """As in a stack: two layers of one shape run forward, then back."""
    run = through(CudaGraphLoop(Imitation()))
    made = [case(rule="signed", seed=seed) for seed in range(2)]
    for _ in range(4):
        outputs = [run(each.recurrence())[0] for each in made]
        found = [
            torch.autograd.grad(output.sum(), each.weights.input)
            for each, output in zip(made, outputs, strict=True)
        ]
    for each, output, ours in zip(made, outputs, found, strict=True):
        expected = looping(each.recurrence())[0]
        assert_same([output], [expected])
        assert_same(ours, torch.autograd.grad(expected.sum(), each.weights.input))


def test_the_projected_input_and_the_saved_tensors_are_not_written_to_again():
    engine, made = CudaGraphLoop(Imitation()), case()
    job = Job(made.cell, made.sizes)
    projected = (made.inputs @ made.weights.input.t()).detach()
    weight, state = made.weights.recurrent.detach(), tuple(p.detach() for p in made.state)
    operands = Operands(projected, weight, None, state, None)
    for _ in range(cuda_graphs.PLAIN_RUNS):
        engine.forward(job, operands._replace(projected=projected.clone()))
    first = engine.forward(job, operands)
    copies = [each.clone() for each in first.saved]
    engine.forward(job, operands._replace(projected=projected + 1))
    assert first.saved[0] is first.hidden  # hidden states: copied once, saved once
    assert all(map(torch.equal, first.saved, copies))


def test_other_shapes_types_and_places_are_recorded_apart():
    graphs = Imitation()
    run = through(CudaGraphLoop(graphs))
    with torch.no_grad():
        for times, made in enumerate(
            [case(), case(sizes=(3, 3, 3, 2)), case(units=6), case(dtype=torch.float32)], 1
        ):
            for _ in range(cuda_graphs.PLAIN_RUNS):
                run(made.recurrence())
            assert graphs.recorded == times - 1
            run(made.recurrence())
            run(made.recurrence())
            assert graphs.recorded == times
        graphs.where = 1
        run(case().recurrence())
        assert graphs.replayed == 2 * times


def test_where_a_larger_piece_is_recorded_the_loop_is_plain():
    graphs = Imitation(where=None)
    run = through(CudaGraphLoop(graphs))
    for _ in range(5):
        run(case().recurrence())
    assert graphs.recorded == 0


def test_only_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MAX_RECORDINGS", 2)
    monkeypatch.setattr(cuda_graphs, "MAX_COUNTED", 3)
    graphs = Imitation()
    engine = CudaGraphLoop(graphs)
    run = through(engine)

    def often(units):
        for _ in range(cuda_graphs.PLAIN_RUNS + 1):
            run(case(units=units).recurrence())

    with torch.no_grad():
        for units in (2, 3, 2, 4):  # 3 has waited longest
            often(units)
        assert (graphs.recorded, len(engine._recordings)) == (3, 2)
        often(2)
        assert graphs.recorded == 3
        often(3)
        assert (graphs.recorded, len(engine._recordings)) == (4, 2)
        for units in range(5, 12):
            run(case(units=units).recurrence())
    assert len(engine._runs) == 3


def test_a_failure_is_said_once_and_the_loop_goes_on(caplog):
    graphs = Imitation(error=RuntimeError("operation not permitted"))
    run = through(CudaGraphLoop(graphs))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            made = case(rule="signed")
            assert_same(all_of(run, made), all_of(looping, made))
    assert [record.message for record in caplog.records] == [
        "no CUDA graph could be recorded, loops run step by step: operation not permitted"
    ]


def test_inference_mode_and_training_share_no_memory_they_may_not_write_to():
    run, made = through(CudaGraphLoop(Imitation())), case(rule="signed")
    for _ in range(2):
        for mode in (torch.inference_mode, torch.no_grad):
            with mode():
                for _ in range(cuda_graphs.PLAIN_RUNS + 1):
                    outputs, _ = run(made.recurrence())
        assert_same([outputs], [looping(made.recurrence())[0]])


def test_is_chosen_for_loops_on_cuda_only_and_where_it_is_turned_on(monkeypatch):
    class Cuda(torch.Tensor):
        device = torch.device("cuda", 0)

    made = case()
    there = [each.detach().as_subclass(Cuda) for each in (made.inputs, *made.state)]
    job = Job(made.cell, made.sizes)

    def chosen(job, first, *state):
        return cuda_graphs.cuda_graph_engine(job, Operands(first, first, None, state, None))

    monkeypatch.setenv(cuda_graphs.VARIABLE, "1")
    assert chosen(job, *there) is cuda_graphs.CUDA_GRAPH_LOOP
    assert chosen(job, made.inputs, *made.state) is None
    assert chosen(job, there[0], *made.state) is None
    assert chosen(Job(made.cell, (3, 3)), *there) is None
    for value in ("0", "", "yes"):
        monkeypatch.setenv(cuda_graphs.VARIABLE, value)
        assert chosen(job, *there) is None
    monkeypatch.delenv(cuda_graphs.VARIABLE)
    assert chosen(job, *there) is None


def on_cuda(made):
    """The same recurrence there."""

    def moved(each):
        return None if each is None else each.detach().to("cuda").requires_grad_()

    return replace(
        made,
        inputs=moved(made.inputs),
        weights=Weights(*map(moved, made.weights)),
        state=tuple(map(moved, made.state)),
        quantize=made.quantize.to("cuda"),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", CELLS)
def test_on_a_device(name, sizes):
    engine = CudaGraphLoop(CudaGraphs())
    for seed in range(5):
        made = on_cuda(case(name, sizes, "signed", seed=seed))
        assert_same(all_of(through(engine), made), all_of(looping, made))
    assert len(engine._recordings) == 2
