"""The ready tasks' defaults: the signatures in Python, and the files of the configuration."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from autoquant.errors import UserError
from autoquant.settings import Search
from autoquant.task import TASKS
from autoquant.tasks import digits, language  # noqa: F401 (which register them)
from autoquant.tasks.language_model import LanguageModel
from autoquant.tasks.task_file import task_file
from tests.toys import corpus

READY = ("stdlib", "ptb", "digits")


@pytest.mark.parametrize("name", READY)
def test_defaults_in_a_signature_are_those_of_the_file(name: str) -> None:
    arguments = task_file(name).arguments
    parameters = inspect.signature(TASKS[name]).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    assert defaults
    assert defaults == {name: arguments[name] for name in defaults}


def test_every_option_of_the_language_model_is_in_the_files() -> None:
    options = set(inspect.signature(LanguageModel).parameters) - {"vocabulary"}
    for name in ("stdlib", "ptb"):
        assert options <= set(task_file(name).arguments)


def test_only_what_a_file_says_is_preferred() -> None:
    preferred = task_file("digits").preferred
    assert preferred.given == {"widening", "baseline", "qat", "final"}
    assert preferred.qat.given == {"steps", "lr"}


def test_a_task_keeps_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "StdlibText", lambda *arguments: corpus(10, 400))
    task = language.stdlib(hidden=6, preferred=Search(seed=3))
    assert task.preferred == Search(seed=3)
    assert task.build_model().rnn.hidden_size == 6
    assert task.build_model().embedding.embedding_dim == 128
    assert language.stdlib().preferred is task_file("stdlib").preferred


def test_the_folder_of_the_penn_treebank_must_be_given(tmp_path: Path) -> None:
    build: Any = language.treebank
    with pytest.raises(TypeError, match="data_dir"):
        build()
    with pytest.raises(UserError, match="data_dir must be an existing folder"):
        build(data_dir=str(tmp_path / "gone")).build_model()
