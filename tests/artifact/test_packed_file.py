"""The packed file: bit-identical after loading, one plain line for every way it can be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
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

from autoquant.artifact import manifest, packed_file
from autoquant.errors import RunError, UserError
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.settings import Scheme, Training
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate
from tests import toys
from tests.toys import RegressionTask, output_of, prepared

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
    model, network = prepared(source)
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
    train(built.train(), task, Training(steps=steps, lr=1e-2), seed=0, progress=False)
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
    network = prepared(source)[1]
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
    model, network = prepared(source)
    choice = LayerChoice(3, 8, recurrent_bits=4, hidden_bits=6)
    plan = Plan.uniform(network.names, choice).with_choice("rnn.l0", width=2.0)
    task, rule = RegressionTask(source, words), SCHEMES[scheme]
    built = build_candidate(model, network, plan, rule, task, method="split", seed=0)
    before = output_of(built, words)
    train(built.train(), task, Training(steps=1, lr=1e-2), seed=0, progress=False)
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
    """What the docstring of artifact and packing say, in numpy, without any of ours."""
    model, network, plan = candidate(toys.stack(), LayerChoice(3, 8), Scheme())
    packed_file.save(tmp_path / "packed", model, network, plan, Scheme())
    with safe_open(str(tmp_path / "packed"), framework="pt") as file:
        codes = file.get_tensor("back.weight.codes").numpy()
        scale = file.get_tensor("back.weight.scale").float().numpy()
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
    with safe_open(str(tmp_path / "packed"), framework="pt") as file:
        codes = file.get_tensor("back.weight.codes").numpy()
        top, *below = file.get_tensor("back.weight.scale").tolist()
        bias = file.get_tensor("back.bias.codes").numpy().astype(np.float32) - 128
        step = file.get_tensor("back.bias.scale")
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
    for position in range(start, len(data), 37):
        altered = bytearray(data)
        altered[position] ^= 0x10
        (tmp_path / "altered").write_bytes(altered)
        assert "got an altered tensor" in refuse(tmp_path / "altered"), position


def test_flipped_byte_in_the_header(packed: Path, tmp_path: Path) -> None:
    """Bits of every 11th byte, and of every digit of the plan: nothing passes."""
    data = packed.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    end = len(data[:start].rstrip(b" "))
    plan = [m.start() for m in re.finditer(rb"(?<=_bits\\\":)\d", data)]
    assert len(plan) > 6
    for position in sorted({*range(0, end, 11), *plan}):
        for bit in (0x01, 0x02):
            altered = bytearray(data)
            altered[position] ^= bit
            (tmp_path / "altered").write_bytes(altered)
            refuse(tmp_path / "altered")


def rewritten(packed: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with its metadata changed as another version, or a tool, would write it."""
    _, tensors = packed_file.read(packed)
    with safe_open(str(packed), framework="pt") as file:
        content = json.loads(file.metadata()[manifest.METADATA_KEY])
    change(content)
    save_file(tensors, path, metadata={manifest.METADATA_KEY: json.dumps(content)})
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(version=3), r"must have format version 2, got 3"),
        (lambda c: c.update(version="x"), r"must have format version 2, got x"),
        (lambda c: c.pop("plan"), r"must "),
        (lambda c: c.pop("scheme"), r"must "),
        (lambda c: c.pop("version"), r"must have a readable header"),
        (lambda c: c["scheme"].update(grid="midtread"), r"altered header"),
        (lambda c: c["plan"]["back"].update(activation_bits=8), r"altered header"),
    ],
    ids=["version", "odd version", "no plan", "no scheme", "no version", "scheme", "plan"],
)
def test_other_metadata(change: Any, says: str, packed: Path, tmp_path: Path) -> None:
    assert re.search(says, refuse(rewritten(packed, tmp_path / "other", change)))


@pytest.mark.parametrize(
    ("field", "words"),
    [("grid", "quantizer.grid must be one of"), ("scale", "quantizer.scale must be one of")],
)
def test_a_name_that_only_a_module_of_the_user_registers(
    field: str, words: str, packed: Path, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["scheme"][field] = "mine"
        content["digest"] = manifest.digest({k: v for k, v in content.items() if k != "digest"})

    message = refuse(rewritten(packed, tmp_path / "mine", change))
    assert "may need a module of yours that is not imported (AUTOQUANT_PLUGINS" in message
    assert words in message
    assert message.endswith("got 'mine'")


def test_metadata_that_is_not_ours(tmp_path: Path) -> None:
    for i, text in enumerate(["", "[]", "3", "{", '{"version": 2}', "null"]):
        path = tmp_path / str(i)
        save_file({"a": torch.ones(2)}, path, metadata={manifest.METADATA_KEY: text})
        assert "must have a readable header" in refuse(path)


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


# --- the format is pinned -------------------------------------------------------------------------


def tiny(tmp_path: Path) -> Path:
    """A file whose every byte follows from the code: powers of two, no training, no randomness."""
    source = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        source[0].weight.copy_(torch.tensor([[-1.0, -0.5, 0.5], [0.25, 0.0, -0.25]]))
        source[0].bias.copy_(torch.tensor([0.5, -2.0]))
    model, network = prepared(source)
    plan = Plan({"0": LayerChoice(weight_bits=4, activation_bits=32)})
    task = RegressionTask(source, torch.zeros(1, 1, 3))
    built = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    with torch.no_grad():
        scale = torch.tensor([[0.125], [0.0625]])
        built[0].parametrizations.weight[0].log_scale.copy_(scale.log())
    packed_file.save(tmp_path / "tiny", built, network, plan, Scheme())
    return tmp_path / "tiny"


# Version 2, byte by byte. Scales 1/8 and 1/16 (bfloat16), biases 0.5 and -2 (float16), and codes
# 0 4 12 12 8 4, the first in the low half of its byte. Once a version is released its pin stays:
# a change of the format raises manifest.FORMAT_VERSION and gets a pin of its own.
META = (
    '{"version":2,'
    '"plan":{"0":{"weight_bits":4,"activation_bits":32,"width":1.0}},'
    '"sizes":{},'
    '"scheme":{"scale":"learned","granularity":"channel","grid":"auto","reparametrization":"none",'
    '"clip_gradient":"mask","joint_recurrent":false,"scale_bits":16,"bias_bits":16,'
    '"activation_scale":"learned","activation_clip":true},'
    '"sha256":{'
    '"0.weight.scale":"0bd6bc92cf3e210cfcf707fba7b9d76e1d0343a11bb1012cfc8fde8fd7dc9fff",'
    '"0.bias":"3c6e4a5369bf5d025b8c4563aa54092899f9f25e73d8fa848e7d7a3dfb822f12",'
    '"0.weight.codes":"93208e6577514093c8257649318c7449b2d2a11db4ec99677d3581dbbb5e7f81"},'
    '"digest":"185c1ac204b42c1d3832f9bee34efaad06a3e9cc878522651f42d6073aceda6c"}'
)
HEADER = (
    '{"__metadata__":{"autoquant":' + json.dumps(META) + "},"
    '"0.weight.scale":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},'
    '"0.bias":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},'
    '"0.weight.codes":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}'
)
DATA = bytes.fromhex("003e803d" + "003800c0" + "40cc48")
PINNED = b"\xa8\x03" + bytes(6) + HEADER.encode().ljust(0x3A8) + DATA


def test_what_is_written_is_pinned(tmp_path: Path) -> None:
    assert tiny(tmp_path).read_bytes() == PINNED


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "pinned").write_bytes(PINNED)
    model = packed_file.load(tmp_path / "pinned", nn.Sequential(nn.Linear(3, 2)))
    assert model[0].weight.tolist() == [[-1.0, -0.5, 0.5], [0.25, 0.0, -0.25]]
    assert model[0].bias.tolist() == [0.5, -2.0]


def test_the_digest_is_of_the_json_before_it() -> None:
    """So that any reader can check it: cut the digest, close the brace."""
    before, digest = META.split(',"digest":"')
    assert hashlib.sha256((before + "}").encode()).hexdigest() == digest.removesuffix('"}')


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
