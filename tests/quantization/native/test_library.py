"""Finding, choosing and calling the kernels: instruction sets, threads, processes, no library."""

from __future__ import annotations

import ctypes
import logging
import threading

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.kernels import cross_entropy
from autoquant.kernels.integer_linear import integer_product
from autoquant.quantization import native
from autoquant.quantization.codes import Grid, QuantParams
from autoquant.quantization.native import library, pointwise
from tests.quantization.native.machine import (
    EVERY_SET,
    NEEDS_KERNELS,
    instruction_sets,
    process,
    running_on,
    same_bits,
    threads,
)
from tests.quantization.native.recurrences import CELLS, NATIVE, Plan, code_sums, made

EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


# --- instruction sets ----------------------------------------------------------------------------


@NEEDS_KERNELS
def test_the_best_set_is_chosen(monkeypatch):
    monkeypatch.delenv(library.VARIABLE, raising=False)
    library.instruction_set.cache_clear()
    try:
        assert native.instruction_set() == instruction_sets()[-1]
    finally:
        library.instruction_set.cache_clear()


@NEEDS_KERNELS
@EVERY_SET
def test_a_set_can_be_named(instructions):
    with running_on(instructions):
        assert native.instruction_set() == instructions
        assert int(native.function("lanes")()) == (16 if "avx512" in instructions else 8)


@NEEDS_KERNELS
@pytest.mark.parametrize("name", ["sse", "AVX2", "avx1024"])
def test_an_unknown_set_is_an_error_that_names_the_known_ones(name):
    known = ", ".join(instruction_sets())
    with (
        running_on(name),
        pytest.raises(UserError, match=f"AUTOQUANT_CPU must be one of {known}, got '{name}'"),
    ):
        native.function("lanes")()


@NEEDS_KERNELS
@pytest.mark.skipif(instruction_sets() == library.SETS, reason="this processor has them all")
def test_a_set_that_the_processor_lacks_is_refused():
    best = instruction_sets()[-1]
    lacking = library.SETS[library.SETS.index(best) + 1]
    with running_on(lacking), pytest.raises(UserError, match=f"{best}, got '{lacking}'"):
        native.instruction_set()


@NEEDS_KERNELS
@EVERY_CELL
def test_sets_agree_on_the_codes(cell):
    plan = Plan(cell, (5, 5, 3, 1), units=33)
    results = []
    for instructions in instruction_sets():
        with running_on(instructions):
            recurrence = made(plan)
            run = recurrence.run()
            results.append((run, recurrence.gradients(run)))
    best, its = results[-1]
    for run, grads in results[:-1]:
        assert same_bits(run.outputs, best.outputs)
        torch.testing.assert_close(run.last, best.last, rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(grads, its, rtol=2e-5, atol=2e-5)


@NEEDS_KERNELS
def test_a_set_is_named_by_the_environment():
    code = (
        "from autoquant.quantization import native;"
        "from tests.quantization.native.recurrences import code_sums;"
        "print(native.instruction_set(), code_sums())"
    )
    there = process(code, AUTOQUANT_CPU="portable")
    assert there.stdout.strip() == f"portable {code_sums()}", there.stderr


@NEEDS_KERNELS
@pytest.mark.slow
def test_an_unknown_set_in_the_environment_is_one_line_of_error():
    helped = process(
        "from autoquant.cli.main import main; main(['--help'])", AUTOQUANT_CPU="nonsense"
    )
    assert helped.returncode == 0, helped.stderr  # no kernel is needed for it
    code = "from tests.quantization.native.recurrences import code_sums; code_sums()"
    last = process(code, AUTOQUANT_CPU="nonsense").stderr.strip().splitlines()[-1]
    assert last.startswith("autoquant.errors.UserError: AUTOQUANT_CPU must be one of portable")
    assert last.endswith("got 'nonsense'")


# --- without the library -------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch, caplog):
    """As on a machine without a compiler; gives what is logged."""
    caplog.set_level(logging.INFO)
    monkeypatch.delenv("AUTOQUANT_KERNELS", raising=False)
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    library._library.cache_clear()
    yield caplog
    library._library.cache_clear()


def ours(caplog) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == library.__name__]


@EVERY_CELL
def test_without_the_library_everything_works_as_by_torch(cell, without):
    recurrence = made(Plan(cell))
    run, expected = recurrence.run(Compute()), recurrence.run(Compute(kernel="torch"))
    assert same_bits(run.outputs, expected.outputs)
    grads = recurrence.gradients(run)
    for name, theirs in recurrence.gradients(expected).items():
        assert torch.equal(grads[name], theirs)
    logits = torch.randn(3, 5, requires_grad=True)
    cross_entropy(logits * 1.0, torch.tensor([0, 1, 2])).backward()
    assert logits.grad.abs().sum() > 0


def test_without_the_library_there_is_one_line_in_the_log(without):
    for _ in range(3):
        made(Plan()).run(Compute())
    (record,) = ours(without)
    assert "the C kernels were not built" in record.getMessage()
    assert record.levelno >= logging.INFO
    assert not native.available()


def test_without_the_library_it_cannot_be_asked_for(without):
    with pytest.raises(UserError, match=r"kernel must be .*the C kernels were not built.*'native'"):
        made(Plan()).run()


def test_a_library_that_cannot_be_loaded_is_as_none(without, monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    found = type("Spec", (), {"origin": str(broken)})
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: found)
    library._library.cache_clear()
    run = made(Plan()).run(Compute())
    assert run.outputs.isfinite().all()
    (record,) = ours(without)
    assert record.levelno == logging.WARNING
    assert "could not be loaded" in record.getMessage()


# --- addresses and threads -----------------------------------------------------------------------


def test_an_address_is_that_of_a_contiguous_tensor():
    tensor = torch.zeros(3, 4)
    assert native.pointer(tensor, torch.float32, 12).value == tensor.data_ptr()
    assert native.pointer(None, torch.float32, 12).value is None
    assert native.address(tensor, torch.float32, 12) == tensor.data_ptr()
    assert native.address(None, torch.float32, 12) is None


REFUSED: dict[str, tuple[Tensor, str]] = {
    "gaps": (torch.zeros(4, 6)[:, ::2], "got strided"),
    "another type": (torch.zeros(4, 3, dtype=torch.float64), "torch.float64"),
    "whole numbers": (torch.zeros(4, 3, dtype=torch.int32), "torch.int32"),
    "too few": (torch.zeros(3, 3), r"12 entries, got contiguous torch.float32 \[3, 3\] on cpu"),
    "too many": (torch.zeros(5, 3), r"\[5, 3\]"),
    "no memory": (torch.zeros(4, 3, device="meta"), "on meta"),
    "a fake tensor": (FakeTensorMode().from_tensor(torch.zeros(4, 3)), "memory of its own"),
}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize(("tensor", "message"), REFUSED.values(), ids=REFUSED)
def test_an_operand_that_c_must_not_read_is_refused(tensor, message):
    with pytest.raises(UserError, match=message):
        native.address(tensor, torch.float32, 12)


def test_nothing_to_read_is_refused():
    """An empty tensor has no memory."""
    with pytest.raises(UserError, match="with 1 entries"):
        native.address(torch.zeros(0), torch.float32, 0)


def test_an_operand_inside_of_vmap_is_refused():
    with pytest.raises(UserError, match="memory of its own"):
        torch.vmap(lambda each: native.address(each, torch.float32, 3))(torch.zeros(2, 3))


VALUES, SCALE, SIGNED = torch.zeros(4, 3), torch.ones(4, 1), Grid.signed(4)
PARAMS = QuantParams(SCALE, SIGNED)
CALLS = {
    "pack, values": lambda: native.pack_values(VALUES.double(), PARAMS),
    "pack, scales": lambda: native.pack_values(VALUES, QuantParams(SCALE[:2], SIGNED)),
    "pack, gates": lambda: native.pack_values(VALUES, PARAMS, 3),
    "pack, no columns": lambda: native.pack_values(VALUES[:, :0], PARAMS),
    "pack, a grid": lambda: native.pack_values(VALUES, QuantParams(SCALE, Grid.unsigned(8))),
    "pack, codes": lambda: native.pack_codes(VALUES, SIGNED, 4),
    "pack, bits": lambda: native.pack_codes(VALUES.to(torch.int8), SIGNED, 3),
    "encode, gaps": lambda: native.encode(VALUES.t(), 1.0, SIGNED, 32),
    "encode, stride": lambda: native.encode(VALUES, 1.0, SIGNED, 4),
    "quantize, values": lambda: pointwise.fake_quantize(VALUES.double(), SCALE, SIGNED),
    "quantize, scales": lambda: pointwise.fake_quantize(VALUES, SCALE[:2], SIGNED),
    "quantize back": lambda: pointwise.fake_quantize_back(
        VALUES[:2], VALUES, VALUES, SCALE, masked=True, learned=True
    ),
    "loss, logits": lambda: pointwise.cross_entropy(VALUES.double(), TARGETS, -100, weight=None),
    "loss, targets": lambda: pointwise.cross_entropy(VALUES, TARGETS[:3], -100, weight=None),
    "loss, small targets": lambda: pointwise.cross_entropy(
        VALUES, TARGETS.int(), -100, weight=None
    ),
    "product": lambda: integer_product(
        VALUES, native.pack_values(VALUES[:, :2], PARAMS), PARAMS, SCALE.view(-1), None
    ),
}
TARGETS = torch.zeros(4, dtype=torch.int64)


@NEEDS_KERNELS
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_kernel_refuses_operands_of_other_sizes(call):
    with pytest.raises(UserError, match="must"):
        call()


def test_whole_numbers_become_an_array_of_64_bits():
    made_ = library.array((1, -2, 1 << 40))
    assert list(made_) == [1, -2, 1 << 40]
    assert ctypes.sizeof(made_) == 24


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shares_cover_all_items_once(count, workers):
    shares: list[tuple[int, int]] = []
    with threads(workers):
        library.parallel(lambda *ends: shares.append(ends), count)
    assert len(shares) == max(1, min(workers, count))
    assert sorted(i for first, end in shares for i in range(first, end)) == [*range(count)]


def test_little_work_is_not_shared():
    shares: list[tuple[int, int]] = []
    with threads(2):
        library.parallel(lambda *ends: shares.append(ends), 7, least=4)
    assert shares == [(0, 7)]


def test_flags_of_all_shares_are_joined():
    with threads(3):
        assert library.parallel(lambda first, end: 1 << first, 3) == 0b111
        assert library.parallel(lambda first, end: None, 3) == 0


def test_shares_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)
    with threads(2):
        library.parallel(lambda *ends: bool(meeting.wait() < 0), 2)  # neither comes alone


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_a_share_comes_out(failing):
    def work(first: int, end: int) -> None:
        if first == failing:
            raise ValueError("odd")

    with threads(2):
        with pytest.raises(ValueError, match="odd"):
            library.parallel(work, 2)
        assert library.parallel(lambda *ends: 4, 2) == 4  # the pool goes on


def test_an_error_in_one_share_waits_for_the_others():
    """They still write to memory that goes when the error goes up."""
    started, ended = threading.Event(), threading.Event()

    def work(first: int, end: int) -> None:
        if first == 0:
            started.wait(10)
            raise KeyboardInterrupt
        started.set()
        ended.wait(0.3)
        ended.set()

    with threads(2), pytest.raises(KeyboardInterrupt):
        library.parallel(work, 2)
    assert ended.is_set()


# --- processes -----------------------------------------------------------------------------------

FORK = """
import os, torch
from autoquant.kernels.recurrent import native_struct
from autoquant.quantization.native import library, pointwise
from tests.quantization.native.machine import threads
from tests.quantization.native.recurrences import Plan, made
native_struct.WORTH_A_THREAD = pointwise.WORTH_A_THREAD = 1

def numbers():
    with threads(1):  # initial scales: torch's own threads do not outlive a fork
        recurrence = made(Plan("gru", (8, 8), units=20))
    with threads(2):
        run = recurrence.run()
    return [run.outputs.detach(), *recurrence.gradients(run).values()]

before = numbers()
assert library._pools
child = os.fork()
if child == 0:
    empty = not library._pools
    same = all(torch.equal(*pair) for pair in zip(before, numbers()))
    os._exit(0 if empty and same and library._pools else 1)
for _ in range(3):
    again = numbers()  # the parent's pool goes on meanwhile
    assert all(torch.equal(*pair) for pair in zip(before, again))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@NEEDS_KERNELS
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_after_a_fork_the_child_computes():
    result = process(FORK)
    assert result.stdout.strip() == "0", result.stderr


# --- models in two threads -----------------------------------------------------------------------


def trained(seed: int, results: dict[int, list[Tensor]]) -> None:
    """Five steps of gradient descent on a small recurrence."""
    recurrence = made(Plan("lstm", (6, 6, 4), units=24, seed=seed))
    with computing(NATIVE):
        for _ in range(5):
            run = recurrence.run()
            grads = recurrence.gradients(run)
            with torch.no_grad():
                for name, leaf in recurrence.sources().items():
                    leaf -= 0.01 * grads[name]
    results[seed] = [each.detach().clone() for each in recurrence.sources().values()]


@NEEDS_KERNELS
@pytest.mark.parametrize("workers", [1, 2])
def test_two_models_at_once_are_those_trained_one_after_another(workers, monkeypatch):
    monkeypatch.setattr("autoquant.kernels.recurrent.native_struct.WORTH_A_THREAD", 1)
    alone: dict[int, list[Tensor]] = {}
    both: dict[int, list[Tensor]] = {}
    with threads(workers):
        for seed in (1, 2):
            trained(seed, alone)
        running = [threading.Thread(target=trained, args=(seed, both)) for seed in (1, 2)]
        for each in running:
            each.start()
        for each in running:
            each.join()
    assert both.keys() == alone.keys()
    for seed, expected in alone.items():
        assert all(torch.equal(*pair) for pair in zip(both[seed], expected, strict=True))
