from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from autoquant.errors import UserError
from autoquant.tasks.data.batch import Unpacking, moved, samples_of

X, Y, Z = torch.zeros(3, 2), torch.ones(3), torch.full((3,), 2)
Pair = namedtuple("Pair", ["x", "y"])
CPU = torch.device("cpu")


def packed() -> PackedSequence:
    return pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])


@pytest.mark.parametrize(
    ("batch", "options", "inputs", "keywords"),
    [
        ((X, Y), {}, ["x"], {}),
        ([X, Z, Y], {}, ["x", "z"], {}),
        (Pair(X, Y), {}, ["x"], {}),
        ((Y, X), {"target": 0}, ["x"], {}),
        ({"x": X, "labels": Y}, {}, [], {"x": "x"}),
        ({"x": X, "z": Z, "mine": Y}, {"target": "mine"}, [], {"x": "x", "z": "z"}),
        (UserDict(x=X, label=Y), {}, [], {"x": "x"}),
        (OrderedDict(x=X, y=Y), {}, [], {"x": "x"}),
        ({"a": X, "b": Y}, {"function": lambda b: (b["a"], b["b"])}, ["x"], {}),
        ({"a": X, "b": Y}, {"function": lambda b: ((b["a"],), b["b"])}, ["x"], {}),
        ({"a": X, "b": Y}, {"function": lambda b: ({"k": b["a"]}, b["b"])}, [], {"k": "x"}),
    ],
    ids=[
        *("tuple", "list", "named tuple", "first target", "mapping", "key", "another mapping"),
        *("ordered", "one input", "inputs", "inputs by name"),
    ],
)
def test_what_a_model_is_called_with(
    batch: Any, options: dict[str, Any], inputs: list[str], keywords: dict[str, str]
) -> None:
    values = {"x": X, "z": Z}
    call = Unpacking(**options)(batch)
    assert [id(value) for value in call.inputs] == [id(values[name]) for name in inputs]
    assert {key: id(value) for key, value in call.keywords.items()} == {
        key: id(values[name]) for key, name in keywords.items()
    }
    assert call.targets is Y


@pytest.mark.parametrize(
    ("batch", "options", "line"),
    [
        (X, {}, "a batch must be a tuple .* or unpack say what is what, got a Tensor"),
        ((X,), {}, "got a tuple"),
        (packed(), {}, "got a PackedSequence"),
        ({"x": X, "z": Z}, {}, r"target must name the targets .*labels or .*, got the keys x, z"),
        ({"x": X, "y": Y}, {"target": "z"}, r"\(or a batch have z\), got the keys x, y"),
        (
            (X, Y),
            {"target": 2},
            "target must be the number of one of the 2 parts .*, got 2",
        ),
        ((X, Y), {"target": "y"}, "got 'y'"),
        (X, {"function": lambda b: b}, r"unpack must return a pair \(inputs, targets\), got a Ten"),
    ],
    ids=[
        *("tensor", "no target", "packed", "no key", "other key", "no member", "no number"),
        "no pair",
    ],
)
def test_what_is_refused(batch: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Unpacking(**options)(batch)


def test_a_function_may_take_parts_out_of_a_batch() -> None:
    batch = {"x": X, "y": Y}
    unpack = Unpacking(lambda own: (own, own.pop("y")))
    assert [unpack(batch).targets is Y for _ in range(2)] == [True, True]
    assert sorted(batch) == ["x", "y"]


def test_inputs_without_targets() -> None:
    unlabelled = Unpacking(labelled=False)
    assert unlabelled((X, Z)).inputs == (X, Z)
    assert unlabelled({"x": X}).keywords == {"x": X}
    assert unlabelled(X).inputs[0] is X
    sequences = packed()
    assert unlabelled(sequences).inputs[0] is sequences
    assert Unpacking(lambda batch: batch[0], labelled=False)((X, Y)).inputs[0] is X


def test_a_batch_is_moved_whole() -> None:
    class Own:
        def to(self, device: Any) -> str:
            return f"on {device}"

    tree = {"a": (X, [Z]), "b": packed(), "c": Own(), "d": "text", "e": None}
    result = moved(tree, CPU, torch.float64)
    assert result["a"][0].dtype == torch.float64
    assert result["a"][1][0].dtype == torch.int64
    assert result["b"].data.dtype == torch.float64
    assert result["b"].batch_sizes.device == CPU
    assert (result["c"], result["d"], result["e"]) == ("on cpu", "text", None)
    assert moved(X, CPU).dtype == torch.float32


@pytest.mark.parametrize(
    ("batch", "count"),
    [((X, Y), 3), ({"a": 1, "b": X}, 3), (packed(), 2), (torch.tensor(1.0), 1), (["a", "b"], 2)],
    ids=["tuple", "mapping", "packed", "number", "list"],
)
def test_samples(batch: Any, count: int) -> None:
    assert samples_of(batch) == count
