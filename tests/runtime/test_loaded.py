"""A whole loaded model in other hands: copied, stored, moved, trained through, run in threads."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.backend import Compute, computing
from autoquant.plan import LayerChoice
from autoquant.quantization import native
from autoquant.quantization.codes import Grid
from autoquant.quantization.native import pointwise
from autoquant.settings import Scheme
from tests import toys
from tests.quantization.native.machine import NEEDS_KERNELS, threads
from tests.runtime.pairs import (
    Pair,
    assert_equal,
    assert_same,
    equal_on,
    noise,
    pair,
    weights_of,
)

W4A8 = LayerChoice(4, 8)
CHOICES = {
    "w4 a8": W4A8,
    "w2 a32": LayerChoice(2, 32),
    "w4 r32 a8": LayerChoice(4, 8, recurrent_bits=32),
    "w32 a8": LayerChoice(32, 8),
}
QUANTIZED = {
    "w4 a8": W4A8,
    "w4 a16": LayerChoice(4, 16),
    "w4 r32 a8": LayerChoice(4, 8, recurrent_bits=32),
}
Ways = dict[str, Callable[[nn.Module], nn.Module]]


class Speller(nn.Module):
    """Each kind of layer: an embedding, a stack in both directions, and linear ones."""

    def __init__(self, cell: str = "LSTM") -> None:
        super().__init__()
        self.embedding = nn.Embedding(17, 5)
        self.rnn = getattr(nn, cell)(5, 11, 2, bidirectional=True)
        self.hidden = nn.Linear(22, 9)
        self.out = nn.Linear(9, 4, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        values, _ = self.rnn(self.embedding(words))
        return self.out(torch.relu(self.hidden(values)))


WORDS = torch.arange(34).view(17, 2) % 17


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    return {
        name: pair(tmp_path_factory.mktemp("made"), Speller, choice, WORDS)
        for name, choice in CHOICES.items()
    }


@pytest.fixture(params=CHOICES)
def both(request: pytest.FixtureRequest, made: dict[str, Pair]) -> Pair:
    """Loaded anew for each test."""
    return made[request.param].afresh()


@pytest.fixture
def speller(made: dict[str, Pair]) -> Pair:
    return made["w4 a8"].afresh()


# --- copies ---------------------------------------------------------------------------------------


def through_torch(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: Ways = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": through_torch,
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
@torch.no_grad()
def test_copies_are_the_same_model(way: Any, used: bool, both: Pair) -> None:
    """They stand by themselves: the first one is changed, and they are not."""
    expected = both.loaded(WORDS) if used else both.again()(WORDS)
    copied = way(both.loaded)
    for parameter in both.loaded.parameters():
        parameter.zero_()
    for weight in weights_of(both.loaded):
        (weight.packed if weight.matrix is None else weight.matrix.codes).zero_()
    assert_equal(copied(WORDS), expected)
    assert_equal(way(copied)(WORDS), expected)


@NEEDS_KERNELS
@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
def test_copies_run_on_integers_too(way: Any, used: bool, speller: Pair) -> None:
    if used:
        speller.loaded(WORDS)
    copied = way(speller.loaded)
    assert_same(Pair(speller.fake, copied, speller.path, speller.build), WORDS)


def test_a_stored_model_is_about_as_large_as_its_file(tmp_path: Path) -> None:
    both = pair(tmp_path, lambda: nn.LSTM(300, 200, bidirectional=True), W4A8, noise(3, 2, 300))
    file = io.BytesIO()
    torch.save(both.loaded, file)
    assert file.tell() < 1.1 * both.path.stat().st_size


# --- moves ----------------------------------------------------------------------------------------

NO_GROWTH: Ways = {
    "cpu": lambda model: model.cpu(),
    "float": lambda model: model.float(),
    "double and back": lambda model: model.double().float(),
    "eval": lambda model: model.eval(),
    "train and back": lambda model: model.train().eval(),
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("way", NO_GROWTH.values(), ids=NO_GROWTH)
def test_moves_that_end_where_they_began(way: Any, used: bool, both: Pair) -> None:
    if used:
        both.loaded(WORDS)
    assert way(both.loaded) is both.loaded
    assert_same(both, WORDS)


@NEEDS_KERNELS
@pytest.mark.usefixtures("undecoded")
def test_integers_again_after_a_move_and_back(speller: Pair) -> None:
    speller.loaded(WORDS)
    speller.loaded.half().double().float()
    assert speller.loaded(WORDS).isfinite().all()


def test_double_is_the_same_function(tmp_path: Path) -> None:
    """By hand: decoded codes, the input quantizer, a product of doubles."""
    both = pair(tmp_path, lambda: nn.Linear(37, 21), W4A8, noise(6, 3, 37))
    both.loaded(noise(2, 37))
    model, inputs = both.loaded.double(), noise(5, 37).double()
    (weight,) = weights_of(model)
    values = (weight.codes() + weight.grid.offset) * weight.scale
    assert values.dtype == torch.float64
    expected = model.input_quantizer(inputs) @ values.t() + model.bias
    torch.testing.assert_close(model(inputs), expected, rtol=1e-12, atol=1e-12)
    assert not torch.equal(expected, expected.float().double())


DOUBLE = {
    **CHOICES,
    "tensor": W4A8,
    "bias 32": W4A8,
}
DOUBLE_SCHEMES = {
    "tensor": Scheme(granularity="tensor", scale_bits=32, bias_bits=8),
    "bias 32": Scheme(bias_bits=32),
}


@pytest.mark.parametrize("name", DOUBLE)
def test_a_model_in_double_reloads(name: str, tmp_path: Path) -> None:
    """What takes 32 bits in the file is rounded to them in training too."""

    def build() -> nn.Module:
        return Speller().double()

    both = pair(tmp_path, build, DOUBLE[name], WORDS, DOUBLE_SCHEMES.get(name))
    with torch.no_grad():
        ours, theirs = both.loaded(WORDS), both.fake(WORDS)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7 * float(theirs.abs().max()))


NARROW = {torch.float64: 1e-5, torch.float16: 0.03, torch.bfloat16: 0.2}


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_other_dtypes_are_near(cell: str, dtype: torch.dtype, tmp_path: Path) -> None:
    loaded = pair(tmp_path, lambda: Speller(cell), LayerChoice(4, 32), WORDS).loaded
    expected = loaded(WORDS)
    ours = loaded.to(dtype)(WORDS)
    assert ours.dtype == dtype
    tolerance = NARROW[dtype] * float(expected.abs().max())
    torch.testing.assert_close(ours.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_on_a_gpu_and_back(choice: LayerChoice, tmp_path: Path) -> None:
    both = pair(tmp_path, Speller, choice, WORDS)
    expected = both.loaded(WORDS)
    near = both.loaded.to("cuda")(WORDS.to("cuda"))
    torch.testing.assert_close(near.cpu(), expected, rtol=0, atol=0.05)
    assert_equal(both.loaded.cpu()(WORDS), expected)


def test_a_parameter_says_where_a_model_is_and_of_which_type(both: Pair) -> None:
    """The usual idiom: there is always one, frozen, and it follows a move."""
    for layer in both.loaded.children():
        first = next(layer.parameters())
        assert (first.dtype, first.device.type) == (torch.float32, "cpu")
        assert not any(each.requires_grad for each in layer.parameters())
        assert next(layer.double().parameters()).dtype == torch.float64


# --- state_dict -----------------------------------------------------------------------------------


def test_a_state_dict_is_the_whole_model(tmp_path: Path) -> None:
    """Loaded into another model of the plan, used or not, strictly: codes, steps, biases."""
    one, other = (pair(tmp_path / str(seed), Speller, W4A8, WORDS, seed=seed) for seed in range(2))
    assert not torch.allclose(one.loaded(WORDS), other.loaded(WORDS))
    state = one.loaded.state_dict()
    assert all(isinstance(each, Tensor) for each in state.values())
    for target in (other.loaded, other.again()):
        target.load_state_dict(state)
        assert_equal(target(WORDS), one.fake(WORDS))


def test_a_state_dict_survives_torch_save(both: Pair) -> None:
    """Also as it is loaded by default, without pickled code."""
    file = io.BytesIO()
    torch.save(both.loaded.state_dict(), file)
    file.seek(0)
    fresh = both.again()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert_equal(fresh(WORDS), both.fake(WORDS))


def test_a_float_model_refuses_a_packed_state_dict(speller: Pair) -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*embedding\.weight"):
        Speller().load_state_dict(speller.loaded.state_dict())


# --- modes and gradients --------------------------------------------------------------------------


def test_training_mode_only_switches_dropout(tmp_path: Path) -> None:
    both = pair(tmp_path, lambda: toys.Tagger(), W4A8, toys.sentences())
    words = toys.sentences()
    expected = both.loaded(words)
    both.loaded.train()
    torch.manual_seed(0)
    assert not torch.equal(both.loaded(words), expected)
    both.loaded.dropout.eval()
    assert_equal(both.loaded(words), expected)
    both.loaded.eval()
    assert_same(both, words)


def gradients(model: nn.Module, inputs: Tensor, state: Any) -> list[Tensor]:
    """Outputs, and gradients of the inputs and of the initial state."""
    leaves = [part.clone().requires_grad_() for part in (inputs, *state)]
    outputs, last = model(leaves[0], tuple(leaves[1:]))
    loss = (outputs * noise(*outputs.shape, seed=9)).sum() + sum(part.sum() for part in last)
    return [outputs.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_gradients_are_those_of_the_fake_quantized_model(
    choice: LayerChoice, bidirectional: bool, tmp_path: Path
) -> None:
    """Of inputs and of states, through clipping and rounding; the outputs stay the same, too."""

    def build() -> nn.Module:
        return nn.LSTM(21, 19, 2, bidirectional=bidirectional)

    both = pair(tmp_path, build, choice, noise(6, 3, 21))
    rows = 4 if bidirectional else 2
    state = noise(rows, 3, 19, seed=5), noise(rows, 3, 19, seed=6)
    inputs = noise(6, 3, 21, seed=7) * 2
    ours, theirs = (gradients(model, inputs, state) for model in (both.loaded, both.fake))
    assert_equal(ours, theirs)
    assert all(float(each.abs().max()) > 0 for each in ours)


@pytest.mark.parametrize("activation", [4, 8, 16, 32], ids="a{}".format)
@pytest.mark.parametrize("weight", [1, 4, 8, 32], ids="w{}".format)
def test_gradients_of_a_linear_layers_inputs(weight: int, activation: int, tmp_path: Path) -> None:
    both = pair(
        tmp_path, lambda: nn.Linear(64, 21), LayerChoice(weight, activation), noise(6, 3, 64)
    )
    results = []
    for model in (both.loaded, both.fake):
        inputs = (noise(9, 64, seed=2) * 3).requires_grad_()
        outputs = model(inputs)
        (outputs * noise(9, 21, seed=4)).sum().backward()
        results.append([outputs.detach(), inputs.grad])
    assert_equal(*results)


def test_gradients_of_the_state_alone(tmp_path: Path) -> None:
    both = pair(tmp_path, lambda: nn.GRU(5, 11), W4A8, noise(6, 3, 5))
    results = []
    for model in (both.loaded, both.fake):
        state = noise(1, 3, 11).requires_grad_()
        model(noise(4, 3, 5), state)[0].sum().backward()
        results.append(state.grad)
    assert_equal(*results)
    assert float(results[0].abs().max()) > 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(mode: Any, both: Pair) -> None:
    """What the first call keeps under any mode serves under every other."""
    with mode():
        assert_equal(both.loaded(WORDS), both.fake(WORDS))
    assert not both.loaded(WORDS).requires_grad
    assert_same(both, WORDS)


@pytest.mark.parametrize("choice", QUANTIZED.values(), ids=QUANTIZED)
def test_autocast_is_obeyed(choice: LayerChoice, tmp_path: Path) -> None:
    """As in the fake-quantized model. (torch's own LSTM may have no kernel for it.)"""
    both = pair(tmp_path, Speller, choice, WORDS)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        ours, theirs = both.loaded(WORDS), both.fake(WORDS)
    assert ours.dtype == theirs.dtype
    assert_equal(ours, theirs)


@pytest.mark.parametrize("kernel", ["reference", "torch", "auto"])
def test_kernels_by_name(kernel: str, both: Pair) -> None:
    with computing(Compute(kernel)):
        assert_same(both, WORDS)


# --- coarse numbers: three levels, step sizes of 8 bits -------------------------------------------


class Pictures(nn.Module):
    """Convolutions, which are decoded when they are loaded."""

    lead = (2, 3, 8)

    def __init__(self) -> None:
        super().__init__()
        self.front, self.one, self.two = nn.Linear(8, 8), nn.Conv2d(3, 5, 3), nn.Conv1d(5, 4, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(self.front(values))).flatten(2))


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Linear(37, 21), noise(6, 3, 37)),
    "embedding": (lambda: nn.Embedding(23, 13), torch.arange(22).view(11, 2)),
    "lstm": (lambda: nn.LSTM(5, 11, 2, bidirectional=True), noise(6, 3, 5)),
    "gru": (lambda: nn.GRU(5, 11, 2, bidirectional=True), noise(6, 3, 5)),
    "rnn": (lambda: nn.RNN(5, 11), noise(6, 3, 5)),
    "conv": (Pictures, noise(2, 3, 8, 8)),
    "all": (Speller, WORDS),
}
COARSE = {
    "1.6": (LayerChoice(1.6, 8), Scheme()),
    "1.6 recurrent": (LayerChoice(4, 8, recurrent_bits=1.6), Scheme()),
    "1.6 of floats": (LayerChoice(1.6, 32), Scheme(granularity="tensor")),
    "1.6 mean": (LayerChoice(1.6, 8), Scheme(scale="mean", granularity="tensor")),
    "1.6, steps in 8 bits": (LayerChoice(1.6, 8), Scheme(scale_bits=8)),
    "4, steps in 8 bits": (LayerChoice(4, 4), Scheme(scale_bits=8, bias_bits=8)),
    "1.6 tanh, mean": (LayerChoice(1.6, 8), Scheme.bit_rnn(activation_clip=True)),
}


@pytest.mark.parametrize("kernel", ["auto", "torch", "reference"])
@pytest.mark.parametrize("choice", COARSE)
@pytest.mark.parametrize("kind", KINDS)
def test_coarse_numbers_reload_bit_for_bit(
    kind: str, choice: str, kernel: str, tmp_path: Path
) -> None:
    build, inputs = KINDS[kind]
    with computing(Compute(kernel)):
        both = pair(tmp_path, build, COARSE[choice][0], inputs, COARSE[choice][1])
        assert_same(both, inputs)
    for weight in weights_of(both.loaded):
        assert weight.bits == (2 if weight.grid == Grid(-1, 1, 0.0) else 4)


# --- odd numbers ----------------------------------------------------------------------------------

ODD = {"nan": torch.nan, "inf": torch.inf, "-inf": -torch.inf, "huge": 3e38, "tiny": 1e-42}


def spoilt(value: float, *shape: int) -> Tensor:
    inputs = noise(*shape)
    inputs[1, ..., 2] = value
    return inputs


def each_choice(folder: Path, build: Callable[[], nn.Module], features: int) -> dict[str, Pair]:
    return {
        name: pair(folder / name, build, choice, noise(6, 3, features))
        for name, choice in CHOICES.items()
    }


@pytest.fixture(scope="module")
def linears(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    return each_choice(tmp_path_factory.mktemp("odd"), lambda: nn.Linear(37, 21), 37)


@pytest.fixture(scope="module")
def lstms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("odd")
    return each_choice(folder, lambda: nn.LSTM(21, 19, bidirectional=True), 21)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("choice", CHOICES)
def test_odd_inputs_of_a_linear_layer(choice: str, value: float, linears: dict[str, Pair]) -> None:
    (ours,) = equal_on(linears[choice], spoilt(value, 4, 37))
    assert ours[0].isfinite().all()
    assert bool(ours[1].isnan().all()) or value == value


@pytest.mark.parametrize("where", ["inputs", "hidden state", "cell state"])
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("choice", CHOICES)
def test_odd_inputs_of_a_recurrent_layer(
    choice: str, value: float, where: str, lstms: dict[str, Pair]
) -> None:
    """One number of one sequence is odd; the other sequence does not notice."""
    inputs, state = noise(5, 2, 21), [noise(2, 2, 19), noise(2, 2, 19)]
    if where == "inputs":
        inputs[2, 1, 2] = value
    else:
        state[where == "cell state"][0, 1, 2] = value
    outputs, *_ = equal_on(lstms[choice], inputs, tuple(state))
    assert outputs[:, 0].isfinite().all()
    assert bool(outputs[:, 1].isnan().any()) or value == value


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_torchs_defaults_do_not_matter(cell: str, tmp_path: Path) -> None:
    """Neither the type nor the device of tensors that are made without saying which."""
    loaded = pair(tmp_path, lambda: Speller(cell), W4A8, WORDS).loaded
    expected = loaded(WORDS)
    torch.set_default_dtype(torch.float64)
    try:
        assert_equal(loaded(WORDS), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert_equal(loaded(WORDS), expected)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bits", [1, 3, 8], ids="w{}".format)
def test_what_was_in_memory_before_does_not_matter(bits: int, cell: str, tmp_path: Path) -> None:
    """Memory that is not set is full of NaN and of the largest numbers, from loading on."""
    both = pair(tmp_path, lambda: Speller(cell), LayerChoice(bits, 8), WORDS)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.empty(3).isnan().all()
        loaded = both.again()
        ours = [loaded(WORDS), loaded(WORDS[:, :1])]
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(ours, [both.loaded(WORDS), both.loaded(WORDS[:, :1])])


# --- threads --------------------------------------------------------------------------------------


def test_two_callers_at_once(speller: Pair) -> None:
    """From the very first call on, which makes what the later ones keep."""
    together = threading.Barrier(2, timeout=30)
    inputs = [torch.randint(17, (9, 2 + i), generator=torch.manual_seed(i)) for i in range(2)]
    expected = [speller.again()(words) for words in inputs]

    def call(i: int) -> list[Tensor]:
        together.wait()
        return [speller.loaded(inputs[i]) for _ in range(100)]

    with ThreadPoolExecutor(2) as pool:
        for results, right in zip(pool.map(call, range(2)), expected, strict=True):
            assert len(results) == 100
            assert all(torch.equal(each, right) for each in results)


class Others(nn.Module):
    """What is decoded when it is loaded: a convolution, a norm, a cell in a loop, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.conv, self.norm = nn.Conv1d(8, 6, 3, padding=1), nn.BatchNorm1d(6)
        self.cell = nn.LSTMCell(6, 7)

    def forward(self, frames: Tensor) -> Tensor:  # [T, B, 5] -> [T, B, 7]
        values = self.front(frames)
        values = self.attention(values, values, values)[0].permute(1, 2, 0)
        state, outputs = None, []
        for step in torch.relu(self.norm(self.conv(values))).permute(2, 0, 1):
            state = self.cell(step, state)
            outputs.append(state[0])
        return torch.stack(outputs)


@pytest.mark.parametrize("torch_threads", [1, 2])
@pytest.mark.parametrize("choice", [W4A8, LayerChoice(3, 32)], ids=["integers", "decoded"])
@pytest.mark.parametrize("model", ["others, grown", "stream"])
def test_four_callers_with_states_of_their_own(
    model: str, choice: LayerChoice, torch_threads: int, tmp_path: Path
) -> None:
    """Each caller has a batch of its own size, and carries its state from step to step."""
    if model == "stream":
        both = pair(tmp_path, lambda: toys.Stack(layers=2), choice, noise(9, 3, 5), rnn__l0=1.5)
    else:
        both = pair(tmp_path, Others, choice, noise(9, 3, 5), conv=1.5)

    @torch.no_grad()
    def call(loaded: nn.Module, i: int) -> list[Tensor]:
        frames, results, state = noise(9, 1 + i, 5, seed=i), [], None
        for first in range(8):
            if model == "stream":
                out, state = loaded(frames[first : first + 1], state)
                results += [out, *state]
            else:
                results.append(loaded(frames[first:]))
        return results

    together, shared = threading.Barrier(4, timeout=30), both.again()

    def at_once(i: int) -> list[Tensor]:
        together.wait()
        return call(shared, i)

    with threads(torch_threads), ThreadPoolExecutor(4) as pool:
        for i, results in enumerate(pool.map(at_once, range(4))):
            assert_equal(results, call(both.loaded, i))


def on_two_threads(model: nn.Module, *inputs: Any) -> Any:
    with threads(2):
        return model(*inputs)


@NEEDS_KERNELS
def test_a_thread_of_the_pool_never_waits_for_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two of them wait for each other for ever: a large state is shared out as well."""
    loaded = pair(tmp_path, lambda: nn.LSTM(5, 64, bidirectional=True), W4A8, noise(6, 3, 5)).loaded
    shared: list[str] = []
    parallel = native.parallel

    def watched(*given: Any) -> int:
        assert threading.current_thread() is threading.main_thread()
        shared.append("")
        return parallel(*given)

    for module in (native, pointwise):
        monkeypatch.setattr(module, "parallel", watched)
    monkeypatch.setattr(pointwise, "WORTH_A_THREAD", 1)
    on_two_threads(loaded, noise(3, 40, 5))
    assert shared


@NEEDS_KERNELS
@pytest.mark.parametrize("rows", [1, 8, 600])
def test_a_linear_layer_on_two_threads(rows: int, tmp_path: Path) -> None:
    """Few rows are shared out by units, many by rows."""
    loaded = pair(tmp_path, lambda: nn.Linear(700, 800), W4A8, noise(6, 3, 700)).loaded
    inputs = noise(rows, 700)
    assert torch.equal(on_two_threads(loaded, inputs), loaded(inputs))


@NEEDS_KERNELS
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_stack_on_two_threads(choice: LayerChoice, bidirectional: bool, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.LSTM(21, 64, 2, bidirectional=bidirectional)

    loaded, inputs = pair(tmp_path, build, choice, noise(6, 3, 21)).loaded, noise(9, 25, 21)
    assert_equal(on_two_threads(loaded, inputs), loaded(inputs))
