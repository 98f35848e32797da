"""IntegerProgram: the bits with the least increase of the loss within all limits, at given widths.

Sizes are products of a layer's bits, its width and that of the layers that it reads. At fixed
widths they are sums over layers, so that there is one program for each assignment of widths; the
caller chooses the assignments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, lil_array

from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.cost import Cost
from autoquant.costs.limit import LimitSet
from autoquant.samplers.binary_program import BinaryProgram, Vector
from autoquant.space.cost_table import CostTable, Term
from autoquant.space.projection import Projection
from autoquant.space.search_space import Point, SearchSpace

MAX_REJECTED = 20  # solutions that are above a limit by less than the solver's tolerance
TIE = 1e-6  # share of the loss increase within which the secondary cost decides anyway
SECONDARY_GAP = 5e-3  # share by which the secondary cost may be above the least one
MAX_WIDTHS = 200  # assignments of widths whose programs are kept


class IntegerProgram:
    """Finds the points with the least loss increase within all limits.

    Loss increases of the dimensions add up. A binary variable stands for each choice of a
    dimension, or for each pair of choices where a cost multiplies two fields of a layer (bit
    operations: bits of weights times bits of activations), so that sums and largest values over
    layers are exact. A cost that does not say how it is made of layers is approximated: each choice
    adds what it adds to the lowest bits. The solution is then projected onto the limits.

    A program with 100 layers, each with 8 and 4 choices, and limits on size and bit operations has
    3,200 columns and takes 0.1 to 0.5 s of one core (``python -m benchmarks.program``).

    Args:
        space: of the points.
        limits: all of which a solution meets.
        secondary: the cost that decides between points of nearly equal loss; None for none.
    """

    def __init__(
        self, space: SearchSpace, limits: LimitSet, secondary: Cost | None = bit_ops
    ) -> None:
        self.space, self.limits = space, limits
        others = () if secondary is None else (secondary,)
        self.table = CostTable.of(space, limits, *others)
        self._secondary = None if secondary is None else len(limits)
        self._exact = all(cost.layers for cost in limits.costs)
        self._formulations: dict[Point, _Formulation] = {}

    def solve(
        self,
        losses: Sequence[NDArray[np.float64]],
        widths: Sequence[int],
        *,
        tolerance: float = 0.0,
        price: float = 0.0,
        apart_from: Sequence[Point] = (),
        distance: int = 1,
        size: float | None = None,
        gap: float = 0.0,
    ) -> Point | None:
        """The point with the least loss increase; None where no point is within the limits.

        Args:
            losses: for each dimension the loss increase of each choice, [choices]; those of widths
                are not used.
            widths: for each dimension the index of a choice; used for the dimensions of widths.
            tolerance: among the points whose loss increase is at most this above the least one,
                that with the smallest secondary cost is taken (within SECONDARY_GAP of it). With 0
                it decides between points whose loss increases differ by less than TIE.
            price: what the whole range of the secondary cost is worth, as a share of the least loss
                increase: a choice that loses little and saves much of the cost is taken. It takes
                one program, a tolerance two. Not used with a tolerance.
            apart_from: points that the solution must differ from.
            distance: in how many dimensions it must differ from each of them, widths included.
            size: another value of the first limit.
            gap: by which share the loss increase may be above the least one. Points that differ
                from others need not be exact: 0.005 makes such a solve ten times faster.
        """
        limits = self.limits if size is None else self.limits.with_budget(size)
        formulation = self._formulation(widths)
        program = formulation.program(limits)
        for point in apart_from:
            program = formulation.cut(program, point, distance)
        objective = formulation.losses(losses)
        for _ in range(MAX_REJECTED):
            solution = self._solve(formulation, program, objective, (tolerance, price), gap)
            if solution is None:
                return None
            point = formulation.point(solution)
            if not self._exact:
                fixed = frozenset(range(len(point))) - frozenset(self.table.bit_dimensions())
                return Projection(self.space, limits, fill=False)(point, fixed)
            values = self.table.values(point)
            if all(value <= limit.value for value, limit in zip(values, limits, strict=False)):
                return point
            program = formulation.cut(program, point, 1)
        return None

    def _solve(
        self,
        formulation: _Formulation,
        program: BinaryProgram,
        objective: Vector,
        preference: tuple[float, float],
        gap: float,
    ) -> Vector | None:
        """A solution with the least loss, and among nearly equal ones the least secondary cost.

        Args:
            formulation: of the program.
            program: with all limits and cuts.
            objective: loss increase of each column.
            preference: tolerance and price, see ``solve``.
            gap: see ``solve``.
        """
        if self._secondary is None:
            return program.solve(objective, gap)
        secondary = formulation.costs[self._secondary].total
        tolerance, price = preference
        if not tolerance:
            least = program.bound(objective)
            if least is None:
                return None
            # no loss that is not 0 is smaller than the smallest one of a column
            unit = max(least, float(objective[objective > 0].min(initial=np.inf)))
            worth = max(price, TIE) * (unit if np.isfinite(unit) else 1.0)
            weight = worth / max(formulation.range_of(secondary), 1.0)
            return program.solve(objective + weight * secondary, gap)
        first = program.solve(objective, gap)
        if first is None:
            return None
        nearly = program.with_row(objective, float(objective @ first) + tolerance)
        second = nearly.solve(secondary, SECONDARY_GAP)
        return first if second is None else second

    def _formulation(self, widths: Sequence[int]) -> _Formulation:
        """The program at some widths, without limits."""
        dimensions = self.space.dimensions
        lowest = tuple(
            widths[i] if dimension.field == "width" else 0 for i, dimension in enumerate(dimensions)
        )
        if lowest not in self._formulations:
            if len(self._formulations) >= MAX_WIDTHS:
                self._formulations.clear()
            self._formulations[lowest] = _Formulation(self.table, lowest)
        return self._formulations[lowest]


@dataclass(frozen=True)
class _CostColumns:
    """A cost over the columns of a program.

    Attributes:
        combine: "sum" or "max".
        base: the value of the lowest bits; for "max" that of each layer.
        total: what each column adds, [columns].
        by_layer: for "max" the same of each layer with terms, by its number.
    """

    combine: str
    base: list[float]
    total: Vector
    by_layer: dict[int, Vector]

    def rows(self, limit: float) -> list[tuple[Vector, float]]:
        """The rows of a limit on the cost, each with its largest value.

        Args:
            limit: the largest value of the cost.
        """
        if self.combine == "sum":
            return [(self.total, limit - self.base[0])]
        nothing = np.zeros_like(self.total)
        return [
            (self.by_layer.get(layer, nothing), limit - base)
            for layer, base in enumerate(self.base)
        ]


class _Formulation:
    """The program of one assignment of widths.

    A block holds the combinations of choices of its dimensions, of which a solution has one.

    Args:
        table: of the limits' costs, and of the secondary one.
        lowest: the widths, and the lowest bits.
    """

    def __init__(self, table: CostTable, lowest: Point) -> None:
        self._dimensions = table.space.dimensions
        self._lowest = lowest
        terms = [table.terms(number, lowest) for number in range(len(table.costs))]
        bits = table.bit_dimensions()
        self._blocks = _blocks(bits, [term.dimensions for each in terms for term in each])
        sizes = [np.prod([self._choices(i) for i in block], dtype=int) for block in self._blocks]
        starts = np.cumsum([0, *sizes])
        self._columns = [slice(*bounds) for bounds in pairwise(starts.tolist())]
        self._count = int(starts[-1])
        self._home = {i: self._containing((i,)) for i in bits}
        self._equal, self._values = self._equalities()
        self.costs = [self._cost(table, number, terms[number]) for number in range(len(terms))]

    def program(self, limits: LimitSet) -> BinaryProgram:
        """The program with some limits.

        Args:
            limits: of the table's costs.
        """
        rows = [
            row
            for columns, limit in zip(self.costs, limits, strict=False)
            for row in columns.rows(limit.value)
        ]
        below = csr_array(np.stack([coefficients for coefficients, _ in rows]))
        return BinaryProgram(
            self._equal, self._values, below, np.array([value for _, value in rows])
        )

    def losses(self, losses: Sequence[NDArray[np.float64]]) -> Vector:
        """The loss increase of each column; one that is not finite is above all others together.

        Args:
            losses: for each dimension those of its choices.
        """
        total = np.zeros(self._count)
        for i, block in self._home.items():
            total[self._columns[block]] += losses[i][self._chosen(block, i)]
        finite = np.isfinite(total)
        worst = 10 * float(np.abs(total[finite]).sum()) + 1.0
        return np.where(finite, total, worst)  # the loss of a model that diverged is not known

    def range_of(self, columns: Vector) -> float:
        """The largest sum of one column of each block; the lowest bits have 0.

        Args:
            columns: a value of each column.
        """
        return sum(float(columns[block].max(initial=0.0)) for block in self._columns)

    def cut(self, program: BinaryProgram, point: Point, distance: int) -> BinaryProgram:
        """A program whose solutions differ from a point.

        Args:
            program: of this formulation.
            point: of the space.
            distance: in how many dimensions they differ from it, widths included.
        """
        equal = np.zeros(self._count)
        for i, block in self._home.items():
            equal[self._columns[block]] += self._chosen(block, i) == point[i]
        widths = (i for i in range(len(point)) if i not in self._home)
        differing = sum(point[i] != self._lowest[i] for i in widths)
        return program.with_row(equal, len(self._home) - max(0, distance - differing))

    def point(self, solution: Vector) -> Point:
        """The point of a solution.

        Args:
            solution: ones and zeros, [columns].
        """
        point = list(self._lowest)
        for i, block in self._home.items():
            column = int(solution[self._columns[block]].argmax())
            point[i] = int(self._chosen(block, i)[column])
        return tuple(point)

    def _choices(self, dimension: int) -> int:
        return len(self._dimensions[dimension].choices)

    def _chosen(self, block: int, dimension: int) -> NDArray[np.int64]:
        """The choice of a dimension in each column of a block."""
        dimensions = self._blocks[block]
        indices = np.indices([self._choices(i) for i in dimensions])
        chosen: NDArray[np.int64] = indices[dimensions.index(dimension)].ravel()
        return chosen

    def _containing(self, dimensions: tuple[int, ...]) -> int:
        """The first block that has all of some dimensions."""
        return next(b for b, block in enumerate(self._blocks) if {*dimensions} <= {*block})

    def _equalities(self) -> tuple[csr_array, Vector]:
        """One column of each block; blocks with a common dimension make the same choice of it."""
        shared = [
            (block, i)
            for block, dimensions in enumerate(self._blocks)
            for i in dimensions
            if self._home[i] != block
        ]
        count = len(self._blocks) + sum(self._choices(i) for _, i in shared)
        rows = lil_array((count, self._count))
        for block, columns in enumerate(self._columns):
            rows[block, columns] = 1.0
        row = len(self._blocks)
        for block, i in shared:
            for choice in range(self._choices(i)):
                for sign, number in ((1.0, block), (-1.0, self._home[i])):
                    rows[row, self._columns[number]] = sign * (self._chosen(number, i) == choice)
                row += 1
        values = np.zeros(count)
        values[: len(self._blocks)] = 1.0
        return rows.tocsr(), values

    def _cost(self, table: CostTable, number: int, terms: list[Term]) -> _CostColumns:
        """A cost over the columns.

        Args:
            table: has the cost.
            number: of the cost.
            terms: of the cost.
        """
        layers = table.costs[number].layers
        combine = "sum" if layers is None else layers.combine
        total, by_layer = np.zeros(self._count), dict[int, Vector]()
        for term in terms:
            block = self._containing(term.dimensions)
            chosen = tuple(self._chosen(block, i) for i in term.dimensions)
            total[self._columns[block]] += term.values[chosen]
            if combine == "max":
                row = by_layer.setdefault(term.layer, np.zeros(self._count))
                row[self._columns[block]] += term.values[chosen]
        base = [table.values(self._lowest)[number]]
        if combine == "max":
            constant = table.constant(number, self._lowest)
            base = [constant + value for value in table.contributions(number, self._lowest)]
        return _CostColumns(combine, base, total, by_layer)


def _blocks(bits: list[int], wanted: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The largest of some sets of dimensions, and each other dimension by itself.

    Args:
        bits: all dimensions of bits.
        wanted: sets of them that must lie in a block each.
    """
    sets = sorted(dict.fromkeys((*wanted, *((i,) for i in bits))), key=lambda each: -len(each))
    blocks: list[tuple[int, ...]] = []
    for dimensions in sets:
        if not any({*dimensions} <= {*block} for block in blocks):
            blocks.append(dimensions)
    return sorted(blocks)
