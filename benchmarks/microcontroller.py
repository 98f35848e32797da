"""``python -m benchmarks.microcontroller``: exported C programs on an emulated Cortex-M4.

Models have random weights and scales calibrated on noise: sizes and instructions depend on shapes
and bits alone. Needs ``gcc-arm-none-eabi``, newlib and ``qemu-system-arm``. QEMU counts
instructions, not cycles: a Cortex-M4 takes more than one cycle for loads, branches and divisions.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autoquant.exports.c import CProgram, write_c
from autoquant.exports.c.compiled import compiled
from autoquant.exports.recording import axes_named, narrowed, record
from autoquant.exports.source import open_source
from autoquant.exports.steps import step_source
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.table import Column, Table
from autoquant.task import Example
from benchmarks.cortex_m import FLOATS, Measured, measured, missing
from benchmarks.quantized import QuantizedModule

STEPS = 20
CLOCK = 64e6
"""Hz of a small microcontroller, for the share of a core that is spent at 100 steps a second."""


class Classifier(nn.Module):
    """Recurrent layers and a linear layer on each step.

    Args:
        rnn: the recurrent layers.
        outputs: of the linear layer.
    """

    def __init__(self, rnn: nn.LSTM | nn.GRU, outputs: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.rnn(x)[0])
        return outputs


MODELS: dict[str, tuple[Callable[[], Classifier], int]] = {
    "keyword spotter: GRU 1 x 112, 12 words": (lambda: Classifier(nn.GRU(40, 112), 12), 40),
    "keyword spotter: GRU 2 x 80, 12 words": (lambda: Classifier(nn.GRU(13, 80, 2), 12), 13),
    "voice activity: LSTM 1 x 32": (lambda: Classifier(nn.LSTM(40, 32), 1), 40),
    "voice activity: LSTM 1 x 64": (lambda: Classifier(nn.LSTM(40, 64), 1), 40),
}
"""How each model is built, and its features."""


@dataclass(frozen=True)
class Result:
    """A model on the board.

    Attributes:
        name: of the model.
        bits: of its weights.
        program: the C files.
        runs: with and without the floating-point unit.
    """

    name: str
    bits: float
    program: CProgram
    runs: dict[str, Measured]


def result(name: str, bits: float, folder: Path) -> Result:
    """Export a model and run it on the board; its outputs must be those that it has here.

    Args:
        name: a key of MODELS.
        bits: of weights; inputs and hidden states have 8.
        folder: for the files.
    """
    build, features = MODELS[name]
    torch.manual_seed(0)
    inputs = torch.randn(STEPS, 2, features)
    quantized = QuantizedModule(build().eval(), LayerChoice(bits, 8), Scheme(), inputs)
    quantized.pack(folder / "packed.safetensors")
    source = open_source(folder / "packed.safetensors", build(), Example((inputs,), 1))
    recording = record(source)
    step = narrowed(step_source(recording), axes_named(recording, "batch"))
    program = write_c(record(step, dynamic=False), folder, "model")
    steps = inputs[:, :1].numpy()[:, None]
    expected, _ = compiled(program).sequence([steps])
    runs = {}
    for floats in FLOATS:
        runs[floats] = measured(program, [steps], folder / floats, floats)
        if not np.array_equal(runs[floats].outputs, expected[0][-1].reshape(-1)):
            raise RuntimeError(f"{name}: the board must compute what this machine does")
    return Result(name, bits, program, runs)


def table(results: list[Result]) -> Table:
    """Sizes and instructions."""
    headings = (
        "bits",
        "flash",
        "constants",
        "RAM",
        "instructions",
        "share of 64 MHz",
        "without FPU",
    )
    rows = []
    for each in results:
        hard, soft = each.runs["hard"], each.runs["soft"]
        rows.append(
            (
                each.name,
                f"{each.bits:g}",
                f"{hard.flash}",
                f"{each.program.flash}",
                f"{each.program.ram}",
                f"{hard.instructions:,.0f}",
                f"{hard.instructions * 100 / CLOCK:.1%}",
                f"{soft.instructions:,.0f}",
            )
        )
    notes = (
        "flash: code and constants of the model in bytes, without libraries",
        "RAM: state and workspace in bytes, without stack, inputs and outputs",
        "instructions: of a time step, with the floating-point unit; the share is of 100 steps a",
        "second with one cycle for each instruction, which is less than a Cortex-M4 needs",
    )
    columns = (Column("model", "left"), *map(Column, headings))
    return Table("C programs on an emulated Cortex-M4", columns, tuple(rows), notes)


def _bits(text: str) -> float:
    return float(text) if "." in text else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.microcontroller")
    parser.add_argument("--bits", type=_bits, nargs="+", default=[4, 2])
    bits = parser.parse_args().bits
    if missing():
        raise SystemExit(f"these must be installed, got none of them: {', '.join(missing())}")
    warnings.filterwarnings("ignore")
    results = []
    for name in MODELS:
        for width in bits:
            with tempfile.TemporaryDirectory() as folder:
                results.append(result(name, width, Path(folder)))
    print(table(results))


if __name__ == "__main__":
    main()
