from __future__ import annotations

import math
import subprocess
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoquant.exports.c.literals import WIDTH, array, literal
from autoquant.exports.c.names import KEYWORDS, Names


@given(st.floats(width=32, allow_nan=False))
def test_literals_round_trip(value: float) -> None:
    text = literal(value)
    read = {"INFINITY": math.inf, "-INFINITY": -math.inf}
    assert np.float32(read[text] if text in read else text.removesuffix("f")) == np.float32(value)
    assert text in read or "." in text or "e" in text  # 1f is no number in C


def test_arrays_compile(tmp_path: Path) -> None:
    arrays = [np.arange(99, dtype=kind) for kind in (np.uint8, np.uint16, np.int32, np.float32)]
    arrays.append(np.float32([1e-45, -3.4e38, 1e20, -0.0]))
    texts = [array(f"x{i}", values) for i, values in enumerate(arrays)]
    assert all(len(line) <= WIDTH for text in texts for line in text.split("\n"))
    path = tmp_path / "x.c"
    path.write_text("#include <stdint.h>\n" + "".join(texts))
    flags = ["-std=c99", "-Wall", "-Wno-unused", "-Wno-unused-const-variable", "-Werror"]
    assert subprocess.run(["cc", *flags, "-fsyntax-only", path]).returncode == 0


@given(st.lists(st.text("aV1. é_", max_size=4) | st.sampled_from(sorted(KEYWORDS)), max_size=5))
def test_names_are_identifiers_and_differ(texts: list[str]) -> None:
    names = Names("taken")
    made = [names.new(text) for text in texts]
    assert len({name.upper() for name in made}) == len(texts)
    assert all(name.isascii() and name.isidentifier() and name not in KEYWORDS for name in made)
