from __future__ import annotations

import pytest
import torch
from torch import nn

from autoquant.errors import UserError
from autoquant.settings import Search, Training
from autoquant.tasks.model_source import ModelSource, device_of, dtype_of, preferred_of


def test_an_instance_is_copied_and_a_class_is_called() -> None:
    model = nn.Linear(2, 2)
    source = ModelSource(model)
    assert source.is_instance
    assert source.build() is not model
    assert torch.equal(source.build().weight, model.weight)  # type: ignore[arg-type]
    assert not ModelSource(lambda: nn.Linear(2, 2)).is_instance
    assert isinstance(ModelSource("torch.nn.Identity").build(), nn.Identity)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_precision_is_that_of_the_model(dtype: torch.dtype) -> None:
    assert ModelSource(nn.Linear(2, 2).to(dtype)).dtype == dtype
    assert dtype_of(nn.Identity()) is None


def test_a_model_without_parameters_is_where_its_buffers_are() -> None:
    with torch.device("meta"):
        norm = nn.BatchNorm1d(2, affine=False)
    assert device_of(norm).type == "meta"
    assert device_of(nn.Identity()).type == "cpu"


def test_a_trained_model_prefers_no_training() -> None:
    assert preferred_of(None, trained=False) is None
    untouched = preferred_of(None, trained=True)
    assert untouched is not None
    assert untouched.baseline.steps == 0
    asked = preferred_of(Search(baseline=Training(epochs=3), seed=2), trained=True)
    assert asked is not None
    assert asked.given == {"baseline", "seed"}
    assert (asked.baseline.given, asked.baseline.steps) == ({"epochs"}, None)
    kept = preferred_of(Search(baseline=Training(lr=0.5)), trained=True)
    assert kept is not None
    assert (kept.baseline.steps, kept.baseline.lr) == (0, 0.5)
    with pytest.raises(UserError, match=r"autoquant\.Search"):
        preferred_of({"seed": 2}, trained=True)  # type: ignore[arg-type]
