"""The paper's ways of counting, and the layers that the profile picks."""

from __future__ import annotations

import pytest
import torch

from autoquant.analysis.profile import Profile
from autoquant.tasks.speech.models import DeepSpeech
from studies.speech.sizes import memory_table, neuron_ratio


def test_the_papers_sizes_count_neurons() -> None:
    assert neuron_ratio(4, 1.5, grown_base=True) == pytest.approx(0.3305, abs=5e-5)
    assert neuron_ratio(32, 1.0, grown_base=False) == 1.0
    rows = memory_table().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["78.61%", "75.05%", "71.49%"]


def test_the_profile_picks_the_layers_that_the_paper_widens() -> None:
    """A sixteenth of each width."""
    from autoquant.analysis.model_info import inspect_task
    from autoquant.tasks.supervised import SupervisedTask

    model = DeepSpeech(32, 5, fc1=128, fc2=128, fc3=256, hidden=128, fc5=128)
    batch = (torch.randn(2, 6, 32), torch.tensor([6, 4]), torch.zeros(2, 6, dtype=torch.long))

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    class Batches:
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([batch])

        def __len__(self) -> int:
            return 1

    task = SupervisedTask(model, Batches(), Batches(), Batches(), loss=loss, output=0, score="loss")
    profile: Profile = inspect_task(task).profile
    assert set(profile.widenable) == {"fc1", "fc2", "fc5"}
    reasons = {layer.name: layer.reason for layer in profile.layers}
    assert "holds 8" in reasons["rnn.l0"]
    assert "would add" in reasons["fc3"]
    assert reasons["fc6"] == "feeds the model's output"
