"""The packed file: bit-identical after loading, one plain line for every way it can be wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from autoquant.artifact import header, manifest, packed_file
from autoquant.errors import RunError, UserError
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme, Training
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate
from tests import toys
from tests.toys import RegressionTask, output_of, prepared_once

SCHEMES = {
    "lsq channel": Scheme(),
    "lsq tensor": Scheme(granularity="tensor", scale_bits=32, bias_bits=8),
    "fixed midtread": Scheme(scale="fixed", grid="midtread", bias_bits=32),
    "bit-rnn": Scheme.bit_rnn(),
    "bit-rnn, parts apart": Scheme.bit_rnn(joint_recurrent=False, bias_bits=16, scale_bits=16),
    "tanh": Scheme(reparametrization="tanh"),
    "steps in 8 bits": Scheme(scale_bits=8, bias_bits=8),
}
CHOICES = {
    "1": LayerChoice(1, 4),
    "1.6": LayerChoice(1.6, 4),
    "2": LayerChoice(2, 2),
    "3": LayerChoice(3, 8),
    "4": LayerChoice(4, 8),
    "5": LayerChoice(5, 16),
    "6": LayerChoice(6, 32),
    "7": LayerChoice(7, 3),
    "8": LayerChoice(8, 8),
    "16": LayerChoice(16, 16),
    "32": LayerChoice(32, 32),
    "mixed": LayerChoice(2, 8, recurrent_bits=32, hidden_bits=4),
    "mixed with 1.6": LayerChoice(3, 8, recurrent_bits=1.6),
    "mixed the other way": LayerChoice(32, 32, recurrent_bits=3, hidden_bits=8),
}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: toys.stack(layers=2),
    "gru": lambda: toys.stack(cell="GRU", layers=2, bidirectional=True),
    "rnn": lambda: toys.stack(cell="RNN", bias=False),
    "projected": lambda: toys.stack(layers=2, bidirectional=True, projection=3),
    "deep speech": lambda: toys.deep_speech(features=5),
    "bare": lambda: nn.LSTM(5, 4),
    "batch norm": lambda: Normed(),
}


class Normed(nn.Module):
    """Leftovers whose values change in training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, values: Tensor) -> Tensor:
        values = self.norm(self.one(values).transpose(1, 2)).transpose(1, 2)
        return self.two(torch.relu(values * self.gain))


def candidate(
    source: nn.Module, plan: Plan | LayerChoice, scheme: Scheme, steps: int = 2
) -> tuple[nn.Module, Network, Plan]:
    """Widened by what the plan says, quantized, calibrated, trained a little."""
    torch.manual_seed(3)
    task = RegressionTask(source, torch.randn(6, 3, 5))
    model, network = prepared_once(source)
    if isinstance(plan, LayerChoice):
        plan = Plan(
            {
                name: LayerChoice(
                    plan.weight_bits,
                    plan.activation_bits,
                    1.0 if network.why_fixed(name) else 1.5,
                    plan.recurrent_bits,
                    plan.hidden_bits,
                )
                for name in network.names
            }
        )
    built = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    train(built.train(), task, Training(steps=steps, lr=1e-2), seed=0)
    return built.eval(), network, plan


# --- the same numbers, bit for bit ----------------------------------------------------------------


PAIRS = [
    (scheme, bits, list(MODELS)[(i + j // 2) % len(MODELS)])
    for i, scheme in enumerate(SCHEMES)
    for j, bits in enumerate(CHOICES)
    if (i + j) % 2 == 0
]


@pytest.mark.parametrize(("scheme", "bits", "name"), PAIRS)
def test_loaded_model_is_the_fake_quantized_one(
    scheme: str, bits: str, name: str, tmp_path: Path
) -> None:
    """No tolerance: every output and every weight is equal; half of all pairs, models by turns."""
    model, network, plan = candidate(MODELS[name](), CHOICES[bits], SCHEMES[scheme])
    packed_file.save(tmp_path / "packed", model, network, plan, SCHEMES[scheme])
    loaded = packed_file.load(tmp_path / "packed", MODELS[name]())
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs)), name
    for layer in network.layers:
        here, there = model.get_submodule(layer.name), loaded.get_submodule(layer.name)
        for parameter in layer.parameters:
            values = getattr(here, parameter.name), getattr(there, parameter.name)
            assert torch.equal(*values), (name, layer.name, parameter.name)


@settings(max_examples=20)
@given(
    name=st.sampled_from(list(MODELS)),
    scheme=st.sampled_from(list(SCHEMES)),
    data=st.data(),
)
def test_any_plan_reloads_bit_for_bit(
    name: str, scheme: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = MODELS[name]()
    network = prepared_once(source)[1]
    widths = st.sampled_from([1.0, 1.4, 2.0])
    plan = Plan(
        {
            layer: LayerChoice(
                data.draw(st.sampled_from([1, 1.6, 2, 3, 4, 8, 16, 32])),
                data.draw(st.sampled_from([2, 4, 8, 16, 32])),
                1.0 if network.why_fixed(layer) else data.draw(widths),
            )
            for layer in network.names
        }
    )
    model, network, plan = candidate(source, plan, SCHEMES[scheme], steps=1)
    path = tmp_path_factory.mktemp("packed") / "packed"
    packed_file.save(path, model, network, plan, SCHEMES[scheme])
    loaded = packed_file.load(path, MODELS[name]())
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))


def test_an_initial_state_reloads_too(tmp_path: Path) -> None:
    """unit_sources of a widened layer are stored: a state of the old width gives the same."""
    source = toys.stack(layers=2)
    model, network, plan = candidate(source, LayerChoice(4, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    loaded = packed_file.load(tmp_path / "packed", toys.stack(layers=2))
    inputs, state = torch.randn(7, 2, 5), toys.stack_state(source, 2)
    assert torch.equal(output_of(loaded, inputs, state), output_of(model, inputs, state))
    assert not torch.equal(output_of(loaded, inputs, state), output_of(loaded, inputs))


def test_an_initial_state_of_a_projected_lstm_reloads_too(tmp_path: Path) -> None:
    source = toys.stack(layers=2, projection=3)
    model, network, plan = candidate(source, LayerChoice(4, 8), Scheme())
    assert model.rnn.l0.proj_size == 5
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    loaded = packed_file.load(tmp_path / "packed", toys.stack(layers=2, projection=3))
    inputs, state = torch.randn(7, 2, 5), toys.stack_state(source, 2)
    with torch.no_grad():
        (mine, (h, c)), (theirs, last) = loaded(inputs, state), model(inputs, state)
    assert (h.shape, c.shape) == ((2, 2, 5), (2, 2, 6))
    assert torch.equal(mine, theirs)
    assert torch.equal(h, last[0])
    assert torch.equal(c, last[1])


TAGGERS: dict[str, dict[str, Any]] = {
    "vectors packed": {},
    "stack, two-way": {"num_layers": 2, "bidirectional": True},
    "projected": {"proj_size": 3, "bidirectional": True},
    "words packed": {"packs_first": True},
}


@pytest.mark.parametrize("options", TAGGERS.values(), ids=TAGGERS)
@pytest.mark.parametrize("scheme", ["lsq channel", "bit-rnn"])
def test_a_model_that_packs(scheme: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Prepared, described, widened, calibrated, trained, packed, loaded."""
    source, words = toys.tagger(**options), toys.sentences()
    model, network = prepared_once(source)
    choice = LayerChoice(3, 8, recurrent_bits=4, hidden_bits=6)
    plan = Plan.uniform(network.names, choice).with_choice("rnn.l0", width=2.0)
    task, rule = RegressionTask(source, words), SCHEMES[scheme]
    built = build_candidate(model, network, plan, rule, task, method="split", seed=0)
    before = output_of(built, words)
    train(built.train(), task, Training(steps=1, lr=1e-2), seed=0)
    assert not torch.equal(output_of(built, words), before)
    packed_file.save(tmp_path / "packed", built, network, plan, rule)
    loaded = packed_file.load(tmp_path / "packed", toys.tagger(seed=1, **options))
    for other in (words, toys.sentences((2, 2), seed=5)):
        assert torch.equal(output_of(loaded, other), output_of(built, other))


def test_half_precision_clamps_as_training_did(tmp_path: Path) -> None:
    source = toys.stack()
    with torch.no_grad():
        source.back.bias[0] = 1e6  # above the largest float16
    model, network, plan = candidate(source, LayerChoice(4, 8), Scheme(), steps=1)
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    loaded = packed_file.load(tmp_path / "packed", toys.stack())
    assert float(loaded.back.bias[0]) == torch.finfo(torch.float16).max
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))


def test_loaded_model_is_ready_to_run(tmp_path: Path) -> None:
    source = toys.stack()
    model, network, plan = candidate(source, LayerChoice(4, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    fresh = toys.stack()
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    loaded = packed_file.load(tmp_path / "packed", fresh.train())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    quantizers = [each for each in loaded.modules() if isinstance(each, ActivationQuantizer)]
    assert len(quantizers) == 4  # three layer inputs and a hidden state
    assert all(each.observed is None for each in quantizers)
    assert isinstance(fresh.rnn, nn.LSTM)  # the instance that was given is as it was
    assert all(torch.equal(before[name], t) for name, t in fresh.state_dict().items())


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    model, network, plan = candidate(toys.stack(), LayerChoice(3, 8), Scheme.bit_rnn())
    for name in "ab":
        packed_file.save(tmp_path / name, model, network, plan, Scheme.bit_rnn())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_quantized_weights_are_not_kept_as_floats(tmp_path: Path) -> None:
    """Every weight is codes and scales; what is float is no larger than a scale for each row."""
    source = toys.deep_speech(features=5, hidden=32, wide=32)
    model, network, plan = candidate(source, LayerChoice(2, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    _, tensors = packed_file.read(tmp_path / "packed")
    rows = {
        f"{layer.name}.{p.name}": p
        for layer in network.resized(plan).layers
        for p in layer.parameters
        if p.role != "bias"
    }
    for name, parameter in rows.items():
        assert name not in tensors
        assert tensors[f"{name}.codes"].dtype == torch.uint8
        assert tensors[f"{name}.codes"].numel() == (parameter.count * 2 + 7) // 8
        assert tensors[f"{name}.scale"].numel() == parameter.shape[0]
    floats = [name for name, tensor in tensors.items() if tensor.dtype.is_floating_point]
    suffixes = (".scale", ".bias", ".bias_reverse", "_quantizer")
    assert all(name.endswith(suffixes) for name in floats)


def test_codes_and_scale_decode_to_the_weight_by_hand(tmp_path: Path) -> None:
    """What the docstrings of formats and bitpacking say, in numpy, without any of ours."""
    model, network, plan = candidate(toys.stack(), LayerChoice(3, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    _, tensors = packed_file.read(tmp_path / "packed")
    codes = tensors["back.weight.codes"].numpy()
    scale = tensors["back.weight.scale"].float().numpy()
    weight = model.back.weight.detach().numpy()
    stream = "".join(f"{byte:08b}"[::-1] for byte in codes)  # least significant bit first
    values = [int(stream[3 * i : 3 * i + 3][::-1], 2) for i in range(weight.size)]
    levels = np.array(values, np.float32).reshape(weight.shape) - 4 + np.float32(0.5)
    assert np.array_equal(levels * scale[:, None], weight)


def test_step_sizes_of_8_bits_decode_by_hand(tmp_path: Path) -> None:
    """What the docstrings of artifact, octaves and packing say, with three levels."""
    scheme = Scheme(scale_bits=8, bias_bits=8)
    model, network, plan = candidate(toys.stack(), LayerChoice(1.6, 8), scheme)
    size = packed_file.save(tmp_path / "packed", model, network, plan, scheme)
    assert size == manifest.size_bytes(network, plan, scheme)
    _, tensors = packed_file.read(tmp_path / "packed")
    codes = tensors["back.weight.codes"].numpy()
    top, *below = tensors["back.weight.scale"].tolist()
    bias = tensors["back.bias.codes"].numpy().astype(np.float32) - 128
    step = tensors["back.bias.scale"]
    assert step.dtype == torch.bfloat16
    scale = np.array([2.0 ** (top - 128 - each / 16) for each in below], np.float32)
    weight = model.back.weight.detach().numpy()
    digits = [byte // 3**i % 3 - 1 for byte in codes.tolist() for i in range(5)]
    levels = np.array(digits[: weight.size], np.float32).reshape(weight.shape)
    assert np.array_equal(levels * scale[:, None], weight)
    assert np.array_equal(bias * step.float().numpy(), model.back.bias.detach().numpy())


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(grid="midtread"), Scheme(bias_bits=4)])
def test_rows_of_zeros_with_step_sizes_of_8_bits(scheme: Scheme, tmp_path: Path) -> None:
    scheme, source = replace(scheme, scale_bits=8), toys.stack()
    with torch.no_grad():
        source.back.weight[1] = 0.0
        source.front.weight.zero_()
    for bits in (1, 1.6, 4):
        model, network, plan = candidate(source, LayerChoice(bits, 8), scheme, steps=1)
        packed_file.save(tmp_path / "packed", model, network, plan, scheme)
        loaded = packed_file.load(tmp_path / "packed", toys.stack())
        inputs = torch.randn(7, 2, 5)
        assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))
        assert torch.equal(loaded.back.weight, model.back.weight)


# --- a file that is wrong -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "model.packed"
    model, network, plan = candidate(toys.stack(), LayerChoice(4, 4), Scheme())
    packed_file.save(path, model, network, plan, Scheme())
    return path


def refuse(path: Path, model: nn.Module | None = None) -> str:
    """The one line that loading gives."""
    with pytest.raises(UserError) as caught:
        packed_file.load(path, model or toys.stack())
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "must be an existing packed file" in refuse(tmp_path / "none")


def test_a_folder(tmp_path: Path) -> None:
    assert "must be an existing packed file" in refuse(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 0.1, 0.5, 0.9, 0.99, -1])
def test_truncated_file(keep: float, packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    length = int(keep * len(data)) if isinstance(keep, float) else keep % len(data)
    (tmp_path / "cut").write_bytes(data[:length])
    assert "must be a whole packed file" in refuse(tmp_path / "cut")


def test_longer_file(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(packed.read_bytes() + b"\0")
    assert "must be a whole packed file" in refuse(tmp_path / "long")


def test_flipped_byte_in_the_data(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for position in range(start, len(data), 7):
        altered = bytearray(data)
        altered[position] ^= 0x10
        (tmp_path / "altered").write_bytes(altered)
        assert "got an altered file" in refuse(tmp_path / "altered"), position


def test_flipped_byte_in_the_header(packed: Path, tmp_path: Path) -> None:
    """Two bits of every byte: those of spaces, which JSON would not need, too."""
    data = packed.read_bytes()
    for position in range(8 + int.from_bytes(data[:8], "little")):
        for bit in (0x01, 0x02):
            altered = bytearray(data)
            altered[position] ^= bit
            (tmp_path / "altered").write_bytes(altered)
            refuse(tmp_path / "altered")


@pytest.mark.parametrize("text", ["", "[]", "1", "4", "{", '{"version": 2}', "null"])
def test_metadata_that_is_not_ours(text: str, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other", metadata={"autoquant": text})
    assert "must have " in refuse(tmp_path / "other")


def test_plain_safetensors(tmp_path: Path) -> None:
    save_file(toys.stack().state_dict(), tmp_path / "plain")
    assert "got another safetensors" in refuse(tmp_path / "plain")


def test_no_safetensors_at_all(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a long enough text that is no packed file at all\n" * 9)
    assert "must be a whole packed file" in refuse(tmp_path / "text")


class Renamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(5, 4)

    def forward(self, values: Tensor) -> Tensor:
        return self.start(values)


@pytest.mark.parametrize(
    "other",
    [
        Renamed,
        lambda: toys.stack(hidden=7),
        lambda: toys.stack(layers=2),
        lambda: toys.stack(cell="GRU"),
        lambda: toys.stack(bidirectional=True),
        lambda: toys.stack(bias=False),
        toys.deep_speech,
    ],
    ids=["names", "units", "layers", "cell", "directions", "biases", "another class"],
)
def test_another_model(other: Callable[[], nn.Module], packed: Path) -> None:
    assert "is of another model" in refuse(packed, other())


def test_another_model_by_its_leftovers(tmp_path: Path) -> None:
    model, network, plan = candidate(Normed(), LayerChoice(4, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    plain = Normed()
    del plain.gain
    plain.gain = 1.0
    assert "is of another model" in refuse(tmp_path / "packed", plain)


# --- a place that cannot be written ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "says"), [("none", "No such file or directory"), ("a file", "Not a directory")]
)
def test_no_folder(folder: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    model, network, plan = candidate(toys.stack(), LayerChoice(4, 8), Scheme())
    path = tmp_path / folder / "packed"
    with pytest.raises(RunError, match=f"could not be written: {says}"):
        packed_file.save(path, model, network, plan, Scheme())
    assert [each.name for each in tmp_path.iterdir()] == ["a file"]


@pytest.mark.parametrize("there", [True, False], ids=["over a file", "new"])
@pytest.mark.parametrize("where", ["write", "replace"])
def test_full_disk(
    where: str, there: bool, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the bytes are on the disk when it refuses: nothing of them stays."""
    path = tmp_path / "model.packed"
    if there:
        path.write_bytes(packed.read_bytes())
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(self: Path, data: Any) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    def unmovable(self: Path, target: Path) -> Path:
        raise OSError(5, "Input/output error")

    model, network, plan = candidate(toys.stack(), LayerChoice(3, 8), Scheme())
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(Path, "write_bytes", full)
        else:
            patch.setattr(Path, "replace", unmovable)
        with pytest.raises(
            RunError, match=r"could not be written: (No space|Input/output)"
        ) as caught:
            packed_file.save(path, model, network, plan, Scheme())
    assert "\n" not in str(caught.value)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    model, network, plan = candidate(toys.stack(), LayerChoice(4, 8), Scheme())
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="could not be written: Permission denied"):
        packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    assert list(tmp_path.iterdir()) == []


def test_a_promise_that_is_not_kept_writes_nothing(tmp_path: Path) -> None:
    model, network, plan = candidate(toys.stack(), LayerChoice(4, 8), Scheme())
    other = plan.with_choice("back", weight_bits=3)
    with pytest.raises(RunError, match=r"promised, differing: \['back\.weight\.codes'\]"):
        packed_file.save(tmp_path / "packed", model, network, other, Scheme())
    assert list(tmp_path.iterdir()) == []


# --- assets, norms and their eps ------------------------------------------------------------------


def test_assets_are_stored_and_counted(tmp_path: Path) -> None:
    model, network, plan = candidate(toys.stack(), LayerChoice(4, 8), Scheme())
    assets = {"vocabulary": b"one\ntwo\n", "empty": b"", '"\u00e9': bytes(range(256))}
    size = packed_file.save(tmp_path / "with", model, network, plan, Scheme(), assets=assets)
    lengths = {name: len(asset) for name, asset in assets.items()}
    assert size == manifest.size_bytes(network, plan, Scheme(), lengths)
    sizes = manifest.breakdown(network, plan, Scheme(), lengths)
    assert (sizes.assets, sizes.total) == (264, size)
    header, _ = packed_file.read(tmp_path / "with")
    assert header.assets == assets
    loaded = packed_file.load(tmp_path / "with", toys.stack())
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))


@pytest.mark.parametrize("norms", ["float", "half"])
def test_a_file_restores_the_eps_of_norms(norms: str, tmp_path: Path) -> None:
    """The model that is loaded into may have another one."""
    source, other, scheme = Normed(), Normed(), Scheme(norms=norms)
    source.norm.eps = 0.3
    model, network, plan = candidate(source, LayerChoice(4, 8), scheme)
    packed_file.save(tmp_path / "packed", model, network, plan, scheme)
    loaded = packed_file.load(tmp_path / "packed", other)
    assert loaded.norm.eps == (0.3 if norms == "float" else 0.0)  # of the scale, in halves
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))
    assert packed_file.read(tmp_path / "packed")[0].eps == (
        {"norm": 0.3} if norms == "float" else {}
    )


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm1d(6),
    "no weight": lambda: nn.BatchNorm1d(6, affine=False),
    "no statistics": lambda: nn.BatchNorm1d(6, track_running_stats=False),
    "instance norm": lambda: nn.InstanceNorm1d(6, affine=True, track_running_stats=True),
    "group norm": lambda: nn.GroupNorm(2, 6),
}


@pytest.mark.parametrize("choice", [LayerChoice(4, 8), LayerChoice(32, 32)], ids=["w4", "float"])
@pytest.mark.parametrize("norm", NORMS)
def test_norms_in_halves_reload_bit_for_bit(norm: str, choice: LayerChoice, tmp_path: Path) -> None:
    """A batch norm is two numbers of two bytes a channel; the others are as they were."""
    source, scheme = Normed(), Scheme(norms="half")
    source.norm = NORMS[norm]()
    model, network, plan = candidate(source, choice, scheme, steps=3)
    packed_file.save(tmp_path / "packed", model, network, plan, scheme)
    fresh = Normed()
    fresh.norm = NORMS[norm]()
    loaded = packed_file.load(tmp_path / "packed", fresh)
    inputs = torch.randn(7, 2, 5)
    assert torch.equal(output_of(loaded, inputs), output_of(model, inputs))
    _, tensors = packed_file.read(tmp_path / "packed")
    stored = {name.removeprefix("norm."): t for name, t in tensors.items() if name[:5] == "norm."}
    folded = {"folded_scale", "folded_shift"}
    assert (set(stored) == folded) == (norm == "batch norm")
    if norm == "batch norm":
        assert {(tensor.dtype, tensor.numel()) for tensor in stored.values()} == {
            (torch.float16, network.resized(plan).norms[0].units)
        }


def test_counters_of_norms_are_those_of_the_model_that_was_given(tmp_path: Path) -> None:
    """Only training reads them: they are not stored."""
    model, network, plan = candidate(Normed(), LayerChoice(4, 8), Scheme())
    assert int(model.norm.num_batches_tracked) > 0
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    assert int(packed_file.load(tmp_path / "packed", Normed()).norm.num_batches_tracked) == 0
    with torch.device("meta"):
        empty = Normed()
    loaded = packed_file.load(tmp_path / "packed", empty)
    assert int(loaded.norm.num_batches_tracked) == 0


@pytest.mark.parametrize("norms", ["float", "half"])
def test_a_norm_of_doubles_stays_one(norms: str, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 6), nn.Flatten(0, 1), nn.BatchNorm1d(6), nn.Linear(6, 3))

    scheme = Scheme(norms=norms)
    model, network, plan = candidate(build(), LayerChoice(4, 8), scheme)
    packed_file.save(tmp_path / "packed", model, network, plan, scheme)
    loaded = packed_file.load(tmp_path / "packed", build().double())
    dtypes = {name: tensor.dtype for name, tensor in loaded[2].state_dict().items()}
    assert dtypes.pop("num_batches_tracked") == torch.int64
    assert set(dtypes.values()) == {torch.float64}
    assert output_of(loaded, torch.randn(7, 2, 5).double()).dtype == torch.float64


# --- the format is pinned -------------------------------------------------------------------------


def tiny(tmp_path: Path) -> Path:
    """A file whose every byte follows from the code: powers of two, no training, no randomness."""
    source = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        source[0].weight.copy_(torch.tensor([[-1.0, -0.5, 0.5], [0.25, 0.0, -0.25]]))
        source[0].bias.copy_(torch.tensor([0.5, -2.0]))
    model, network = prepared_once(source)
    plan = Plan({"0": LayerChoice(weight_bits=4, activation_bits=32)})
    task = RegressionTask(source, torch.zeros(1, 1, 3))
    built = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    with torch.no_grad():
        scale = torch.tensor([[0.125], [0.0625]])
        built[0].parametrizations.weight[0].log_scale.copy_(scale.log())
    packed_file.save(tmp_path / "tiny", built, network, plan, Scheme(), assets={"a": b"bc"})
    return tmp_path / "tiny"


# Version 3, byte by byte. Scales 1/8 and 1/16 (bfloat16), biases 0.5 and -2 (float16), codes
# 0 4 12 12 8 4, the first in the low half of its byte, and an asset. Once a version is released its
# pin stays: a change of the format raises header.VERSION and gets a pin of its own.
MODEL = (
    '{"scheme":{"scale":"learned","granularity":"channel","grid":"auto","reparametrization":"none",'
    '"clip_gradient":"mask","joint_recurrent":false,"scale_bits":16,"bias_bits":16,'
    '"activation_scale":"learned","activation_clip":true,"norms":"float"},"assets":[["a",2]],'
    '"layers":[["0","linear",2,3,1,1,1,[["weight","w o2 i3",""],["bias","b o2",""]],"3","2",0]],'
    '"tensors":[]}'
)
DATA = bytes.fromhex("003e803d" + "003800c0" + "40cc48") + b"bc"
CHOICE = bytes([5 * 4, 5 * 32, 0, 0]) + struct.pack("<d", 1.0)
HEADER = (
    '{"__metadata__":{"autoquant":"3","sha256":"=Ws7^0%ylMMTct$v=R>+uPYQns|lF0f?vwjwv>v`","pl'
    'an":"6rcbA00000008hm","model":"8^Hk)t(2&wV-$-T9tKF6(MZP_Jzqi6n2|!JF=oOyf~7c+9FSuGVwa@m73'
    'YJ^j;#d%"},"data":{"dtype":"U8","shape":[13],"data_offsets":[0,13]}}'
)
PINNED = (272).to_bytes(8, "little") + HEADER.encode().ljust(272) + DATA


def texts_of(data: bytes) -> dict[str, str]:
    """The metadata of a file."""
    texts: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return texts["__metadata__"]  # type: ignore[return-value]


def test_what_is_written_is_pinned(tmp_path: Path) -> None:
    """Compared once inflated: another zlib may deflate otherwise."""
    data = tiny(tmp_path).read_bytes()
    texts = texts_of(data)
    inflate = zlib.decompressobj(-15, zdict=header._DICTIONARY)
    assert inflate.decompress(base64.b85decode(texts["model"])).decode() == MODEL
    assert base64.b85decode(texts["plan"]) == CHOICE
    assert data.endswith(DATA)
    assert hashlib.sha256(header._DICTIONARY).hexdigest()[:16] == "0ec515610074ea9e"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "pinned").write_bytes(PINNED)
    model = packed_file.load(tmp_path / "pinned", nn.Sequential(nn.Linear(3, 2)))
    assert model[0].weight.tolist() == [[-1.0, -0.5, 0.5], [0.25, 0.0, -0.25]]
    assert model[0].bias.tolist() == [0.5, -2.0]
    assert packed_file.read(tmp_path / "pinned")[0].assets == {"a": b"bc"}


def test_safetensors_reads_it(tmp_path: Path) -> None:
    """One tensor: the bytes that follow the header."""
    with safe_open(str(tiny(tmp_path)), framework="pt") as file:
        assert [*file.keys()] == ["data"]
        assert bytes(file.get_tensor("data").tolist()) == DATA


def test_the_digest_is_of_the_file_with_zeros_in_its_place(tmp_path: Path) -> None:
    """So that any reader can check it."""
    data = tiny(tmp_path).read_bytes()
    digest = texts_of(data)["sha256"].encode()
    assert data.count(digest) == 1
    expected = hashlib.sha256(data.replace(digest, b"0" * 40)).digest()
    assert base64.b85decode(digest) == expected


def test_a_file_says_its_plan_and_sizes_without_the_model(tmp_path: Path) -> None:
    model, network, plan = candidate(toys.stack(layers=2), LayerChoice(4, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    header, tensors = packed_file.read(tmp_path / "packed")
    assert (header.plan, header.scheme) == (plan, Scheme())
    assert header.sizes == network.resized(plan).sizes()
    assert header.network is not None
    assert header.network.names == network.names
    entries = manifest.entries(network.resized(plan), plan, Scheme())
    assert [(e.name, e.shape) for e in entries] == [(n, tuple(t.shape)) for n, t in tensors.items()]


def test_loading_needs_no_training_code(packed: Path) -> None:
    """What reads a packed file must not import the search, nor the training loop."""
    code = (
        "import sys, autoquant.artifact.packed_file as a; a.read(sys.argv[1]); "
        "print(sorted(m for m in sys.modules if m.startswith('autoquant.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(packed)], capture_output=True, text=True, check=True
    )
    assert "autoquant.artifact.packed_file" in done.stdout
    assert "autoquant.training.loop" not in done.stdout
    assert "autoquant.commands.search" not in done.stdout
