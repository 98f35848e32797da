"""The models of the speech task: parameters at full width, lengths, states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from autoquant.errors import UserError
from autoquant.tasks.speech.models import MODELS, DeepSpeech, DeepSpeech2

SMALL: dict[str, Callable[..., nn.Module]] = {
    "deep_speech": lambda **o: DeepSpeech(12, 5, fc1=8, fc2=8, fc3=16, hidden=6, fc5=8, **o),
    "deep_speech_2": lambda **o: DeepSpeech2(12, 5, channels=8, kernel=3, hidden=6, layers=2, **o),
}


def test_full_size() -> None:
    with torch.device("meta"):
        model = DeepSpeech()
    count = sum(p.numel() for p in model.parameters())
    assert count == 122_748_957
    second_biases = sum(p.numel() for name, p in model.named_parameters() if "bias_hh" in name)
    assert count - second_biases == 122_732_573


@pytest.mark.parametrize("name", SMALL)
def test_outputs_do_not_depend_on_padding(name: str) -> None:
    torch.manual_seed(0)
    model = SMALL[name]().eval()
    frames, lengths = torch.randn(3, 9, 12), torch.tensor([9, 4, 7])
    for row, length in enumerate(lengths.tolist()):
        frames[row, length:] = 0
    logits, _ = model(frames, lengths)
    assert logits.shape == (3, 9, 5)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = model(frames[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(logits[row, :length], alone[0])


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_model_that_reads_forwards_goes_on_from_its_state(cut: int) -> None:
    torch.manual_seed(0)
    model = SMALL["deep_speech"](bidirectional=False).eval()
    frames = torch.randn(1, 9, 12)
    whole, _ = model(frames, torch.tensor([9]))
    first, state = model(frames[:, :cut], torch.tensor([cut]))
    second, _ = model(frames[:, cut:], torch.tensor([9 - cut]), state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "units": ("deep_speech", {"fc1": 0}, "fc1 must be a whole number from 1 up, got 0"),
    "a fraction": ("deep_speech", {"hidden": 2.5}, "hidden must be a whole number"),
    "dropout": ("deep_speech", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    "kernel": ("deep_speech_2", {"kernel": 4}, "kernel must be an odd number, got 4"),
    "layers": ("deep_speech_2", {"layers": 0}, "layers must be a whole number from 1 up"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arguments_that_are_refused(case: str) -> None:
    name, options, error = WRONG[case]
    with pytest.raises(UserError, match=error):
        MODELS[name](**options)
