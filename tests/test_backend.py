"""Kernels and precision: asked for by name, for the length of a block, in one thread."""

from __future__ import annotations

import threading
from contextvars import copy_context
from dataclasses import FrozenInstanceError

import pytest
import torch

from autoquant.backend import Compute, computing, current, flushed_denormals, has_bfloat16
from autoquant.errors import UserError
from tests.toys import SMALLEST, half_of_the_smallest

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize("kernel", ["auto", "reference", "torch", "native"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_known_names(kernel, precision):
    made = Compute(kernel, precision)
    assert (made.kernel, made.precision) == (kernel, precision)


def test_the_default_is_the_fastest_and_exact():
    assert Compute() == Compute(kernel="auto", precision="float32")


@pytest.mark.parametrize("name", ["", "fast", "Native", None])
def test_an_unknown_kernel(name):
    words = "kernel must be one of auto, reference, torch, native, or an import path, got "
    with pytest.raises(UserError, match=f"^{words}{name!r}$"):
        Compute(kernel=name)


@pytest.mark.parametrize("name", ["", "float16", "half", None])
def test_an_unknown_precision(name):
    words = "precision must be one of float32, bfloat16, got "
    with pytest.raises(UserError, match=f"^{words}{name!r}$"):
        Compute(precision=name)


def test_it_does_not_change():
    with pytest.raises(FrozenInstanceError):
        Compute().kernel = "native"


# --- blocks --------------------------------------------------------------------------------------

REFERENCE, TORCH = Compute("reference"), Compute("torch", "bfloat16")


def test_outside_of_blocks_it_is_the_default():
    assert current() == Compute()


def test_the_innermost_block_counts():
    with computing(REFERENCE):
        assert current() is REFERENCE
        with computing(TORCH):
            assert current() is TORCH
        assert current() is REFERENCE
    assert current() == Compute()


def test_an_error_ends_a_block_too():
    with pytest.raises(ValueError, match="odd"), computing(REFERENCE):
        raise ValueError("odd")
    assert current() == Compute()


def test_a_block_is_of_its_own_thread():
    seen: list[Compute] = []
    entered, asked = threading.Event(), threading.Event()

    def other() -> None:
        seen.append(current())
        with computing(TORCH):
            entered.set()
            asked.wait(10)
            seen.append(current())

    with computing(REFERENCE):
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
        assert current() is REFERENCE
        asked.set()
        thread.join()
    assert seen == [Compute(), TORCH]


def test_a_context_that_is_carried_over_takes_it_along():
    with computing(REFERENCE):
        context = copy_context()
    assert context.run(current) is REFERENCE


# --- bfloat16 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param(
            {"avx2": True, "avx512_f": True, "avx512_vnni": True}, False, id="no-bfloat16"
        ),
        pytest.param({"avx512_bf16": False, "amx_bf16": False}, False, id="lacking"),
        pytest.param({"avx512_bf16": True}, True, id="avx512"),
        pytest.param({"amx_bf16": True}, True, id="amx"),
        pytest.param({"bf16": True}, True, id="arm"),
    ],
)
def test_a_processor_has_bfloat16_or_not(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16(CPU) is expected


def test_a_torch_that_cannot_tell_has_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16(CPU)


def test_other_devices_have_it():
    assert has_bfloat16(META)


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_used_where_the_device_has_it(has, monkeypatch):
    monkeypatch.setattr("autoquant.backend.has_bfloat16", lambda device: has)
    assert Compute(precision="bfloat16").precision_on(CPU) == ("bfloat16" if has else "float32")
    assert Compute(precision="float32").precision_on(CPU) == "float32"


# --- denormals -----------------------------------------------------------------------------------


@pytest.fixture
def flushing():
    """Set flushing and give it back as it was by default."""
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    yield torch.set_flush_denormal
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_zero_within_the_block_and_as_before_after_it(flushing, before):
    flushing(before)
    expected = 0.0 if before else SMALLEST / 2
    assert half_of_the_smallest() == expected
    with flushed_denormals():
        assert half_of_the_smallest() == 0.0
        with flushed_denormals():
            pass
        assert half_of_the_smallest() == 0.0
    assert half_of_the_smallest() == expected


def test_denormals_are_back_after_an_error(flushing):
    with pytest.raises(RuntimeError), flushed_denormals():
        raise RuntimeError
    assert half_of_the_smallest() == SMALLEST / 2


def test_a_processor_that_cannot_flush_goes_on(flushing, monkeypatch):
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: False)
    with flushed_denormals():
        assert half_of_the_smallest() == SMALLEST / 2
