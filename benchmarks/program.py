"""``python -m benchmarks.program``: CPU time of the costs of plans and of integer programs.

Networks are chains of linear layers of random sizes, with 8 choices of weight bits and 4 of
activation bits each, limits on size and bit operations that leave about half of the space's range,
and random loss increases that fall with the bits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import process_time

import numpy as np
from numpy.typing import NDArray

from autoquant.artifact.manifest import size_bytes
from autoquant.costs import cost_named
from autoquant.costs.limit import Limit, LimitSet
from autoquant.graph.network import Network, Segment
from autoquant.layers import LayerSpec
from autoquant.layers.spec import Axis, weight_and_bias
from autoquant.samplers.integer_program import IntegerProgram
from autoquant.settings import Scheme, Space
from autoquant.space.cost_table import CostTable, PointCosts
from autoquant.space.search_space import Point, SearchSpace, build_space

BATCH, DISTANCE, GAP, TOLERANCE = 8, 10, 0.005, 0.01
SHARES = {"size": 0.45, "bit_ops": 0.15}  # of the values with the most bits, without growth
COSTS = tuple(map(cost_named, SHARES))


def chain(layers: int, seed: int) -> Network:
    """A chain of linear layers, of which all but the last may grow."""
    random = np.random.default_rng(seed)
    sizes = (8 * random.integers(6, 40, layers + 1)).tolist()
    names = [f"layer{i}" for i in range(layers)]
    specs = tuple(
        LayerSpec(
            name, "linear", weight_and_bias((Axis("out", n), Axis("in", m)), n, bias=True), n, m
        )
        for name, m, n in zip(names, sizes, sizes[1:], strict=False)
    )
    groups = [None, *names]
    layouts = [(Segment(group, size),) for group, size in zip(groups, sizes, strict=True)]
    return Network(
        layers=specs,
        norms=(),
        inputs=dict(zip(names, layouts, strict=False)),
        outputs=dict(zip(names, layouts[1:], strict=True)),
        groups={name: name for name in names},
        frozen={names[-1]: "feeds the model's output"},
        unquantized=(),
        dropouts={},
    )


def problem(layers: int, seed: int) -> tuple[SearchSpace, LimitSet, list[NDArray[np.float64]]]:
    """A space, its limits and loss increases."""
    network, random = chain(layers, seed), np.random.default_rng(seed)
    space = build_space(network, network.names[:-1], Space(activation_bits=(4, 6, 8, 16)))
    losses = [random.lognormal(0, 1.5) * 4.0 ** -np.array(d.choices) for d in space.dimensions]
    highest = tuple(0 if d.field == "width" else len(d.choices) - 1 for d in space.dimensions)
    values = CostTable(space, network, Scheme(), COSTS).values(highest)
    limits = (
        Limit(cost, int(share * value), network, Scheme())
        for cost, share, value in zip(COSTS, SHARES.values(), values, strict=True)
    )
    return space, LimitSet(tuple(limits)), losses


def batch(layers: int, seed: int, tolerance: float) -> list[Point]:
    """Distinct solutions without growth; all but the first within GAP of the least loss."""
    space, limits, losses = problem(layers, seed)
    program, points = IntegerProgram(space, limits), list[Point]()
    for number in range(BATCH):
        point = program.solve(
            losses,
            space.smallest,
            tolerance=tolerance,
            apart_from=points,
            distance=min(DISTANCE, layers),
            gap=GAP if number else 0.0,
        )
        if point is None:
            break
        points.append(point)
    return points


def _seconds(call: Callable[[], object], count: int = 1) -> float:
    started = process_time()
    for _ in range(count):
        call()
    return (process_time() - started) / count


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.program", description=__doc__)
    parser.add_argument("--layers", type=int, default=100, help="of the network; default 100")
    parser.add_argument("--seeds", type=int, default=4, help="networks; default 4")
    options = parser.parse_args()
    for seed in range(options.seeds):
        space, limits, losses = problem(options.layers, seed)
        program = IntegerProgram(space, limits)
        first = _seconds(lambda: program.solve(losses, space.smallest))  # noqa: B023
        again = _seconds(lambda: program.solve(losses, space.smallest))  # noqa: B023
        plain = _seconds(lambda: batch(options.layers, seed, 0.0))  # noqa: B023
        tolerant = _seconds(lambda: batch(options.layers, seed, TOLERANCE))  # noqa: B023
        print(
            f"seed {seed}: first program {first:.2f} s, again {again:.2f} s; "
            f"batch of {BATCH}: {plain:.2f} s, with a tolerance {tolerant:.2f} s"
        )
    costs, plan = PointCosts(program.table, space.smallest), space.plan(space.smallest)
    moves = [(i, len(d.choices) - 1) for i, d in enumerate(space.dimensions) if d.field != "width"]
    for _ in range(2):  # the first time fills the table
        change = _seconds(lambda: [costs.after(*move) for move in moves]) / len(moves)
    whole = _seconds(lambda: program.table.values(space.smallest), 100)
    size = _seconds(lambda: size_bytes(limits.network, plan, Scheme()), 100)
    print(
        f"{len(program.table.costs)} costs after one changed choice: {1e6 * change:.0f} us; "
        f"of a point: {1e6 * whole:.0f} us; size_bytes: {1e6 * size:.0f} us"
    )


if __name__ == "__main__":
    main()
