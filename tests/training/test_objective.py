"""The loss with a teacher."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from autoquant.errors import UserError
from autoquant.settings import Training
from tests import toys
from tests.training.runs import Toy, float_model, quietly


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


def test_the_distillation_loss_is_a_mix_of_both(task):
    torch.manual_seed(0)
    model, teacher = float_model(task).eval(), float_model(task, seed=1).eval()
    window = next(task.batches(0))
    logits, soft = (each(window.inputs)[0].flatten(0, 1) for each in (model, teacher))
    hard = nn.functional.cross_entropy(logits, window.targets.flatten(), ignore_index=-100)
    kept = window.targets.flatten() != -100
    gap = -(soft.softmax(1) * logits.log_softmax(1)).sum(1)[kept].mean()
    loss, (student_state, teacher_state) = task.distillation_loss(model, teacher, window, None, 0.3)
    torch.testing.assert_close(loss, 0.7 * hard + 0.3 * gap)
    torch.testing.assert_close(student_state[0], model(window.inputs)[1][0].detach())
    torch.testing.assert_close(teacher_state[0], teacher(window.inputs)[1][0].detach())


def test_distillation_needs_a_teacher_and_a_task_that_knows_how(task):
    settings = Training(steps=2, distill=0.5)
    with pytest.raises(UserError, match="distill must be 0 for the float model"):
        quietly(float_model(task), task, settings)
    with pytest.raises(UserError, match="distill must be 0 for a task without distillation_loss"):
        quietly(nn.Linear(2, 2), Toy(), settings, teacher=nn.Linear(2, 2))
