"""The integer program against trying every point of small spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from autoquant.costs import COSTS, cost, cost_named
from autoquant.costs.limit import Limit, LimitSet
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.samplers.integer_program import SECONDARY_GAP, TIE, IntegerProgram
from autoquant.settings import Scheme, Space
from autoquant.space.cost_table import CostTable
from autoquant.space.search_space import Point, SearchSpace, build_space
from tests import toys
from tests.toys import described, prepared

NETWORK = prepared(toys.language_model(layers=1))[1]
GROWING = [name for name in NETWORK.names if NETWORK.why_fixed(name) is None]
Losses = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Problem:
    """A space with limits, loss increases and an assignment of widths."""

    space: SearchSpace
    limits: LimitSet
    losses: Losses
    widths: Point

    def every(self) -> Iterator[Point]:
        dimensions = self.space.dimensions
        yield from product(
            *(
                (self.widths[i],) if d.field == "width" else range(len(d.choices))
                for i, d in enumerate(dimensions)
            )
        )

    def loss(self, point: Point) -> float:
        chosen = zip(self.space.dimensions, self.losses, point, strict=True)
        return float(sum(loss[c] for d, loss, c in chosen if d.field != "width"))

    def fitting(self, size: float | None = None) -> list[Point]:
        limits = self.limits if size is None else self.limits.with_budget(size)
        return [p for p in self.every() if limits.holds(self.space.plan(p))]


@st.composite
def problems(draw: st.DrawFn, *names: str) -> Problem:
    """A space of the language model, limits on some costs between their lowest and highest."""
    weights = draw(st.sampled_from([(2, 4), (1, 1.6, 8), (2, 4, 8)]))
    space = build_space(
        NETWORK,
        GROWING,
        Space(
            weight_bits=weights,
            activation_bits=draw(st.sampled_from([(4, 8), (8, 16), (4, 16)])),
            width=(1.0, 1.5),
            split_recurrent=draw(st.booleans()),
        ),
    )
    random = np.random.default_rng(draw(st.integers(0, 999)))
    losses = [np.sort(random.integers(0, 50, len(d.choices)) / 8.0)[::-1] for d in space.dimensions]
    widths = tuple(draw(st.integers(0, len(d.choices) - 1)) for d in space.dimensions)
    lowest = tuple(
        w if d.field == "width" else 0 for w, d in zip(widths, space.dimensions, strict=True)
    )
    highest = tuple(
        w if d.field == "width" else len(d.choices) - 1
        for w, d in zip(widths, space.dimensions, strict=True)
    )
    limits = []
    for name in names:
        one = cost_named(name)
        low, high = (one.of(NETWORK, space.plan(p), Scheme()) for p in (lowest, highest))
        share = draw(st.floats(-0.02, 1))
        limits.append(Limit(one, int(low + share * (high - low)), NETWORK, Scheme()))
    return Problem(space, LimitSet(tuple(limits)), losses, widths)


def check_least(problem: Problem, point: Point | None, candidates: list[Point]) -> None:
    """Whether a solution is within the limits, and no candidate has a smaller loss."""
    assert (point is None) == (not candidates)
    if point is not None:
        assert point in candidates
        least = min(map(problem.loss, candidates))
        assert problem.loss(point) <= least * (1 + TIE) + 1e-9


@pytest.mark.parametrize(
    "names",
    [
        ("size",),
        ("size", "bit_ops"),
        ("size", "peak_memory"),
        ("size", "activation_memory", "bit_ops"),
    ],
    ids="+".join,
)
def test_no_point_within_the_limits_has_a_smaller_loss(names: tuple[str, ...]) -> None:
    @settings(max_examples=6)
    @given(problems(*names))
    def check(problem: Problem) -> None:
        point = IntegerProgram(problem.space, problem.limits).solve(problem.losses, problem.widths)
        check_least(problem, point, problem.fitting())

    check()


@settings(max_examples=8)
@given(problems("size", "bit_ops"), st.integers(1, 4), st.integers(1, 3))
def test_solutions_differ_from_points(problem: Problem, distance: int, count: int) -> None:
    program, points = IntegerProgram(problem.space, problem.limits), list[Point]()
    fitting = problem.fitting()
    for _ in range(count):
        point = program.solve(problem.losses, problem.widths, apart_from=points, distance=distance)
        left = [
            p
            for p in fitting
            if all(sum(a != b for a, b in zip(p, q, strict=True)) >= distance for q in points)
        ]
        check_least(problem, point, left)
        if point is None:
            return
        points.append(point)


def test_other_widths_count_as_a_difference() -> None:
    space = build_space(NETWORK, GROWING, Space(weight_bits=(2, 8), width=(1.0, 2.0)))
    limits = LimitSet((Limit(cost_named("size"), 10**9, NETWORK, Scheme()),))
    losses = [np.linspace(1, 0, len(d.choices)) for d in space.dimensions]
    program, narrow = IntegerProgram(space, limits), (0,) * len(losses)
    first = program.solve(losses, narrow)
    assert first is not None
    wide = (1,) * len(losses)
    apart = program.solve(losses, wide, apart_from=[first])
    assert apart == tuple(
        1 if d.field == "width" else value for d, value in zip(space.dimensions, first, strict=True)
    )


@settings(max_examples=10)
@given(problems("size"), st.floats(0.1, 8))
def test_of_nearly_equal_points_the_cheapest_is_taken(problem: Problem, tolerance: float) -> None:
    program = IntegerProgram(problem.space, problem.limits)
    point = program.solve(problem.losses, problem.widths, tolerance=tolerance)
    fitting = problem.fitting()
    assert (point is None) == (not fitting)
    if point is None:
        return
    most = min(map(problem.loss, fitting)) + tolerance + 1e-6
    table = CostTable(problem.space, NETWORK, Scheme(), (cost_named("bit_ops"),))
    cheapest = min(table.values(p)[0] for p in fitting if problem.loss(p) <= most)
    assert problem.loss(point) <= most
    assert table.values(point)[0] <= cheapest * (1 + SECONDARY_GAP)


def test_activations_that_cost_no_loss_have_few_bits() -> None:
    space = build_space(NETWORK, (), Space(weight_bits=(4, 8), activation_bits=(4, 8, 16)))
    limits = LimitSet((Limit(cost_named("size"), 10**9, NETWORK, Scheme()),))
    losses = [
        np.linspace(1, 0, len(d.choices)) if d.is_weight_bits else np.array([1.0, 0.0, 0.0])
        for d in space.dimensions
    ]
    point = IntegerProgram(space, limits).solve(losses, (0,) * len(losses))
    assert point is not None
    bits = {d.choices[c] for d, c in zip(space.dimensions, point, strict=True)}
    assert bits == {8}


@settings(max_examples=4)
@given(problems("size"), st.floats(0.3, 0.9))
def test_a_smaller_size_is_met(problem: Problem, share: float) -> None:
    size = share * problem.limits.budget.value
    point = IntegerProgram(problem.space, problem.limits).solve(
        problem.losses, problem.widths, size=size
    )
    check_least(problem, point, problem.fitting(size))


def test_losses_that_are_not_finite_are_avoided() -> None:
    space = build_space(NETWORK, (), Space(weight_bits=(2, 8), activation_bits=(8,)))
    limits = LimitSet((Limit(cost_named("size"), 10**9, NETWORK, Scheme()),))
    losses = [np.array([np.inf, 3.0] if d.is_weight_bits else [0.0]) for d in space.dimensions]
    point = IntegerProgram(space, limits).solve(losses, (0,) * len(losses))
    expected = tuple(int(d.is_weight_bits) for d in space.dimensions)
    assert point == expected


@pytest.fixture
def squared() -> Iterator[str]:
    """A cost of this module that does not say how it is made of layers."""

    @cost("squared", unit="bits", fields=("weight_bits",))
    def squared(network: Network, plan: Plan, scheme: Scheme) -> float:
        return float(sum(plan[name].weight_bits for name in network.names)) ** 2

    yield squared.name
    del COSTS["squared"]


@pytest.mark.parametrize("value", [10, 40, 150, 300])
def test_a_cost_of_whole_plans_is_met(squared: str, value: int) -> None:
    space = build_space(NETWORK, (), Space(weight_bits=(1, 2, 4, 8), activation_bits=(8,)))
    size = Limit(cost_named("size"), 10**9, NETWORK, Scheme())
    limits = LimitSet((size, Limit(cost_named(squared), value, NETWORK, Scheme())))
    losses = [np.linspace(1, 0, len(d.choices)) for d in space.dimensions]
    point = IntegerProgram(space, limits).solve(losses, (0,) * len(losses))
    assert point is not None
    assert limits.holds(space.plan(point))


class TiedModel(nn.Module):
    """An embedding whose weight the decoder has too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.hidden = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 20)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.hidden(self.embedding(tokens)))  # type: ignore[no-any-return]


def test_bits_that_two_layers_have_are_chosen_once() -> None:
    """The decoder's bit operations multiply its activations by bits that the embedding owns."""
    network = described(prepare(TiedModel()), torch.zeros(2, dtype=torch.int64))
    assert network.shares == {"decoder": "embedding"}
    space = build_space(network, (), Space(weight_bits=(2, 4, 8), activation_bits=(4, 8)))
    random = np.random.default_rng(0)
    losses = [np.sort(random.random(len(d.choices)))[::-1] for d in space.dimensions]
    for size, ops in product((500, 600, 700), (3000, 6000, 12000)):
        costs = zip(("size", "bit_ops"), (size, ops), strict=True)
        limits = LimitSet(tuple(Limit(cost_named(n), v, network, Scheme()) for n, v in costs))
        problem = Problem(space, limits, losses, (0,) * len(losses))
        point = IntegerProgram(space, limits).solve(losses, problem.widths)
        check_least(problem, point, problem.fitting())


def test_the_solver_writes_nothing_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS prints a line of its own in some problems; see binary_program."""
    random = np.random.default_rng(1)
    space = build_space(NETWORK, (), Space(activation_bits=(4, 6, 8, 16)))
    top = space.plan(tuple(len(d.choices) - 1 for d in space.dimensions))
    limits = LimitSet(
        tuple(
            Limit(c, 0.4 * c.of(NETWORK, top, Scheme()), NETWORK, Scheme())
            for c in map(cost_named, ("size", "bit_ops"))
        )
    )
    losses = [random.random(len(d.choices)) for d in space.dimensions]
    IntegerProgram(space, limits).solve(losses, (0,) * len(losses), tolerance=0.1)
    assert capfd.readouterr().out == ""
