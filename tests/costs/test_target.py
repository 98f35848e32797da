"""Targets restrict the bits, and count the bytes of the exported file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import autoquant as aq
from autoquant.artifact.reading import read
from autoquant.costs.size import size
from autoquant.costs.target import TARGETS, Target, for_target, size_in_target
from autoquant.errors import UserError
from autoquant.exports.onnx import files
from autoquant.plan import Bits
from autoquant.settings import TARGET_NAMES, Search, Space
from tests.exports.models import packed

LARGEST = 1.45
"""Times the file: the bound of a model of a few kilobytes, whose nodes take as much as weights."""


def counted(path: Path, target: str) -> float:
    """The bytes that a search counts for a packed file's plan."""
    header, _ = read(path)
    assert header.network is not None
    return TARGETS[target].size.of(header.network, header.plan, header.scheme)


@pytest.mark.usefixtures("tables_made_once")
@pytest.mark.parametrize(
    ("name", "weights"), [("language", 4), ("both ways", 8), ("convolutions", 4), ("encoder", 8)]
)
def test_onnx_files_are_within_their_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, weights: Bits
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(files, "session_memory", lambda path, feeds: None)
    made = packed(tmp_path, name, weights)
    result = aq.export(made.path, made.pair.build(), example=made.example)
    largest = max(path.stat().st_size for path in result.files)
    assert largest <= counted(made.path, "onnxruntime") <= LARGEST * largest


@pytest.mark.usefixtures("tables_made_once")
@pytest.mark.parametrize("weights", [1, 1.6, 3, 5, 8, 16])
@pytest.mark.parametrize("name", ["language", pytest.param("spotter", marks=pytest.mark.slow)])
def test_constants_of_c_are_their_count(tmp_path: Path, name: str, weights: Bits) -> None:
    made = packed(tmp_path, name, weights)
    result = aq.export(made.path, made.pair.build(), format="c", example=made.example)
    assert result.bytes == counted(made.path, "c")


def test_only_bits_of_the_target_are_chosen() -> None:
    settings = for_target(Search(target="onnxruntime", rules={"a": {"weight_bits": (2, 8)}}))
    assert settings.space.weight_bits == (4, 8)
    assert settings.rules == {"a": {"weight_bits": (8,)}}
    assert settings.references == (8, 4)


def test_c_has_all_bits() -> None:
    settings = Search(target="c")
    assert for_target(settings).space == settings.space


def test_without_a_target_the_packed_file_counts() -> None:
    assert for_target(Search()) == Search()
    assert size_in_target(Search()) is size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"space": Space(weight_bits=(1, 2))},
            r"space.weight_bits must have bits that target=onnxruntime stores \(4, 8, 16, 32\)",
        ),
        ({"rules": {"head": {"weight_bits": 3}}}, r"rules.head.weight_bits must have bits"),
    ],
)
def test_no_choice_left(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        for_target(Search(target="onnxruntime", **settings))  # type: ignore[arg-type]


def test_unknown() -> None:
    with pytest.raises(UserError, match="target must be one of onnxruntime, c"):
        Search(target="tflite")


@pytest.fixture
def added() -> Iterator[Target]:
    target = Target("eight", size, weight_bits=(8,), activation_bits=(8,))
    yield TARGETS.add(target)
    del TARGETS["eight"]
    TARGET_NAMES.remove("eight")


def test_a_target_from_outside(added: Target) -> None:
    settings = for_target(Search(target="eight"))
    assert settings.space.weight_bits == (8,)
    assert settings.space.activation_bits == (8, 16)
