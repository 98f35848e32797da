"""Exported C programs on a Cortex-M4 that QEMU emulates."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoquant.exports.c import CProgram
from autoquant.exports.c.literals import array

HERE = Path(__file__).parent
COMPILER, EMULATOR, SIZE = "arm-none-eabi-gcc", "qemu-system-arm", "arm-none-eabi-size"
TOOLS = (COMPILER, EMULATOR, SIZE)
CPU = ("-mcpu=cortex-m4", "-mthumb")
FLOATS = {
    "hard": ("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "soft": ("-mfloat-abi=soft",),
}
"""With the floating-point unit, and without."""
FLAGS = (
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off",
    "-ffunction-sections", "-fdata-sections",
)  # fmt: skip
MACHINE = (
    "-M", "mps2-an386", "-nographic", "-semihosting-config", "enable=on,target=native", "-icount",
    "shift=0",
)  # fmt: skip
MAIN = """#include "board.h"
#include "{name}.h"

#include <string.h>

{inputs}
{memory}
int main(void) {{
{reset}    start_ticks();
    const uint32_t before = ticks();
    for (int t = 0; t < {steps}; t++) {name}_run({arguments});
    put_hex((ticks() - before) & 0xffffff);
{prints}    return 0;
}}
"""


@dataclass(frozen=True)
class Measured:
    """What a run on the board gave.

    Attributes:
        outputs: of the last step, in one row.
        instructions: per step.
        flash: bytes of the model's own code and constants, without libraries.
    """

    outputs: list[float]
    instructions: float
    flash: int


def missing() -> list[str]:
    """Tools that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def measured(
    program: CProgram, inputs: Sequence[Any], folder: Path, floats: str = "hard"
) -> Measured:
    """Run steps of a program on the board.

    Args:
        program: to be run.
        inputs: for each input, the values of all steps [steps, *shape].
        folder: for what is compiled.
        floats: a key of FLOATS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.c").write_text(_main(program, inputs), "utf-8")
    model, image = folder / f"{program.name}.o", folder / "image.elf"
    options = [COMPILER, *CPU, *FLOATS[floats], *FLAGS, f"-I{HERE}", f"-I{program.header.parent}"]
    _called([*options, "-c", program.source, "-o", model])
    sources = [folder / "main.c", HERE / "startup.c", model]
    linker = ["-nostartfiles", "-specs=nosys.specs", "-Wl,--gc-sections", f"-T{HERE / 'link.ld'}"]
    _called([*options, *sources, *linker, "-lm", "-o", image])
    first, *rest = _called([EMULATOR, *MACHINE, "-kernel", image]).split()
    outputs = [struct.unpack(">f", bytes.fromhex(word))[0] for word in rest]
    count = int(first, 16) * 40 / len(inputs[0])
    text = _called([SIZE, model]).splitlines()[1].split()[0]
    return Measured(outputs, count, int(text))


def _called(command: Sequence[Any]) -> str:
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    if ran.returncode:
        raise RuntimeError(f"{command[0]} failed: {ran.stderr or ran.stdout}")
    return ran.stdout or ran.stderr  # QEMU prints what the board says as errors


def _main(program: CProgram, inputs: Sequence[Any]) -> str:
    """A program that runs the steps and prints ticks, then the bits of the last outputs."""
    name, arrays, arguments = program.name, [], []
    for index, values in enumerate(inputs):
        whole = np.asarray(values)
        kind = np.float32 if np.issubdtype(whole.dtype, np.floating) else np.int32
        arrays.append(array(f"given_{index}", whole.astype(kind)))
        arguments.append(f"given_{index} + t * {whole[0].size}")
    sizes = [int(np.prod([int(size) for size in port.shape])) for port in program.outputs]
    memory = [f"static float out_{i}[{size}];" for i, size in enumerate(sizes)]
    memory.append(f"static {name}_workspace work;")
    state = ["&state"] if program.states else []
    memory += [f"static {name}_state state;"] if state else []
    prints = [
        f"    for (int i = 0; i < {size}; i++) {{\n        uint32_t bits;\n"
        f"        memcpy(&bits, out_{n} + i, 4);\n        put_hex(bits);\n    }}\n"
        for n, size in enumerate(sizes)
    ]
    return MAIN.format(
        name=name,
        inputs="\n".join(arrays),
        memory="\n".join(memory),
        reset=f"    {name}_reset(&state);\n" if state else "",
        steps=len(inputs[0]),
        arguments=", ".join(
            [*state, "&work", *arguments, *(f"out_{n}" for n in range(len(sizes)))]
        ),
        prints="".join(prints),
    )
