"""A study goes on with the task that it was made with, and with no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoquant.commands.apply import apply
from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.errors import UserError
from autoquant.settings import Search, Training
from autoquant.study import records
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.task_fingerprint import TaskFingerprint
from autoquant.task import Example
from autoquant.tasks.supervised import SupervisedTask
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.recognise import fingerprint_of

SETTINGS = Search(device="cpu", baseline=Training(steps=4, scores=0), trials=1, references=())
CPU = torch.device("cpu")


def data(seed: int, count: int = 96) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Smoother(Net):
    """The same parameters, another function."""

    def forward(self, values: Tensor) -> Tensor:
        first, _, last = self
        return last(torch.tanh(first(values)))


class Sampling(Net):
    """Draws in eval mode too."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(torch.dropout(values, 0.5, train=True))


def task(model: Any = Net, splits: tuple[int, ...] = (0, 1, 2), **options: Any) -> SupervisedTask:
    made: Any = SupervisedTask
    kind = options.pop("kind", made)
    return kind(model, *map(data, splits), **({"score": "loss"} | options))


class Unseeded(SupervisedTask):
    """Its batches, and its example, are others each time."""

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        while True:
            yield data(int(torch.randint(10**6, ())), 16)

    def example(self) -> Example:
        return Example((torch.randn(4, 6),), 4)


def baseline(study: Study, own: Any = None) -> tuple[nn.Module, BaselineRecord]:
    return load_or_train_baseline(own or task(), SETTINGS, study, CPU)


def study_of(path: Path) -> Study:
    return Study.create(path, {"task": {"name": "mine"}, **asdict(SETTINGS)})


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = study_of(tmp_path / "study")
    baseline(made)
    return made


OTHERS = {
    "training data": (task(splits=(7, 1, 2)), "other training data than the task now has"),
    "batch size": (task(batch_size=32), "2 training batches an epoch, got 3"),
    "validation data": (task(splits=(0, 8, 2)), "other validation data or another score"),
    "forward": (task(Smoother), "a float model with other outputs on the example"),
}


@pytest.mark.parametrize(("other", "words"), OTHERS.values(), ids=OTHERS)
def test_another_task_is_refused(other: Any, words: str, study: Study) -> None:
    with pytest.raises(UserError) as raised:
        baseline(study, other)
    start = f"study '{study.path}' was made with {words}"
    assert str(raised.value).startswith(start)
    assert str(raised.value).endswith("; take that task or another study folder")


@pytest.mark.parametrize("command", [search, sweep, apply], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("other", "words"),
    [
        (task(score="accuracy"), "metric=loss, got metric=accuracy"),
        (task(score=lambda a, b: 0.0, direction="maximize"), "metric=loss, got metric=<lambda>"),
    ],
    ids=["accuracy", "a function"],
)
def test_another_metric_is_refused(command: Any, other: Any, words: str, study: Study) -> None:
    """Before anything is trained or written."""
    before = {path: path.stat().st_mtime_ns for path in study.path.iterdir()}
    given = {"study": study.path, "progress": False}
    with pytest.raises(UserError, match=f"was made with {words}"):
        apply(task=other, **given) if command is apply else command(other, SETTINGS, **given)
    assert {path: path.stat().st_mtime_ns for path in study.path.iterdir()} == before


def test_another_direction_is_refused(study: Study) -> None:
    def loss(outputs: Any, targets: Any) -> float:
        return 0.0

    with pytest.raises(UserError, match="direction=minimize, got direction=maximize"):
        baseline(study, task(score=loss, direction="maximize"))


@pytest.mark.parametrize(
    "unstable",
    [task(kind=Unseeded), task(Sampling)],
    ids=["batches and example", "outputs and score"],
)
def test_what_is_never_twice_the_same_is_no_difference(unstable: Any, tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    baseline(study, unstable)
    for _ in range(3):
        torch.randn(7)
        baseline(study, unstable)
    fingerprint = study.baseline().fingerprint
    assert fingerprint is not None
    random = isinstance(unstable, Unseeded)
    assert (fingerprint.batches is None) == (fingerprint.example is None) == random
    assert (fingerprint.probe is None) == (not random)


def test_an_unstable_task_is_still_told_from_another(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    baseline(study, task(Sampling))
    with pytest.raises(UserError, match="other training data"):
        baseline(study, task(Sampling, splits=(7, 1, 2)))


def test_another_machine_rounds_differently(study: Study) -> None:
    class Rounded(Net):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values) * (1 + 1e-5)

    baseline(study, task(Rounded))


@pytest.mark.parametrize(
    "key", ["digest", "fingerprint"], ids=["without a digest", "without a fingerprint"]
)
def test_a_study_of_an_earlier_version_goes_on(key: str, study: Study) -> None:
    content = json.loads(study.baseline_record.read_text())
    del content[key]
    study.baseline_record.write_text(json.dumps(content))
    _, record = baseline(study)
    assert getattr(record, key) is None
    assert key not in records.to_json(record)


def test_weights_made_anew_are_of_the_same_data(study: Study) -> None:
    study.baseline_file.unlink()
    with pytest.raises(UserError, match="other training data"):
        baseline(study, task(splits=(7, 1, 2)))
    assert not study.baseline_file.exists()
    baseline(study)
    assert study.baseline_file.exists()


def flipped(study: Study) -> None:
    content = bytearray(study.baseline_file.read_bytes())
    content[-3] ^= 1
    study.baseline_file.write_bytes(content)


def of_another_seed(study: Study) -> None:
    other = study_of(study.path.with_name("other"))
    seeded = replace(SETTINGS, seed=1)
    load_or_train_baseline(task(), seeded, other, CPU)
    study.baseline_file.write_bytes(other.baseline_file.read_bytes())


@pytest.mark.parametrize("damage", [flipped, of_another_seed], ids=["a bit", "another seed"])
def test_weights_that_were_altered_are_refused(
    damage: Callable[[Study], None], study: Study
) -> None:
    model, _ = baseline(study)
    damage(study)
    with pytest.raises(UserError) as raised:
        baseline(study)
    assert str(raised.value).startswith(f"'{study.baseline_file}' must hold the weights")
    study.baseline_file.unlink()  # as the message says
    again, _ = baseline(study)
    assert all(torch.equal(*pair) for pair in zip(again.parameters(), model.parameters(), strict=1))


def test_a_process_killed_while_weights_are_made_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written first, else the new weights could be taken for altered ones."""
    study.write_baseline(replace(study.baseline(), digest="of another machine's weights"))
    study.baseline_file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("autoquant.training.baseline.write_bytes", None)
        with pytest.raises(TypeError):
            baseline(study)
    baseline(study)
    baseline(study)


# --- what a fingerprint looks at ------------------------------------------------------------------


@dataclass
class Sample:
    values: Tensor
    label: str


class AnyBatch(SupervisedTask):
    """Its batches are what a test puts there."""

    batch: Any = None

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        while True:
            yield self.batch


def batches_of(batch: Any) -> TaskFingerprint:
    made = task(kind=AnyBatch)
    made.batch = batch
    torch.manual_seed(0)
    return fingerprint_of(made, Net(), 0)


PAIRS = {
    "integers": (torch.tensor([1, 2]), torch.tensor([1, 3])),
    "texts": ({"a": "x"}, {"a": "y"}),
    "keys": ({"a": 1}, {"b": 1}),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "types": (torch.zeros(2), torch.zeros(2).double()),
    "arrays": ([np.arange(3.0)], [np.arange(3.0) + 0.1]),
    "one member of many": (torch.zeros(1000), torch.eye(1000)[3]),
    "dataclasses": (Sample(torch.ones(2), "x"), Sample(torch.ones(2), "y")),
    "complex": (torch.ones(2) * 1j, torch.ones(2) + 0j),
    "bools": (torch.tensor([True]), torch.tensor([False])),
    "half precision": (torch.ones(2).bfloat16(), torch.ones(2).bfloat16() * 2),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_batches_of_any_kind_are_told_apart(one: Any, other: Any) -> None:
    assert batches_of(one).difference(batches_of(one)) is None
    assert batches_of(one).difference(batches_of(other)) is not None


@pytest.mark.parametrize(
    "odd",
    [object(), float("nan"), torch.tensor([torch.nan]), torch.tensor([torch.inf]), torch.empty(0)],
    ids=["object", "nan", "nans", "infinity", "empty"],
)
def test_odd_batches_equal_themselves(odd: Any) -> None:
    assert batches_of(odd).batches is not None
    assert batches_of(odd).difference(batches_of(odd)) is None


class Scaled(Net):
    """Must be given an argument by name."""

    def forward(self, values: Tensor, *, scale: Tensor) -> Tensor:
        return super().forward(values * scale)


class ByName(SupervisedTask):
    """Its example has an argument by name."""

    scale: float = 1.0

    def example(self) -> Example:
        return Example((torch.ones(4, 6),), 4, keywords={"scale": torch.tensor(self.scale)})

    def score(self, model: nn.Module, split: Any) -> float:
        return 0.0


def test_arguments_by_name_are_told_apart() -> None:
    torch.manual_seed(0)
    model, one, other = Scaled(), task(kind=ByName), task(kind=ByName)
    other.scale = 2.0
    first, second = (fingerprint_of(each, model, 0) for each in (one, other))
    assert first.outputs is not None
    assert first.difference(fingerprint_of(one, model, 0)) is None
    assert first.difference(second) == "another example than the task now has"
    assert first.outputs != second.outputs


def test_a_fingerprint_is_kept_in_the_record_and_is_small(study: Study) -> None:
    record = study.baseline()
    assert record.fingerprint is not None
    assert records.from_json(BaselineRecord, json.loads(json.dumps(records.to_json(record)))) == (
        record
    )
    assert study.baseline_record.stat().st_size < 5000
