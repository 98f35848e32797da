"""The choices of a network, and projections held against a search through every point."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.artifact import manifest
from autoquant.costs import cost_named
from autoquant.costs.limit import Limit, LimitSet
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Space
from autoquant.space.projection import Projection
from autoquant.space.search_space import (
    Dimension,
    Point,
    SearchSpace,
    build_space,
    uniform_plan,
    weight_bits_only,
)
from tests.toys import SIZED, language_model, limit, prepared

BITS = (1, 2, 3, 4, 8)
WIDTHS = (1.0, 1.5, 2.0)
SPACE = Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.25, 1.5, 2.0))


class Tied(nn.Module):
    """``front`` and ``back`` write into one sum, so that they have one width."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.back = nn.Linear(6, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, values: Tensor) -> Tensor:
        values = torch.relu(self.front(values))
        return self.out(values + self.back(values))


def language_space(choices: Space = SPACE, layers: int = 1) -> tuple[SearchSpace, Network]:
    network = prepared(language_model(layers=layers))[1]
    widenable = [name for name in network.names if network.why_fixed(name) is None]
    return build_space(network, widenable, choices), network


def every(space: SearchSpace) -> list[Point]:
    return list(product(*(range(len(d.choices)) for d in space.dimensions)))


# --- the choices of a network ---------------------------------------------------------------------


def test_dimensions_of_a_language_model() -> None:
    space, _ = language_space()
    assert [d.name for d in space.dimensions] == [
        "embedding.weight_bits",
        "embedding.width",
        "rnn.l0.weight_bits",
        "rnn.l0.activation_bits",
        "rnn.l0.recurrent_bits",
        "rnn.l0.hidden_bits",
        "rnn.l0.width",
        "decoder.weight_bits",
        "decoder.activation_bits",
    ]
    assert {d.field: d.choices for d in space.dimensions} == {
        "weight_bits": SPACE.weight_bits,
        "recurrent_bits": SPACE.weight_bits,
        "activation_bits": SPACE.activation_bits,
        "hidden_bits": SPACE.activation_bits,
        "width": SPACE.width,
    }
    assert [d.field for d in space.dimensions if d.field not in SIZED] == [
        *("activation_bits", "hidden_bits", "activation_bits")
    ]


def test_recurrent_bits_follow_the_weights_unless_split() -> None:
    space, _ = language_space(Space((2, 4), (8,), (1.0,), split_recurrent=False))
    assert not any(d.field in ("recurrent_bits", "hidden_bits") for d in space.dimensions)
    for point in every(space):
        choice = space.plan(point)["rnn.l0"]
        assert choice.bits_of("recurrent") == choice.weight_bits
        assert choice.state_bits == choice.activation_bits


def test_only_widenable_layers_have_widths() -> None:
    network = prepared(language_model())[1]
    space = build_space(network, ["rnn.l0"], SPACE)
    assert [d.layer for d in space.dimensions if d.field == "width"] == ["rnn.l0"]


@pytest.mark.parametrize(
    ("widenable", "expected"),
    [(["front", "back"], ["front"]), (["front"], []), (["back"], []), ([], [])],
    ids=["both", "first alone", "second alone", "none"],
)
def test_a_tied_group_grows_when_all_of_it_may(widenable: list[str], expected: list[str]) -> None:
    network = prepared(Tied())[1]
    space = build_space(network, widenable, SPACE)
    assert [d.layer for d in space.dimensions if d.field == "width"] == expected


def test_tied_layers_share_every_width() -> None:
    network = prepared(Tied())[1]
    space = build_space(network, ["front", "back"], Space((2,), (8,), WIDTHS))
    plans = [space.plan(point) for point in every(space)]
    assert [plan["front"].width for plan in plans] == list(WIDTHS)
    assert [plan["back"].width for plan in plans] == list(WIDTHS)
    assert {plan["out"].width for plan in plans} == {1.0}
    for plan in plans:
        network.resized(plan)  # refuses layers of one group with two widths


# --- points and plans -----------------------------------------------------------------------------


@st.composite
def language_points(draw: st.DrawFn) -> Point:
    return tuple(draw(st.integers(0, len(d.choices) - 1)) for d in LANGUAGE[0].dimensions)


LANGUAGE = language_space(layers=2)


@given(language_points())
def test_the_point_of_a_plan(point: Point) -> None:
    space, network = LANGUAGE
    plan = space.plan(point)
    assert space.point(plan) == point
    assert space.point(Plan.from_yaml(plan.to_yaml())) == point
    network.resized(plan)


def test_size_counts_distinct_plans() -> None:
    space, _ = language_space(Space((2, 4), (8,), (1.0, 1.5)))
    plans = {space.plan(point) for point in every(space)}
    assert len(plans) == math.prod(len(d.choices) for d in space.dimensions) == 2**4 * 2**2


def test_smallest_is_the_smallest() -> None:
    space, network = language_space(Space((2, 4), (8,), (1.0, 1.5)))
    sizes = {
        point: manifest.size_bytes(network, space.plan(point), Scheme()) for point in every(space)
    }
    assert sizes[space.smallest] == min(sizes.values())


@pytest.mark.parametrize("split", [True, False], ids=["split", "joint"])
@pytest.mark.parametrize("bits", SPACE.weight_bits)
def test_canonical_plans_are_points(bits: int, split: bool) -> None:
    choices = Space(SPACE.weight_bits, SPACE.activation_bits, SPACE.width, split)
    space, network = language_space(choices)
    plan = uniform_plan(space, network, LayerChoice(bits, 8))
    point = space.point(plan)
    assert point is not None
    assert space.plan(point) == plan
    assert {plan[name].weight_bits for name in network.names} == {bits}
    assert {plan[name].bits_of("recurrent") for name in network.names} == {bits}


def test_a_canonical_width_is_that_of_the_layers_that_may_grow() -> None:
    space, network = language_space(layers=2)
    plan = uniform_plan(space, network, LayerChoice(4, 8, 1.5))
    widths = {name: choice.width for name, choice in plan.choices.items()}
    assert widths == {"embedding": 1.5, "rnn.l0": 1.5, "rnn.l1": 1.5, "decoder": 1.0}
    assert space.point(plan) is not None
    still = build_space(network, [], SPACE)
    assert uniform_plan(still, network, LayerChoice(4, 8, 1.5)) == uniform_plan(
        still, network, LayerChoice(4, 8)
    )


def test_a_space_of_weight_bits_has_one_width_and_one_precision_of_activations() -> None:
    rules = {"decoder": {"activation_bits": (4, 8)}, "rnn.l0": {"width": (1.0, 2.0)}}
    network = language_space()[1]
    space = weight_bits_only(
        build_space(network, ["embedding"], SPACE, rules), LayerChoice(activation_bits=6, width=1.4)
    )
    found = {each.name: each.choices for each in space.dimensions}
    assert found["embedding.width"] == (1.4,)
    assert found["rnn.l0.width"] == (1.0,)  # the rule's nearest
    assert found["rnn.l0.activation_bits"] == found["rnn.l0.hidden_bits"] == (6,)
    assert found["decoder.activation_bits"] == (8,)  # of two as near the larger
    for name in ("embedding.weight_bits", "rnn.l0.recurrent_bits", "decoder.weight_bits"):
        assert found[name] == SPACE.weight_bits


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("decoder", {"weight_bits": 3}),
        ("decoder", {"width": 1.5}),
        ("rnn.l0", {"width": 1.7}),
        ("rnn.l0", {"activation_bits": 6}),
        ("embedding", {"activation_bits": 4}),
    ],
    ids=["bits", "frozen width", "width", "activations", "no activations here"],
)
def test_plans_outside_the_space(layer: str, change: dict[str, Any]) -> None:
    space, network = language_space()
    plan = uniform_plan(space, network, LayerChoice(4, 8))
    assert space.point(plan) is not None
    assert space.point(plan.with_choice(layer, **change)) is None


def test_tied_layers_with_two_widths_are_outside() -> None:
    network = prepared(Tied())[1]
    space = build_space(network, ["front", "back"], SPACE)
    plan = uniform_plan(space, network, LayerChoice(4, 8, 1.5)).with_choice("out", width=1.0)
    assert space.point(plan) is not None
    assert space.point(plan.with_choice("back", width=2.0)) is None


# --- projection: made-up layers whose size is units * width * bits --------------------------------


@st.composite
def projections(draw: st.DrawFn, **fixed: Any) -> tuple[Projection, Point]:
    """A projection of one to three layers, at most 3 choices each, and a point to project."""
    names = "abc"[: draw(st.integers(1, 3))]
    units = {name: draw(st.integers(1, 30)) for name in names}
    dimensions = []
    for name in names:
        low = draw(st.integers(0, 2))
        bits = BITS[low : low + draw(st.integers(1, 3))]
        dimensions.append(Dimension(name, "weight_bits", bits))
        if name == "a" or draw(st.booleans()):
            dimensions.append(Dimension(name, "width", WIDTHS[: draw(st.integers(1, 3))]))
    dimensions.append(Dimension(names[0], "activation_bits", (4, 6, 8)))
    space = SearchSpace(tuple(dimensions), tuple(names), {name: name for name in names})
    size_of = partial(made_up_size, units)
    top = size_of(space.plan(tuple(len(d.choices) - 1 for d in dimensions)))
    budget = draw(st.integers(0, top + 1))
    point = tuple(draw(st.integers(0, len(d.choices) - 1)) for d in dimensions)
    options = {"fill": draw(st.booleans())} | fixed
    return Projection(space, limit(size_of, budget), **options), point


def made_up_size(units: dict[str, int], plan: Plan) -> int:
    """Wider layers also feed the next one, as real ones do."""
    size, feeding = 0.0, 1.0
    for name, count in units.items():
        size += count * feeding * plan[name].width * plan[name].weight_bits
        feeding = plan[name].width
    return int(size)


def moved(point: Point, index: int, step: int) -> Point:
    return tuple(value + step * (i == index) for i, value in enumerate(point))


def lowest_of(projection: Projection, point: Point, held: frozenset[int] = frozenset()) -> Point:
    """The point with everything down that a projection may lower."""
    dimensions = projection.space.dimensions
    return tuple(
        value if i in held or dimensions[i].field not in SIZED else 0
        for i, value in enumerate(point)
    )


def largest_fall(before: Point, after: Point) -> int:
    return max(0, *(b - a for b, a in zip(before, after, strict=True)))


@given(projections())
def test_a_projection_fits_or_nothing_would(case: tuple[Projection, Point]) -> None:
    projection, point = case
    result = projection(point)
    assert (result is None) == (not projection.fits(lowest_of(projection, point)))
    if result is not None:
        assert projection.cost_of(result) <= projection.limits.budget.value


@given(projections())
def test_activations_stay_and_widths_never_rise(case: tuple[Projection, Point]) -> None:
    projection, point = case
    result = projection(point)
    assume(result is not None)
    for dimension, before, after in zip(projection.space.dimensions, point, result, strict=True):
        if dimension.field == "activation_bits":
            assert after == before
        if dimension.field == "width" or not projection.fill:
            assert after <= before


@given(projections())
def test_no_step_more_fits(case: tuple[Projection, Point]) -> None:
    projection, point = case
    result = projection(point)
    assume(result is not None)
    for i, dimension in enumerate(projection.space.dimensions):
        top = len(dimension.choices) - 1
        ceiling = top if projection.fill and dimension.field != "width" else point[i]
        if dimension.field in SIZED and result[i] < ceiling:
            assert not projection.fits(moved(result, i, +1)), dimension.name


@settings(max_examples=100)
@given(projections())
def test_the_largest_fall_is_the_least_of_any_point_that_fits(
    case: tuple[Projection, Point],
) -> None:
    projection, point = case
    result = projection(point)
    assume(result is not None)
    free = [
        range(len(d.choices)) if d.field in SIZED else (point[i],)
        for i, d in enumerate(projection.space.dimensions)
    ]
    falls = [largest_fall(point, other) for other in product(*free) if projection.fits(other)]
    assert largest_fall(point, result) == min(falls)


@given(projections())
def test_projecting_twice_changes_nothing(case: tuple[Projection, Point]) -> None:
    projection, point = case
    result = projection(point)
    assume(result is not None)
    assert projection(result) == result


@given(projections(fill=False))
def test_a_point_that_fits_stays_where_nothing_is_filled(case: tuple[Projection, Point]) -> None:
    projection, point = case
    assume(projection.fits(point))
    assert projection(point) == point


@given(projections(), st.data())
def test_held_dimensions_stay(case: tuple[Projection, Point], data: st.DataObject) -> None:
    projection, point = case
    held = data.draw(st.frozensets(st.integers(0, len(point) - 1)))
    result = projection(point, held)
    assert (result is None) == (not projection.fits(lowest_of(projection, point, held)))
    if result is not None:
        assert projection.fits(result)
        assert [result[i] for i in held] == [point[i] for i in held]


def test_of_choices_that_fell_alike_the_dearest_goes_first() -> None:
    dimensions = (Dimension("small", "weight_bits", BITS), Dimension("big", "weight_bits", BITS))
    space = SearchSpace(dimensions, ("small", "big"), {"small": "small", "big": "big"})
    size_of = partial(made_up_size, {"small": 10, "big": 100})
    top = size_of(space.plan((4, 4)))
    assert Projection(space, limit(size_of, top - 1))((4, 4)) == (4, 3)
    assert Projection(space, limit(size_of, top - 401))((4, 4)) == (3, 3)


# --- projection: real sizes -----------------------------------------------------------------------


@given(language_points(), st.integers(0, 100))
@settings(max_examples=25)
def test_real_sizes_never_shrink_with_a_choice(point: Point, index: int) -> None:
    """What the guarantees of a projection rest on, up to 8 bits."""
    space, network = LANGUAGE
    index %= len(point)
    assume(point[index] + 1 < len(space.dimensions[index].choices))
    before, after = (
        manifest.size_bytes(network, space.plan(each), Scheme())
        for each in (point, moved(point, index, 1))
    )
    if space.dimensions[index].field in SIZED:
        assert after >= before
    else:
        assert after == before


@given(language_points(), st.floats(0, 1), st.booleans())
@settings(max_examples=25)
def test_real_projections_fit(point: Point, share: float, fill: bool) -> None:
    space, network = LANGUAGE
    size_of = partial(manifest.size_bytes, network, scheme=Scheme())
    low = size_of(space.plan(space.smallest))
    high = size_of(space.plan(tuple(len(d.choices) - 1 for d in space.dimensions)))
    budget = int(low + share * (high - low))
    result = Projection(space, limit(size_of, budget), fill)(point)
    assert result is not None
    assert size_of(space.plan(result)) <= budget
    assert Projection(space, limit(size_of, low - 1), fill)(point) is None


# --- projection: several limits -------------------------------------------------------------------


@st.composite
def real_limits(draw: st.DrawFn) -> Projection:
    """Limits on two or three costs of the language model, between the lowest and the highest."""
    space, network = LANGUAGE
    points = space.smallest, tuple(len(d.choices) - 1 for d in space.dimensions)
    names = draw(st.sampled_from([("size", "bit_ops"), ("size", "peak_memory", "macs")]))
    limits = []
    for one in map(cost_named, names):
        low, high = (one.of(network, space.plan(point), Scheme()) for point in points)
        value = int(low + draw(st.floats(-0.01, 1)) * (high - low))
        limits.append(Limit(one, value, network, Scheme()))
    return Projection(space, LimitSet(tuple(limits)), draw(st.booleans()))


@given(real_limits(), language_points())
@settings(max_examples=30)
def test_any_point_is_brought_within_all_limits(projection: Projection, point: Point) -> None:
    space, limits = projection.space, projection.limits
    result = projection(point)
    assert (result is None) == (not limits.holds(space.plan(space.smallest)))
    if result is None:
        return
    assert limits.holds(space.plan(result))
    for i, dimension in enumerate(space.dimensions):
        filled = projection.fill and dimension.field in {"weight_bits", "recurrent_bits"}
        assert filled or result[i] <= point[i]
        ceiling = len(dimension.choices) - 1 if filled else point[i]
        if result[i] < ceiling:
            assert not projection.fits(moved(result, i, +1)), dimension.name
