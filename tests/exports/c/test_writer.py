"""The two files: warnings, sanitizers, a program that includes the header, memory, refusals."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.exports.c import write_c
from autoquant.exports.recording import Source, record
from autoquant.task import Example
from tests.exports.c.exported import Exported, choice_of, exported, floats_of, source_of
from tests.exports.c.test_convolutions import SHAPES as CONVOLUTIONS
from tests.runtime.pairs import noise
from tests.toys import Stack

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitizes(cc: str) -> bool:
    """Whether a compiler is there with the libraries of its sanitizers."""
    command = [cc, *SANITIZED, "-x", "c", "-", "-o", os.devnull]
    source = "int main(void) { return 0; }"
    return (
        shutil.which(cc) is not None
        and not subprocess.run(command, input=source, capture_output=True, text=True).returncode
    )


COMPILERS = [
    pytest.param(cc, marks=pytest.mark.skipif(not sanitizes(cc), reason=f"no {cc} with sanitizers"))
    for cc in ("gcc", "clang")
]
MAIN = """#include "spotter.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {
    spotter_workspace *work = malloc(sizeof *work); /* every overrun is seen */
    spotter_state *state = malloc(sizeof *state);
    float *x = malloc(sizeof(float) * SPOTTER_X_SIZE);
    float *output = malloc(sizeof(float) * SPOTTER_OUTPUT_SIZE);
    if (!work || !state || !x || !output) return 1;
    spotter_reset(state);
    while (fread(x, sizeof(float), SPOTTER_X_SIZE, stdin) == SPOTTER_X_SIZE)
        spotter_run(state, work, x, output);
    fwrite(output, sizeof(float), SPOTTER_OUTPUT_SIZE, stdout);
    free(work), free(state), free(x), free(output);
    return 0;
}
"""


class Spotter(nn.Module):
    """Classifies the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.rnn = nn.GRU(5, 9, 2, batch_first=True)
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.head(torch.relu(self.rnn(x)[0][:, -1])).softmax(-1)


@pytest.fixture(scope="module")
def spotter(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("spotter")
    source = source_of(folder, Spotter, noise(3, 6, 5))
    return exported(source, folder, steps=True, name="spotter")


@pytest.mark.parametrize("cc", COMPILERS)
def test_a_program_with_the_header(cc: str, spotter: Exported, tmp_path: Path) -> None:
    """No warnings, nothing for the sanitizers to find, and what aq.load gives."""
    (tmp_path / "main.c").write_text(MAIN)
    program, inputs = spotter.program, noise(1, 12, 5, seed=3)
    files = [tmp_path / "main.c", program.source, f"-I{program.header.parent}"]
    command = [cc, *FLAGS, *SANITIZED, *files, "-lm", "-o", tmp_path / "main"]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    given = inputs.numpy().tobytes()
    ran_it = subprocess.run([tmp_path / "main"], input=given, capture_output=True)
    assert ran_it.returncode == 0, ran_it.stderr.decode()
    with torch.no_grad():
        expected = spotter.source.model(inputs)[0].numpy()
    np.testing.assert_allclose(struct.unpack("4f", ran_it.stdout), expected, 1e-6, 1e-6)


@pytest.mark.parametrize("cc", COMPILERS)
def test_a_header_of_c_plus_plus(cc: str, spotter: Exported, tmp_path: Path) -> None:
    source = tmp_path / "main.cpp"
    source.write_text('#include "spotter.h"\nint main() { return SPOTTER_X_SIZE - 5; }\n')
    include = f"-I{spotter.program.header.parent}"
    ran = subprocess.run([cc, "-Wall", "-Werror", "-fsyntax-only", include, source])
    assert ran.returncode == 0


def test_weights_take_their_own_bits(spotter: Exported) -> None:
    """Four bits for each weight; float32 for scales and biases; seven bytes behind a weight."""
    weights = [(27, 5), (27, 9), (27, 9), (27, 9), (4, 9)]
    codes = sum(rows * ((4 * columns + 7) // 8) + 7 for rows, columns in weights)
    scales = 4 * sum(rows for rows, _ in weights)
    biases = 4 * (27 + 9 + 27 + 9 + 4)
    normalization = 2 * 4 * 5
    assert spotter.program.flash == codes + scales + biases + normalization
    assert spotter.program.flash == sum(layer.flash for layer in spotter.program.layers)


def test_memory_is_what_the_header_has(spotter: Exported, tmp_path: Path) -> None:
    program = spotter.program
    text = '#include "spotter.h"\n#include <stdio.h>\nint main(void) { printf("%zu %zu", '
    text += "sizeof(spotter_state), sizeof(spotter_workspace)); return 0; }\n"
    (tmp_path / "main.c").write_text(text)
    cc = shutil.which("cc")
    assert cc is not None
    include = f"-I{program.header.parent}"
    subprocess.run([cc, include, tmp_path / "main.c", "-o", tmp_path / "main"], check=True)
    state, work = subprocess.run(
        [tmp_path / "main"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(state) == program.state
    assert program.workspace <= int(work) < program.workspace + 4
    assert program.ram == program.state + program.workspace


def test_a_table_of_layers(spotter: Exported) -> None:
    lines = str(spotter.program).splitlines()
    assert re.match(r"spotter.c: bytes of constants", lines[0])
    rows = lines[3 : next(i for i, line in enumerate(lines) if line.split()[0] == "in")]
    assert [line.split()[0] for line in rows] == ["norm", "rnn", "model", "head", "model"]
    total = lines[3 + len(rows)].split()
    assert total == ["in", "all", f"{spotter.program.flash}", f"{spotter.program.ram}"]


def test_only_what_is_called_is_written(spotter: Exported) -> None:
    text = spotter.program.source.read_text()
    assert "gru_step" in text
    assert not re.search("lstm|convol|half_of|from_half|unpack_|ternary|malloc", text)


def test_what_stays_in_float_is_named(tmp_path: Path) -> None:
    made = exported(source_of(tmp_path, partial(nn.Linear, 5, 3), noise(2, 5)), tmp_path)
    assert made.program.floats == ()
    recording = floats_of(lambda x: x @ x, torch.ones(2, 2))
    ((name, reason),) = write_c(recording, tmp_path).floats
    assert name == "model: mm"
    assert reason == "no factor of it is a quantized weight"


def test_names_that_are_words_of_c(tmp_path: Path) -> None:
    """Names of ports are no keywords, no functions and no variables of the program."""

    class Model(nn.Module):
        def forward(self, i: Tensor, v1: Tensor, linear: Tensor, double: Tensor) -> Tensor:
            return (i + v1) * (linear - double).softmax(0)

    inputs = tuple(noise(4, seed=seed) for seed in range(4))
    recording = record(Source(Model().eval(), {}, {}, Example(inputs, 1)), dynamic=False)
    program = write_c(recording, tmp_path, "for")
    assert program.name == "for_"
    cc = shutil.which("cc")
    assert cc is not None
    command = [cc, *FLAGS, "-fsyntax-only", str(program.source)]
    assert subprocess.run(command).returncode == 0


def test_a_batch_of_one(tmp_path: Path) -> None:
    source = source_of(tmp_path, Spotter, noise(3, 6, 5))
    with pytest.raises(UserError, match=r"stack.default in rnn .*: the batch must be 1, got 3"):
        write_c(record(source, dynamic=False), tmp_path)


ANY_MAIN = """#include "model.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {{
    model_workspace *work = malloc(sizeof *work);
    float *x = malloc(sizeof(float) * {inputs}), *output = malloc(sizeof(float) * {outputs});
    if (!work || !x || !output || fread(x, sizeof(float), {inputs}, stdin) != {inputs}) return 1;
    model_run(work, x, output);
    fwrite(output, sizeof(float), {outputs}, stdout);
    free(work), free(x), free(output);
    return 0;
}}
"""
WHOLE = {
    "image": (*CONVOLUTIONS["image"], 0),
    "sound": (*CONVOLUTIONS["sound"], 0),
    "linear": (partial(nn.Linear, 11, 5), (2, 11), 0),
    "projection": (
        partial(Stack, cell="LSTM", layers=3, bidirectional=True, projection=3), (5, 2, 5), 1
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("bits", [1.6, 1, 3, 5, 7, 8, 16])
@pytest.mark.parametrize("kind", [*WHOLE])
def test_sanitizers(kind: str, bits: float, cc: str, tmp_path: Path) -> None:
    """Layers of all bits in blocks of memory that are not a byte too large."""
    build, shape, axis = WHOLE[kind]
    made = exported(source_of(tmp_path, build, noise(*shape), choice_of(bits)), tmp_path)
    one = noise(*shape, seed=2).narrow(axis, 0, 1)
    program, (outputs, _) = made.program, made.module.run([one.numpy()])
    main = ANY_MAIN.format(inputs=one.numel(), outputs=outputs[0].size)
    if program.states:
        main = main.replace(
            "    model_run(", "    static model_state state;\n    model_run(&state, "
        )
    (tmp_path / "main.c").write_text(main)
    files = [tmp_path / "main.c", program.source, f"-I{program.header.parent}"]
    command = [cc, *FLAGS, *SANITIZED, *files, "-lm", "-o", tmp_path / "main"]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    ran_it = subprocess.run([tmp_path / "main"], input=one.numpy().tobytes(), capture_output=True)
    assert ran_it.returncode == 0, ran_it.stderr.decode()
    given = np.frombuffer(ran_it.stdout, np.float32)
    np.testing.assert_allclose(given, outputs[0].reshape(-1), 1e-6, 1e-6)
