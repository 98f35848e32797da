"""What is shown of trials while a search runs: a line of a log, and the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from autoquant.budget import readable
from autoquant.progress import TrialRow
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.noise import Noise, noise_of
from autoquant.study.outcome import Outcome, loss_of

MAX_ROWS = 100
"""Trials that have a row, at most, beside the chosen ones."""
BEST = 10
"""Of these, the rows of the best trials."""


def float_line(record: BaselineRecord) -> str:
    """What is printed when the float model is there.

    Args:
        record: of the float model.
    """
    trained = f"{record.steps} steps" if record.steps else "not trained here"
    return (
        f"float model: {readable(record.size_bytes)}, {record.parameters} weights, {trained}, "
        f"{record.metric} {record.score:.5g} (valid)"
    )


def float_row(record: BaselineRecord) -> TrialRow:
    """The float model as a row.

    Args:
        record: of the float model.
    """
    return TrialRow(
        "float",
        "baseline",
        readable(record.size_bytes),
        "1.0000x",
        str(record.steps or ""),
        f"{record.score:.5g}",
        "valid",
        seconds=f"{record.seconds:.1f} s",
    )


def trial_line(outcome: Outcome, noise: Noise, record: BaselineRecord, tally: str = "") -> str:
    """What is printed when a training of a trial has ended, or the trial has.

    Args:
        outcome: of the trial.
        noise: on its rung.
        record: of the float model.
        tally: trainings that have ended, of how many.
    """
    row = _row(outcome, noise, record, None)
    known = outcome.by_order()
    orders = f" (mean of {len(known)} data orders)" if len(known) > 1 else ""
    score = f"{record.metric} {row.score} ({row.split}){orders}" if row.score else "no score"
    reason = f" ({outcome.reason})" if outcome.reason else ""
    end = f"  [{tally}]" if tally and outcome.state == "scored" else ""
    name = f"trial {row.name:>4}  {row.role:<9}"
    return (
        f"{name}  {row.size:>8} ({row.share})  {outcome.steps:>6} steps  "
        f"{score}  {outcome.state}{reason}  {row.seconds}{end}"
    )


def search_rows(
    outcomes: Sequence[Outcome], record: BaselineRecord, chosen: Iterable[Outcome] = ()
) -> list[TrialRow]:
    """The float model and the trials as rows. Proposals on the longest rung are ranked.

    Of more than MAX_ROWS trials the chosen ones, the best and the last are shown.

    Args:
        outcomes: of all trials.
        record: of the float model.
        chosen: outcomes that would be chosen now.
    """
    marked = {(o.role, o.trial) for o in chosen}
    ranks = _ranks(outcomes, record)

    def rank_of(outcome: Outcome) -> int | None:
        return ranks.get(outcome.trial) if outcome.role == "search" else None

    best, last = [*outcomes], list[Outcome]()
    if len(outcomes) > MAX_ROWS:
        earlier, last = outcomes[: BEST - MAX_ROWS], [*outcomes[BEST - MAX_ROWS :]]
        best = [o for o in earlier if (rank_of(o) or BEST) < BEST or (o.role, o.trial) in marked]
    shown = [*best, *last]
    noise = {steps: noise_of(outcomes, steps) for steps in {o.steps for o in shown}}
    rows = [
        replace(_row(o, noise[o.steps], record, rank_of(o)), chosen=(o.role, o.trial) in marked)
        for o in shown
    ]
    gap = [TrialRow("...", "")] if last else []
    return [float_row(record), *rows[: len(best)], *gap, *rows[len(best) :]]


def _ranks(outcomes: Sequence[Outcome], record: BaselineRecord) -> dict[str, int]:
    """Ranks of the proposals on the longest rung that any is on: scores of one rung compare.

    Args:
        outcomes: of all trials.
        record: gives the direction.
    """
    scored = [
        o for o in outcomes if o.role == "search" and o.score is not None and math.isfinite(o.score)
    ]
    longest = max((o.steps for o in scored), default=0)
    compared = [o for o in scored if o.steps == longest]
    ordered = sorted(compared, key=lambda o: (loss_of(o, record.direction), o.size_bytes))
    return {o.trial: rank for rank, o in enumerate(ordered, start=1)}


def _row(outcome: Outcome, noise: Noise, record: BaselineRecord, rank: int | None) -> TrialRow:
    """A trial as a row.

    Args:
        outcome: of the trial.
        noise: on its rung.
        record: of the float model.
        rank: of the trial.
    """
    error = noise.error(max(1, len(outcome.by_order())))
    shown = "" if math.isnan(error) else f" ± {error:.2g}"
    known = outcome.score is not None
    return TrialRow(
        outcome.trial,
        outcome.role,
        readable(outcome.size_bytes),
        f"{outcome.size_bytes / record.size_bytes:.4f}x",
        str(outcome.steps) if known else "",
        "" if outcome.score is None else f"{outcome.score:.5g}{shown}",
        outcome.split or "",
        outcome.state if known or outcome.state != "scored" else "open",
        f"{outcome.seconds:.1f} s",
        rank,
    )
