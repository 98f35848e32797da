from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from autoquant.errors import UserError
from autoquant.tasks.data.samples import SampleBatches

ROWS = torch.arange(10.0)[:, None]


class Items(Dataset[Any]):
    """Samples of one form."""

    def __init__(self, form: Any) -> None:
        self.form = form

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return self.form(ROWS[index], index)


FORMS: dict[str, Any] = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "mapping": lambda x, y: {"x": x, "y": y},
}


@pytest.mark.parametrize("form", FORMS)
def test_items_of_a_dataset_become_batches(form: str) -> None:
    source = SampleBatches("train", Items(FORMS[form]), 4)
    batch = source.first()
    x, y = batch.values() if isinstance(batch, dict) else batch
    assert torch.equal(x, ROWS[:4])
    assert y.tolist() == [0, 1, 2, 3]
    assert source.steps == 3
    assert [len(next(iter(b.values())) if isinstance(b, dict) else b[0]) for b in source.all()] == [
        *(4, 4, 2)
    ]


def test_inputs_alone_need_no_target() -> None:
    assert torch.equal(SampleBatches("train", ROWS, 4, labelled=False).first()[0], ROWS[:4])
    assert len(SampleBatches("train", Items(lambda x, y: x), 4, labelled=False).first()) == 4
    with pytest.raises(UserError, match=r"items of train must be tuples .* or mappings, got a Ten"):
        SampleBatches("train", Items(lambda x, y: x), 4)
    with pytest.raises(UserError, match="train must be inputs of one length, got tensors of"):
        SampleBatches("train", (), 4, labelled=False)
