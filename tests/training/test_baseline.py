"""The float baseline: trained once, resumed, taken from elsewhere, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from autoquant.errors import Diverged, UserError
from autoquant.seeds import seed_everything
from autoquant.settings import Search, Training
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.tasks.language import LanguageTask, Window
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.scoring import score
from autoquant.training.weights import save_weights
from tests.progress.told import Told
from tests.toys import language_task
from tests.training.runs import same_weights

SETTINGS = Search(device="cpu", seed=3, baseline=Training(steps=8, scores=2))
CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {"batch_size": 50, "length": 4, "probe_tokens": 50}


def tiny_task(hidden: int = 8) -> LanguageTask:
    return language_task(10, 400, **OPTIONS, embedding=4, hidden=hidden, dropout=0.2)


def study_of(path: Path, settings: Search = SETTINGS) -> Study:
    return Study.create(path, {"task": {"name": "toy"}, **asdict(settings)})


def baseline(
    study: Study, settings: Search = SETTINGS, task: Any = None
) -> tuple[nn.Module, BaselineRecord]:
    return load_or_train_baseline(task or tiny_task(), settings, study, CPU)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, nn.Module, BaselineRecord]:
    study = study_of(tmp_path_factory.mktemp("trained") / "study")
    return study, *baseline(study)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        pytest.fail("there was nothing to train")

    monkeypatch.setattr("autoquant.training.baseline.train", refuse)


# --- trained here ---------------------------------------------------------------------------------


def test_a_new_one_is_trained_and_recorded(
    trained: tuple[Study, nn.Module, BaselineRecord],
) -> None:
    study, model, record = trained
    assert record.score == score(model, tiny_task(), "valid")
    assert (record.metric, record.direction) == ("perplexity", "minimize")
    assert (record.steps, [step for step, _ in record.history]) == (8, [3, 5])
    assert record.seconds > 0
    assert study.baseline() == record
    assert set(load_file(study.baseline_file)) == set(model.state_dict())
    names = {path.name for path in study.path.iterdir()}
    assert names == {"config.yaml", "baseline.safetensors", "baseline.json"}


def test_it_did_learn(trained: tuple[Study, nn.Module, BaselineRecord]) -> None:
    seed_everything(SETTINGS.seed)
    untrained = tiny_task().build_model()
    assert trained[2].score < score(untrained, tiny_task(), "valid")
    assert not same_weights(untrained, trained[1])


def test_sizes_by_hand(trained: tuple[Study, nn.Module, BaselineRecord]) -> None:
    words, embedding, hidden = len(tiny_task().corpus.vocabulary), 4, 8
    parameters = words * embedding + 4 * hidden * (embedding + hidden + 2) + words * (hidden + 1)
    assert (trained[2].parameters, trained[2].size_bytes) == (parameters, 4 * parameters)


@pytest.mark.usefixtures("no_training")
def test_the_second_time_it_is_read(trained: tuple[Study, nn.Module, BaselineRecord]) -> None:
    study, model, record = trained
    again, same = baseline(study)
    assert same == record
    assert same_weights(again, model)


def test_same_seed_same_weights(
    trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    again, record = baseline(study_of(tmp_path / "again"))
    assert same_weights(again, trained[1])
    assert record.score == trained[2].score
    other = replace(SETTINGS, seed=4)
    assert not same_weights(baseline(study_of(tmp_path / "other", other), other)[0], trained[1])


# --- interrupted ----------------------------------------------------------------------------------


class Interrupted(LanguageTask):
    """Its training is stopped before a certain step."""

    stop = 5

    def batches(self, seed: int, start: int = 0) -> Iterator[Window]:
        for step, batch in enumerate(super().batches(seed, start), start=start):
            if step == self.stop:
                raise KeyboardInterrupt
            yield batch


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_an_interrupted_one_goes_on(
    stop: int,
    trained: tuple[Study, nn.Module, BaselineRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a checkpoint after every step
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", -1.0)
    study = study_of(tmp_path / "study")
    task = Interrupted(tiny_task().corpus, **OPTIONS, embedding=4, hidden=8, dropout=0.2)
    task.stop = stop
    with pytest.raises(KeyboardInterrupt):
        baseline(study, task=task)
    assert not study.baseline_record.exists()

    seen: list[int] = []
    task = tiny_task()
    real = task.batches
    monkeypatch.setattr(
        task, "batches", lambda seed, start=0: (seen.append(start), real(seed, start))[1]
    )
    model, record = baseline(study, task=task)
    assert seen[0] == stop
    assert same_weights(model, trained[1])
    assert (record.score, record.history) == (trained[2].score, trained[2].history)
    assert not list(study.path.glob(".baseline*"))


def test_stopped_between_weights_and_record(
    trained: tuple[Study, nn.Module, BaselineRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    study = study_of(tmp_path / "study")
    with monkeypatch.context() as patch:
        patch.setattr(Study, "write_baseline", stop)
        with pytest.raises(KeyboardInterrupt):
            baseline(study)
    assert study.baseline_file.exists()
    model, record = baseline(study)
    assert same_weights(model, trained[1])
    assert record.score == trained[2].score


# --- taken from elsewhere -------------------------------------------------------------------------


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("source", ["file", "study"])
def test_pretrained(
    source: str, trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    origin = trained[0].baseline_file if source == "file" else trained[0].path
    settings = replace(SETTINGS, pretrained=str(origin), seed=9)
    study = study_of(tmp_path / "study", settings)
    model, record = baseline(study, settings)
    assert same_weights(model, trained[1])
    assert record.score == trained[2].score
    assert (record.steps, record.history) == (0, ())
    origin = study.baseline_file
    assert origin.read_bytes() == trained[0].baseline_file.read_bytes()  # a copy of its own
    again, same = baseline(study, replace(settings, pretrained="gone"))
    assert same == record
    assert same_weights(again, trained[1])


def missing(path: Path) -> None:
    path.with_name("empty").mkdir()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def not_safetensors(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 a pickle perhaps" * 20)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_models(path: Path) -> None:
    save_weights(tiny_task(hidden=9).build_model(), path)


def one_tensor_short(path: Path) -> None:
    state = load_file(path)
    del state["decoder.bias"]
    save_file(state, path)


def one_tensor_more(path: Path) -> None:
    save_file(load_file(path) | {"extra": torch.zeros(2)}, path)


DAMAGES = [truncated, not_safetensors, empty]
STRANGERS = [another_models, one_tensor_short, one_tensor_more]


@pytest.mark.parametrize("damage", [*DAMAGES, *STRANGERS], ids=lambda each: each.__name__)
def test_files_that_are_refused(
    damage: Any, trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(trained[0].baseline_file.read_bytes())
    damage(path)
    settings = replace(SETTINGS, pretrained=str(path))
    study = study_of(tmp_path / "study", settings)
    with pytest.raises(UserError) as raised:
        baseline(study, settings)
    words = str(raised.value)
    assert "\n" not in words
    assert str(path) in words
    rule = "must be a file of safetensors" if damage in DAMAGES else "must hold this task's model"
    assert rule in words
    assert not study.baseline_record.exists()
    assert not study.baseline_file.exists()


@pytest.mark.parametrize("damage", [truncated, another_models], ids=lambda each: each.__name__)
def test_a_baseline_that_was_damaged_since(
    damage: Any, trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study")
    for name in ("baseline.json", "baseline.safetensors"):
        (study.path / name).write_bytes((trained[0].path / name).read_bytes())
    baseline(study)
    damage(study.baseline_file)
    with pytest.raises(UserError) as raised:
        baseline(study)
    assert "\n" not in str(raised.value)
    assert str(study.baseline_file) in str(raised.value)


def test_weights_that_are_gone_are_made_anew(
    trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study")
    study.baseline_record.write_bytes(trained[0].baseline_record.read_bytes())
    model, record = baseline(study)
    assert record == trained[2]
    assert same_weights(model, trained[1])
    assert study.baseline_file.is_file()


def test_weights_made_anew_must_score_the_same(
    trained: tuple[Study, nn.Module, BaselineRecord], tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study")
    study.write_baseline(replace(trained[2], score=1.01 * trained[2].score))
    with pytest.raises(UserError, match=r"must score .* when it is made anew, got"):
        baseline(study)
    assert not study.baseline_file.exists()


def test_a_baseline_that_diverges(tmp_path: Path) -> None:
    class Explosive(LanguageTask):
        def loss(self, model: nn.Module, batch: Window, carry: Any) -> tuple[Tensor, Any]:
            loss, carry = super().loss(model, batch, carry)
            return loss * float("nan"), carry

    study = study_of(tmp_path / "study")
    task = Explosive(tiny_task().corpus, **OPTIONS, embedding=4, hidden=8, dropout=0.0)
    with pytest.raises(Diverged, match="must be finite"):
        baseline(study, task=task)
    assert not study.baseline_record.exists()


# --- precision ------------------------------------------------------------------------------------


class Narrow(LanguageTask):
    """A task whose model comes in another precision, and the same one each time."""

    dtype = torch.float16

    def build_model(self) -> nn.Module:
        return super().build_model().to(self.dtype)


def narrow_task(dtype: torch.dtype) -> Narrow:
    options = OPTIONS | {"embedding": 4, "hidden": 8, "dropout": 0.2}
    task = Narrow(tiny_task().corpus, **options)
    task.dtype = dtype
    return task


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_trained_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    task = narrow_task(dtype)
    told = Told()
    model, record = load_or_train_baseline(
        task, SETTINGS, study_of(tmp_path / "s"), CPU, progress=told
    )
    name = str(dtype).removeprefix("torch.")
    line = f"the model is in {name}: it is trained, and counted, in float32"
    assert told.lines == [line]
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert record.size_bytes == 4 * record.parameters
    again, same = baseline(study_of(tmp_path / "s"), task=task)
    assert same == record
    assert same_weights(again, model)


def test_double_precision_stays(tmp_path: Path) -> None:
    model, record = baseline(study_of(tmp_path / "study"), task=narrow_task(torch.float64))
    assert {each.dtype for each in model.parameters()} == {torch.float64}
    assert record.size_bytes == 8 * record.parameters


@pytest.mark.usefixtures("no_training")
def test_pretrained_weights_in_half_precision(
    trained: tuple[Study, nn.Module, BaselineRecord],
    tmp_path: Path,
) -> None:
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in load_file(trained[0].baseline_file).items()}, path)
    settings = replace(SETTINGS, pretrained=str(path))
    study = study_of(tmp_path / "study", settings)
    told = Told()
    model, record = load_or_train_baseline(tiny_task(), settings, study, CPU, progress=told)
    assert told.lines == ["the weights of pretrained are in float16: made float32"]
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert record.score == pytest.approx(trained[2].score, rel=1e-2)
