from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from autoquant.errors import UserError
from autoquant.exports import probe
from autoquant.exports.ports import BATCH, TIME
from autoquant.exports.recording import axes_named, narrowed, record
from autoquant.exports.source import open_source
from autoquant.exports.steps import NoSteps, step_source
from autoquant.plan import LayerChoice
from autoquant.task import Example
from tests.exports.models import packed
from tests.runtime.pairs import noise, pair


def test_axes_of_any_size_have_names(tmp_path: Path) -> None:
    recording = record(packed(tmp_path, "spotter").source())
    (frames,), (output,) = recording.inputs, recording.outputs
    assert (frames.name, frames.shape) == ("frames", (BATCH, TIME, 13))
    assert (output.name, output.shape) == ("output", (BATCH, 10))


def test_states_go_in_and_out(tmp_path: Path) -> None:
    recording = record(packed(tmp_path, "language").source())
    ports = [(each.port.name, each.port.shape, each.next_name) for each in recording.states]
    assert ports == [
        ("rnn.h", (2, BATCH, 24), "rnn.h_next"),
        ("rnn.c", (2, BATCH, 24), "rnn.c_next"),
    ]
    assert recording.leaves == ("output", "rnn.h_next", "rnn.c_next")


def test_the_argument_that_takes_the_state_is_found(tmp_path: Path) -> None:
    source = packed(tmp_path, "language").source()
    found = probe.state_argument(
        source.model, source.example, probe.run(source.model, source.example)
    )
    assert found is not None
    assert (found.name, found.stacks) == ("state", ("rnn",))


def test_a_batch_of_one_is_doubled(tmp_path: Path) -> None:
    made = packed(tmp_path, "spotter")
    one = Example((noise(1, 9, 13),), 1)
    source = open_source(made.path, made.pair.build(), one)
    assert source.example.inputs[0].shape == (2, 9, 13)
    assert record(source).dynamic == (BATCH, TIME)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("both ways", "rnn runs in both directions"),
        ("mean", "its outputs depend on several time steps at once"),
        ("convolutions", "it has no recurrent layers"),
    ],
)
def test_models_without_single_steps(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(NoSteps, match=reason):
        step_source(record(packed(tmp_path, name).source()))


def test_a_step_of_fixed_sizes(tmp_path: Path) -> None:
    recording = record(packed(tmp_path, "spotter").source())
    one = narrowed(step_source(recording), axes_named(recording, BATCH))
    step = record(one, dynamic=False)
    assert step.inputs[0].shape == (1, 1, 13)
    assert step.states[0].port.shape == (2, 1, 24)


class Packing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        lengths = torch.full((len(frames),), frames.shape[1])
        return self.rnn(pack_padded_sequence(frames, lengths, True))[1]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        return self.rnn(self.rnn(frames)[0])[0]


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, frames: Tensor) -> Any:
        return self.linear(frames), "text"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Packing, r"inputs of rnn must be padded to be exported, got packed ones"),
        (Twice, r"rnn must be called once in a pass to be exported, got two calls"),
        (Text, r"must return tensors to be exported, got a str"),
    ],
    ids=["packed sequences", "a stack called twice", "an output that is no tensor"],
)
def test_refused(tmp_path: Path, model: Any, message: str) -> None:
    frames = noise(2, 5, 8)
    made = pair(tmp_path, model, LayerChoice(4, 8, 1.0, 4, 8), frames)
    with pytest.raises(UserError, match=message):
        record(open_source(made.path, made.build(), Example((frames,), 1)))


def test_a_loop_over_cells_takes_any_batch(tmp_path: Path) -> None:
    recording = record(packed(tmp_path, "cell loop").source())
    assert recording.inputs[0].shape == (BATCH, 6, 13)
