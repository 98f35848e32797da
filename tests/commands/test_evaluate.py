from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from autoquant.artifact import packed_file
from autoquant.artifact.assets import write_assets
from autoquant.commands.evaluate import evaluate
from autoquant.errors import Diverged, UserError
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.task import SPLITS, Task
from autoquant.training.qat import build_candidate
from autoquant.training.scoring import score
from tests.toys import language_task, plan_of, prepared


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[Path, nn.Module]:
    """A packed file and the fake-quantized model it was packed from."""
    torch.manual_seed(0)
    task, path = language_task(), tmp_path_factory.mktemp("packed") / "model.safetensors"
    base, network = prepared(task.build_model())
    plan = plan_of(network, LayerChoice(3, 8), rnn__l0=1.5)
    model = build_candidate(base, network, plan, Scheme(), task, method="split", seed=0)
    packed_file.save(path, model, network, plan, Scheme())
    return path, model


@pytest.mark.parametrize("split", SPLITS)
def test_the_score_is_that_of_the_model_before_it_was_packed(packed, split):
    path, model = packed
    assert evaluate(path, language_task(), split=split, device="cpu") == score(
        model, language_task(), split
    )


def test_the_test_split_is_the_default_and_nothing_is_written(packed):
    path, _ = packed
    before = path.read_bytes()
    assert evaluate(str(path), language_task()) == evaluate(path, language_task(), split="test")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_initial_weights_of_the_task_do_not_matter(packed):
    path, _ = packed
    first = evaluate(path, language_task())
    torch.manual_seed(99)
    assert evaluate(path, language_task()) == first


def test_what_is_refused(packed, tmp_path):
    path, _ = packed
    with pytest.raises(UserError, match="must be an existing packed file"):
        evaluate(tmp_path / "no.safetensors", language_task())
    with pytest.raises(UserError, match="is of another model"):
        evaluate(path, language_task(hidden=13))
    with pytest.raises(UserError, match="is of another model"):
        evaluate(path, language_task(layers=2))
    with pytest.raises(UserError, match=r"torch has here \(auto, cpu.*\), got 'tpu'"):
        evaluate(path, language_task(), device="tpu")
    with pytest.raises(UserError, match=r"split must be one of probe, valid, test, got 'tst'"):
        evaluate(path, language_task(), split="tst")
    with pytest.raises(UserError, match=r"must follow autoquant.Task, got a Linear"):
        evaluate(path, nn.Linear(1, 1))


def test_a_score_that_is_not_finite(packed):
    task = language_task()
    task.score = lambda model, split: float("nan")
    with pytest.raises(Diverged, match="perplexity must be finite, got nan"):
        evaluate(packed[0], task)


def test_assets_are_restored_before_the_model_is_built(packed, tmp_path):
    path = Path(shutil.copy(packed[0], tmp_path))
    stored = language_task().assets()["vocabulary"].replace(b"w07", b"<unk>")
    write_assets(tmp_path, {"vocabulary": stored})
    assert evaluate(path, language_task(words=30)) > 0  # the model has 20 words
    with pytest.raises(UserError, match="is of another model"):
        evaluate(packed[0], language_task(words=30))


def test_a_file_is_scored_in_place_of_a_split(packed, tmp_path):
    task = language_task()
    words = [task.corpus.vocabulary[i] for i in task.corpus.streams["test"]]
    (tmp_path / "mine.txt").write_text(" ".join(words))
    expected = evaluate(packed[0], task)
    assert evaluate(packed[0], task, split="valid", file=tmp_path / "mine.txt") == expected
    assert evaluate(packed[0], task, file=str(tmp_path / "mine.txt")) == expected


class Unscored(nn.Module):
    """A task whose class scores no files."""

    def __init__(self, task):
        super().__init__()
        for name in Task.__annotations__ | vars(Task):
            if name[0] != "_":
                setattr(self, name, getattr(task, name))


def test_files_that_are_refused(packed, tmp_path):
    for file in ("no.txt", ""):
        with pytest.raises(UserError, match="file must be an existing file, got"):
            evaluate(packed[0], language_task(), file=tmp_path / file)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match=r"empty\.txt' must have at least 2 words, got 0"):
        evaluate(packed[0], language_task(), file=tmp_path / "empty.txt")
    with pytest.raises(UserError, match=r"file needs a task that scores files .* got a Unscored"):
        evaluate(packed[0], Unscored(language_task()), file=tmp_path / "empty.txt")
