from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.exports import written
from autoquant.exports.onnx import files
from autoquant.exports.recording import record
from autoquant.exports.written import Request, Written, export_format
from autoquant.plan import LayerChoice
from tests.exports.models import Packed, packed
from tests.runtime.pairs import noise, pair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return packed(tmp_path_factory.mktemp("packed"), "language gru")


def export(made: Packed, **options: Any) -> aq.Exported:
    options = {"example": made.example, **options}
    return aq.export(options.pop("path", made.path), made.pair.build(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "none.safetensors"}, "artifact must be an existing packed file, got 'none.saf"),
        ({"format": "onx"}, "format must be one of onnx, qonnx, c, torch, got 'onx' .near: onnx"),
        ({"prefer": "fast"}, "prefer must be speed or size, got 'fast'"),
        ({"split": "train"}, "split must be"),
        ({"example": None}, "example must be given with a model, got None"),
        ({"output": 3}, "output must be the path of a folder, got 3"),
        ({"example": [1]}, "example must be a tensor, a tuple of arguments or an aq.Example"),
        ({"example": torch.zeros(2, 3)}, "the model must run on its example, got"),
    ],
)
def test_refused_before_anything_is_written(
    made: Packed, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "new"
    with pytest.raises(aq.UserError, match=message):
        export(made, **{"output": folder, **options})
    assert not folder.exists()


def test_a_damaged_file(made: Packed, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(made.path.read_bytes()[:-10])
    with pytest.raises(aq.UserError, match="must be a whole packed file"):
        export(made, path=damaged)


def test_a_model_of_another_class(made: Packed) -> None:
    with pytest.raises(aq.UserError, match=r"packed"):
        aq.export(made.path, nn.Linear(3, 3), example=torch.zeros(1, 3))


def test_something_that_is_no_task(made: Packed) -> None:
    with pytest.raises(aq.UserError, match="task must be an autoquant"):
        aq.export(made.path, "task")  # type: ignore[arg-type]


def test_arguments_in_the_other_order(made: Packed) -> None:
    with pytest.raises(aq.UserError, match="got them in the other order"):
        aq.export(Scored(made), str(made.path))  # type: ignore[arg-type]


class Scored:
    """A task that scores a model by its mean output."""

    name, metric, direction = "scored", "mean", "minimize"

    def __init__(self, made: Packed) -> None:
        self.made = made

    def build_model(self) -> nn.Module:
        return self.made.pair.build()

    def example(self) -> aq.Example:
        return self.made.example

    def steps_per_epoch(self) -> int:
        return 1

    def batches(self, seed: int, start: int = 0) -> Any:
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> Any:
        raise NotImplementedError

    def score(self, model: nn.Module, split: str) -> float:
        """With the state handed on, as a language model is scored."""
        tokens = self.made.example.inputs[0]
        _, state = model(tokens)
        output, _ = model(tokens[:3, :2], state[:, :2])
        return float(output.abs().mean())


@pytest.mark.usefixtures("tables_made_once")
@pytest.mark.parametrize("format", ["onnx", "c", "torch"])
def test_scores_of_both(
    made: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(files, "session_memory", lambda path, feeds: None)
    result = aq.export(made.path, Scored(made), format=format, output=tmp_path)
    scores = result.scores
    assert scores is not None
    assert scores.exported == pytest.approx(scores.packed, rel=1e-5)
    assert {path.parent for path in result.files} == {tmp_path}
    assert f"{scores.packed:.6g}" in str(result)


def test_a_format_from_outside(made: Packed, tmp_path: Path) -> None:
    @export_format("names")
    def write_names(request: Request) -> Written:
        path = request.folder / f"{request.name}.txt"
        path.write_text("\n".join(request.source.layers))
        return Written((path,), path.stat().st_size, record(request.source), None)

    try:
        result = export(made, format="names", output=tmp_path)
    finally:
        del written.FORMATS["names"]
        written.FORMAT_NAMES.remove("names")
    assert (result.difference, result.scores) == (None, None)
    assert (tmp_path / "packed.txt").read_text() == "embedding\nrnn\ndecoder"


def test_without_a_compiler_the_program_is_written(
    made: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    result = export(made, format="c", output=tmp_path)
    assert result.difference is None
    assert [path.name for path in result.files] == ["packed.c", "packed.h"]
    assert "there is no C compiler 'no-such-compiler'" in str(result)


def test_without_the_libraries_one_line_says_so(
    made: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(
        aq.UserError, match=r"exports to ONNX need .* \(pip install 'autoquant-torch\[onnx\]'"
    ):
        export(made)


class Result(NamedTuple):
    output: torch.Tensor
    codes: torch.Tensor


class Named(nn.Module):
    """An argument and outputs that have the names of others."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, output: torch.Tensor) -> Result:
        return Result(self.linear(output), output.sum(1))


@pytest.mark.usefixtures("tables_made_once")
@pytest.mark.parametrize("format", ["onnx", "c"])
def test_names_that_are_taken(tmp_path: Path, format: str) -> None:
    made = pair(tmp_path, Named, LayerChoice(8, 8), values := noise(3, 4))
    result = aq.export(made.path, made.build(), format=format, example=values)
    assert result.difference is not None
    assert result.difference.largest < 1e-5


def test_outputs_that_torch_cannot_write(tmp_path: Path) -> None:
    made = pair(tmp_path, Named, LayerChoice(8, 8), values := noise(3, 4))
    with pytest.raises(aq.UserError, match=r"must be one that torch.export.save writes, got"):
        aq.export(made.path, made.build(), format="torch", example=values)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


@pytest.mark.usefixtures("tables_made_once")
@pytest.mark.parametrize("format", ["onnx", "c", "torch"])
def test_a_layer_with_the_name_of_a_keyword(tmp_path: Path, format: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(OrderedDict({"class": nn.Linear(4, 4)}))

    made = pair(tmp_path, build, LayerChoice(8, 8), values := noise(3, 4))
    with pytest.raises(aq.UserError, match="must"):
        aq.export(made.path, made.build(), format=format, example=values)


def test_another_precision_is_refused(tmp_path: Path) -> None:
    made = pair(tmp_path, lambda: nn.Linear(4, 4), LayerChoice(8, 8), noise(3, 4))
    with pytest.raises(aq.UserError, match=r"must be in torch.float32 to be exported, got"):
        aq.export(made.path, made.build().double(), example=noise(3, 4).double())
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
