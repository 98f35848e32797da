from dataclasses import replace

import pytest
import torch

from autoquant.quantization import native
from autoquant.study.environment import Environment, current_environment

HERE = Environment(1, "AVX2+avx2", "cpu", "2.13.0")


def test_text() -> None:
    assert str(HERE) == "1 thread, AVX2+avx2, cpu, torch 2.13.0"
    assert str(replace(HERE, threads=2)).startswith("2 threads, ")


def test_differences() -> None:
    assert HERE.differences(HERE) == ()
    other = replace(HERE, threads=2, instruction_set="AVX512+avx512")
    assert HERE.differences(other) == (
        "threads 2, not 1",
        "instruction set AVX512+avx512, not AVX2+avx2",
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_current_environment(threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        environment = current_environment(torch.device("cpu"))
    finally:
        torch.set_num_threads(1)
    assert environment.threads == threads
    assert environment.device == "cpu"
    assert environment.torch == torch.__version__
    assert ("+" in environment.instruction_set) == native.available()
