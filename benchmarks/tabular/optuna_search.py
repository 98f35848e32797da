"""Optuna's samplers on a table: a proposal is replaced by the nearest plan that is untried."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import IntDistribution

from benchmarks.tabular.problem import Oracle, Problem, Spent


def optuna_search(sampler: str, problem: Problem, oracle: Oracle, seed: int) -> int:
    """Ask a sampler for plans until the steps are spent; the plan with the lowest score.

    Args:
        sampler: "tpe", "gp" or "nsga2".
        problem: the table.
        oracle: gives scores.
        seed: of the sampler.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(sampler=_sampler(sampler, seed))
    dimensions = problem.evidence.dimensions
    ranges: dict[str, Any] = {
        f"{d['layer']}.{d['field']}": IntDistribution(0, len(d["choices"]) - 1) for d in dimensions
    }
    lengths = np.array([max(1, len(d["choices"]) - 1) for d in dimensions])
    points = problem.evidence.points / lengths
    untried, scores = problem.rows.tolist(), dict[int, float]()
    try:
        while untried:
            trial = study.ask(fixed_distributions=ranges)
            asked = np.array([trial.params[name] for name in ranges]) / lengths
            distances = np.abs(points[untried] - asked).sum(1)
            row = untried.pop(int(distances.argmin()))
            scores[row] = oracle.score(row, "medium")
            params = dict(zip(ranges, problem.evidence.points[row].tolist(), strict=True))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=ranges, value=scores[row])
            )
    except Spent:
        pass
    return min(scores, key=scores.__getitem__)


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler by name.

    Args:
        name: of the sampler.
        seed: of the sampler.
    """
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=8)
