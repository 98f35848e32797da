"""Weights in memory, in files and in studies."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from autoquant.errors import RunError, UserError
from autoquant.settings import Search
from autoquant.training.weights import IN_MEMORY, load_weights, plain_settings, save_weights
from tests.toys import language_model
from tests.training.runs import same_weights


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_weights_that_are_not_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        UserError, match="a file of safetensors or torch, or a study with"
    ) as raised:
        load_weights(nn.Linear(1, 1), tmp_path / name)
    assert name in str(raised.value)


def test_weights_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = language_model(seed=1), language_model(seed=2)
    assert not same_weights(model, other)
    save_weights(model, path)
    load_weights(other, path)
    assert same_weights(model, other)


class Shared(nn.Module):
    """Its decoder and its embedding are one tensor."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(5, 4)
        self.decoder = nn.Linear(4, 5)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.embedding(tokens))


def test_shared_weights_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = Shared(1), Shared(2)
    save_weights(model, path)
    load_weights(other, path)
    assert same_weights(model, other)
    assert other.decoder.weight is other.embedding.weight


@pytest.mark.parametrize("kept", ["embedding.weight", "decoder.weight"])
def test_one_name_of_a_tied_tensor_is_enough(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = Shared(1), Shared(2)
    save_file({kept: model.embedding.weight.detach(), "decoder.bias": model.decoder.bias}, path)
    load_weights(other, path)
    assert same_weights(model, other)
    save_model(model, str(path))
    load_weights(other, path)
    assert same_weights(model, other)


def test_a_tensor_that_is_not_tied_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = Shared(1)
    save_file({"decoder.bias": model.decoder.bias}, path)
    with pytest.raises(UserError, match=r"must hold this task's model, got: .*Missing key"):
        load_weights(model, path)
    untied = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "decoder": nn.Linear(4, 5)})
    save_model(model, str(path))
    with pytest.raises(UserError, match=r"must hold this task's model, got: .*Missing key"):
        load_weights(untied, path)


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        save_weights(language_model(), tmp_path / "nowhere" / "weights.safetensors")
    assert "No such file or directory" in str(raised.value)
    assert "\n" not in str(raised.value)


# --- what pretrained may be -----------------------------------------------------------------------


def saved(content: Any, folder: Path, **options: Any) -> Path:
    path = folder / "weights.pt"
    torch.save(content, path, **options)
    return path


def prefixed(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in model.state_dict().items()}


SOURCES: dict[str, Callable[[nn.Module, Path], Any]] = {
    "a module": lambda model, folder: model,
    "a state_dict": lambda model, folder: model.state_dict(),
    "a file of a state_dict": lambda model, folder: saved(model.state_dict(), folder),
    "its path as a text": lambda model, folder: str(saved(model.state_dict(), folder)),
    "an old file": lambda model, folder: saved(
        model.state_dict(), folder, _use_new_zipfile_serialization=False
    ),
    "a checkpoint": lambda model, folder: saved(
        {"epoch": 3, "model_state_dict": model.state_dict(), "optimizer": {}}, folder
    ),
    "a checkpoint of a checkpoint": lambda model, folder: saved(
        {"state_dict": {"model": model.state_dict()}}, folder
    ),
    "of Lightning": lambda model, folder: saved(
        {"state_dict": prefixed(model, "model.") | {"loss.weight": torch.ones(2)}}, folder
    ),
    "of DataParallel": lambda model, folder: saved(prefixed(model, "module."), folder),
    "of a compiled DataParallel": lambda model, folder: prefixed(model, "_orig_mod.module."),
}


@pytest.mark.parametrize("name", SOURCES)
def test_where_weights_come_from(name: str, tmp_path: Path) -> None:
    model, other = language_model(seed=1), language_model(seed=2)
    assert load_weights(other, SOURCES[name](model, tmp_path)) is None
    assert same_weights(model, other)


def test_the_model_keeps_nothing_of_the_source() -> None:
    model, source = nn.Linear(2, 2), nn.Linear(2, 2)
    load_weights(model, source)
    with torch.no_grad():
        source.weight.zero_()
    assert model.weight.any()


class Harmful:
    """Unpickling it calls a function."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (Harmful(), "must hold weights that torch.load reads with weights_only=True .*, got: "),
        (nn.Linear(2, 2), "must hold weights that torch.load reads with weights_only=True"),
        ({"epoch": 3, "loss": 0.5}, "must hold a state_dict, got a dict with the keys epoch, loss"),
        (torch.ones(2), "must hold a state_dict, got a Tensor"),
        (OrderedDict(other=torch.ones(2)), "must hold this task's model, got: .*Missing key"),
    ],
    ids=["code", "a module", "no weights", "a tensor", "another model"],
)
def test_files_of_torch_that_are_refused(content: Any, line: str, tmp_path: Path) -> None:
    path = saved(content, tmp_path)
    with pytest.raises(UserError, match=line) as raised:
        load_weights(nn.Linear(2, 2), path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\x80\x02junk", b"text"])
def test_damaged_files(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"weights.pt' must (hold weights|be a file of safet)"):
        load_weights(nn.Linear(2, 2), path)


def test_a_mapping_that_is_no_state() -> None:
    with pytest.raises(UserError, match="pretrained must hold a state_dict, got a dict"):
        load_weights(nn.Linear(2, 2), {"weight": 1.0})


# --- in a study's configuration -------------------------------------------------------------------


def test_weights_in_memory_are_kept_as_a_digest() -> None:
    model = nn.Linear(2, 2)
    texts = [
        plain_settings(Search(pretrained=source))["pretrained"]
        for source in (model, model.state_dict(), nn.Linear(2, 2))
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith(IN_MEMORY)
    assert plain_settings(Search())["pretrained"] is None
    assert plain_settings(Search(pretrained="a.pt"))["pretrained"] == "a.pt"
    with pytest.raises(UserError, match="were given in memory and its baseline"):
        load_weights(model, texts[0])
