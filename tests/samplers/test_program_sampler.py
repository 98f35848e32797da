"""The default strategy: proposals within the limits, none twice, with any Optuna study."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.costs.limit import limits_of
from autoquant.graph.prepare import prepare
from autoquant.samplers.integer_program import IntegerProgram
from autoquant.samplers.loss_tables import LossTables
from autoquant.samplers.program_sampler import ProgramSampler
from autoquant.samplers.projected_sampler import ProjectedSampler
from autoquant.samplers.proposals import Proposals
from autoquant.samplers.size_targets import SizeTargets
from autoquant.settings import Search, Space
from autoquant.space.projection import Projection
from autoquant.space.search_space import build_space
from autoquant.study.asking_study import NoPlanLeft
from tests.toys import described, language_task

TASK = language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)
MODEL = prepare(TASK.build_model())
NETWORK = described(MODEL)
SETTINGS = Search(
    budget="950B",
    space=Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.5)),
)
SPACE = build_space(NETWORK, ["rnn.l0"], SETTINGS.space)
PARAMETERS = sum(parameter.numel() for parameter in MODEL.parameters())
LIMITS = limits_of(SETTINGS, NETWORK, float_bytes=4 * PARAMETERS, parameters=PARAMETERS)
SMALLEST = int(LIMITS.budget.of(SPACE.plan(SPACE.smallest)))
FACTORS = {d.name: 1.0 + i for i, d in enumerate(SPACE.dimensions)}
SENSITIVITY = Sensitivity(
    {
        d.name: {c: FACTORS[d.name] * 4.0**-c for c in d.choices}
        for d in SPACE.dimensions
        if d.field != "width"
    }
)


def program_sampler(seed: int = 0) -> ProgramSampler:
    program = IntegerProgram(SPACE, LIMITS)
    proposals = Proposals(program, SizeTargets((950,), SMALLEST), seed)
    return ProgramSampler(proposals, LossTables.of(SPACE, SENSITIVITY))


def sampler_named(name: str, seed: int = 0) -> BaseSampler:
    if name == "program":
        return program_sampler(seed)
    return ProjectedSampler(name, Projection(SPACE, LIMITS), seed)


def points(study: optuna.Study) -> list[tuple[int, ...]]:
    return [tuple(t.params[d.name] for d in SPACE.dimensions) for t in study.trials]


def score(trial: optuna.Trial) -> float:
    """Depends on the choices; lower is better."""
    return sum(
        FACTORS[d.name] * 2.0 ** -d.choices[trial.suggest_int(d.name, 0, len(d.choices) - 1)]
        for d in SPACE.dimensions
        if d.field != "width"
    ) + 0.0 * trial.suggest_int("rnn.l0.width", 0, 1)


@pytest.mark.parametrize("name", ["program", "tpe", "nsga2", "random"])
def test_works_with_any_study_through_optimize(name: str) -> None:
    study = optuna.create_study(sampler=sampler_named(name))
    study.optimize(score, n_trials=12)
    proposed = points(study)
    assert len({*proposed}) == 12
    assert all(LIMITS.holds(SPACE.plan(point)) for point in proposed)


def test_works_through_ask_with_two_objectives() -> None:
    sampler = program_sampler()
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    for number in range(4):
        trial = study.ask(fixed_distributions=dict(sampler.ranges))
        plan = SPACE.plan(points(study)[-1])
        assert LIMITS.holds(plan)
        study.tell(trial, [LIMITS.budget.of(plan), float(number)])


@pytest.mark.parametrize("name", ["program", "tpe", "random"])
def test_the_same_seed_and_trials_give_the_same_plan(name: str) -> None:
    studies = []
    for _ in range(2):
        study = optuna.create_study(sampler=sampler_named(name))
        study.optimize(score, n_trials=5)
        studies.append(points(study))
    assert studies[0] == studies[1]


def test_a_new_sampler_goes_on_as_the_old_one_would_have() -> None:
    whole = optuna.create_study(sampler=program_sampler())
    whole.optimize(score, n_trials=8)
    parts = optuna.create_study(sampler=program_sampler())
    parts.optimize(score, n_trials=3)
    parts.sampler = program_sampler()
    parts.optimize(score, n_trials=5)
    assert points(parts) == points(whole)


def test_scores_of_open_trials_count() -> None:
    """The user attribute "scores" stands in for a value that is not told yet."""
    sampler = program_sampler()
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for number in range(3):
        trial = study.ask(fixed_distributions=dict(sampler.ranges))
        trial.set_user_attr("scores", [[40, 0, 9.0], [10, 0, 1.0 + number], [10, 1, 2.0 + number]])
    model = sampler.model(study.trials, study.directions[-1])
    assert [(o.loss, o.trainings) for o in model.observations] == [(1.5, 2), (2.5, 2), (3.5, 2)]
    assert model.deviation == pytest.approx(0.5**0.5)


def test_the_first_proposal_minimizes_the_estimated_loss() -> None:
    """Against all plans without growth that fit, up to the price of bit operations."""
    study = optuna.create_study(sampler=program_sampler())
    study.optimize(score, n_trials=1)
    tables = LossTables.of(SPACE, SENSITIVITY)
    width = [d.field for d in SPACE.dimensions].index("width")
    grid = np.ndindex(*(len(d.choices) for d in SPACE.dimensions))
    every = [p for p in grid if p[width] == 0 and LIMITS.holds(SPACE.plan(p))]
    best = min(float(tables.features(p).sum()) for p in every)
    (first,) = points(study)
    assert first[width] == 0
    assert best <= float(tables.features(first).sum()) <= 1.1 * best + 1e-12


def test_each_width_is_proposed() -> None:
    study = optuna.create_study(sampler=program_sampler())
    study.optimize(score, n_trials=4)
    assert {trial.params["rnn.l0.width"] for trial in study.trials} == {0, 1}


def test_every_plan_and_then_none() -> None:
    few = build_space(NETWORK, [], Space((2, 8), (8,), (1.0,), split_recurrent=False))
    every = np.ndindex(*(len(d.choices) for d in few.dimensions))
    fitting = sum(LIMITS.holds(few.plan(point)) for point in every)
    proposals = Proposals(IntegerProgram(few, LIMITS), SizeTargets((950,), SMALLEST), 0)
    sampler = ProgramSampler(proposals, LossTables.of(few, None))
    study = optuna.create_study(sampler=sampler)
    for number in range(fitting):
        study.tell(study.ask(fixed_distributions=dict(sampler.ranges)), float(number))
    assert len({tuple(t.params.values()) for t in study.trials}) == fitting
    with pytest.raises(NoPlanLeft):
        study.ask(fixed_distributions=dict(sampler.ranges))
