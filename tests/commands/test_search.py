"""Whole searches on a tiny task: the budget, the folder, interruptions, failures."""

from __future__ import annotations

import csv
import errno
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from autoquant import files
from autoquant.artifact import manifest
from autoquant.commands.search import SearchResult, search
from autoquant.costs.limit import limits_of
from autoquant.errors import Diverged, RunError, UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.settings import Limits, Scheme, Search, Space, Training, Widening
from autoquant.study.folder import Study
from autoquant.study.outcome import best
from autoquant.task import Direction, Split
from autoquant.tasks.language import LanguageTask
from autoquant.training import candidate
from tests.toys import described, language_task

SETTINGS = Search(
    budget="950B",  # of 2312 bytes of floats
    trials=4,
    device="cpu",
    sampler="random",
    prune=False,
    references=(8, 2),
    baseline=Training(steps=8, scores=1),
    qat=Training(steps=4, scores=2),
    widening=Widening(max_share=1.0, max_growth=1.0),
    space=Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.5)),
)
LIMIT = 950


def tiny_task() -> LanguageTask:
    """578 parameters; a trial takes a tenth of a second."""
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def run(folder: Path, task: Any = None, **changes: Any) -> SearchResult:
    return search(task or tiny_task(), replace(SETTINGS, **changes), study=folder, progress=False)


def proposals(outcomes: Any) -> list[tuple[Plan, str, float | None]]:
    """What was proposed and ran to an end: plan, state and score, in order."""
    return [
        (o.plan, o.state, o.score)
        for o in outcomes
        if o.role == "search" and o.state != "interrupted"
    ]


@pytest.fixture(scope="module", autouse=True)
def fast_disk() -> Iterator[None]:
    """Nothing here pulls the plug, so that no write needs to wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return run(tmp_path_factory.mktemp("unbroken") / "study")


class TrainCandidate:
    """The real train_candidate, counting its calls; ``before`` may raise in one of them."""

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        self.before = before
        self.plans: list[Plan] = []

    def __call__(self, base: Any, plan: Plan, *args: Any, **options: Any) -> Any:
        self.plans.append(plan)
        self.before(len(self.plans))
        return candidate.train_candidate(base, plan, *args, **options)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainCandidate]:
    def watch(before: Callable[[int], None] = lambda call: None) -> TrainCandidate:
        watcher = TrainCandidate(before)
        monkeypatch.setattr("autoquant.commands.search.train_candidate", watcher)
        return watcher

    return watch


def raising(error: BaseException, at: int) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call == at:
            raise error

    return before


# --- the result and the folder --------------------------------------------------------------------


def test_every_proposal_fits(unbroken: SearchResult) -> None:
    network = described(prepare(tiny_task().build_model()))
    assert unbroken.budget_bytes == LIMIT
    assert len(proposals(unbroken.outcomes)) == SETTINGS.trials
    for outcome in unbroken.outcomes:
        assert outcome.size_bytes == manifest.size_bytes(network, outcome.plan, Scheme())
        if outcome.role == "search":
            assert outcome.size_bytes <= LIMIT


def test_nothing_is_proposed_twice(unbroken: SearchResult) -> None:
    plans = [outcome.plan for outcome in unbroken.outcomes]
    assert len(set(plans)) == len(plans)


def test_proposals_fill_the_budget(unbroken: SearchResult) -> None:
    assert all(o.size_bytes > 0.95 * LIMIT for o in unbroken.outcomes if o.role == "search")


def test_references_are_uniform(unbroken: SearchResult) -> None:
    references = {o.trial: o for o in unbroken.outcomes if o.role == "reference"}
    assert list(references) == ["w8", "w2"]
    for name, outcome in references.items():
        bits = int(name[1:])
        for choice in outcome.plan.choices.values():
            assert (choice.weight_bits, choice.bits_of("recurrent"), choice.width) == (
                *(bits, bits, 1.0),
            )
        assert outcome.plan["decoder"].activation_bits == 8
    assert references["w8"].size_bytes > LIMIT  # it is there to compare with


def test_the_best_fits_and_is_the_best(unbroken: SearchResult) -> None:
    assert unbroken.best is not None
    within = [o.score for o in unbroken.outcomes if o.size_bytes <= LIMIT]
    assert unbroken.best.score == min(within)
    assert unbroken.best == best(unbroken.outcomes, LIMIT, "minimize")


def test_the_folder(unbroken: SearchResult) -> None:
    study = unbroken.study
    assert {path.name for path in study.path.iterdir() if path.name[0] != "."} == {
        *("config.yaml", "journal.log", "baseline.safetensors", "baseline.json"),
        *("profile.json", "sensitivity.json", "outcomes.csv", "plan.yaml"),
    }
    assert {path.name for path in study.path.iterdir() if path.name[0] == "."} == {".lock"}


def test_files_parse(unbroken: SearchResult) -> None:
    study = unbroken.study
    rows = list(csv.DictReader(study.outcomes_file.read_text().splitlines()))
    assert [row["trial"] for row in rows] == [o.trial for o in unbroken.outcomes]
    assert [o.plan for o in study.outcomes()] == [o.plan for o in unbroken.outcomes]
    assert unbroken.best is not None
    assert study.plan() == unbroken.best.plan
    assert study.baseline() == unbroken.baseline
    profile = json.loads(study.profile_file.read_text())
    assert [layer["name"] for layer in profile["layers"]] == ["rnn.l0", "decoder", "embedding"]
    config = yaml.safe_load(study.config_file.read_text())
    assert config["task"] == {"name": "toy"}
    assert config["budget"] == "950B"
    assert set(load_file(study.baseline_file)) == set(tiny_task().build_model().state_dict())


def test_every_trial_has_its_story(unbroken: SearchResult) -> None:
    for outcome in unbroken.outcomes:
        assert (outcome.state, outcome.steps, outcome.reason) == ("complete", 4, "")
        assert [step for step, _ in outcome.history] == [1, 3]
        assert outcome.seconds > 0


def test_without_sensitivity_bits_start_even(unbroken: SearchResult, tmp_path: Path) -> None:
    even = run(tmp_path / "even", sensitivity=0)
    assert not even.study.sensitivity_file.exists()
    widths = [plan["rnn.l0"].width for plan, *_ in proposals(even.outcomes)]
    assert widths[:2] == [1.0, 1.5]
    assert [p for p, *_ in proposals(even.outcomes)] != [
        p for p, *_ in proposals(unbroken.outcomes)
    ]


def test_same_seed_same_search(unbroken: SearchResult, tmp_path: Path) -> None:
    again = run(tmp_path / "again")
    assert proposals(again.outcomes) == proposals(unbroken.outcomes)
    assert [o.score for o in again.outcomes] == [o.score for o in unbroken.outcomes]
    assert again.baseline.score == unbroken.baseline.score


def test_another_seed_another_search(unbroken: SearchResult, tmp_path: Path) -> None:
    other = run(tmp_path / "other", seed=1)
    assert other.baseline.score != unbroken.baseline.score
    assert [p for p, *_ in proposals(other.outcomes)] != [
        p for p, *_ in proposals(unbroken.outcomes)
    ]


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
    assert sorted(result.figures) == sorted((tmp_path / "study/figures").iterdir())
    assert capsys.readouterr().out == f"{result}\n"
    assert f"Pareto plot: {tmp_path / 'study/figures/pareto.png'}\n" in str(result)


def test_origin_is_written_down(tmp_path: Path) -> None:
    small = replace(SETTINGS, trials=1, references=())
    origin = {"_target_": "toys.tiny", "words": 10}
    search(tiny_task(), small, study=tmp_path / "study", origin=origin, progress=False)
    assert Study.open(tmp_path / "study").config()["task"] == origin


# --- going on -------------------------------------------------------------------------------------


def test_more_trials_continue(
    unbroken: SearchResult, watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    first = run(tmp_path / "study", trials=2)
    watcher = watched()
    second = run(tmp_path / "study")
    assert len(watcher.plans) == 2
    assert second.outcomes[: len(first.outcomes)] == first.outcomes
    assert proposals(second.outcomes) == proposals(unbroken.outcomes)


@pytest.mark.parametrize("trials", [2, 1], ids=["as many", "fewer"])
def test_nothing_left_to_do(
    trials: int, watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    first = run(tmp_path / "study", trials=2, references=(2,))
    watcher = watched()
    again = run(tmp_path / "study", trials=trials, references=(2,))
    assert watcher.plans == []
    assert again.outcomes == first.outcomes


def test_a_search_ends_when_every_plan_was_tried(tmp_path: Path) -> None:
    space = Space(weight_bits=(2, 4), activation_bits=(8,), width=(1.0,), split_recurrent=False)
    result = run(tmp_path / "study", space=space, trials=50, references=(2,), budget="100kB")
    plans = [plan for plan, *_ in proposals(result.outcomes)]
    assert len(plans) == len(set(plans)) == 2**3 - 1  # all but the reference


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"budget": "3.7kB"}, "budget=950B, got budget=3.7kB"),
        ({"seed": 1}, "seed=0, got seed=1"),
        ({"qat": Training(steps=5, scores=2)}, "qat.steps=4, got qat.steps=5"),
        ({"references": (8,)}, "references=[8, 2], got references=[8]"),
    ],
    ids=["budget", "seed", "qat", "references"],
)
def test_another_configuration_is_refused(
    changes: dict[str, Any], named: str, unbroken: SearchResult
) -> None:
    before = unbroken.study.outcomes_file.read_bytes()
    with pytest.raises(UserError) as raised:
        run(unbroken.study.path, **changes)
    assert named in str(raised.value)
    assert unbroken.study.outcomes_file.read_bytes() == before


# --- interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [2, 4], ids=["in a reference", "in a proposal"])
def test_ctrl_c(
    call: int,
    unbroken: SearchResult,
    watched: Callable[..., TrainCandidate],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched(raising(KeyboardInterrupt(), at=call))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study")
    monkeypatch.undo()
    left = Study.open(tmp_path / "study").outcomes()
    assert [o.state for o in left].count("complete") == call - 1
    assert [o.state for o in left].count("interrupted") == 1
    result = run(tmp_path / "study")
    assert [o for o in left if o.state == "complete"] == [
        replace(o, seconds=round(o.seconds, 2)) for o in result.outcomes if o.state == "complete"
    ][: call - 1]
    assert proposals(result.outcomes) == proposals(unbroken.outcomes)
    assert [o.state for o in result.outcomes].count("interrupted") == 1


KILLED = """
import sys
import time
import torch
from tests.commands.test_search import run
from autoquant.commands import search
from autoquant.training import candidate
torch.set_num_threads(1)
calls = 0

def train_candidate(*args, on_score, **options):
    global calls
    calls += 1
    def slow(step, score):
        on_score(step, score)
        if calls == 5:  # the third proposal, in the middle of its training
            print("now", flush=True)
            time.sleep(600)
    return candidate.train_candidate(*args, on_score=slow, **options)

search.train_candidate = train_candidate
run(__import__("pathlib").Path(sys.argv[1]))
"""


def test_kill(unbroken: SearchResult, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        left = Study.open(folder).outcomes()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert [o.state for o in left] == ["complete"] * 4
    assert proposals(left) == proposals(unbroken.outcomes)[:2]
    result = run(folder)
    assert [o for o in result.outcomes if o.state == "interrupted"] != []
    assert proposals(result.outcomes) == proposals(unbroken.outcomes)
    finished = [o for o in result.outcomes if o.state == "complete"]
    assert [(o.trial, o.score) for o in finished[:4]] == [(o.trial, o.score) for o in left]
    (interrupted,) = (o for o in result.outcomes if o.state == "interrupted")
    assert interrupted.plan == proposals(unbroken.outcomes)[2][0]
    assert interrupted.steps == 1  # it had one score


def test_a_second_search_is_refused(unbroken: SearchResult, tmp_path: Path) -> None:
    before = unbroken.study.outcomes_file.read_bytes()
    with unbroken.study.locked(), pytest.raises(UserError, match="one search at a time"):
        run(unbroken.study.path, trials=9)
    assert unbroken.study.outcomes_file.read_bytes() == before


# --- trials that go wrong -------------------------------------------------------------------------


def test_a_diverged_trial_is_recorded_and_the_search_goes_on(
    watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    watched(raising(Diverged("the training loss must be finite, got nan at step 20"), at=4))
    result = run(tmp_path / "study")
    ends = [o.state for o in result.outcomes if o.role == "search"]
    assert ends == ["complete", "diverged", "complete", "complete"]
    diverged = result.outcomes[3]
    assert (diverged.score, diverged.steps) == (None, 0)
    assert "nan" in diverged.reason
    plans = [plan for plan, *_ in proposals(result.outcomes)]
    assert len(set(plans)) == len(plans)
    assert result.best is not None
    assert result.best.state == "complete"


class Explosive(LanguageTask):
    """Its loss is not a number while the model is quantized to a width of its own."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        loss, carry = super().loss(model, batch, carry)
        wide = model.get_submodule("decoder").weight.shape[1] > 8
        return loss * float("nan") if wide and model.training else loss, carry


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    tiny = tiny_task()
    task = Explosive(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    result = run(tmp_path / "study", task, sensitivity=0)  # starts at each width
    for outcome in result.outcomes:
        wide = outcome.plan["rnn.l0"].width > 1
        assert outcome.state == ("diverged" if wide else "complete")
    assert {o.state for o in result.outcomes} == {"diverged", "complete"}
    assert result.best is not None
    assert result.best.plan["rnn.l0"].width == 1.0


class Hungry(LanguageTask):
    """Its loss needs more memory than any machine has while the model has a width of its own."""

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        if model.training and model.get_submodule("decoder").weight.shape[1] > 8:
            torch.empty(10**15)
        return super().loss(model, batch, carry)


def test_a_trial_without_enough_memory_has_failed(tmp_path: Path) -> None:
    tiny = tiny_task()
    task = Hungry(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    short = {"sensitivity": 0, "trials": 2, "references": ()}  # starts at each width
    result = run(tmp_path / "study", task, **short)
    failed = [o for o in result.outcomes if o.plan["rnn.l0"].width > 1]
    assert {o.state for o in failed} == {"failed"}
    assert all(o.reason.startswith("not enough memory: ") for o in failed)
    assert {o.state for o in result.outcomes if o not in failed} == {"complete"}
    assert result.best is not None
    assert [o.state for o in result.study.outcomes()] == [o.state for o in result.outcomes]
    again = run(tmp_path / "study", task, **short)  # a restart does not try them again
    assert again.outcomes == result.outcomes


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RunError("widening failed")],
    ids=["MemoryError", "accelerator", "RunError"],
)
def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    error: Exception, watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    watched(raising(error, at=4))
    result = run(tmp_path / "study")
    ends = [o.state for o in result.outcomes if o.role == "search"]
    assert ends == ["complete", "failed", "complete", "complete"]
    assert result.outcomes[3].reason


def test_an_error_of_the_user_names_the_trial_and_the_plan(
    unbroken: SearchResult, watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    watched(raising(FileNotFoundError(2, "No such file", "images/37.png"), at=4))
    with pytest.raises(FileNotFoundError, match=r"images/37\.png") as raised:
        run(tmp_path / "study")
    last = Study.open(tmp_path / "study").outcomes()[-1]
    assert raised.value.__notes__ == [f"in trial 1 of '{tmp_path / 'study'}', {last.plan.summary}"]
    assert (last.trial, last.state) == ("1", "interrupted")
    assert last.reason.startswith("FileNotFoundError: ")
    assert proposals(run(tmp_path / "study").outcomes) == proposals(unbroken.outcomes)


class Unreadable(LanguageTask):
    """Its training data are files, one of which is missing."""

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        yield next(super().batches(seed, start))
        Path("images/0037.png").read_bytes()


def test_an_error_of_the_users_data_is_the_users(tmp_path: Path) -> None:
    """Not one of the study's folder."""
    tiny = tiny_task()
    task = Unreadable(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    with pytest.raises(FileNotFoundError, match=r"images/0037\.png"):
        run(tmp_path / "study", task)


# --- a damaged journal ----------------------------------------------------------------------------


def emptied(journal: Path) -> None:
    journal.write_bytes(b"")


def removed(journal: Path) -> None:
    journal.unlink()


def cut_in_the_middle(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])


def without_its_beginning(journal: Path) -> None:
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[9:]))


def with_a_flipped_bit(journal: Path) -> None:
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] |= 0x80
    journal.write_bytes(content)


def overwritten(journal: Path) -> None:
    journal.write_bytes(b"PK\x03\x04 something else\n" * 9)


def of_lists(journal: Path) -> None:
    journal.write_text("[]\n" + "[" * 9999 + "\n")


DAMAGES = [emptied, removed, cut_in_the_middle, without_its_beginning, with_a_flipped_bit]
DAMAGES += [overwritten, of_lists]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_a_damaged_journal_is_restored_from_the_table(
    damage: Callable[[Path], None],
    unbroken: SearchResult,
    watched: Callable[..., TrainCandidate],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Study(Path(shutil.copytree(unbroken.study.path, tmp_path / "study")))
    damage(study.journal_file)
    content = study.journal_file.is_file() and study.journal_file.stat().st_size > 0
    watcher = watched()
    again = run(study.path)
    assert watcher.plans == []
    assert [replace(o, seconds=round(o.seconds, 2)) for o in unbroken.outcomes] == [*again.outcomes]
    (line,) = capsys.readouterr().err.splitlines()
    assert str(study.journal_file) in line
    assert study.journal_file.with_name("journal.log.damaged").is_file() == content
    assert run(study.path).outcomes == again.outcomes
    assert not capsys.readouterr().err


def test_a_restored_search_goes_on_as_it_would_have(tmp_path: Path) -> None:
    """With a sampler that learns from the trials' parameters."""
    changes = {"sampler": "tpe", "sensitivity": 0, "references": ()}
    whole = run(tmp_path / "whole", trials=5, **changes)
    first = run(tmp_path / "study", trials=3, **changes)
    emptied(first.study.journal_file)
    again = run(tmp_path / "study", trials=5, **changes)
    assert proposals(again.outcomes) == proposals(whole.outcomes)


def test_interrupted_trials_are_restored_with_their_numbers(
    unbroken: SearchResult, watched: Callable[..., TrainCandidate], tmp_path: Path
) -> None:
    watched(raising(KeyboardInterrupt(), at=4))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study")
    study = Study.open(tmp_path / "study")
    emptied(study.journal_file)
    result = run(tmp_path / "study")
    assert [o.trial for o in result.outcomes] == ["w8", "w2", "0", "1", "2", "3", "4"]
    assert result.outcomes[3].state == "interrupted"
    assert proposals(result.outcomes) == proposals(unbroken.outcomes)


@pytest.mark.parametrize("table", [None, "trial,role\n1"], ids=["missing", "damaged"])
def test_a_damaged_journal_without_a_table_is_refused(table: str | None, tmp_path: Path) -> None:
    study = run(tmp_path / "study", trials=1).study
    overwritten(study.journal_file)
    study.outcomes_file.unlink()
    if table is not None:
        study.outcomes_file.write_text(table)
    with pytest.raises(UserError) as raised:
        run(tmp_path / "study", trials=1)
    file = study.journal_file if table is None else study.outcomes_file
    assert str(raised.value).startswith(f"'{file}' must be as a search wrote it")
    assert "remove it" in str(raised.value)


def test_a_damaged_table_is_written_again(unbroken: SearchResult, tmp_path: Path) -> None:
    study = run(tmp_path / "study").study
    study.outcomes_file.write_text("trial,role\n1")
    assert proposals(run(tmp_path / "study").outcomes) == proposals(unbroken.outcomes)
    assert proposals(study.outcomes()) == proposals(unbroken.outcomes)


def test_nothing_completes(watched: Callable[..., TrainCandidate], tmp_path: Path) -> None:
    def before(call: int) -> None:
        raise Diverged("not finite")

    watched(before)
    result = run(tmp_path / "study", trials=2, references=(2,))
    assert result.best is None
    assert [o.state for o in result.outcomes] == ["diverged"] * 3
    assert not result.study.plan_file.exists()


def test_a_bad_trial_is_pruned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = 0

    def train_candidate(*args: Any, on_score: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        bad = 1000.0 if calls == 6 else 0.0
        return candidate.train_candidate(
            *args, on_score=lambda step, score: on_score(step, score + bad), **options
        )

    monkeypatch.setattr("autoquant.commands.search.train_candidate", train_candidate)
    result = run(tmp_path / "study", prune=True, trials=6, references=(2,))
    pruned = [o for o in result.outcomes if o.score is not None and o.score > 1000]
    assert [o.state for o in pruned] == ["pruned"]
    assert (pruned[0].steps, len(pruned[0].history)) == (1, 1)
    assert pruned[0].reason == "worse than three quarters of the trials"
    assert len(proposals(result.outcomes)) == 6


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
    result = run(tmp_path / "study", budget=f"{smallest}B", trials=3, references=(), space=space)
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
    result = run(tmp_path / "study", pretrained=str(path), trials=1)
    assert proposals(result.outcomes) == proposals(unbroken.outcomes)[:1]
    path.unlink()
    result = run(tmp_path / "study", pretrained=str(path), trials=2)
    assert proposals(result.outcomes) == proposals(unbroken.outcomes)[:2]


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
    real = Path.write_text

    def write_text(path: Path, *args: Any, **options: Any) -> int:
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(files.Path, "write_text", write_text)
    with pytest.raises(RunError) as raised:
        run(tmp_path / "study", trials=1, references=())
    assert "\n" not in str(raised.value)
    assert "No space left on device" in str(raised.value)
    monkeypatch.undo()
    again = run(tmp_path / "study", trials=1, references=())  # once there is room
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
    tiny = tiny_task()
    task = HigherIsBetter(tiny.corpus, 50, 4, 50, embedding=4, hidden=8, dropout=0.0)
    result = run(tmp_path / "study", task)
    assert result.baseline.direction == "maximize"
    assert proposals(result.outcomes) == [
        (plan, state, -score) for plan, state, score in proposals(unbroken.outcomes)
    ]
    assert result.best is not None
    assert unbroken.best is not None
    assert result.best.plan == unbroken.best.plan
    assert result.study.plan() == result.best.plan
    assert "minus perplexity" in result.study.plan_file.read_text().splitlines()[0]
