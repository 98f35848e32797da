from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autoquant.exports.c.library import needed, reserved
from tests.exports.c.exported import mostly_slow

NAMES = reserved() - {"state", "work"}


@pytest.mark.parametrize("name", mostly_slow(sorted(NAMES), "run_stack", "linear"))
def test_each_definition_compiles_alone(name: str, tmp_path: Path) -> None:
    """What a name needs comes before it, and nothing is missing."""
    text = needed(name)
    assert name in text
    path = tmp_path / "x.c"
    path.write_text("#include <math.h>\n#include <stdint.h>\n#include <string.h>\n" + text)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wno-unused-function", "-Werror"]
    ran = subprocess.run(["cc", *flags, "-fsyntax-only", path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["dot_3_int8", "unpack_7", "dot_ternary_uint8", "unpack_ternary"])
def test_readers_of_codes(name: str) -> None:
    assert f" {name}(const uint8_t *w" in needed(f"    .dot = {name}")


def test_comments_need_nothing() -> None:
    assert needed("/* linear */") == ""
