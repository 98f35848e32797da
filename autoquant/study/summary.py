"""The tables of a search: scores beside the float model, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoquant.budget import readable
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.front import Front, front_of, smallest_level_with
from autoquant.study.headroom import headroom, most_bits
from autoquant.study.noise import noise_of
from autoquant.study.outcome import Outcome, complete, loss_of
from autoquant.study.rank_agreement import rank_agreements
from autoquant.study.reference_name import reference_row, reference_scope
from autoquant.study.selection import MIN_ERRORS, Selection
from autoquant.table import Column, Table

MAX_LISTED = 6
"""Plans that a line lists, at most."""


def search_tables(
    record: BaselineRecord,
    outcomes: Sequence[Outcome],
    budgets: Sequence[int],
    selections: Sequence[Selection | None],
    bound: float | None = None,
) -> tuple[Table, ...]:
    """The tables of a search.

    Args:
        record: of the float model.
        outcomes: of all trials.
        budgets: in bytes, the largest first.
        selections: for each budget what was chosen.
        bound: the largest accepted loss, where the smallest such plan was looked for.
    """
    pairs = [*zip(budgets, selections, strict=True)]
    front = front_of(outcomes, record.direction, record.size_bytes)
    tables = [_score_table(record, outcomes, pairs, bounded=bound is not None)]
    if len(front.points) > 1:
        tables.append(_front_table(record, front))
    return tuple(tables)


def _score_table(
    record: BaselineRecord,
    outcomes: Sequence[Outcome],
    selections: Sequence[tuple[int, Selection | None]],
    *,
    bounded: bool,
) -> Table:
    """A row each for the float model, the references, and the first and best plan of a budget.

    Args:
        record: of the float model.
        outcomes: of all trials.
        selections: by budget in bytes.
        bounded: whether the smallest plan within a loss was looked for.
    """
    rows: list[tuple[str, ...]]
    rows = [("float baseline", f"{record.score:.5g}", readable(record.size_bytes), "1.0000x", "")]
    references = [o for o in complete(outcomes) if o.role == "reference"]
    rows += [_row(reference_row(o), o, outcomes, record) for o in references]
    for budget, selection in selections:
        if selection is not None:
            first, chosen = selection.first, selection.chosen
            within = f" within {readable(budget)}" if len(selections) > 1 else ""
            if first is not chosen:
                name = f"first plan{within}, trial {first.trial}"
                rows.append(_row(name, first, outcomes, record))
            rows.append(_row(f"best plan{within}, trial {chosen.trial}", chosen, outcomes, record))
    notes = []
    for budget, selection in selections:
        notes += _budget_notes(budget, selection, outcomes)
        if selection is not None and not bounded:
            notes += _reference_notes(record, outcomes, selection.chosen)
        if selection is not None and not bounded and selection.chosen is selection.first:
            notes += _headroom_notes(record, outcomes, selection.first)
    return Table(
        f"{record.metric} on the validation split, and size of the packed file",
        (Column("plan", "left"), *map(Column, (record.metric, "size", "share", "steps"))),
        tuple(rows),
        (*notes, *_noise_notes(record, outcomes)),
    )


def _row(
    name: str, outcome: Outcome, outcomes: Sequence[Outcome], record: BaselineRecord
) -> tuple[str, ...]:
    """A row of the score table.

    Args:
        name: of the plan.
        outcome: of the plan.
        outcomes: of all trials; they give the noise.
        record: of the float model.
    """
    assert outcome.score is not None
    error = noise_of(outcomes, outcome.steps).error(max(1, len(outcome.by_order())))
    shown = "" if math.isnan(error) else f" ± {error:.2g}"
    share = f"{outcome.size_bytes / record.size_bytes:.4f}x"
    steps = str(outcome.steps) if outcome.steps else "calibrated, not trained"
    return name, f"{outcome.score:.5g}{shown}", readable(outcome.size_bytes), share, steps


def _budget_notes(
    budget: int, selection: Selection | None, outcomes: Sequence[Outcome]
) -> list[str]:
    """What the finalists of a budget say.

    Args:
        budget: in bytes.
        selection: of its finalists.
        outcomes: of all trials.
    """
    if selection is None:
        return [f"budget {budget} bytes: {_why_none(budget, outcomes)}"]
    chosen, gain = selection.chosen, selection.gain
    lines = [f"budget {budget} bytes: trial {chosen.trial}, {chosen.size_bytes} bytes"]
    if chosen is not selection.first:
        error = "" if math.isnan(gain.error) else f" (standard error {gain.error:.2g})"
        lines.append(f"  better than the first plan by {gain.value:.3g}{error}")
    others = [o for o in selection.level if o is not chosen]
    if others:
        names = ", ".join(o.trial for o in others[:MAX_LISTED])
        noun = "trial" if len(others) == 1 else "trials"
        lines.append(f"  within the noise of it: {noun} {names}")
        if selection.smallest is not chosen:
            small = selection.smallest
            lines.append(
                f"  the smallest of these: trial {small.trial}, {small.size_bytes} bytes "
                f"(apply it with trial={small.trial})"
            )
    return lines


def _why_none(budget: int, outcomes: Sequence[Outcome]) -> str:
    """Why no plan is chosen for a budget.

    Args:
        budget: in bytes.
        outcomes: of all trials.
    """
    fitting = [o for o in outcomes if o.size_bytes <= budget]
    proposals = [o for o in fitting if o.role == "search"]
    if any(o.score is not None and o.state in ("complete", "scored") for o in proposals):
        return "no plan within it has a score within the bound"
    if proposals:
        return "no proposal within it has a score"
    names = ", ".join(o.trial for o in complete(fitting) if o.role == "reference")
    trained = f" (of the uniform plans {names} fit)" if names else ""
    return f"no proposal within it has been trained{trained}; more trials propose some"


def _reference_notes(
    record: BaselineRecord, outcomes: Sequence[Outcome], chosen: Outcome
) -> list[str]:
    """The smallest reference that is better than the chosen plan, and not larger.

    References are trained on the short rung alone, so that this is rare where training pays.

    Args:
        record: of the float model.
        outcomes: of all trials.
        chosen: the plan of a budget.
    """
    own = noise_of(outcomes, chosen.steps).error(max(1, len(chosen.by_order())))
    for other in sorted(complete(outcomes), key=lambda o: o.size_bytes):
        if other.role != "reference" or other.size_bytes > chosen.size_bytes:
            continue
        gain = loss_of(chosen, record.direction) - loss_of(other, record.direction)
        error = noise_of(outcomes, other.steps).error(max(1, len(other.by_order())))
        if gain > MIN_ERRORS * math.hypot(own, error):
            how = f"after {other.steps} steps (apply it with trial={other.trial})"
            return [f"  {reference_row(other)} is smaller, and better by {gain:.3g} {how}"]
    return []


def _headroom_notes(
    record: BaselineRecord, outcomes: Sequence[Outcome], first: Outcome
) -> list[str]:
    """That nothing can be gained, where the first plan is level with the most bits everywhere.

    Args:
        record: of the float model.
        outcomes: of all trials.
        first: the first proposal of a budget.
    """
    gap, most = headroom(outcomes, first, record.direction), most_bits(outcomes)
    if gap is None or most is None or gap.exceeds(MIN_ERRORS):
        return []
    error = f"standard error {gap.error:.2g}"
    return [
        f"  nothing can be gained: after {most.steps} steps trial {first.trial} is level with "
        f"{reference_scope(most)}, or better (loss {gap.value + 0.0:+.2g}, {error})"
    ]


def _noise_notes(record: BaselineRecord, outcomes: Sequence[Outcome]) -> list[str]:
    """The noise of each rung, and how well one rung ranked the next."""
    rungs = sorted({steps for outcome in outcomes for steps, _, _ in outcome.scores})
    lines = []
    for steps in rungs:
        noise = noise_of(outcomes, steps)
        if noise.degrees:
            lines.append(
                f"noise of one training of {steps} steps: {noise.deviation:.2g} "
                f"{record.metric} (standard deviation over data orders)"
            )
    lines += [
        f"{a.lower} steps ranked the plans of {a.upper} steps with Kendall's tau {a.tau:.2f} "
        f"({a.plans} plans)"
        for a in rank_agreements(o for o in outcomes if o.role == "search")
    ]
    return lines


def _front_table(record: BaselineRecord, front: Front) -> Table:
    """A row for each plan of the front."""
    rows = [
        (
            f"trial {point.outcome.trial}",
            readable(point.outcome.size_bytes),
            f"{point.outcome.size_bytes / record.size_bytes:.4f}x",
            f"{point.outcome.score:.5g}"
            + ("" if math.isnan(point.error) else f" ± {point.error:.2g}"),
        )
        for point in front.points
    ]
    notes = [
        f"hypervolume {front.hypervolume:.3f} (share of the area up to the float model's size)"
    ]
    level = smallest_level_with(front, record.score, record.direction)
    if level is not None:
        share = level.outcome.size_bytes / record.size_bytes
        notes.append(f"level with the float model down to {share:.3f}x")
    elif front.knee is not None:
        share = front.knee.outcome.size_bytes / record.size_bytes
        notes.append(f"level with the best of the front down to {share:.3f}x")
    return Table(
        f"Pareto front of {record.metric} (valid) and size, on the last rung",
        (Column("plan", "left"), *map(Column, ("size", "share", record.metric))),
        tuple(rows),
        tuple(notes),
    )
