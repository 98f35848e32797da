from __future__ import annotations

import functools
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import autoquant
from autoquant.errors import UserError
from autoquant.seeds import seed_everything
from autoquant.settings import settings_for
from autoquant.tasks.supervised import SupervisedTask


def samples(count: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def furthest(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) - targets).abs().max()


def task_of(**changes: Any) -> SupervisedTask:
    given: dict[str, Any] = {"model": build, "train": samples(), "valid": samples(20, 1)}
    given |= {"test": samples(20, 2), "batch_size": 8}
    return SupervisedTask(**(given | changes))


def test_it_is_a_task_that_can_be_searched(tmp_path: Any) -> None:
    task = task_of(train=samples(400))
    assert isinstance(task, autoquant.Task)
    training = autoquant.Training(steps=150, lr=0.02)
    short = {"trials": 1, "references": (8,), "device": "cpu", "seed": 1}
    settings = autoquant.Search(budget="4x", baseline=training, qat=training, **short)  # type: ignore[arg-type]
    found = autoquant.search(task, settings, study=tmp_path / "study", progress=False)
    assert (found.baseline.metric, found.baseline.direction) == ("accuracy", "maximize")
    assert found.baseline.score > 0.8
    assert found.best is not None


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1, 4, 9])
def test_batches_start_anywhere(start: int) -> None:
    task = task_of()
    whole = list(islice(task.batches(3), 12))
    rest = list(islice(task.batches(3, start), 12 - start))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[start:], rest, strict=True))


def test_an_epoch_shows_every_sample_once_in_even_batches() -> None:
    task = task_of(train=samples(33))
    assert task.steps_per_epoch() == 5
    batches = list(islice(task.batches(0), 10))
    assert {len(targets) for _, targets in batches} == {6, 7}
    for epoch in (batches[:5], batches[5:]):
        seen = torch.cat([inputs for inputs, _ in epoch])
        assert torch.equal(seen.sort(0).values, samples(33)[0].sort(0).values)
    assert not torch.equal(batches[0][0], batches[5][0])


class Pairs(Dataset[Any]):
    """Two inputs and a target a sample."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return torch.full((3,), float(index)), index, index % 2


def test_datasets() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, values: Tensor, index: Tensor) -> Tensor:
            assert torch.equal(values[:, 0], index.to(values.dtype))
            return self.linear(values)

    task = task_of(model=Sum, train=Pairs(), valid=Pairs(), test=Pairs(), batch_size=4)
    model = task.build_model()
    loss, carry = task.loss(model, next(task.batches(0)), None)
    assert (loss.shape, carry) == ((), None)
    assert 0 <= task.score(model, "valid") <= 1
    assert [tuple(each.shape) for each in task.example().inputs] == [(4, 3), (4,)]
    tensors, dataset = task_of(), task_of(train=TensorDataset(*samples()))
    first, second = next(tensors.batches(1)), next(dataset.batches(1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inputs_take_the_model_s_precision() -> None:
    inputs, targets = samples()
    task = task_of(train=(inputs.double(), targets), model=lambda: build().to(torch.bfloat16))
    model = task.build_model()
    assert task.loss(model, next(task.batches(0)), None)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("build_first", [True, False])
def test_the_example_has_the_model_s_precision(build_first: bool) -> None:
    task = task_of(model=lambda: build().double())
    if build_first:
        task.build_model()
    state = torch.get_rng_state()
    assert [value.dtype for value in task.example().inputs] == [torch.float64]
    assert torch.equal(torch.get_rng_state(), state)


# --- model, loss, score ---------------------------------------------------------------------------


def test_a_factory_follows_the_seed() -> None:
    weights = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        weights.append(next(task_of().build_model().parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_is_copied() -> None:
    own = build()
    first = task_of(model=own).build_model()
    assert first is not own
    assert torch.equal(next(first.parameters()), next(own.parameters()))


def test_callables_by_import_path() -> None:
    task = task_of(loss="torch.nn.functional.mse_loss", model="torch.nn.Flatten")
    assert task._loss is F.mse_loss
    assert isinstance(task.build_model(), nn.Flatten)
    task = task_of(score="torch.Tensor.dist", direction="minimize")
    assert task.metric == "dist"


@pytest.mark.parametrize("ignored", [-100, 1])
def test_a_batch_without_a_target_that_counts_changes_nothing(ignored: int) -> None:
    loss = functools.partial(F.cross_entropy, ignore_index=ignored)
    task = task_of(loss=F.cross_entropy if ignored == -100 else loss)
    model, inputs = task.build_model(), samples()[0]
    batch = (inputs, torch.full((len(inputs),), ignored))
    value, _ = task.loss(model, batch, None)
    value.backward()
    assert float(value.detach()) == 0.0
    assert all(bool((p.grad == 0).all()) for p in model.parameters() if p.grad is not None)
    if ignored == -100:
        value, _ = task.distillation_loss(model, model, batch, None, 0.5)
        assert float(value.detach()) == 0.0


@pytest.mark.parametrize("split", ["valid", "test", "probe"])
def test_scores(split: Any) -> None:
    task = task_of(score=furthest, direction="minimize", probe=20)
    model = task.build_model()
    inputs, targets = samples(20, 2 if split == "test" else 1)
    assert task.score(model, split) == float(furthest(model(inputs), targets))
    assert (task.metric, task.direction) == ("furthest", "minimize")
    assert task_of(score="perplexity").direction == "minimize"


def test_the_probe_is_spread_over_the_valid_split() -> None:
    seen: list[Tensor] = []
    valid = torch.arange(20.0)[:, None].expand(-1, 4), torch.zeros(20, dtype=torch.long)
    task = task_of(valid=valid, probe=5, score=lambda o, t: len(o), direction="maximize")
    model = task.build_model()
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0][:, 0]))
    assert task.score(model, "probe") == 5
    assert torch.cat(seen).tolist() == [0, 4, 9, 14, 19]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number from 1 up, got 0"),
        ({"probe": "all"}, "probe must be a whole number from 1 up, got 'all'"),
        ({"model": 3}, "model must be something to call or its import path, got 3"),
        ({"model": "nowhere.Net"}, "model must be an import path such as .*, got 'nowhere.Net'"),
        ({"loss": "torch.nn.functional.mine"}, "loss must be an import path .*mine'"),
        ({"loss": "torch.pi"}, "loss must be something to call or its import path, got 'torch.pi'"),
        ({"score": "f1"}, "score must be one of accuracy, loss, perplexity, or an import path"),
        ({"score": furthest}, "direction must be minimize or maximize where score is a function"),
        (
            {"direction": "minimize"},
            "direction must be maximize for score=accuracy, got 'minimize'",
        ),
        ({"train": torch.zeros(3)}, "items of train must be tuples .*, got a Tensor"),
        (
            {"train": (torch.zeros(3),)},
            r"train must be inputs and targets .*, got tensors of \[3\]",
        ),
        ({"valid": (torch.zeros(3), torch.zeros(2))}, r"of one length, got tensors of \[3, 2\]"),
        (
            {"test": (torch.zeros(0), torch.zeros(0))},
            "test must have at least one sample, got none",
        ),
        (
            {"test": iter([])},
            "test must be something to iterate more than once, .*, got a list_iterator",
        ),
        (
            {"test": 3},
            "test must be tensors, a dataset with a length and items, or a DataLoader, got 3",
        ),
        (
            {"valid": ()},
            "valid must be inputs and targets of one length, got tensors of no samples",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        task_of(**changes)


def test_a_factory_of_something_else() -> None:
    with pytest.raises(UserError, match=r"model must make a torch\.nn\.Module, got a dict"):
        task_of(model=dict).build_model()


def test_an_import_error_inside_a_module_is_not_hidden(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "broken_in_a_test.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        task_of(model="broken_in_a_test.Net")


def test_a_teacher_mixes_with_the_targets():
    torch.manual_seed(0)
    inputs, targets = torch.randn(9, 4), torch.randint(3, (9,))
    data = (inputs, targets)
    task = SupervisedTask(lambda: nn.Linear(4, 3), data, data, data)
    model, teacher = task.build_model(), task.build_model()
    loss, carry = task.distillation_loss(model, teacher, data, None, 0.25)
    mixed = 0.25 * teacher(inputs).softmax(1) + 0.75 * nn.functional.one_hot(targets, 3)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(model(inputs), mixed))
    assert carry is None


# --- a user's own data and models -----------------------------------------------------------------


class Mapped(nn.Module):
    """Takes arguments by name, returns a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"logits": self.linear(x) * scale[:, None], "scale": scale}


def mapped_loader(**options: Any) -> DataLoader[Any]:
    inputs, targets = samples()
    items = [
        {"x": x, "scale": torch.tensor(1.0), "labels": y}
        for x, y in zip(inputs, targets, strict=True)
    ]
    return DataLoader(items, batch_size=8, **options)  # type: ignore[arg-type]


def mapped_task(**changes: Any) -> SupervisedTask:
    loader = mapped_loader()
    options = {"train": mapped_loader(shuffle=True), "valid": loader, "test": loader}
    return task_of(**({"model": Mapped(), "output": "logits", **options} | changes))


def test_batches_of_mappings_and_outputs_that_are_mappings() -> None:
    task = mapped_task()
    model, batch = task.build_model(), next(task.batches(0))
    expected = F.cross_entropy(model(batch["x"], batch["scale"])["logits"], batch["labels"])
    torch.testing.assert_close(task.loss(model, batch, None)[0], expected)
    inputs, targets = samples()
    right = model(inputs, torch.ones(len(inputs)))["logits"].argmax(1) == targets
    assert task.score(model, "valid") == pytest.approx(float(right.float().mean()))
    assert sorted(task.example().keywords) == ["scale", "x"]
    assert task.example().units == 8
    loss, _ = task.distillation_loss(model, task.build_model(), batch, None, 1.0)
    distribution = model(batch["x"], batch["scale"])["logits"].softmax(1)
    torch.testing.assert_close(
        loss, F.cross_entropy(model(batch["x"], batch["scale"])["logits"], distribution)
    )


def test_loss_and_score_see_whole_outputs_and_targets() -> None:
    def both(outputs: dict[str, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["logits"], targets[0]) + targets[1].float().mean()

    def share(outputs: dict[str, Tensor], targets: tuple[Tensor, Tensor]) -> float:
        assert len(outputs["logits"]) == len(targets[0]) == len(targets[1]) == 30
        return float((outputs["logits"].argmax(1) == targets[1]).float().mean())

    def unpack(batch: Any) -> Any:
        return {"x": batch["x"], "scale": batch["scale"]}, (batch["labels"], batch["labels"])

    options: dict[str, Any] = {"loss": both, "score": share, "direction": "maximize"}
    task = mapped_task(output=None, unpack=unpack, **options)
    assert task.loss(task.build_model(), next(task.batches(0)), None)[0] > 0
    assert 0 <= task.score(task.build_model(), "valid") <= 1


class Metric:
    """As torchmetrics has them."""

    def reset(self) -> None:
        self.right = self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += int((outputs.argmax(1) == targets).sum())
        self.total += len(targets)

    def compute(self) -> Tensor:
        return torch.tensor(self.right / self.total)


def test_a_metric_is_a_score() -> None:
    task = task_of(score=Metric(), direction="maximize")
    model = task.build_model()
    assert (task.metric, task.direction) == ("Metric", "maximize")
    assert task.score(model, "test") == pytest.approx(task_of().score(model, "test"))
    assert task.score(model, "test") == pytest.approx(task_of().score(model, "test"))  # reset


def test_a_trained_instance_is_not_trained_again_unless_asked(tmp_path: Any) -> None:
    model = build()
    instant = autoquant.Training(steps=0)
    short: dict[str, Any] = {"trials": 1, "references": (), "qat": instant, "device": "cpu"}
    for name, baseline, steps in (("as it is", {}, 0), ("asked", {"epochs": 1.0}, 4)):
        settings = autoquant.Search(
            "9x", **short, **({"baseline": autoquant.Training(**baseline)} if baseline else {})
        )
        found = autoquant.search(task_of(model=model), settings, study=tmp_path / name)
        assert found.baseline.steps == steps
    preferred = autoquant.Search(baseline=autoquant.Training(epochs=2.0))
    assert settings_for(task_of(model=model, preferred=preferred)).baseline.steps is None
    assert settings_for(task_of(model=model)).baseline.steps == 0
    assert settings_for(task_of()).baseline.steps is None


def test_a_model_that_was_trained_again_needs_another_study(tmp_path: Any) -> None:
    instant = autoquant.Training(steps=0)
    settings = autoquant.Search("9x", trials=1, references=(), qat=instant, device="cpu")
    first = task_of(model=build())
    autoquant.search(first, settings, study=tmp_path / "study", progress=False)
    autoquant.search(first, settings, study=tmp_path / "study", progress=False)
    torch.manual_seed(7)
    second = task_of(model=build())
    for again in (autoquant.search, lambda task, _, study, **options: autoquant.apply(study, task)):
        with pytest.raises(UserError, match="was made with a model of other weights than the task"):
            again(second, settings, study=tmp_path / "study", progress=False)


def test_a_search_gives_the_random_sources_back(tmp_path: Any) -> None:
    instant = autoquant.Training(steps=0)
    settings = autoquant.Search("9x", trials=1, references=(), qat=instant, device="cpu")
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    autoquant.search(task_of(model=build()), settings, study=tmp_path / "study", progress=False)
    assert not torch.equal(torch.rand(1), expected)  # which build has drawn
    state = torch.get_rng_state()
    autoquant.search(task_of(), settings.changed(baseline=instant), study=tmp_path / "other")
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_in_memory_are_part_of_a_study(tmp_path: Any) -> None:
    instant = autoquant.Training(steps=0)
    settings = autoquant.Search(
        "9x", trials=1, references=(), qat=instant, final=instant, device="cpu", pretrained=build()
    )
    task = task_of()
    found = autoquant.search(task, settings, study=tmp_path / "study", progress=False)
    assert found.baseline.steps == 0
    assert found.baseline.score == task.score(settings.pretrained.eval(), "valid")
    again = autoquant.search(task, settings, study=tmp_path / "study", progress=False)
    assert again.baseline == found.baseline
    torch.manual_seed(7)
    other = settings.changed(pretrained=build())
    with pytest.raises(UserError, match=r"was made with pretrained=memory:.*, got pretrained=mem"):
        autoquant.search(task, other, study=tmp_path / "study", progress=False)
    applied = autoquant.apply(tmp_path / "study", task, progress=False)
    assert applied.steps == 0
