"""Models of group ``exports``: packed, exported, and called with a batch of one."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.exports.c import CProgram, write_c
from autoquant.exports.c.compiled import FLAGS, CModule, compiled
from autoquant.exports.layers import named_weights
from autoquant.exports.onnx.dialect import RuntimeDialect
from autoquant.exports.onnx.files import LEAST
from autoquant.exports.onnx.lowering import Lowered, lower
from autoquant.exports.onnx.session import Session
from autoquant.exports.recording import Recording, Source, axes_named, narrowed, record
from autoquant.exports.source import open_source
from autoquant.exports.steps import step_source
from autoquant.exports.weights import CodedWeight
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.task import Example
from autoquant.tasks.language_model import LanguageModel
from benchmarks.case import Call
from benchmarks.quantized import QuantizedModule

SEED = 0
STEPS = 16
"""Time steps of a call, each of which gets the state of the one before."""
OPTIMIZED = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
SMALLER = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
COMPILERS = {"-O2": SMALLER, "-O3": FLAGS, "-O3 -march=native": OPTIMIZED}
Results = dict[str, Tensor]


class Spotter(nn.Module):
    """Frames [T, B, 40] to words: two GRU layers and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(40, 128, 2)
        self.head = nn.Linear(128, 12)

    def forward(self, frames: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs, state = self.rnn(frames, state)
        return self.head(outputs), state


class Convolutions(nn.Module):
    """Images [B, 1, 28, 28]: plain, depthwise and pointwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depth = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, groups=16)
        self.point, self.last = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 64, 3)
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        values = F.max_pool2d(torch.relu(self.first(images)), 2)
        values = torch.relu(self.point(torch.relu(self.depth(values))))
        outputs: Tensor = self.head(torch.relu(self.last(values)).mean((2, 3)))
        return outputs


class Encoder(nn.Module):
    """Words [B, 32]: embeddings, two layers of a transformer, the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(1000, 64), nn.Embedding(32, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        for matrix in (p for p in self.encoder.parameters() if p.ndim > 1):
            nn.init.xavier_uniform_(matrix)  # else both layers begin with the same weights
        self.head = nn.Linear(64, 5)

    def forward(self, words: Tensor) -> Tensor:
        places = torch.arange(words.shape[1], device=words.device)
        outputs: Tensor = self.head(self.encoder(self.words(words) + self.places(places)).mean(1))
        return outputs


@dataclass(frozen=True)
class Model:
    """A float model and what it is called with.

    Attributes:
        build: makes it.
        inputs: a batch of two, [T, B, ...] where it is recurrent, else [B, ...].
        recurrent: whether it is called with a state and returns one.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    recurrent: bool = True


def _language(vocabulary: int, units: int) -> Model:
    return Model(
        lambda: LanguageModel(vocabulary, units, units),
        lambda: torch.randint(0, vocabulary, (STEPS, 2)),
    )


MODELS: dict[str, Model] = {
    "LSTM 300, 10,000 words": _language(10000, 300),
    "LSTM 128, 4,000 words": _language(4000, 128),
    "GRU 2 x 128, 40 features": Model(Spotter, lambda: torch.randn(STEPS, 2, 40)),
    "LSTM 2048, 2,000 words": _language(2000, 2048),
    "convolutions": Model(Convolutions, lambda: torch.randn(2, 1, 28, 28), False),
    "transformer encoder": Model(Encoder, lambda: torch.randint(0, 1000, (2, 32)), False),
}


class Exported:
    """A model with weights of some bits, and its exports in a folder.

    Args:
        name: a key of MODELS.
        bits: of weights; inputs of layers and hidden states have 8.
        folder: gets a folder for the files.
    """

    def __init__(self, name: str, bits: int, folder: Path) -> None:
        self.name, self.bits = name, bits
        self.folder = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-w{bits}"
        self.model = MODELS[name]

    @cached_property
    def module(self) -> nn.Module:
        torch.manual_seed(SEED)
        return self.model.build().eval()

    @cached_property
    def inputs(self) -> Tensor:
        torch.manual_seed(SEED + 1)
        return self.model.inputs()

    @cached_property
    def source(self) -> Source:
        """The loaded model."""
        choice = LayerChoice(self.bits, 8, 1.0, self.bits, 8)
        path = self.folder / "packed.safetensors"
        self.folder.mkdir()
        QuantizedModule(self.module, choice, Scheme(), self.inputs).pack(path)
        return open_source(path, self.model.build(), Example((self.inputs,), 1))

    @cached_property
    def recording(self) -> Recording:
        """What is exported: a step of any batch, or a pass."""
        whole = record(self.source)
        return record(step_source(whole)) if self.model.recurrent else whole

    def lowered(self, prefer: str = "speed") -> Lowered:
        """The ONNX graph.

        Args:
            prefer: "speed" or "size".
        """
        return lower(self.recording, RuntimeDialect(LEAST[prefer]))

    @cached_property
    def program(self) -> CProgram:
        """The C program, of a batch of one."""
        single = narrowed(self.recording.source, axes_named(self.recording, "batch"))
        return write_c(record(single, dynamic=False), self.folder, "model")

    def exact_bytes(self) -> int:
        """Codes at their own bits, and a scale of four bytes for each row."""
        weights = [weight for _, weight in named_weights(self.source.layers.values())]
        weights += self.source.weights.values()
        coded = [weight for weight in weights if isinstance(weight, CodedWeight)]
        return sum(-(-w.codes.size * self.bits // 8) + 4 * w.shape[0] for w in coded)


def step_inputs(exported: Exported) -> list[Tensor]:
    """Inputs of each step, with a batch of one: [1, 1, ...]; of a pass, [1, ...]."""
    if not exported.model.recurrent:
        return [exported.inputs[:1].contiguous()]
    return [step[None, :1].contiguous() for step in exported.inputs]


# --- calls ---------------------------------------------------------------------------------------


def loaded_call(exported: Exported, model: nn.Module | None = None) -> Call:
    """All steps by a torch module.

    Args:
        exported: gives the inputs.
        model: the module; None for the one that ``autoquant.load`` returned.
    """
    model, inputs = model or exported.source.model, step_inputs(exported)

    def steps() -> Iterator[Tensor]:
        state = None
        for values in inputs:
            outputs, state = model(values, state)
            yield outputs

    def call() -> Results:
        with torch.inference_mode():
            return _ends([*steps()] if exported.model.recurrent else [model(inputs[0])])

    return call


def _ends(outputs: Sequence[Any]) -> Results:
    """The first and the last of some outputs, which are not copied."""
    return {"first": torch.as_tensor(outputs[0]), "last": torch.as_tensor(outputs[-1])}


def onnx_call(exported: Exported, file: Path | bytes) -> Call:
    """All steps in ONNX Runtime, by a graph of a step.

    Args:
        exported: gives the inputs.
        file: whose first input and output are those of the model, and whose others are states.
    """
    session = Session(file).session
    first, *states = [port.name for port in session.get_inputs()]
    inputs = [{first: values.numpy()} for values in step_inputs(exported)]
    start = [np.zeros([_size(s) for s in p.shape], np.float32) for p in session.get_inputs()[1:]]

    def call() -> Results:
        outputs, state = [], start
        for feed in inputs:
            values, *state = session.run(None, feed | dict(zip(states, state, strict=True)))
            outputs.append(values)
        return _ends(outputs)

    return call


def _size(size: Any) -> int:
    return size if isinstance(size, int) else 1


class CCalls:
    """All steps by a compiled C program; memory and pointers are made once.

    Args:
        exported: gives program and inputs.
        flags: of the compiler.
    """

    def __init__(self, exported: Exported, flags: Sequence[str]) -> None:
        self.module: CModule = compiled(exported.program, None, flags)
        self.program = self.module.program
        self.inputs = _contiguous(exported)
        shape = [int(size) for size in self.program.outputs[0].shape]
        self.outputs = np.zeros((len(self.inputs), *shape), np.float32)
        self.state = np.zeros(self.program.state // 4 + 1, np.float32)
        self.work = np.zeros(self.program.workspace // 4 + 2, np.int32)

    def _function(self, name: str) -> Any:
        return getattr(self.module.library, f"{self.program.name}_{name}")

    def _memory(self) -> list[ctypes.c_void_p]:
        """Pointers to the state, where there is one, and to the workspace."""
        arrays = [self.state, self.work] if self.program.states else [self.work]
        return [_pointer(array) for array in arrays]

    def _reset(self) -> None:
        if self.program.states:
            self._function("reset")(_pointer(self.state))

    def single(self) -> Call:
        """A call of C for each step."""
        run, memory = self._function("run"), self._memory()
        pairs = zip(self.inputs, self.outputs, strict=True)
        pointers = [(_pointer(values), _pointer(outputs)) for values, outputs in pairs]

        def call() -> Results:
            self._reset()
            for values, outputs in pointers:
                run(*memory, values, outputs)
            return _ends(self.outputs)

        return call

    def sequence(self) -> Call:
        """A call of C for all steps."""
        run, count = self._function("sequence"), ctypes.c_int32(len(self.inputs))
        arguments = [*self._memory(), count, _pointer(self.inputs), _pointer(self.outputs)]

        def call() -> Results:
            self._reset()
            run(*arguments)
            return _ends(self.outputs)

        return call


def _contiguous(exported: Exported) -> Any:
    """The inputs of all steps in one array, as C reads them."""
    inputs = torch.stack(step_inputs(exported))
    return inputs.numpy().astype(np.float32 if inputs.is_floating_point() else np.int32)


def _pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
