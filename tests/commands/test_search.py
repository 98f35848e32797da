"""Whole searches on a tiny task: the budget, the folder, interruptions, failures."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from safetensors.torch import load_file
from torch import Tensor, nn

from autoquant import files
from autoquant.artifact import manifest
from autoquant.commands.apply import apply
from autoquant.commands.search import SearchResult, search
from autoquant.commands.solve import solve
from autoquant.costs import latency_table
from autoquant.costs.limit import limits_of
from autoquant.errors import Diverged, RunError, UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.rounds import training_job
from autoquant.rounds.search_rounds import SearchRounds
from autoquant.settings import Limits, Rounds, Scheme, Search, Space, Training, Widening
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from autoquant.task import Direction, Split
from autoquant.tasks.language import LanguageTask
from autoquant.training.callbacks import StepResult
from autoquant.training.rungs import train_rung
from tests.toys import described, language_task

SETTINGS = Search(
    budget="950B",  # of 2312 bytes of floats
    trials=3,
    device="cpu",
    references=(8,),
    baseline=Training(steps=8, scores=1),
    qat=Training(steps=4, scores=0),
    final=Training(steps=12, scores=0),
    rounds=Rounds(size=2, orders=2, finalists=2, medium=2),
    widening=Widening(max_share=1.0, max_growth=1.0),
    space=Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.5)),
)
LIMIT = 950


@pytest.fixture(autouse=True, scope="module")
def never_level() -> Iterator[None]:
    """The tiny model is level with 8 bits at any size, so that its searches would stop early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchRounds, "_nothing_to_gain", lambda rounds, asked: False)
        yield


SHORT, MEDIUM, FULL = 4, 8, 12
LEAN = {"trials": 1, "references": (), "rounds": Rounds(orders=1, full=False, medium=1)}
"""One training."""


def some_slow(cases: Mapping[str, Any], *slow: str) -> list[Any]:
    """Cases by their names, of which some are left to the slow tests."""
    marks = {name: [pytest.mark.slow] * (name in slow) for name in cases}
    return [pytest.param(case, id=name, marks=marks[name]) for name, case in cases.items()]


def tiny_task(kind: type[LanguageTask] = LanguageTask) -> LanguageTask:
    """578 parameters; a training takes a tenth of a second."""
    other = language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)
    task = kind.__new__(kind)
    vars(task).update(vars(other))
    return task


def run(folder: Path, task: Any = None, *, on_step: Any = None, **changes: Any) -> SearchResult:
    settings = replace(SETTINGS, **changes)
    return search(task or tiny_task(), settings, study=folder, progress=False, on_step=on_step)


def found(outcomes: Any) -> list[Outcome]:
    """All trials, without times."""
    return [replace(outcome, seconds=0.0) for outcome in outcomes]


def proposals(outcomes: Any) -> list[Outcome]:
    return [outcome for outcome in found(outcomes) if outcome.role == "search"]


def plans(outcomes: Any) -> list[Plan]:
    return [outcome.plan for outcome in proposals(outcomes)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return run(tmp_path_factory.mktemp("unbroken") / "study")


class Trainings:
    """The real train_rung, counting its calls; ``before`` may raise in one of them."""

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        self.before = before
        self.labels: list[tuple[str, int, int]] = []

    def __call__(self, point: Any, plan: Plan, training: Any, steps: int, **options: Any) -> Any:
        self.labels.append((options["label"].partition(",")[0], steps, options["order"]))
        self.before(len(self.labels))
        return train_rung(point, plan, training, steps, **options)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainings]:
    def watch(before: Callable[[int], None] = lambda call: None) -> Trainings:
        trainings = Trainings(before)
        monkeypatch.setattr(training_job, "train_rung", trainings)
        return trainings

    return watch


def raising(error: BaseException, at: int) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call == at:
            raise error

    return before


def recorded_jobs(study: Study) -> list[tuple[str, ...]]:
    """(plan, steps, order) of each line of the log of jobs."""
    rows = csv.DictReader(study.jobs_file.read_text().splitlines())
    return [(row["plan"], row["steps"], row["order"]) for row in rows]


# --- the result and the folder --------------------------------------------------------------------


def test_every_proposal_fits(unbroken: SearchResult) -> None:
    network = described(prepare(tiny_task().build_model()))
    assert unbroken.budget_bytes == LIMIT
    assert len(proposals(unbroken.outcomes)) == SETTINGS.trials
    for outcome in unbroken.outcomes:
        assert outcome.size_bytes == manifest.size_bytes(network, outcome.plan, Scheme())
        if outcome.role == "search":
            assert outcome.size_bytes <= LIMIT


def test_every_limit_holds(tmp_path: Path) -> None:
    """The first plan at the budget has more bit operations than the limit."""
    network = described(prepare(tiny_task().build_model()))
    settings = replace(SETTINGS, limits=Limits(bit_ops="0.02x", activation_memory="0.2x"))
    limits = limits_of(settings, network, float_bytes=2312, parameters=578)
    result = run(tmp_path / "study", limits=settings.limits, **LEAN | {"trials": 4})
    assert len(plans(result.outcomes)) == 4
    for plan in plans(result.outcomes):
        assert all(limit.of(plan) <= limit.value for limit in limits)


def test_nothing_is_proposed_twice(unbroken: SearchResult) -> None:
    assert len(set(plans(unbroken.outcomes))) == SETTINGS.trials


def test_the_first_proposal_has_the_budget_others_may_be_smaller(unbroken: SearchResult) -> None:
    sizes = [o.size_bytes for o in proposals(unbroken.outcomes)]
    assert sizes[0] > 0.95 * LIMIT
    assert min(sizes) < 0.9 * LIMIT


def test_references_are_uniform(tmp_path: Path) -> None:
    result = run(tmp_path / "study", **LEAN | {"references": (8, 2)})
    references = {o.trial: o for o in result.outcomes if o.role == "reference"}
    assert list(references) == ["w8", "w2"]
    for name, outcome in references.items():
        bits = int(name[1:])
        for choice in outcome.plan.choices.values():
            assert (choice.weight_bits, choice.bits_of("recurrent"), choice.width) == (
                *(bits, bits, 1.0),
            )
        assert outcome.plan["decoder"].activation_bits == 8
    assert references["w8"].size_bytes > LIMIT  # it is there to compare with


def test_the_chosen_plan_fits_and_is_the_first_or_better(unbroken: SearchResult) -> None:
    (selection,) = unbroken.selections
    assert selection is not None
    assert unbroken.best == selection.chosen
    assert selection.first.trial == "0"
    assert selection.chosen.size_bytes <= LIMIT
    assert selection.chosen in selection.level
    if selection.chosen is not selection.first:
        assert selection.gain.exceeds(2.0)


def test_the_folder(unbroken: SearchResult) -> None:
    study = unbroken.study
    assert {path.name for path in study.path.iterdir()} == {
        *(
            "config.yaml",
            "trials.jsonl",
            "journal.log",
            "baseline.safetensors",
            "baseline.json",
            "network.json",
        ),
        *("profile.json", "sensitivity.json", "outcomes.csv", "plan.yaml", "jobs.csv", "trunks"),
        ".lock",
    }
    finalists = [o.plan for o in unbroken.outcomes if o.state == "complete" and o.role == "search"]
    assert {*study.trunks.iterdir()} == {study.trunk(plan, 0) for plan in finalists}


def test_files_parse(unbroken: SearchResult) -> None:
    study = unbroken.study
    rows = list(csv.DictReader(study.outcomes_file.read_text().splitlines()))
    assert [row["trial"] for row in rows] == [o.trial for o in unbroken.outcomes]
    assert found(study.outcomes()) == found(unbroken.outcomes)
    assert unbroken.best is not None
    assert study.plan() == unbroken.best.plan
    assert study.baseline() == unbroken.baseline
    profile = json.loads(study.profile_file.read_text())
    assert [layer["name"] for layer in profile["layers"]] == ["rnn.l0", "decoder", "embedding"]
    config = yaml.safe_load(study.config_file.read_text())
    assert config["task"] == {"name": "toy"}
    assert (config["budget"], config["threads"]) == ("950B", 1)
    assert set(load_file(study.baseline_file)) == set(tiny_task().build_model().state_dict())


def test_every_score_is_that_of_a_job(unbroken: SearchResult) -> None:
    jobs = recorded_jobs(unbroken.study)
    assert len(jobs) == len(set(jobs))
    scores = {
        (outcome.plan.fingerprint, str(steps), str(order))
        for outcome in unbroken.outcomes
        for steps, order, _ in outcome.scores
    }
    assert scores == set(jobs)


def test_every_trial_has_its_rungs(unbroken: SearchResult) -> None:
    reference, first, *others = unbroken.outcomes
    assert [step for step, _ in reference.history] == [SHORT]
    assert [*reference.by_order()] == [0, 1]
    assert [step for step, _ in first.history] == [SHORT, MEDIUM, FULL]
    assert [*first.by_order(SHORT)] == [*first.by_order(FULL)] == [0, 1]
    for outcome in others:
        assert outcome.state == ("complete" if outcome.steps == FULL else "pruned")
        assert [*outcome.by_order(SHORT)] == [0]
    assert all(outcome.seconds > 0 for outcome in unbroken.outcomes)


def test_data_orders_differ(unbroken: SearchResult) -> None:
    first = unbroken.outcomes[1]
    assert len(set(first.by_order(FULL).values())) == 2


def test_without_sensitivity_bits_start_even(tmp_path: Path) -> None:
    even = run(tmp_path / "even", sensitivity=0, **LEAN)
    assert not even.study.sensitivity_file.exists()
    (plan,) = plans(even.outcomes)
    bits = [choice.weight_bits for choice in plan.choices.values()]
    assert max(bits) <= 2 * min(bits)


def test_same_seed_same_search(unbroken: SearchResult, tmp_path: Path) -> None:
    again = run(tmp_path / "again")
    assert found(again.outcomes) == found(unbroken.outcomes)
    assert again.baseline.score == unbroken.baseline.score


def test_another_seed_has_another_data_order(unbroken: SearchResult, tmp_path: Path) -> None:
    """The float model is that of the first seed, so that nothing else differs."""
    options = LEAN | {"pretrained": str(unbroken.study.baseline_file)}
    results = [run(tmp_path / str(seed), seed=seed, **options) for seed in (0, 1)]
    one, other = (proposals(result.outcomes)[0] for result in results)
    assert one.plan == other.plan
    assert one.score != other.score


def test_a_report_is_drawn_into_the_study_and_printed(
    unbroken: SearchResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("autoquant.figures.study_figures.DPI", 20)
    shutil.copytree(unbroken.study.path, tmp_path / "study")
    options: dict[str, Any] = {"study": tmp_path / "study", "progress": False}
    silent = search(tiny_task(), SETTINGS, **options)
    assert silent.figures == ()
    assert capsys.readouterr().out == ""
    result = search(tiny_task(), SETTINGS, report=True, **options)
    assert replace(result, figures=()) == silent
    page = tmp_path / "study/report.html"
    assert sorted(result.figures) == sorted([*(tmp_path / "study/figures").iterdir(), page])
    assert capsys.readouterr().out == f"{result}\n"
    plot = tmp_path / "study/figures/pareto.png"
    assert f"Pareto plot: {plot}\nreport: {page}\n" in str(result)


def test_origin_is_written_down(tmp_path: Path) -> None:
    origin = {"_target_": "toys.tiny", "words": 10}
    settings = replace(SETTINGS, **LEAN)
    search(tiny_task(), settings, study=tmp_path / "study", origin=origin, progress=False)
    assert Study.open(tmp_path / "study").config()["task"] == origin


# --- several budgets, and the smallest plan -------------------------------------------------------


def test_two_budgets_have_a_plan_each(tmp_path: Path) -> None:
    result = run(tmp_path / "study", budget=("800B", "0.4x"), trials=2)
    assert result.budgets == (924, 800)
    assert [o.size_bytes <= size for o, size in zip(result.outcomes[1:], (924, 800), strict=True)]
    for size, selection in zip(result.budgets, result.selections, strict=True):
        assert selection is not None
        assert selection.chosen.size_bytes <= size
    assert result.study.plan() == result.best.plan  # type: ignore[union-attr]
    names = {s.first.trial for s in result.selections if s is not None}
    assert names == {"0", "1"}
    assert all(len(o.by_order(FULL)) == 2 for o in proposals(result.outcomes))


@pytest.mark.parametrize("bound", [{"loss": "0.05%"}, {"score": 9.9165}], ids=["loss", "score"])
def test_the_smallest_plan_within_a_loss(bound: dict[str, Any], tmp_path: Path) -> None:
    rounds = Rounds(size=2, orders=1, finalists=2, medium=1, full=False)
    result = run(tmp_path / "study", trials=5, budget="1.2kB", rounds=rounds, **bound)
    most = 9.9165 if "score" in bound else 1.0005 * result.baseline.score
    within = [o for o in proposals(result.outcomes) if o.score is not None and o.score <= most]
    assert result.best is not None
    assert result.best.size_bytes == min(o.size_bytes for o in within)
    assert result.study.plan() == result.best.plan
    assert result.best.size_bytes < max(o.size_bytes for o in proposals(result.outcomes))


def test_no_plan_within_a_score(tmp_path: Path) -> None:
    result = run(tmp_path / "study", score=1.0, **LEAN)
    assert result.best is None
    assert not result.study.plan_file.exists()
    assert "no plan" in str(result)


# --- applying and solving -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def applied_study(unbroken: SearchResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("applied") / "study"
    return Path(shutil.copytree(unbroken.study.path, folder))


def test_apply_continues_the_search(unbroken: SearchResult, applied_study: Path) -> None:
    """Only the cool-down is left; the score is that of the search, bit for bit."""
    steps: list[int] = []
    applied = apply(
        applied_study, tiny_task(), progress=False, on_step=lambda result: steps.append(result.step)
    )
    assert unbroken.best is not None
    assert applied.plan == unbroken.best.plan
    assert applied.valid == unbroken.best.by_order(FULL)[0]
    assert steps[-1] == applied.steps == FULL
    assert 0 < len(steps) < FULL / 2


def test_apply_within_another_budget(unbroken: SearchResult, applied_study: Path) -> None:
    small = min((o for o in unbroken.outcomes if o.role == "search"), key=lambda o: o.size_bytes)
    size = small.size_bytes
    changes = {"steps": 1}
    applied = apply(applied_study, tiny_task(), budget=f"{size}B", changes=changes, progress=False)
    assert applied.plan == small.plan
    with pytest.raises(UserError, match=rf"the smallest has {size} bytes\), got {size - 1}B = "):
        apply(applied_study, tiny_task(), budget=f"{size - 1}B")
    with pytest.raises(UserError, match="apply takes one of trial, plan and budget"):
        apply(applied_study, tiny_task(), budget="900B", trial="0")


@pytest.mark.parametrize("budget", ["950B", "0.36x", "760B"])
def test_solve(budget: str, unbroken: SearchResult) -> None:
    solution = solve(unbroken.study.path, budget=budget)
    network = described(prepare(tiny_task().build_model()))
    assert solution.size_bytes <= solution.budget_bytes
    assert solution.size_bytes == manifest.size_bytes(network, solution.plan, Scheme())
    assert solution.predicted == pytest.approx(9.905, abs=0.02)
    assert solution.deviation is not None
    assert 0 < solution.deviation < 0.02
    trained = {o.plan: o.trial for o in proposals(unbroken.outcomes)}
    assert solution.trial == trained.get(solution.plan)
    assert budget != "950B" or solution.budget_bytes == LIMIT


def test_solve_refuses_what_nothing_reaches(unbroken: SearchResult) -> None:
    with pytest.raises(UserError) as raised:
        solve(unbroken.study.path, budget="0.2x")
    assert "\n" not in str(raised.value)


# --- going on -------------------------------------------------------------------------------------


def test_more_trials_continue(
    unbroken: SearchResult, watched: Callable[..., Trainings], tmp_path: Path
) -> None:
    first = run(tmp_path / "study", trials=2)
    trainings = watched()
    second = run(tmp_path / "study")
    assert {name for name, *_ in trainings.labels} == {"trial 2"}
    assert found(second.outcomes)[: len(first.outcomes)] == found(first.outcomes)
    assert plans(second.outcomes) == plans(unbroken.outcomes)


@pytest.mark.parametrize("trials", [3, 1], ids=["as many", "fewer"])
def test_nothing_left_to_do(
    trials: int, unbroken: SearchResult, watched: Callable[..., Trainings]
) -> None:
    trainings = watched()
    again = run(unbroken.study.path, trials=trials)
    assert trainings.labels == []
    assert again.outcomes == unbroken.outcomes


@pytest.mark.parametrize("sampler", ["program", "random"])
def test_a_search_ends_when_every_plan_was_tried(sampler: str, tmp_path: Path) -> None:
    space = Space(weight_bits=(2, 4), activation_bits=(8,), width=(1.0,), split_recurrent=False)
    options = LEAN | {"trials": 50, "sensitivity": 0, "qat": Training(steps=1, scores=0)}
    options["rounds"] = Rounds(size=6, orders=1, medium=1, full=False)
    result = run(tmp_path / "study", space=space, budget="100kB", sampler=sampler, **options)
    assert len(plans(result.outcomes)) == len(set(plans(result.outcomes))) == 2**3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"budget": "3.7kB"}, "budget=950B, got budget=3.7kB"),
        ({"seed": 1}, "seed=0, got seed=1"),
        ({"qat": Training(steps=5, scores=0)}, "qat.steps=4, got qat.steps=5"),
        ({"references": (2,)}, "references=[8], got references=[2]"),
        ({"threads": 2}, "threads=1, got threads=2"),
    ],
    ids=["budget", "seed", "qat", "references", "threads"],
)
def test_another_configuration_is_refused(
    changes: dict[str, Any], named: str, unbroken: SearchResult
) -> None:
    before = unbroken.study.outcomes_file.read_bytes()
    with pytest.raises(UserError) as raised:
        run(unbroken.study.path, **changes)
    assert named in str(raised.value)
    assert unbroken.study.outcomes_file.read_bytes() == before


def test_a_study_of_an_earlier_version_is_not_continued(
    unbroken: SearchResult, tmp_path: Path
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    config = study.config()
    del config["rounds"]
    study.config_file.write_text(yaml.safe_dump(config | {"prune": True}))
    with pytest.raises(UserError, match="made by an earlier version, whose searches") as raised:
        run(study.path)
    assert "\n" not in str(raised.value)


def test_two_workers_find_what_one_finds(unbroken: SearchResult, tmp_path: Path) -> None:
    result = run(tmp_path / "study", workers=2)
    assert found(result.outcomes) == found(unbroken.outcomes)
    assert result.study.plan() == unbroken.study.plan()
    assert not (result.study.path / "context.pickle").exists()


# --- interruptions --------------------------------------------------------------------------------

STOPS = {
    "first job": ("trial w8", 2),
    "third job": ("trial 0", 2),
    "medium rung": ("trial 0", MEDIUM - 1),
    "full rung": ("trial 0", FULL - 1),
}
"""(label, step) in the middle of a job."""


def stop_at(place: tuple[str, int], stop: Callable[[], Any]) -> Callable[[StepResult], None]:
    def on_step(result: StepResult) -> None:
        if (result.run, result.step) == place:
            stop()

    return on_step


def ctrl_c() -> None:
    raise KeyboardInterrupt


def check_goes_on(folder: Path, unbroken: SearchResult, watched: Callable[..., Trainings]) -> None:
    """A stopped search ends as the unbroken one did, without repeating jobs that have ended."""
    study = Study.open(folder)
    ended = recorded_jobs(study) if study.jobs_file.is_file() else []
    trainings = watched()
    result = run(folder)
    assert found(result.outcomes) == found(unbroken.outcomes)
    assert study.plan_file.read_text() == unbroken.study.plan_file.read_text()
    jobs = recorded_jobs(study)
    assert len(trainings.labels) == len(jobs) - len(ended)
    assert jobs == recorded_jobs(unbroken.study)


@pytest.mark.parametrize("place", some_slow(STOPS, "first job", "medium rung"))
def test_ctrl_c(
    place: tuple[str, int],
    unbroken: SearchResult,
    watched: Callable[..., Trainings],
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", on_step=stop_at(place, ctrl_c))
    check_goes_on(tmp_path / "study", unbroken, watched)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("place", some_slow(STOPS, "third job", "full rung"))
def test_kill(
    place: tuple[str, int],
    unbroken: SearchResult,
    watched: Callable[..., Trainings],
    tmp_path: Path,
) -> None:
    child = os.fork()
    if child == 0:
        try:
            kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            run(tmp_path / "study", on_step=stop_at(place, kill))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    check_goes_on(tmp_path / "study", unbroken, watched)


def test_a_second_search_is_refused(unbroken: SearchResult, tmp_path: Path) -> None:
    before = unbroken.study.outcomes_file.read_bytes()
    with unbroken.study.locked(), pytest.raises(UserError, match="one search or sweep at a time"):
        run(unbroken.study.path, trials=9)
    assert unbroken.study.outcomes_file.read_bytes() == before


# --- trials that go wrong -------------------------------------------------------------------------


FAILURES = {
    "diverged": Diverged("the training loss must be finite, got nan at step 20"),
    "MemoryError": MemoryError(),
    "accelerator": torch.OutOfMemoryError("CUDA out of memory"),
    "RunError": RunError("widening failed"),
}


@pytest.mark.parametrize(
    "name", some_slow({name: name for name in FAILURES}, "MemoryError", "RunError")
)
def test_a_job_that_fails_is_recorded_and_the_search_goes_on(
    name: str, watched: Callable[..., Trainings], tmp_path: Path
) -> None:
    watched(raising(FAILURES[name], at=5))  # trial 1
    result = run(tmp_path / "study")
    first, failed, last = proposals(result.outcomes)
    assert failed.state == ("diverged" if name == "diverged" else "failed")
    assert (failed.score, failed.steps) == (None, 0)
    assert failed.reason
    assert first.state == "complete"
    assert last.state in ("complete", "pruned")
    assert result.best is not None
    trainings = watched()
    assert found(run(tmp_path / "study").outcomes) == found(result.outcomes)
    assert trainings.labels == []  # it is not tried again


class Explosive(LanguageTask):
    """Its loss is not a number while the model is quantized to a width of its own."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        loss, carry = super().loss(model, batch, carry)
        wide = model.get_submodule("decoder").weight.shape[1] > 8
        return loss * float("nan") if wide and model.training else loss, carry


class Hungry(LanguageTask):
    """Its loss needs more memory than any machine has while the model has a width of its own."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        if model.training and model.get_submodule("decoder").weight.shape[1] > 8:
            torch.empty(10**15)
        return super().loss(model, batch, carry)


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        (Explosive, "diverged", "the training loss must be finite, got nan"),
        (Hungry, "failed", "not enough memory: "),
    ],
    ids=["not a number", "memory"],
)
def test_plans_that_cannot_be_trained(
    kind: type[LanguageTask], state: str, reason: str, tmp_path: Path
) -> None:
    """Those that grow; the second proposal does."""
    result = run(tmp_path / "study", tiny_task(kind), **LEAN | {"trials": 2})
    wide = [o for o in result.outcomes if o.plan["rnn.l0"].width > 1]
    assert {o.state for o in wide} == {state}
    assert all(o.reason.startswith(reason) for o in wide)
    assert {o.state for o in result.outcomes if o not in wide} == {"complete"}
    assert result.best is not None
    assert result.best.plan["rnn.l0"].width == 1.0
    assert found(result.study.outcomes()) == found(result.outcomes)


def test_an_error_of_the_user_names_the_trial_and_the_plan(
    unbroken: SearchResult, watched: Callable[..., Trainings], tmp_path: Path
) -> None:
    watched(raising(FileNotFoundError(2, "No such file", "images/37.png"), at=5))
    with pytest.raises(FileNotFoundError, match=r"images/37\.png") as raised:
        run(tmp_path / "study")
    last = Study.open(tmp_path / "study").outcomes()[-1]
    job, study = raised.value.__notes__
    assert job.startswith("in the job trial 1: ")
    assert last.plan.summary in job
    assert study == f"the study is in '{tmp_path / 'study'}'"
    assert (last.trial, last.state) == ("1", "scored")
    check_goes_on(tmp_path / "study", unbroken, watched)


class Unreadable(LanguageTask):
    """Its training data are files, one of which is missing."""

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        yield next(super().batches(seed, start))
        Path("images/0037.png").read_bytes()


def test_an_error_of_the_users_data_is_the_users(tmp_path: Path) -> None:
    """Not one of the study's folder."""
    with pytest.raises(FileNotFoundError, match=r"images/0037\.png"):
        run(tmp_path / "study", tiny_task(Unreadable))


def test_nothing_completes(watched: Callable[..., Trainings], tmp_path: Path) -> None:
    def before(call: int) -> None:
        raise Diverged("not finite")

    watched(before)
    result = run(tmp_path / "study", trials=2)
    assert result.best is None
    assert [o.state for o in result.outcomes] == ["diverged"] * 3
    assert not result.study.plan_file.exists()


# --- damaged records ------------------------------------------------------------------------------


def emptied(log: Path) -> None:
    log.write_bytes(b"")


def removed(log: Path) -> None:
    log.unlink()


def cut_in_the_middle(log: Path) -> None:
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])


def without_its_beginning(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[3:]))


def with_a_flipped_bit(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[len(content) // 2] |= 0x80
    log.write_bytes(content)


def overwritten(log: Path) -> None:
    log.write_bytes(b"PK\x03\x04 something else\n" * 9)


def of_lists(log: Path) -> None:
    log.write_text("[]\n" + "[" * 9999 + "\n")


DAMAGES = [emptied, removed, cut_in_the_middle, without_its_beginning, with_a_flipped_bit]
DAMAGES += [overwritten, of_lists]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_a_damaged_log_of_trials_is_restored_from_the_table(
    damage: Callable[[Path], None],
    unbroken: SearchResult,
    watched: Callable[..., Trainings],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    damage(study.trials_file)
    content = study.trials_file.is_file() and study.trials_file.stat().st_size > 0
    trainings = watched()
    again = run(study.path)
    assert trainings.labels == []
    assert found(again.outcomes) == found(unbroken.outcomes)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(study.trials_file) in line
    assert study.trials_file.with_name("trials.jsonl.damaged").is_file() == content
    assert run(study.path).outcomes == again.outcomes
    assert not capsys.readouterr().err


@pytest.mark.parametrize("sampler", ["program", pytest.param("tpe", marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", [("trial 2", 2), ("trial 0", FULL - 1)], ids=["short", "full"])
def test_a_restored_search_goes_on_as_it_would_have(
    sampler: str,
    place: tuple[str, int],
    unbroken: SearchResult,
    tmp_path: Path,
) -> None:
    """With samplers that learn from the trials' parameters and scores."""
    whole = unbroken if sampler == "program" else run(tmp_path / "whole", sampler=sampler)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", on_step=stop_at(place, ctrl_c), sampler=sampler)
    emptied(Study(tmp_path / "study").trials_file)
    again = run(tmp_path / "study", sampler=sampler)
    assert found(again.outcomes) == found(whole.outcomes)


@pytest.mark.parametrize("table", [None, "trial,role\n1"], ids=["missing", "damaged"])
def test_a_damaged_log_without_a_table_is_refused(table: str | None, tmp_path: Path) -> None:
    study = run(tmp_path / "study", **LEAN).study
    overwritten(study.trials_file)
    study.outcomes_file.unlink()
    if table is not None:
        study.outcomes_file.write_text(table)
    with pytest.raises(UserError) as raised:
        run(tmp_path / "study", **LEAN)
    file = study.trials_file if table is None else study.outcomes_file
    assert str(raised.value).startswith(f"'{file}' must be as a search wrote it")
    assert "remove it" in str(raised.value)


def earlier_journal(study: Study) -> None:
    """Trials as an earlier version left them: in Optuna's file, which had no other log."""
    study.journal_file.unlink()
    storage = JournalStorage(JournalFileBackend(str(study.journal_file)))
    for name in ("references", "search"):
        kept = optuna.create_study(
            study_name=name, storage=storage, directions=["minimize", "minimize"]
        )
        kept.ask().set_user_attr("trial", "0")
    study.trials_file.unlink()


def test_a_study_of_an_earlier_version_goes_on(
    unbroken: SearchResult,
    watched: Callable[..., Trainings],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    earlier_journal(study)
    trainings = watched()
    again = run(study.path)
    assert trainings.labels == []
    assert found(again.outcomes) == found(unbroken.outcomes)
    restored, journal = capsys.readouterr().err.splitlines()
    assert f"'{study.trials_file}' has no trials: its trials are restored from" in restored
    assert f"'{study.journal_file}' is damaged, or of an earlier version" in journal
    assert {**shown_trials(study)} == {**shown_trials(unbroken.study)}
    run(study.path)
    assert not capsys.readouterr().err


def test_a_study_with_one_objective_is_refused(unbroken: SearchResult, tmp_path: Path) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    study.trials_file.unlink()
    study.journal_file.unlink()
    storage = JournalStorage(JournalFileBackend(str(study.journal_file)))
    optuna.create_study(study_name="search", storage=storage)
    with pytest.raises(UserError, match="earlier version, whose searches cannot be continued"):
        run(study.path)


def shown_trials(study: Study) -> dict[str, tuple[Any, ...]]:
    """What optuna-dashboard reads, by name of the trial."""
    storage = JournalStorage(JournalFileBackend(str(study.journal_file)))
    trials = [
        trial
        for name in ("references", "search")
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]
    by_name = {
        t.user_attrs["trial"]: (t.state.name, t.values, t.params, t.user_attrs["plan"])
        for t in trials
    }
    assert len(by_name) == len(trials)
    return by_name


def test_the_dashboard_sees_all_ended_trials(unbroken: SearchResult) -> None:
    shown = shown_trials(unbroken.study)
    assert {*shown} == {o.trial for o in unbroken.outcomes}
    for outcome in unbroken.outcomes:
        state, values, params, plan = shown[outcome.trial]
        assert state == outcome.state.upper()
        complete = outcome.state == "complete"
        assert values == ([outcome.size_bytes, outcome.score] if complete else None)
        assert bool(params) == (outcome.role == "search")
        assert plan == outcome.plan.to_dict()


@pytest.mark.parametrize("damage", [emptied, removed, cut_in_the_middle, overwritten])
def test_a_damaged_journal_is_written_anew(
    damage: Callable[[Path], None], unbroken: SearchResult, tmp_path: Path
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    damage(study.journal_file)
    assert found(run(study.path).outcomes) == found(unbroken.outcomes)
    assert shown_trials(study) == shown_trials(unbroken.study)


def test_a_damaged_table_is_written_again(unbroken: SearchResult, tmp_path: Path) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    study.outcomes_file.write_text("trial,role\n1")
    assert found(run(study.path).outcomes) == found(unbroken.outcomes)
    assert found(study.outcomes()) == found(unbroken.outcomes)


def test_a_damaged_log_of_jobs_is_refused_and_may_be_removed(
    unbroken: SearchResult, watched: Callable[..., Trainings], tmp_path: Path
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    study.jobs_file.write_text("plan,steps\n1,2\n")
    with pytest.raises(UserError, match=r"jobs\.csv' must be as autoquant wrote it") as raised:
        run(study.path)
    assert "\n" not in str(raised.value)
    study.jobs_file.unlink()
    trainings = watched()
    assert found(run(study.path).outcomes) == found(unbroken.outcomes)
    assert trainings.labels == []  # the trials have the scores too


def test_an_incomplete_line_of_the_log_is_trained_again(
    unbroken: SearchResult, watched: Callable[..., Trainings], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", on_step=stop_at(STOPS["third job"], ctrl_c))
    with Study(tmp_path / "study").jobs_file.open("a") as log:
        log.write("ef1504906692cd1a,4,0,compl")
    result = run(tmp_path / "study")
    assert found(result.outcomes) == found(unbroken.outcomes)
    assert recorded_jobs(result.study) == recorded_jobs(unbroken.study)


# --- errors of one line ---------------------------------------------------------------------------


def test_a_budget_that_nothing_reaches(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        run(tmp_path / "study", budget="0.2x")
    assert not (tmp_path / "study").exists()
    words = str(raised.value)
    assert "\n" not in words
    assert re.search(r"layers, 0 B norms, 0 B uncovered tensors, 0 B assets, \d+ B header", words)
    smallest = int(words.split(" bytes")[0].split()[-1])
    with pytest.raises(UserError):
        run(tmp_path / "study", budget=f"{smallest - 1}B")
    space = replace(SETTINGS.space, activation_bits=(4,))
    options = LEAN | {"budget": f"{smallest}B", "trials": 3, "space": space}
    result = run(tmp_path / "study", **options)
    assert [o.size_bytes for o in result.outcomes] == [smallest]


@pytest.mark.parametrize("sensitivity", [0, 1])
def test_all_limits_hold_for_every_proposal(sensitivity: int, tmp_path: Path) -> None:
    limits = Limits(bit_ops="0.02x", activation_memory="0.2x", macs="1.3x")
    result = run(tmp_path / "study", limits=limits, sensitivity=sensitivity, references=())
    network = described(prepare(tiny_task().build_model()))
    values = limits_of(replace(SETTINGS, limits=limits), network, float_bytes=2312, parameters=578)
    assert len(values) == 4
    assert result.outcomes
    assert all(values.holds(outcome.plan) for outcome in result.outcomes)


def test_a_limit_that_no_plan_meets_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    message = r"limits.bit_ops must be at least \d+ bit-operations \(0\.00\d+x\), .* got 0.001x"
    with pytest.raises(UserError, match=message):
        run(tmp_path / "study", limits=Limits(bit_ops="0.001x"))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("content", [None, b"not weights"], ids=["missing", "damaged"])
def test_pretrained_weights_that_are_wrong_leave_no_folder(
    content: bytes | None, tmp_path: Path
) -> None:
    """Else the path would stand in its configuration, and the right one would be refused."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"must be a (file of )?safetensors") as raised:
        run(tmp_path / "study", pretrained=str(path))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "study").exists()


def test_pretrained_weights_may_go_once_they_are_taken(
    unbroken: SearchResult, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(unbroken.study.baseline_file.read_bytes())
    options = LEAN | {"pretrained": str(path)}
    result = run(tmp_path / "study", **options)
    path.unlink()
    result = run(tmp_path / "study", **options | {"trials": 2})
    run(tmp_path / "trained", **LEAN)
    trained = run(tmp_path / "trained", **LEAN | {"trials": 2})
    assert plans(result.outcomes) == plans(trained.outcomes)


@pytest.mark.parametrize("inside", [False, True], ids=["parent", "study"])
def test_a_read_only_folder(inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, for root may write anywhere."""
    folder = tmp_path / "study"
    if inside:
        Study.create(folder, {"task": {"name": "toy"}, **asdict(SETTINGS)})

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    def open_file(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return real(path, mode, *args, **options) if mode == "r" else refuse(path)

    real = Path.open
    monkeypatch.setattr(files.Path, "open", open_file)
    monkeypatch.setattr(files.Path, "mkdir", refuse)
    with pytest.raises(RunError) as raised:
        run(folder)
    assert "\n" not in str(raised.value)
    assert "Read-only file system" in str(raised.value)


@pytest.mark.parametrize("name", ["profile.json", "baseline.json", "outcomes.csv", "plan.yaml"])
def test_a_full_disk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if name in path.name and mode == "w":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, mode, *args, **options)

    def write_text(path: Path, text: str, encoding: str) -> int:
        with opened(path, "w", encoding=encoding) as file:
            return int(file.write(text))

    monkeypatch.setattr(files.Path, "open", opened)
    monkeypatch.setattr(files.Path, "write_text", write_text)
    with pytest.raises(RunError) as raised:
        run(tmp_path / "study", **LEAN)
    assert "\n" not in str(raised.value)
    assert "No space left on device" in str(raised.value)
    monkeypatch.undo()
    again = run(tmp_path / "study", **LEAN)  # once there is room
    assert proposals(again.outcomes) != []
    assert {path.suffix for path in (tmp_path / "study").iterdir()}.isdisjoint({".tmp"})


@pytest.mark.parametrize("limit", [3000, 16000], ids=["baseline", "journal"])
def test_files_that_may_not_grow(limit: int, unbroken: SearchResult, tmp_path: Path) -> None:
    """The same as a full disk, but real: writes stop in the middle of one file or another."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(RunError) as raised:
            run(tmp_path / "study")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(raised.value)
    assert "File too large" in str(raised.value)
    assert proposals(run(tmp_path / "study").outcomes) == proposals(unbroken.outcomes)


# --- the other direction --------------------------------------------------------------------------


class HigherIsBetter(LanguageTask):
    metric = "minus perplexity"
    direction: Direction = "maximize"

    def score(self, model: nn.Module, split: Split) -> float:
        return -super().score(model, split)


def test_a_score_to_maximize(tmp_path: Path, unbroken: SearchResult) -> None:
    result = run(tmp_path / "study", tiny_task(HigherIsBetter))
    assert result.baseline.direction == "maximize"
    for one, other in zip(result.outcomes, unbroken.outcomes, strict=True):
        assert (one.plan, one.state) == (other.plan, other.state)
        assert [-score for *_, score in one.scores] == [score for *_, score in other.scores]
    assert result.best is not None
    assert unbroken.best is not None
    assert result.best.plan == unbroken.best.plan
    assert result.study.plan() == result.best.plan
    assert "minus perplexity" in result.study.plan_file.read_text().splitlines()[0]


def test_the_step_times_of_a_limit_belong_to_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured anew they differ, and with them the plans that are within the limit."""
    measured: list[float] = []

    def measure(*_: Any) -> float:
        measured.append(1e-6 * (1 + len(measured)))
        return measured[-1]

    monkeypatch.setattr(latency_table, "measure_layer", measure)
    monkeypatch.setattr(latency_table.LATENCIES, "seconds", {})
    options = LEAN | {"limits": Limits(latency="1s")}
    found = run(tmp_path / "study", **options)
    kept = json.loads(found.study.latencies_file.read_text())
    assert sorted(kept.values()) == sorted(measured) != []
    monkeypatch.setattr(latency_table.LATENCIES, "seconds", {})
    count = len(measured)
    assert run(tmp_path / "study", **options).outcomes == found.outcomes
    assert solve(study=found.study.path, budget="900B").plan is not None
    assert len(measured) == count
