"""Group ``inference``: a forward pass of low-bit models, over torch in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from autoquant.artifact import packed_file
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Call, Case, FurtherBase, Variant
from benchmarks.checks import close_to
from benchmarks.kernels import REFERENCE, under
from benchmarks.peers import onnx, torch_ao
from benchmarks.quantized import QuantizedModule, first_output

GROUP = "inference"
ABOUT = "forward pass of a linear layer, an LSTM and a wide BiLSTM, over torch float32"

WEIGHT_BITS = (8, 4, 2)
ONNX_FOUR_BITS = tuple((block, accuracy) for block in (32, 128) for accuracy in (0, 4))
FURTHER_BASES = (
    FurtherBase("ONNX Runtime int8", "ONNX Runtime int8"),
    FurtherBase("ONNX Runtime's best 4-bit", "ONNX Runtime 4-bit"),
)

# Largest relative errors: the same numbers, 8-bit ones, 4-bit weights rounded to nearest, and a
# packed file against the fake-quantized model.
FLOAT, INT8, INT4, PACKED = 1e-4, 0.05, 0.15, 0.02

MODULES: dict[str, Callable[[], nn.Module]] = {
    "Linear 2048": lambda: nn.Linear(2048, 2048),
    "LSTM 300": lambda: nn.LSTM(300, 300),
    "BiLSTM 2048": lambda: nn.LSTM(2048, 2048, bidirectional=True),
}
INPUT_SHAPES: dict[str, list[tuple[int, ...]]] = {
    "Linear 2048": [(1, 2048), (32, 2048)],
    "LSTM 300": [(1, 1, 300), (35, 1, 300), (35, 32, 300)],
    "BiLSTM 2048": [(1, 1, 2048), (35, 1, 2048), (35, 32, 2048)],
}


class InferenceSubject:
    """A float module, and its quantized files in a folder.

    Args:
        name: of the module, a key of MODULES.
        folder: for the files.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._quantized: dict[int, nn.Module] = {}

    @cached_property
    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return MODULES[self.name]().eval()

    def inputs(self, shape: tuple[int, ...]) -> Tensor:
        torch.manual_seed(1)
        return torch.randn(shape)

    def quantized(self, bits: int) -> nn.Module:
        """The fake-quantized module: weights of ``bits``, activations of 8. Writes its file."""
        if bits not in self._quantized:
            inputs = self.inputs(INPUT_SHAPES[self.name][-1])
            quantized = QuantizedModule(self.module, LayerChoice(bits, 8), Scheme(), inputs)
            quantized.pack(self.packed(bits))
            self._quantized[bits] = quantized.module.eval()
        return self._quantized[bits]

    def packed(self, bits: int) -> Path:
        return self.folder / f"w{bits}.safetensors"

    def loaded(self, bits: int) -> nn.Module:
        """The module that autoquant.load returns for the packed file."""
        self.quantized(bits)
        torch.manual_seed(0)
        return packed_file.load(self.packed(bits), MODULES[self.name]())


def cases() -> Iterator[Case]:
    for name, shapes in INPUT_SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            subject = InferenceSubject(name, Path(folder))
            for shape in shapes:
                label = f"{name}, {_size(shape)}"
                title = f"{label}: time of a forward pass"
                notes = () if name == "Linear 2048" else ("ONNX Runtime has no 4-bit LSTM kernel",)
                variants = tuple(_variants(subject, shape))
                yield Case(GROUP, title, label, variants, over=FURTHER_BASES, notes=notes)


def _size(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return f"batch {shape[0]}"
    return f"{shape[0]} step{'s' if shape[0] > 1 else ''}, batch {shape[1]}"


def _variants(subject: InferenceSubject, shape: tuple[int, ...]) -> Iterator[Variant]:
    inputs = subject.inputs(shape)
    check_float = close_to(lambda: _inferring(subject.module, inputs)(), FLOAT)
    check_int8 = close_to(lambda: _inferring(subject.module, inputs)(), INT8)
    yield Variant("torch float32", lambda: _inferring(subject.module, inputs), check_float)
    yield Variant(
        "torch dynamic int8",
        lambda: _inferring(torch_ao.dynamic_int8(subject.module), inputs),
        check_int8,
    )
    float_path, folder = subject.folder / "float32.onnx", subject.folder
    yield Variant(
        "ONNX Runtime float32",
        lambda: onnx.runner(onnx.export(subject.module, float_path), inputs),
        check_float,
    )
    yield Variant(
        "ONNX Runtime int8",
        lambda: onnx.runner(onnx.dynamic_int8(subject.module, folder), inputs),
        check_int8,
    )
    yield from _onnx_four_bits(subject, inputs)
    for bits in WEIGHT_BITS:
        yield _autoquant(subject, bits, inputs)


def _onnx_four_bits(subject: InferenceSubject, inputs: Tensor) -> Iterator[Variant]:
    if subject.name != "Linear 2048":
        return
    check = close_to(lambda: _inferring(subject.module, inputs)(), INT4)
    for block, accuracy in ONNX_FOUR_BITS:
        build = partial(_onnx_four_bit_call, subject, inputs, block, accuracy)
        name = f"ONNX Runtime 4-bit, block {block}, accuracy level {accuracy}"
        yield Variant(name, build, check)


def _onnx_four_bit_call(
    subject: InferenceSubject, inputs: Tensor, block: int, accuracy: int
) -> Call:
    """A call of a Linear as MatMulNBits; see ``peers.onnx.four_bits``."""
    assert isinstance(subject.module, nn.Linear)
    return onnx.runner(onnx.four_bits(subject.module, subject.folder, block, accuracy), inputs)


def _autoquant(subject: InferenceSubject, bits: int, inputs: Tensor) -> Variant:
    """A packed file that was loaded; it must compute what the fake-quantized module does.

    Args:
        subject: the module.
        bits: of its weights.
        inputs: of the forward pass.
    """

    def expected() -> dict[str, Tensor]:
        return under(REFERENCE, _inferring(subject.quantized(bits), inputs))()

    return Variant(
        f"autoquant w{bits}a8",
        lambda: _inferring(subject.loaded(bits), inputs),
        close_to(expected, PACKED),
    )


def _inferring(module: nn.Module, inputs: Tensor) -> Callable[[], dict[str, Tensor]]:
    def call() -> dict[str, Tensor]:
        with torch.inference_mode():
            return {"output": first_output(module(inputs))}

    return call
