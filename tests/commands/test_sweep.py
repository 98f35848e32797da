"""Whole sweeps on a tiny task: grid, budgets, seeds, first weights; interruptions and workers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.artifact import manifest
from autoquant.commands.evaluate import evaluate
from autoquant.commands.search import search
from autoquant.commands.sweep import SweepResult, sweep
from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.errors import UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Search, Sweep, Training, Widening
from autoquant.study.folder import Study
from autoquant.study.job_log import JobLog
from autoquant.study.sweep_table import SweepTable
from autoquant.tasks.language import LanguageTask
from autoquant.training import candidate, loop
from autoquant.training.scoring import score
from tests.toys import described, language_task

SETTINGS = Search(
    device="cpu",
    baseline=Training(steps=8, lr=1e-3, scores=0),
    final=Training(steps=6, lr=1e-3),
    widening=Widening(max_share=1.0, max_growth=1.0),
)
GRID = Sweep(weight_bits=(4, 2), activation_bits=(8, 4), width=(1.0, 1.5))


def tiny_task(**options: Any) -> LanguageTask:
    """578 parameters; a run takes a tenth of a second."""
    sizes: dict[str, Any] = {"embedding": 4, "hidden": 8, "probe_tokens": 50}
    return language_task(10, 400, batch_size=50, length=4, **(sizes | options))


def run(
    folder: Path, grid: Sweep = GRID, task: Any = None, on_run: Any = None, **changes: Any
) -> SweepResult:
    settings = replace(SETTINGS, **changes)
    made: dict[str, Any] = {"study": folder, "progress": False, "on_run": on_run}
    return sweep(task or tiny_task(), settings, sweep=grid, **made)


def scores(result: SweepResult) -> dict[str, float | None]:
    return {each.run.name: each.valid for each in result.results}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return run(tmp_path_factory.mktemp("unbroken") / "study")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained."""
    names: list[str] = []

    def train_candidate(*args: Any, label: str, **options: Any) -> Any:
        names.append(label)
        return candidate.train_candidate(*args, label=label, **options)

    monkeypatch.setattr("autoquant.rounds.training_job.train_candidate", train_candidate)
    return names


# --- the table ------------------------------------------------------------------------------------


def test_every_run_of_the_grid_is_trained_in_full(unbroken: SweepResult) -> None:
    assert list(scores(unbroken)) == [
        f"w{weights}-a{activations}-x{width}-seed0"
        for width in ("1", "1.5")
        for weights in (4, 2)
        for activations in (8, 4)
    ]
    assert {each.state for each in unbroken.results} == {"complete"}
    assert {each.steps for each in unbroken.results} == {6}
    assert len({each.valid for each in unbroken.results}) == 8
    assert all(each.test is not None and each.seconds > 0 for each in unbroken.results)


def test_costs_are_those_of_the_plan(unbroken: SweepResult) -> None:
    network = described(prepare(tiny_task().build_model()))
    for each in unbroken.results:
        plan = each.run.plan
        assert plan is not None
        assert each.size_bytes == manifest.size_bytes(network, plan, Scheme())
        assert each.size_share == pytest.approx(each.size_bytes / unbroken.baseline.size_bytes)
        expected = paper_size_ratio.of(network, plan, Scheme())
        assert each.paper_size_ratio == pytest.approx(expected, rel=1e-9)
        assert each.activation_bytes == activation_memory.of(network, plan, Scheme())
    first = unbroken.results[0]
    assert first.paper_size_ratio == 4 / 32


def test_plans_are_uniform_and_grow_what_may_grow(unbroken: SweepResult) -> None:
    for each in unbroken.results:
        plan, swept = each.run.plan, each.run
        assert plan is not None
        for choice in plan.choices.values():
            assert choice.weight_bits == choice.bits_of("recurrent") == swept.weight_bits
        assert plan["decoder"].activation_bits == plan["rnn.l0"].state_bits == swept.activation_bits
        assert (plan["rnn.l0"].width, plan["decoder"].width) == (swept.width, 1.0)


def test_the_table_is_what_was_returned(unbroken: SweepResult) -> None:
    study = unbroken.study
    read = SweepTable.of(study).by_name()
    assert [replace(each, seconds=0.0) for each in read.values()] == [
        replace(each, seconds=0.0) for each in unbroken.results
    ]
    assert {path.name for path in study.path.iterdir()} == {
        *("config.yaml", "baseline.safetensors", "baseline.json", "profile.json"),
        *("runs.csv", "jobs.csv", "trunks", ".lock"),
    }
    assert not list(study.path.rglob("*.checkpoint")) + list(study.path.rglob("*.tmp"))
    assert study.config()["sweep"]["weight_bits"] == [4, 2]
    assert "budget" not in study.config()


def test_a_run_is_what_apply_would_train(unbroken: SweepResult, tmp_path: Path) -> None:
    from autoquant.commands.apply import apply

    result = unbroken.results[5]
    applied = apply(unbroken.study.path, tiny_task(), plan=result.run.plan, progress=False)
    assert (applied.valid, applied.test, applied.size_bytes) == (
        *(result.valid, result.test, result.size_bytes),
    )


def test_float_all_over(tmp_path: Path) -> None:
    grid = Sweep(weight_bits=(32,), activation_bits=(32,), test=False)
    result = run(tmp_path / "study", grid, quantizer=Scheme(bias_bits=32))
    (only,) = result.results
    assert (only.state, only.test, only.paper_size_ratio) == ("complete", None, 1.0)
    assert only.size_bytes is not None
    assert only.size_bytes > result.baseline.size_bytes  # the header


def test_rules_narrow_the_grid(tmp_path: Path) -> None:
    rules = {"decoder": {"weight_bits": (8,)}, "rnn.*": {"width": (1.0, 1.25)}}
    grid = Sweep(weight_bits=(2,), width=(1.0, 1.5))
    result = run(tmp_path / "study", grid, rules=rules)
    plans = [each.run.plan for each in result.results]
    assert [plan["decoder"].weight_bits for plan in plans if plan] == [8, 8]
    assert [plan["rnn.l0"].width for plan in plans if plan] == [1.0, 1.25]


def test_a_rule_lets_a_layer_grow(tmp_path: Path) -> None:
    rules = {"rnn.*": {"width": (1.0, 1.5)}}
    never = Widening(max_share=0.0)
    grid = Sweep(weight_bits=(2,), width=(1.5,))
    result = run(tmp_path / "study", grid, rules=rules, widening=never)
    assert result.results[0].run.plan is not None
    assert result.results[0].run.plan["rnn.l0"].width == 1.5
    with pytest.raises(UserError, match=r"sweep\.width must be \[1\.0\] .*, got \[1\.5\]"):
        run(tmp_path / "other", grid, widening=never)
    assert not (tmp_path / "other").exists()


# --- budgets and plan files -----------------------------------------------------------------------


def test_plans_of_all_widths_fill_their_budgets(tmp_path: Path) -> None:
    grid = Sweep(budgets=("0.21x", "0.19X", "0.05x"), width=(1.0, 1.5))
    result = run(tmp_path / "study", grid, tiny_task(embedding=16, hidden=32))
    for each in result.results[:4]:
        assert (each.state, each.run.weight_bits) == ("complete", None)
        limit = float(str(each.run.budget).removesuffix("x"))
        assert each.size_share is not None
        assert 0.95 * limit < each.size_share <= limit
        assert each.run.plan is not None
        assert each.run.plan["rnn.l0"].width == each.run.width
        assert {c.state_bits for c in each.run.plan.choices.values()} <= {8, 32}
    assert [(each.run.name, each.state, each.valid) for each in result.results[4:]] == [
        ("0.05x-a8-x1-seed0", "too large", None),
        ("0.05x-a8-x1.5-seed0", "too large", None),
    ]
    assert [each.run.budget for each in result.results[::2]] == ["0.21x", "0.19x", "0.05x"]
    assert "must be at least" in result.results[4].reason
    assert "header), got 0.05x" in result.results[4].reason


def test_budgets_are_filled_where_few_bits_hurt(tmp_path: Path) -> None:
    grid, task = Sweep(budgets=("0.25x",), width=(1.0, 1.5)), tiny_task(embedding=16, hidden=32)
    known = run(tmp_path / "known", grid, task)
    even = run(tmp_path / "even", grid, task, sensitivity=0)
    assert known.study.sensitivity_file.is_file()
    assert not even.study.sensitivity_file.exists()
    plans = [[each.run.plan for each in result.results] for result in (known, even)]
    assert plans[0] != plans[1]
    again = run(tmp_path / "known", grid, task)
    assert scores(again) == scores(known)


def plan_file(path: Path, **changes: Any) -> str:
    names = ("embedding", "rnn.l0", "decoder")
    plan = Plan.uniform(names, LayerChoice(4, 8)).with_choice("decoder", **changes)
    path.write_text(plan.with_choice("embedding", activation_bits=32).to_yaml())
    return str(path)


def test_plan_files_stand_beside_the_grid(tmp_path: Path) -> None:
    plans = (plan_file(tmp_path / "mine.yaml", weight_bits=8),)
    result = run(tmp_path / "study", Sweep(weight_bits=(4,), plans=plans))
    assert list(scores(result)) == ["w4-a8-x1-seed0", "mine-seed0"]
    only = run(tmp_path / "only", Sweep(weight_bits=(), plans=plans))
    assert scores(only) == {"mine-seed0": scores(result)["mine-seed0"]}


def test_the_plan_that_a_study_chose_goes_by_its_name(tmp_path: Path) -> None:
    study = tmp_path / "lstm-0.1x"
    study.mkdir()
    (study / "config.yaml").write_text("budget: 0.1x\n")
    plan_file(study / "plan.yaml", weight_bits=8)
    result = run(tmp_path / "study", Sweep(weight_bits=(), plans=(str(study),)))
    assert list(scores(result)) == ["lstm-0.1x-seed0"]
    assert result.results[0].run.plan == Plan.read(study / "plan.yaml")


def test_a_study_with_several_budgets_gives_a_plan_for_each(tmp_path: Path) -> None:
    quick = Training(steps=2, lr=1e-3, scores=0)
    settings = replace(
        SETTINGS, budget=("0.6x", "0.4x"), trials=2, qat=quick, final=quick, references=()
    )
    search(tiny_task(), settings, study=tmp_path / "both", progress=False)
    result = run(tmp_path / "study", Sweep(weight_bits=(), plans=(str(tmp_path / "both"),)))
    large, small = result.results
    assert [large.run.name, small.run.name] == ["both-0.6x-seed0", "both-0.4x-seed0"]
    assert large.run.plan == Study.open(tmp_path / "both").plan()
    assert large.size_share is not None
    assert small.size_share is not None
    assert small.size_share <= 0.4 < large.size_share <= 0.6


def test_the_float_model_is_scored_on_the_test_split_too(unbroken: SweepResult) -> None:
    from autoquant.training.weights import load_weights

    model = tiny_task().build_model()
    load_weights(model, unbroken.study.baseline_file)
    assert unbroken.baseline.test == score(model, tiny_task(), "test")
    assert unbroken.study.baseline() == unbroken.baseline


def test_a_study_without_its_weights_goes_on(unbroken: SweepResult, tmp_path: Path) -> None:
    """As it comes out of version control."""
    copied = tmp_path / "study"
    shutil.copytree(unbroken.study.path, copied)
    (copied / "baseline.safetensors").unlink()
    more = replace(GRID, width=(1.0, 1.25, 1.5))
    result = run(copied, more)
    assert result.baseline == unbroken.baseline
    assert scores(result).items() >= scores(unbroken).items()


def test_a_plan_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    grid = Sweep(weight_bits=(), plans=(plan_file(tmp_path / "mine.yaml"),))
    run(tmp_path / "study", grid)
    plan_file(tmp_path / "mine.yaml", weight_bits=8)
    with pytest.raises(UserError, match="got another plan for 'mine-seed0'"):
        run(tmp_path / "study", grid)


def test_plan_files_that_are_wrong_leave_no_folder(tmp_path: Path) -> None:
    (tmp_path / "w4-a8-x1.yaml").write_text(Path(plan_file(tmp_path / "mine.yaml")).read_text())
    (tmp_path / "other.yaml").write_text("layers:\n  dekoder: {}\n")
    for name, rule in {
        "none.yaml": "must be an existing YAML file",
        "other.yaml": "must name layers of the model",
        "w4-a8-x1.yaml": "names of their own, got two of 'w4-a8-x1'",
    }.items():
        with pytest.raises(UserError, match=rule):
            run(tmp_path / "study", Sweep(weight_bits=(4,), plans=(str(tmp_path / name),)))
    assert not (tmp_path / "study").exists()


# --- seeds and first weights ----------------------------------------------------------------------


def test_each_seed_is_a_run_of_its_own(unbroken: SweepResult, tmp_path: Path) -> None:
    result = run(tmp_path / "study", replace(GRID, weight_bits=(4,), seeds=(0, 7)))
    names, valid = zip(*scores(result).items(), strict=True)
    assert [name.rpartition("-")[2] for name in names] == ["seed0"] * 4 + ["seed7"] * 4
    assert len(set(valid)) == 8
    assert result.baseline.score == unbroken.baseline.score
    before = scores(unbroken)
    assert all(before[name] == score for name, score in scores(result).items() if name in before)


def test_from_scratch_in_float_is_the_baseline(tmp_path: Path) -> None:
    grid = Sweep(weight_bits=(32,), activation_bits=(32,), init_from="scratch", seeds=(0, 1))
    result = run(tmp_path / "study", grid, quantizer=Scheme(bias_bits=32))
    first, second = result.results
    assert first.steps == 8  # of the baseline's training
    assert first.run.name == "w32-a32-x1-scratch-seed0"
    expected = result.baseline.score  # with two biases where the prepared model has their sum
    assert first.valid == pytest.approx(expected, rel=3e-4)
    assert second.valid != pytest.approx(expected, rel=3e-3)


def test_from_scratch_no_units_are_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[nn.Module] = []

    def train(model: nn.Module, *args: Any, **options: Any) -> Any:
        assert options["teacher"] is None
        models.append(model)
        return loop.train(model, *args, **options)

    monkeypatch.setattr(candidate, "train", train)
    grid = Sweep(weight_bits=(32,), activation_bits=(32,), width=(2.0,), init_from="scratch")
    result = run(tmp_path / "study", grid, quantizer=Scheme(bias_bits=32))
    weight = dict(models[0].named_parameters())["rnn.l0.weight_hh"].detach()
    assert weight.shape == (64, 16)
    assert len(torch.unique(weight, dim=0)) == 64
    assert result.results[0].state == "complete"


# --- going on -------------------------------------------------------------------------------------


def test_nothing_is_left_to_do(unbroken: SweepResult, trained: list[str]) -> None:
    again = run(unbroken.study.path)
    assert trained == []
    assert scores(again) == scores(unbroken)


def test_a_grid_may_grow(unbroken: SweepResult, trained: list[str], tmp_path: Path) -> None:
    run(tmp_path / "study", Sweep(weight_bits=(4,)))
    result = run(tmp_path / "study", replace(GRID, activation_bits=(8,), width=(1.0,)))
    assert trained == ["w4-a8-x1-seed0", "w2-a8-x1-seed0"]
    assert scores(result).items() <= scores(unbroken).items()
    assert run(tmp_path / "study", Sweep(weight_bits=(2,)), budget="9x").results == (
        result.results[1],
    )


class Stopping(LanguageTask):
    """Ctrl-C comes at a step of training."""

    at = 0

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        self.at -= model.training
        if model.training and self.at == 0:
            raise KeyboardInterrupt
        return super().loss(model, batch, carry)


def stopping(at: int) -> Stopping:
    tiny = tiny_task()
    task = Stopping(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    task.at = at
    return task


@pytest.mark.parametrize("init_from", ["baseline", "scratch"])
def test_ctrl_c_in_a_run(init_from: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", 0.0)
    grid = Sweep(weight_bits=(4, 2), init_from=init_from)
    whole = run(tmp_path / "whole", grid)
    length = 6 if init_from == "baseline" else 8
    task = stopping(1 + 8 + length + 4)  # the loss is tried once; in the second run
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", grid, task)
    assert len(SweepTable.of(Study(tmp_path / "study")).results()) == 1
    task.at = 1000
    assert scores(run(tmp_path / "study", grid, task)) == scores(whole)
    assert 1000 - task.at == 1 + length - 3  # three steps were not made again


@pytest.mark.parametrize("changes", [{"seed": 1}, {"final": Training(steps=7)}])
def test_other_settings_are_refused(unbroken: SweepResult, changes: dict[str, Any]) -> None:
    before = unbroken.study.runs_file.read_bytes()
    with pytest.raises(UserError, match=r"was made with (seed=0|final\.steps=6), got"):
        run(unbroken.study.path, **changes)
    assert unbroken.study.runs_file.read_bytes() == before


def test_searches_and_sweeps_have_folders_of_their_own(
    unbroken: SweepResult, tmp_path: Path
) -> None:
    roomy = replace(SETTINGS, budget="9x")
    with pytest.raises(UserError, match="was made by a sweep, got a search; take another"):
        search(tiny_task(), roomy, study=unbroken.study.path, progress=False)
    Study.create(tmp_path / "study", {"task": {"name": "toy"}})
    with pytest.raises(UserError, match="was made by a search, got a sweep; take another"):
        run(tmp_path / "study")


def test_on_run_is_called_when_a_run_has_been_recorded(tmp_path: Path) -> None:
    counts: list[int] = []
    run(
        tmp_path / "study",
        Sweep(weight_bits=(4, 2)),
        on_run=lambda study: counts.append(len(SweepTable.of(study).results())),
    )
    assert counts == [1, 2]


def test_a_report_is_drawn_after_every_run_and_printed_at_the_end(
    unbroken: SweepResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, calls = tmp_path / "study", []
    shutil.copytree(unbroken.study.path, study)
    before = len(unbroken.results)

    def write_report(drawn: Study) -> list[Path]:
        calls.append(f"{len(SweepTable.of(drawn).results()) - before} more drawn")
        return [drawn.figures / "grid.png", drawn.page_file]

    def on_run(made: Study) -> None:
        calls.append("on_run")

    monkeypatch.setattr("autoquant.report_page.report_files.write_report", write_report)
    options: dict[str, Any] = {"study": study, "progress": False, "on_run": on_run}
    grid = Sweep(weight_bits=(3,))
    result = sweep(tiny_task(), SETTINGS, sweep=grid, report=True, **options)
    assert calls == ["1 more drawn", "on_run", "1 more drawn"]
    assert result.figures == (study / "figures/grid.png", study / "report.html")
    assert capsys.readouterr().out == f"{result}\n"
    assert f"figure: {study / 'figures/grid.png'}\nreport: {study / 'report.html'}\n" in str(result)


# --- runs that go wrong ---------------------------------------------------------------------------


class Explosive(LanguageTask):
    """Its loss is not a number while the model is wider than it was."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        loss, carry = super().loss(model, batch, carry)
        wide = model.get_submodule("decoder").weight.shape[1] > 8
        return loss * float("nan") if wide and model.training else loss, carry


def test_a_run_that_diverges_is_recorded(tmp_path: Path, trained: list[str]) -> None:
    tiny = tiny_task()
    task = Explosive(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    grid = Sweep(weight_bits=(4,), width=(1.5, 1.0))
    wide, narrow = run(tmp_path / "study", grid, task).results
    assert (wide.state, wide.valid, narrow.state) == ("diverged", None, "complete")
    assert "must be finite, got nan" in wide.reason
    assert wide.size_bytes is not None
    trained.clear()
    run(tmp_path / "study", grid, task)
    assert trained == []


class Hungry(LanguageTask):
    """Its loss needs more memory than any machine has where the model was widened."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        if model.training and model.get_submodule("decoder").weight.shape[1] > 8:
            torch.empty(10**15)
        return super().loss(model, batch, carry)


def test_a_run_without_enough_memory_has_failed(tmp_path: Path, trained: list[str]) -> None:
    other = tiny_task()
    task = Hungry(other.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    grid = Sweep(weight_bits=(4,), width=(1.0, 1.5))
    result = run(tmp_path / "study", grid, task)
    assert [each.state for each in result.results] == ["complete", "failed"]
    failed = result.results[1]
    assert failed.reason.startswith("not enough memory: ")
    assert (failed.valid, failed.test) == (None, None)
    assert failed.size_bytes is not None
    again = run(tmp_path / "study", grid, task)
    assert len(trained) == 2  # it is not tried again
    assert [each.state for each in again.results] == ["complete", "failed"]
    assert not list(SweepTable.of(result.study).path.parent.rglob("*.checkpoint"))


def test_an_error_of_the_user_names_the_run_and_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_candidate(*args: Any, **options: Any) -> Any:
        raise FileNotFoundError(2, "No such file", "images/37.png")

    monkeypatch.setattr("autoquant.rounds.training_job.train_candidate", train_candidate)
    grid = Sweep(weight_bits=(4,))
    with pytest.raises(FileNotFoundError, match=r"images/37\.png") as raised:
        run(tmp_path / "study", grid)
    job, study = raised.value.__notes__
    assert job.startswith("in the job w4-a8-x1-seed0: 6 steps from baseline with seed 0 of plan ")
    assert study == f"the study is in '{tmp_path / 'study'}'"


# --- workers --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_train_the_same(tmp_path: Path) -> None:
    grid = replace(GRID, width=(1.5,), seeds=(0, 3))
    alone = run(tmp_path / "alone", grid, threads=1)
    shared = run(tmp_path / "shared", grid, workers=2)  # of one thread each
    assert scores(shared) == scores(alone)
    assert [each.test for each in shared.results] == [each.test for each in alone.results]
    ended = SweepTable.of(shared.study).results()
    assert {each.run.name for each in ended} == {each.run.name for each in alone.results}
    assert len(JobLog.of(shared.study)) == len(grid.seeds) * 4
    assert not list(shared.study.trunks.iterdir())


def test_one_sweep_at_a_time(unbroken: SweepResult) -> None:
    with unbroken.study.locked(), pytest.raises(UserError, match="one search or sweep at a time"):
        run(unbroken.study.path)


def test_a_training_with_two_names_is_done_once(
    unbroken: SweepResult, tmp_path: Path, trained: list[str]
) -> None:
    first = unbroken.results[0]
    assert first.run.plan is not None
    (tmp_path / "mine.yaml").write_text(first.run.plan.to_yaml())
    grid, mine = run(
        tmp_path / "study", Sweep(weight_bits=(4,), plans=(str(tmp_path / "mine.yaml"),))
    ).results
    assert grid.run.plan == mine.run.plan
    assert (first.valid, first.test) == (grid.valid, grid.test) == (mine.valid, mine.test)
    assert trained == ["w4-a8-x1-seed0"]


def test_packed_files_are_kept_where_asked_for(unbroken: SweepResult, tmp_path: Path) -> None:
    """Each is the run's model; two names of one training have a file each."""
    plan = unbroken.results[0].run.plan
    assert plan is not None
    (tmp_path / "mine.yaml").write_text(plan.to_yaml())
    grid = Sweep(weight_bits=(4, 32), plans=(str(tmp_path / "mine.yaml"),), save=True)
    result = run(tmp_path / "study", grid)
    assert len(result.results) == 3
    for each in result.results:
        file = result.study.packed_file(each.run.name)
        assert file.stat().st_size == each.size_bytes
        assert evaluate(file, tiny_task(), split="valid") == each.valid
        assert evaluate(file, tiny_task()) == each.test
    assert not unbroken.study.packed.exists()


def test_a_run_in_the_log_but_not_in_the_table_is_not_trained_again(
    unbroken: SweepResult, trained: list[str], tmp_path: Path
) -> None:
    """The process was killed between the two."""
    shutil.copytree(unbroken.study.path, tmp_path / "study")
    (tmp_path / "study/runs.csv").unlink()
    again = run(tmp_path / "study")
    assert trained == []
    assert [replace(each, seconds=0.0) for each in again.results] == [
        replace(each, seconds=0.0) for each in unbroken.results
    ]
