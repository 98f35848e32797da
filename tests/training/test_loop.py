import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from autoquant.errors import Diverged, UserError
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Training
from autoquant.tasks.language import LanguageTask
from autoquant.training import loop, qat
from autoquant.training.loop import Run, resolve_device, score, seed_everything, train
from tests import toys
from tests.toys import described

QUICK = Training(steps=12, lr=0.01)


@pytest.fixture(scope="module")
def task() -> LanguageTask:
    """19 steps an epoch, with dropout, so that every random source matters."""
    return toys.language_task(dropout=0.3)


def float_model(task: LanguageTask, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task.build_model()


def quantized_model(task: LanguageTask, seed: int = 0) -> nn.Module:
    model = prepare(float_model(task, seed))
    network = described(model)
    plan = Plan.uniform(network.names, LayerChoice(3, 4))
    qat.quantize(model, network, plan, Scheme())
    qat.calibrate(model, task, seed)
    return model


MODELS = pytest.mark.parametrize("build", [float_model, quantized_model], ids=["float", "3bit"])


def quietly(model: nn.Module, task: Any, settings: Training, *, seed: int = 0, **rest: Any) -> Run:
    return train(model, task, settings, seed=seed, progress=False, **rest)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


class Toy:
    """The mean of the parameters' squares, or whatever ``loss`` is replaced by."""

    name, metric, direction = "toy", "square", "minimize"

    def __init__(self, loss: Any = None) -> None:
        self.carries: list[Any] = []
        self.modes: list[bool] = []
        self._loss = loss or (lambda model, step: sum((p**2).sum() for p in model.parameters()))

    def steps_per_epoch(self) -> int:
        return 10

    def batches(self, seed: int, start: int = 0) -> Iterator[int]:
        return itertools.count(start)

    def loss(self, model: nn.Module, batch: int, carry: Any) -> tuple[torch.Tensor, Any]:
        self.carries.append(carry)
        self.modes.append(model.training)
        return self._loss(model, batch), batch

    def score(self, model: nn.Module, split: str) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        return float(self._loss(model, 0))


# --- the same run again --------------------------------------------------------------------------


@MODELS
def test_the_same_seed_gives_the_same_weights(task, build):
    models = []
    for seed in (1, 1, 2):
        models.append(build(task))
        quietly(models[-1], task, QUICK, seed=seed)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_training_lowers_the_score(task):
    model = float_model(task)
    before = score(model, task, "valid")
    run = quietly(model, task, Training(steps=60, lr=0.03))
    assert run.steps == 60
    assert run.seconds > 0
    assert score(model, task, "valid") < 0.8 * before


class Stopped(Exception):
    """Somebody stops the run."""


@MODELS
@pytest.mark.parametrize("stop", [1, 2, 3], ids=lambda n: f"at-score{n}")
def test_a_resumed_run_equals_an_uninterrupted_one(task, build, stop, tmp_path, monkeypatch):
    """Bit for bit, over the end of an epoch, from a checkpoint of the step before the stop."""
    monkeypatch.setattr("autoquant.training.loop.CHECKPOINT_SECONDS", 0)
    settings = Training(steps=28, lr=0.01, scores=3)  # scored after 7, 14 and 21 steps
    whole = build(task)
    expected = quietly(whole, task, settings, seed=5)

    scores = iter(range(1, 4))

    def interrupt(step: int, value: float) -> None:
        if next(scores) == stop:
            raise Stopped

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        quietly(
            build(task),
            task,
            settings,
            seed=5,
            on_score=interrupt,
            checkpoint=checkpoint,
        )
    assert torch.load(checkpoint, weights_only=True)["run"]["steps"] == 7 * stop - 1

    resumed = build(task, seed=9)  # other weights: all of them come from the checkpoint
    torch.rand(7)  # and another random state
    run = quietly(resumed, task, settings, seed=5, checkpoint=checkpoint)
    assert same_weights(resumed, whole)
    assert run.scores == expected.scores
    assert [step for step, _ in run.scores] == [7, 14, 21]
    assert run.steps == expected.steps == 28
    assert score(resumed, task, "valid") == score(whole, task, "valid")


def test_a_finished_run_is_not_run_again(task, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    settings = Training(steps=6, scores=2)
    model = float_model(task)
    first = quietly(model, task, settings, checkpoint=checkpoint)
    again = float_model(task, seed=1)
    called = []
    second = quietly(
        again,
        task,
        settings,
        checkpoint=checkpoint,
        on_score=lambda *args: called.append(args),
    )
    assert same_weights(again, model)
    assert (second.steps, second.scores) == (first.steps, first.scores)
    assert not called


@pytest.mark.parametrize(
    ("settings", "seed"),
    [(Training(steps=12, lr=0.02), 0), (Training(steps=13, lr=0.01), 0), (QUICK, 1)],
    ids=["lr", "steps", "seed"],
)
def test_a_checkpoint_of_another_run_is_ignored(task, settings, seed, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    quietly(float_model(task), task, QUICK, checkpoint=checkpoint)
    expected, ours = float_model(task), float_model(task)
    quietly(expected, task, settings, seed=seed)
    run = quietly(ours, task, settings, seed=seed, checkpoint=checkpoint)
    assert run.steps == settings.steps
    assert same_weights(ours, expected)
    saved = torch.load(checkpoint, weights_only=True)  # it now is of this run
    assert saved["run"]["steps"] == settings.steps


def test_no_checkpoint_is_written_before_it_is_due(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    seen: list[bool] = []
    toy = Toy(lambda model, step: seen.append(checkpoint.exists()) or model.weight.sum())
    quietly(nn.Linear(2, 2), toy, QUICK, checkpoint=checkpoint)
    assert seen == [False] * 12
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.gpu
def test_a_run_resumes_on_a_gpu(task, tmp_path, monkeypatch):
    """The carry and the random state of dropout come back on the device."""
    monkeypatch.setattr("autoquant.training.loop.CHECKPOINT_SECONDS", 0)
    settings = Training(steps=8, lr=0.01, scores=1)
    whole = float_model(task).cuda()
    expected = quietly(whole, task, settings, seed=5)

    def interrupt(step: int, value: float) -> None:
        raise Stopped

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        quietly(
            float_model(task).cuda(),
            task,
            settings,
            seed=5,
            on_score=interrupt,
            checkpoint=checkpoint,
        )
    resumed = float_model(task, seed=9).cuda()
    run = quietly(resumed, task, settings, seed=5, checkpoint=checkpoint)
    assert run.scores == pytest.approx(expected.scores, rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-3, atol=1e-4)


# --- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_a_loss_that_is_not_finite_ends_the_run(value, monkeypatch):
    monkeypatch.setattr("autoquant.training.loop.FINITE_EVERY", 5)
    toy = Toy(lambda model, step: model.weight.sum() * (value if step >= 7 else 1.0))
    with pytest.raises(Diverged, match=r"the training loss must be finite, got .* at step 10"):
        quietly(nn.Linear(2, 2), toy, Training(steps=50))
    assert len(toy.carries) == 10


def test_a_short_run_looks_at_its_last_loss():
    toy = Toy(lambda model, step: model.weight.sum() * math.nan)
    with pytest.raises(Diverged, match="at step 3"):
        quietly(nn.Linear(2, 2), toy, Training(steps=3))


def test_a_score_that_is_not_finite_ends_the_run():
    toy = Toy()
    toy.score = lambda model, split: math.inf
    with pytest.raises(Diverged, match="square must be finite, got inf"):
        quietly(nn.Linear(2, 2), toy, Training(steps=10, scores=1))
    assert len(toy.carries) == 5


# --- the steps -----------------------------------------------------------------------------------


def test_the_carry_goes_from_step_to_step():
    toy = Toy()
    quietly(nn.Linear(2, 2), toy, Training(steps=4))
    assert toy.carries == [None, 0, 1, 2]


def test_length_follows_the_task_s_epochs():
    run = quietly(nn.Linear(2, 2), Toy(), Training(epochs=1.5))
    assert run == Run(steps=15, seconds=run.seconds)


@pytest.mark.parametrize(
    ("steps", "scores", "expected"),
    [(20, 3, [5, 10, 15]), (10, 0, []), (3, 5, [1, 2]), (1, 4, []), (100, 1, [50])],
)
def test_scores_are_evenly_spaced_and_never_the_last(steps, scores, expected):
    told = []
    run = quietly(
        nn.Linear(2, 2),
        Toy(),
        Training(steps=steps, scores=scores),
        on_score=lambda step, value: told.append((step, value)),
    )
    assert [step for step, _ in run.scores] == expected
    assert run.scores == told


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(64, [*range(2, 33, 2)], id="sixteen in the first half"),
        pytest.param(8, [1, 2, 3, 4], id="each step of a short run's first half"),
        pytest.param(1, [], id="one step"),
    ],
)
def test_scales_are_recalibrated_in_the_first_half(steps, expected):
    toy, at = Toy(), []
    settings = Training(steps=steps, scores=0)
    quietly(nn.Linear(2, 1), toy, settings, recalibrate=lambda: at.append(len(toy.modes)))
    assert at == expected


def test_a_score_in_the_middle_does_not_change_the_run(task):
    """Scoring draws nothing at random, and training goes on in training mode."""
    plain, scored = float_model(task), float_model(task)
    quietly(plain, task, QUICK)
    quietly(scored, task, Training(steps=12, lr=0.01, scores=4))
    assert same_weights(plain, scored)


def test_training_is_in_training_mode_throughout():
    toy = Toy()
    quietly(nn.Linear(2, 2).eval(), toy, Training(steps=9, scores=2))
    assert toy.modes == [True] * 9


def test_steps_do_without_denormals():
    seen: list[float] = []

    def loss(model: nn.Module, step: int) -> torch.Tensor:
        seen.append(toys.half_of_the_smallest())
        return (next(model.parameters()) ** 2).sum()

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    quietly(nn.Linear(1, 1), Toy(loss), Training(steps=2))
    assert set(seen) == {0.0}
    assert toys.half_of_the_smallest() > 0.0


# --- the optimizer -------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [10, 57, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.5, 0.9])
def test_the_schedule_rises_then_falls_to_zero(total, warmup):
    rates = [loop._rate(step, total, warmup) for step in range(total + 1)]
    peak = rates.index(max(rates))
    assert 0 < rates[0] <= 1
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(rate > 0 for rate in rates[:-1])
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) <= 1
    assert abs(peak - warmup * total) <= 1


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.5, 0.99])
def test_every_step_of_a_short_run_moves(total, warmup):
    assert all(0 < loop._rate(step, total, warmup) <= 1 for step in range(total))


def test_the_schedule_in_the_middle_of_its_cosine():
    assert loop._rate(0, 100, 0.0) == 1.0
    assert loop._rate(50, 100, 0.0) == pytest.approx(0.5)
    assert loop._rate(20, 100, 0.2) == 1.0
    assert loop._rate(60, 100, 0.2) == pytest.approx(0.5)
    assert loop._rate(9, 100, 0.2) == pytest.approx(10 / 21)


@pytest.mark.parametrize("total", [5, 10, 100, 1000])
def test_the_schedule_in_steps(total):
    rates = [loop._rate(step, total, 0.0, "steps") for step in range(total)]
    peak, tenth, hundredth = (rates.count(rate) for rate in (1.0, 0.1, 0.01))
    assert (peak, tenth, hundredth) == (0.4 * total, 0.4 * total, 0.2 * total)
    assert rates == sorted(rates, reverse=True)


def test_steps_come_after_the_warm_up():
    rates = [loop._rate(step, 100, 0.2, "steps") for step in range(100)]
    assert rates[:20] == [loop._rate(step, 100, 0.2) for step in range(20)]
    assert (rates[20], rates[39], rates[40], rates[79], rates[80]) == (1.0, 1.0, 0.1, 0.1, 0.01)


def test_a_run_follows_its_schedule():
    class Seen(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.weights = []

        def loss(self, model, batch, carry):
            self.weights.append(float(model.weight.detach()[0, 0]))
            return model.weight.sum() * 1.0, carry

    toy = Seen()
    settings = Training(steps=10, optimizer="sgd", lr=1.0, warmup=0.0, schedule="steps")
    quietly(nn.Linear(1, 1), toy, settings)
    moved = [a - b for a, b in itertools.pairwise(toy.weights)]
    assert moved == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01], rel=1e-4)


class Watched(nn.Module):
    """A weight, a bias and a step size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 2), 2.0))
        self.bias = nn.Parameter(torch.full((2,), 2.0))
        self.log_scale = nn.Parameter(torch.full((2, 1), 2.0))
        self.fixed = nn.Parameter(torch.full((2, 2), 2.0), requires_grad=False)

    def values(self) -> tuple[float, ...]:
        parts = self.weight, self.bias, self.log_scale, self.fixed
        return tuple(float(part.detach().mean()) for part in parts)


def test_the_first_step_has_the_size_of_the_learning_rate():
    """Adam's first step is the learning rate in the direction of the gradient's sign."""
    model = Watched()
    settings = Training(steps=1, warmup=0.0, lr=0.25, scale_lr=0.125)
    quietly(model, Toy(), settings)
    assert model.values() == pytest.approx((1.75, 1.75, 1.875, 2.0), rel=1e-6)


def test_step_sizes_have_a_learning_rate_of_their_own():
    model = Watched()
    quietly(model, Toy(), Training(steps=5, scale_lr=0.0))
    assert model.values()[2] == 2.0
    assert model.values()[0] < 2.0


def test_only_weights_decay():
    model = Watched()
    toy = Toy(lambda model, step: 0.0 * sum(p.sum() for p in model.parameters()))
    settings = Training(steps=1, warmup=0.0, lr=0.1, weight_decay=0.5)
    quietly(model, toy, settings)
    assert model.values() == pytest.approx((2.0 * (1 - 0.1 * 0.5), 2.0, 2.0, 2.0), rel=1e-6)


@pytest.mark.parametrize(("slope", "norm"), [(100.0, 0.5), (0.01, 0.02)], ids=["large", "small"])
def test_the_gradient_is_clipped(slope, norm):
    norms = []

    def look(optimizer, args, kwargs) -> None:
        parts = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat([part.flatten() for part in parts]).norm()))

    model = nn.Linear(2, 2, bias=False)
    hook = register_optimizer_step_pre_hook(look)
    toy = Toy(lambda model, step: slope * model.weight.sum())  # a norm of 2 * slope
    try:
        quietly(model, toy, Training(steps=2, clip_norm=0.5))
    finally:
        hook.remove()
    assert norms == pytest.approx([norm, norm], rel=1e-4)


# --- score ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_score_restores_the_mode(mode):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(mode)
    assert score(model, Toy(), "valid") == pytest.approx(
        sum(float(p.detach().square().sum()) for p in model.parameters())
    )
    assert all(module.training is mode for module in model.modules())


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_score_restores_the_mode_when_the_task_fails(mode):
    def fail(model: nn.Module, split: str) -> float:
        raise RuntimeError("no data")

    toy = Toy()
    toy.score = fail
    model = nn.Linear(2, 2).train(mode)
    with pytest.raises(RuntimeError, match="no data"):
        score(model, toy, "valid")
    assert model.training is mode


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_score_must_be_finite(value):
    toy = Toy()
    toy.score = lambda model, split: value
    model = nn.Linear(2, 2)
    with pytest.raises(Diverged, match=f"square must be finite, got {value}"):
        score(model, toy, "valid")
    assert model.training


def test_score_quantizes_each_weight_once(task):
    model = quantized_model(task)
    calls = []
    quantizer = model.decoder.parametrizations.weight[0]
    quantizer.register_forward_hook(lambda *_: calls.append(1))
    score(model, task, "valid")
    assert len(calls) == 1
    assert len(list(task._windows("valid", 0, 0))) > 1


# --- seeds, devices, progress --------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 1])
def test_every_random_source_is_seeded(seed):
    drawn = []
    for _ in range(2):
        seed_everything(seed)
        drawn.append((random.random(), np.random.random(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    seed_everything(seed + 1)
    other = (random.random(), np.random.random(), float(torch.rand(())))
    assert all(one != two for one, two in zip(drawn[0], other, strict=True))


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("meta:1") == torch.device("meta", 1)


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda")
    )
    assert resolve_device("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_names_those_that_are(monkeypatch):
    monkeypatch.setattr("autoquant.training.loop._accelerators", lambda: ["cuda", "cuda:0"])
    line = r"torch has here \(auto, cpu, cuda, cuda:0\), got 'cuda:7'"
    with pytest.raises(UserError, match=line):
        resolve_device("cuda:7")


# --- autocast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bits", [None, (3, 4), (4, 32), (16, 16)], ids=str)
def test_bfloat16_autocast_on_the_cpu(cell, bits):
    """It trains as float32 does, nearly, and scores are taken in float32."""
    task, scores = toys.language_task(cell=cell), []
    for autocast in ("none", "bfloat16"):
        model = float_model(task)
        if bits is not None:
            model = prepare(model)
            network = described(model)
            plan = Plan.uniform(network.names, LayerChoice(*bits))
            qat.quantize(model, network, plan, Scheme())
            qat.calibrate(model, task, 0)
        quietly(model, task, Training(steps=20, lr=0.01, autocast=autocast))
        assert {each.dtype for each in model.parameters()} == {torch.float32}
        scores.append(score(model, task, "valid"))
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.02)
    assert torch.backends.mkldnn.enabled


def test_only_the_loss_is_under_autocast(task):
    seen = []

    def look(model: nn.Module, step: int) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return model.weight.sum()

    quietly(nn.Linear(2, 2), Toy(look), Training(steps=2, scores=1, autocast="bfloat16"))
    assert seen == [True, False, True]


def test_float16_autocast_needs_cuda():
    with pytest.raises(UserError, match=r"autocast=float16 must have a CUDA device .* device=cpu"):
        quietly(nn.Linear(2, 2), Toy(), Training(steps=2, autocast="float16"))


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
def test_autocast_on_a_gpu(task, autocast, tmp_path):
    model = float_model(task).cuda()
    before = score(model, task, "valid")
    settings = Training(steps=60, lr=0.03, autocast=autocast)
    quietly(model, task, settings, checkpoint=tmp_path / "checkpoint")
    assert score(model, task, "valid") < 0.8 * before
    saved = torch.load(tmp_path / "checkpoint", weights_only=True)
    assert ("scaler" in saved) is (autocast == "float16")


@pytest.mark.parametrize("progress", [True, False], ids=["shown", "quiet"])
def test_progress(progress, capsys, tmp_path: Path):
    train(nn.Linear(2, 2), Toy(), QUICK, seed=0, label="qat 7", progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("qat 7" in err) is progress


# --- the best weights, and a teacher --------------------------------------------------------------


def test_the_best_of_the_scored_weights_are_kept(task, monkeypatch):
    model, states, values = float_model(task), [], iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr("autoquant.training.loop.score", lambda *_: next(values))

    def copied(step: int, value: float) -> None:
        states.append({name: each.clone() for name, each in model.state_dict().items()})

    settings = Training(steps=20, lr=0.03, scores=3, keep="best")
    quietly(model, task, settings, on_score=copied)
    assert len(states) == 3
    kept = model.state_dict()
    assert all(torch.equal(kept[name], each) for name, each in states[1].items())


def test_the_highest_score_is_the_best_where_higher_is_better():
    toy = Toy()
    toy.direction = "maximize"  # of a loss that training brings down: the first score is the best
    model = nn.Linear(3, 2)
    run = train(
        model,
        toy,
        Training(steps=20, lr=0.05, scores=3, keep="best"),
        seed=0,
        progress=False,
    )
    assert score(model, toy, "probe") == run.scores[0][1]


def test_the_best_weights_survive_an_interruption(task, tmp_path):
    settings = Training(steps=30, lr=0.5, scores=5, keep="best", clip_norm=100)
    whole = quantized_model(task)
    quietly(whole, task, settings)

    def stop(step: int, value: float) -> None:
        if step >= 20:
            raise Stopped

    broken, checkpoint = quantized_model(task), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("autoquant.training.loop.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(Stopped):
            quietly(broken, task, settings, checkpoint=checkpoint, on_score=stop)
    again = quantized_model(task)
    quietly(again, task, settings, checkpoint=checkpoint)
    assert same_weights(again, whole)


@pytest.mark.parametrize("sampled", [0, 12], ids=["all words", "sampled"])
def test_a_student_comes_closer_to_its_teacher(sampled):
    task = toys.language_task(sampled=sampled)
    teacher = float_model(task, seed=5)
    quietly(teacher, task, Training(steps=40, lr=0.03))
    window = next(task.batches(3))

    def distance(student: nn.Module) -> float:
        with torch.no_grad():
            one, other = student(window.inputs)[0], teacher(window.inputs)[0]
        return float(
            nn.functional.kl_div(one.log_softmax(-1), other.softmax(-1), reduction="batchmean")
        )

    student, alone = float_model(task, seed=6), float_model(task, seed=6)
    settings = Training(steps=60, lr=0.02, distill=1.0)
    before = {name: each.clone() for name, each in teacher.state_dict().items()}
    quietly(student, task, settings, teacher=teacher)
    quietly(alone, task, replace(settings, distill=0.0))
    assert distance(student) < distance(alone)
    assert all(torch.equal(before[name], each) for name, each in teacher.state_dict().items())


def test_a_taught_loss_is_a_mix_of_both(task):
    torch.manual_seed(0)
    model, teacher = float_model(task).eval(), float_model(task, seed=1).eval()
    window = next(task.batches(0))
    logits, soft = (each(window.inputs)[0].flatten(0, 1) for each in (model, teacher))
    hard = nn.functional.cross_entropy(logits, window.targets.flatten(), ignore_index=-100)
    kept = window.targets.flatten() != -100
    gap = -(soft.softmax(1) * logits.log_softmax(1)).sum(1)[kept].mean()
    loss, (own, taught) = task.distillation_loss(model, teacher, window, None, 0.3)
    torch.testing.assert_close(loss, 0.7 * hard + 0.3 * gap)
    torch.testing.assert_close(own[0], model(window.inputs)[1][0].detach())
    torch.testing.assert_close(taught[0], teacher(window.inputs)[1][0].detach())


def test_distillation_needs_a_teacher_and_a_task_that_knows_how(task):
    settings = Training(steps=2, distill=0.5)
    with pytest.raises(UserError, match="distill must be 0 for the float model"):
        quietly(float_model(task), task, settings)
    with pytest.raises(UserError, match="distill must be 0 for a task without distillation_loss"):
        quietly(nn.Linear(2, 2), Toy(), settings, teacher=nn.Linear(2, 2))
