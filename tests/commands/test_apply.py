"""From a study to a packed file: what is promised, what is kept, what an interruption leaves."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoquant.applying.applied import Applied
from autoquant.artifact import manifest
from autoquant.artifact.assets import assets
from autoquant.artifact.packed_file import read
from autoquant.commands.apply import apply
from autoquant.commands.evaluate import evaluate
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import RunError, UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.settings import Search, Sweep, Training
from autoquant.study.chosen_plan import _listed
from autoquant.study.folder import Study
from autoquant.study.outcome import to_csv
from autoquant.tasks.language import LanguageTask
from autoquant.training import candidate, loop
from tests.toys import described, language_task

STEPS = 6
SETTINGS = Search(
    budget="0.8x",
    trials=1,
    device="cpu",
    references=(4,),
    baseline=Training(steps=4),
    qat=Training(steps=2, scores=0),
    final=Training(steps=STEPS, scores=2),
)


def toy(**options: object) -> LanguageTask:
    return language_task(tokens=700, dropout=0.2, **options)


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "study"
    search(toy(), SETTINGS, study=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def unbroken(searched, tmp_path_factory) -> Applied:
    """What apply makes without an interruption."""
    folder = tmp_path_factory.mktemp("unbroken") / "study"
    shutil.copytree(searched, folder)
    return apply(folder, toy(), progress=False)


@pytest.fixture
def study(searched, tmp_path) -> Path:
    """A fresh copy of the study, nothing applied yet."""
    return Path(shutil.copytree(searched, tmp_path / "study"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "applied").rglob("*") if path.is_file())


WHOLE = ["model.safetensors", "plan.yaml", "result.json", "vocabulary"]


def test_the_vocabulary_is_stored_beside_the_packed_file(unbroken):
    words = "".join(f"{word}\n" for word in toy().corpus.vocabulary)
    assert assets(unbroken.artifact) == {"vocabulary": words.encode()}
    assert unbroken.size_bytes == unbroken.artifact.stat().st_size  # it does not count


def test_a_result_of_before_gets_its_assets(unbroken, tmp_path):
    study = Path(shutil.copytree(unbroken.artifact.parents[2], tmp_path / "study"))
    (folder,) = (study / "applied").glob("*/assets")
    shutil.rmtree(folder)
    again = apply(study, toy(), progress=False)
    assert again.steps == unbroken.steps
    assert assets(again.artifact) == assets(unbroken.artifact)


def test_an_asset_whose_name_is_no_file_is_refused_before_training(study):
    task = toy()
    task.assets = lambda: {"../vocabulary": b""}
    with pytest.raises(UserError, match=r"name must be of letters, .* got '\.\./vocabulary'"):
        apply(study, task, progress=False)
    assert not (study / "applied").exists()


def test_what_apply_promises(unbroken):
    study = Study.open(unbroken.artifact.parents[2])
    plan = study.plan()
    network = described(prepare(toy().build_model()))
    assert unbroken.plan == plan == read(unbroken.artifact)[0].plan
    assert unbroken.size_bytes == manifest.size_bytes(network, plan, SETTINGS.quantizer)
    assert unbroken.size_bytes == unbroken.artifact.stat().st_size
    assert unbroken.steps == STEPS
    assert unbroken.valid == evaluate(unbroken.artifact, toy(), split="valid")
    assert unbroken.test == evaluate(unbroken.artifact, toy(), split="test")
    assert unbroken.baseline_valid == study.baseline().score
    assert math.isfinite(unbroken.baseline_test)
    assert unbroken.baseline_costs.size_bytes == study.baseline().size_bytes
    assert files(study.path) == WHOLE


def test_apply_again_reads_what_is_there(unbroken, monkeypatch):
    monkeypatch.setattr(candidate, "train", None)
    assert apply(unbroken.artifact.parents[2], toy(), progress=False) == unbroken


@pytest.mark.parametrize("damage", ["cut", "altered", "gone", "record"])
def test_a_damaged_file_is_made_anew(unbroken, study, damage):
    place = study / "applied" / unbroken.artifact.parent.name
    shutil.copytree(unbroken.artifact.parent, place)
    file, data = place / "model.safetensors", unbroken.artifact.read_bytes()
    altered = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
    file.write_bytes({"cut": data[:-5], "altered": altered, "gone": b"", "record": data}[damage])
    if damage == "gone":
        file.unlink()
    if damage == "record":
        file.with_name("result.json").write_text("{")
    apply(study, toy(), progress=False)
    assert file.read_bytes() == data


class Stopping(LanguageTask):
    """Raises KeyboardInterrupt at a training step."""

    def __init__(self, at: int) -> None:
        other = toy()
        vars(self).update(vars(other))
        self.at, self.taken = at, 0

    def loss(self, model, batch, carry):
        if model.training:
            self.taken += 1
            if self.taken > self.at:
                raise KeyboardInterrupt
        return super().loss(model, batch, carry)


@pytest.mark.parametrize("at", [1, STEPS - 2])
def test_a_resumed_apply_equals_an_unbroken_one(study, unbroken, monkeypatch, at):
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    shutil.rmtree(study / "trunks")  # else there is nothing to train: the search has done it
    with pytest.raises(KeyboardInterrupt):
        apply(study, Stopping(at), progress=False)
    left = files(study)
    assert len(left) == 2
    assert left[0].endswith(".checkpoint")
    assert left[1] == "plan.yaml"
    task = Stopping(STEPS)
    applied = apply(study, task, progress=False)
    assert task.taken == STEPS - at  # the rest only
    assert applied.artifact.read_bytes() == unbroken.artifact.read_bytes()
    assert (applied.valid, applied.test) == (unbroken.valid, unbroken.test)
    assert files(study) == WHOLE


def test_a_run_cut_off_after_training_is_not_trained_again(study, unbroken, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            "autoquant.commands.apply.write_result",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            apply(study, toy(), progress=False)
    applied = apply(study, Stopping(0), progress=False)
    assert applied.artifact.read_bytes() == unbroken.artifact.read_bytes()
    assert files(study) == WHOLE


def test_a_trial_by_its_name(study):
    applied = apply(study, toy(), trial="w4", progress=False)
    (outcome,) = (o for o in Study.open(study).outcomes() if o.trial == "w4")
    assert applied.artifact.parent == study / "applied/trial-w4"
    assert applied.plan == outcome.plan
    assert applied.size_bytes == outcome.size_bytes


def test_a_plan_of_ones_own(study):
    plan = Study.open(study).plan().with_choice("rnn.l0", width=2.0, weight_bits=1)
    applied = apply(study, toy(), plan=plan, progress=False)
    assert read(applied.artifact)[0].plan == plan
    assert applied.size_bytes == applied.artifact.stat().st_size


def test_changes_of_the_training(study):
    first = apply(study, toy(), changes={"steps": 2}, progress=False)
    assert first.steps == 2
    by_epochs = apply(study, toy(), changes={"epochs": 1}, progress=False)
    assert by_epochs.steps == toy().steps_per_epoch()
    assert by_epochs.artifact == first.artifact
    stored = json.loads((first.artifact.parent / "result.json").read_text())
    assert stored["steps"] == by_epochs.steps
    assert evaluate(first.artifact, toy(), split="valid") == by_epochs.valid
    with pytest.raises(UserError, match=r"must be among .*, got 'final\.stps'"):
        apply(study, toy(), changes={"stps": 1}, progress=False)


def test_from_scratch(study, monkeypatch):
    """As the float model is trained, without a teacher, in a folder of its own."""
    taught: list[object] = []

    def train(*given, teacher=None, **options):
        taught.append(teacher)
        return loop.train(*given, teacher=teacher, **options)

    monkeypatch.setattr(candidate, "train", train)
    applied = apply(study, toy(), init_from="scratch", progress=False)
    assert taught == [None]
    assert applied.steps == SETTINGS.baseline.steps
    assert applied.artifact.parent.name.endswith("-scratch")
    assert applied.size_bytes == applied.artifact.stat().st_size
    assert applied.valid == evaluate(applied.artifact, toy(), split="valid")
    assert apply(study, toy(), init_from="scratch", progress=False) == applied
    assert len(taught) == 1
    assert apply(study, toy(), progress=False).artifact != applied.artifact


@pytest.mark.parametrize("init_from", ["baseline", "scratch"])
def test_a_run_of_a_sweep(init_from, tmp_path):
    """Trained once more, it is what the sweep made: its first weights, its seed."""
    grid = Sweep(weight_bits=(4,), seeds=(0, 3), init_from=init_from)
    results = sweep(toy(), SETTINGS, sweep=grid, study=tmp_path / "study", progress=False).results
    last = results[-1]
    applied = apply(tmp_path / "study", toy(), trial=last.run.name, progress=False)
    assert (applied.valid, applied.size_bytes) == (last.valid, last.size_bytes)
    assert applied.valid != results[0].valid
    with pytest.raises(UserError, match="trial must name a run of the sweep, or plan a file"):
        apply(tmp_path / "study", toy(), progress=False)
    with pytest.raises(UserError, match=rf"must be one of the study's \({results[0].run.name}, "):
        apply(tmp_path / "study", toy(), trial="17", progress=False)


def test_a_trial_that_was_pruned_may_be_applied(study):
    folder = Study.open(study)
    kept = [
        replace(o, state="pruned", score=None) if o.trial == "0" else o for o in folder.outcomes()
    ]
    folder.outcomes_file.write_text(to_csv(kept, folder.baseline().size_bytes))
    applied = apply(study, toy(), trial=0, changes={"steps": 1}, progress=False)
    assert applied.plan == kept[-1].plan


def test_an_error_lists_no_more_names_than_a_person_reads():
    names = [str(i) for i in range(21)]
    assert _listed(names[:20]).split(", ") == names[:20]
    assert _listed(names).endswith("18, 19, ... 21 in all")
    assert _listed([]) == "none"


def test_what_is_refused_leaves_nothing(study, tmp_path):
    plan = Study.open(study).plan()
    odd = replace(plan, choices={**plan.choices, "dekoder": LayerChoice()})
    cases = {
        "takes a trial or a plan, got both": {"trial": "w4", "plan": plan},
        r"must be one of the study's \(w4, 0\), got '7'": {"trial": "7"},
        "must name layers of the model, got 'dekoder'": {"plan": odd},
        "steps must not be negative, got -1": {"changes": {"steps": -1}},
        "init_from must be baseline or scratch, got 'middle'": {"init_from": "middle"},
        "plan must be an autoquant.Plan": {"plan": "plan.yaml"},
        "device must be one that torch has here": {"device": "tpu"},
    }
    for match, options in cases.items():
        with pytest.raises(UserError, match=match):
            apply(study, toy(), progress=False, **options)
    with pytest.raises(UserError, match="must hold this task's model"):
        apply(study, toy(hidden=13), progress=False)
    with pytest.raises(UserError, match="must be a folder of a search or a sweep"):
        apply(tmp_path, toy(), progress=False)
    assert not (study / "applied").exists()


def test_a_run_that_diverges(study):
    with pytest.raises(RunError, match="must be finite"):
        apply(study, toy(), changes={"lr": 1e30}, progress=False)
    assert "model.safetensors" not in files(study)
    assert "result.json" not in files(study)
    apply(study, toy(), progress=False)
    assert files(study) == WHOLE


class Missing(LanguageTask):
    """A file of its test data is missing."""

    def score(self, model, split):
        if split == "test":
            Path("images/0037.png").read_bytes()
        return super().score(model, split)


def test_an_error_of_the_users_data_is_the_users(study):
    """Not one of the folder of the packed file."""
    task = Missing(toy().corpus)
    vars(task).update(vars(toy()))
    with pytest.raises(FileNotFoundError, match=r"images/0037\.png") as raised:
        apply(study, task, progress=False)
    (note,) = raised.value.__notes__
    assert note.startswith("in applying plan-")
    assert f"of '{study}', plan " in note
    apply(study, toy(), progress=False)
    assert files(study) == WHOLE


def test_a_folder_that_cannot_be_written(study):
    (study / "applied").write_text("in the way")
    with pytest.raises(RunError, match="could not be written: "):
        apply(study, toy(), progress=False)


def test_a_file_that_computes_something_else_is_refused(study, monkeypatch):
    torch.manual_seed(5)
    other = prepare(toy().build_model())
    monkeypatch.setattr("autoquant.artifact.packed_file.load", lambda path, model: other.eval())
    with pytest.raises(RunError, match="must compute what was trained, got other outputs"):
        apply(study, toy(), progress=False)
    assert "result.json" not in files(study)
