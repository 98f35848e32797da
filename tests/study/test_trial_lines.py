"""What is shown of trials while they are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoquant.plan import LayerChoice, Plan
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.noise import noise_of
from autoquant.study.outcome import Outcome
from autoquant.study.trial_lines import BEST, MAX_ROWS, float_line, search_rows, trial_line

PLAN = Plan({"fc": LayerChoice(4, 8)})
RECORD = BaselineRecord(20.5, 1000, 250, "perplexity", "minimize", 60, 12.5)


def outcome(trial: str, *scores: float, steps: int = 50, **values: object) -> Outcome:
    made = Outcome(
        trial,
        "search",
        PLAN,
        125,
        "scored",
        sum(scores) / len(scores) if scores else None,
        steps if scores else 0,
        7.25,
        scores=tuple((steps, order, score) for order, score in enumerate(scores)),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def test_a_line_has_score_error_split_state_and_tally() -> None:
    one, two = outcome("3", 21.0), outcome("4", 20.0, 20.5)
    tally, noise = "3 of 12 trainings, about 2 min left", noise_of([one, two], 50)
    assert trial_line(one, noise_of([one], 50), RECORD, tally) == (
        "trial    3  search        125 B (0.1250x)      50 steps  perplexity 21 (valid)  scored  "
        "7.2 s  [3 of 12 trainings, about 2 min left]"
    )
    assert "perplexity 21 ± 0.35 (valid)  scored" in trial_line(one, noise, RECORD)
    line = trial_line(two, noise, RECORD)
    assert "perplexity 20.25 ± 0.25 (valid) (mean of 2 data orders)  scored" in line


def test_a_line_of_a_trial_without_a_score_has_the_reason() -> None:
    failed = outcome("5", state="failed", reason="no memory")
    assert trial_line(failed, noise_of([failed], 0), RECORD, "1 of 2 trainings").endswith(
        "no score  failed (no memory)  7.2 s"
    )


def test_the_line_of_the_float_model() -> None:
    assert float_line(RECORD) == (
        "float model: 1 kB, 250 weights, 60 steps, perplexity 20.5 (valid)"
    )
    assert "not trained here" in float_line(replace(RECORD, steps=0))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_proposals_on_the_longest_rung_are_ranked(direction: str) -> None:
    record = replace(RECORD, direction=direction)
    short, low, high = outcome("0", 1.0), outcome("1", 2.0, steps=90), outcome("2", 3.0, steps=90)
    reference = replace(low, trial="w4", role="reference")
    rows = search_rows([reference, short, low, high, outcome("3")], record, [high])
    ranks = {row.name: row.rank for row in rows}
    better, worse = ("1", "2") if direction == "minimize" else ("2", "1")
    assert ranks == {"float": None, "w4": None, "0": None, better: 1, worse: 2, "3": None}
    assert [row.name for row in rows if row.chosen] == ["2"]
    assert (rows[-1].state, rows[-1].steps, rows[-1].score, rows[-1].split) == ("open", "", "", "")
    assert rows[0].role == "baseline"


def test_rows_of_an_earlier_version_name_the_probe_split() -> None:
    """A pruned trial's 26.3 on the probe split is no better than 28.5 on the valid split."""
    study = Study.open(Path(__file__).parents[2] / "studies" / "stdlib-0.15x")
    rows = search_rows(study.outcomes(), study.baseline())
    assert {row.split for row in rows if row.state == "pruned"} == {"probe"}
    assert {row.split for row in rows if row.state == "complete"} == {"valid"}
    pruned = next(o for o in study.outcomes() if o.state == "pruned")
    noise = noise_of(study.outcomes(), pruned.steps)
    assert " (probe)  pruned" in trial_line(pruned, noise, study.baseline())


def test_of_many_trials_the_chosen_the_best_and_the_last_have_rows() -> None:
    many = [outcome(str(i), 100.0 - i % 500) for i in range(1000)]
    rows = search_rows(many, RECORD, [many[3]])
    names = [row.name for row in rows]
    assert names[:2] == ["float", "3"]
    gap = names.index("...")
    assert names[gap + 1 :] == [str(i) for i in range(1000 - (MAX_ROWS - BEST), 1000)]
    best = sorted(many[: 1000 - (MAX_ROWS - BEST)], key=lambda o: o.score or 0.0)[:5]
    assert {o.trial for o in best} <= {*names[2:gap]}
    assert [row.name for row in rows if row.chosen] == ["3"]
    assert len(rows) <= MAX_ROWS + 3
    assert "..." not in [row.name for row in search_rows(many[:MAX_ROWS], RECORD)]
