"""The facts about a task's model, in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoquant.analysis.model_info import inspect_search, inspect_task, network_of, profile
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.settings import Scheme, Search, Widening
from autoquant.space.search_space import build_space
from autoquant.study.folder import Study
from autoquant.training.weights import save_weights
from tests.toys import language_task

TASK = language_task(10, 400, embedding=4, hidden=8)
WIDENING = Widening(max_share=0.5, max_growth=0.5)


def test_a_task_s_model_is_prepared_described_and_profiled() -> None:
    info = inspect_task(TASK, WIDENING)
    network = describe(prepare(TASK.build_model()), TASK.example().inputs)
    assert info.network == network == network_of(TASK)
    assert info.profile == profile(TASK, WIDENING)
    assert info.parameters == sum(p.numel() for p in TASK.build_model().parameters())
    assert info.float_bytes == 4 * info.parameters
    assert describe(info.model, TASK.example().inputs) == network
    assert inspect_task(TASK).profile == profile(TASK, Widening())


def test_a_model_that_was_built_before_is_used_and_left_alone() -> None:
    torch.manual_seed(3)
    model = TASK.build_model()
    info = inspect_task(TASK, WIDENING, model)
    assert torch.equal(info.model.get_submodule("decoder").weight, model.decoder.weight)
    assert info == inspect_task(TASK, WIDENING)  # the facts do not depend on the weights
    assert isinstance(model.rnn, torch.nn.LSTM)


def test_the_facts_of_a_search_have_the_choices_of_its_settings(tmp_path: Path) -> None:
    settings = Search(widening=WIDENING, rules={"decoder": {"weight_bits": (4, 8)}})
    info = inspect_search(TASK, settings, Study(tmp_path))
    widenable = info.profile.widenable
    assert info.space == build_space(info.network, widenable, settings.space, settings.rules)
    assert info.profile == profile(TASK, WIDENING)


def test_weights_of_another_model_are_refused_unless_the_study_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(language_task(10, 400, embedding=4, hidden=9).build_model(), path)
    settings = replace(Search(), pretrained=str(path))
    with pytest.raises(UserError, match="must hold this task's model"):
        inspect_search(TASK, settings, Study(tmp_path))
    Study(tmp_path).baseline_file.touch()
    assert inspect_search(TASK, settings, Study(tmp_path)).network.names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Search(kernel="json.engine"), "kernel must be an engine or its import path"),
        (Search(quantizer=Scheme(scale="json.Rule")), "quantizer.scale must be a rule or its"),
    ],
)
def test_import_paths_that_name_nothing_are_refused_before_training(
    settings: Search, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        inspect_search(TASK, settings, Study(tmp_path))


def test_a_profile_takes_the_task_s_widening_field_by_field() -> None:
    task = language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)
    assert profile(task).widenable == ()
    task.preferred = Search(widening=Widening(max_share=1, max_growth=9))
    assert profile(task).widenable == profile(task, Widening(max_share=1)).widenable != ()
    assert profile(task, Widening(max_growth=0)).widenable == ()
    with pytest.raises(UserError, match=r"widening must be an autoquant.Widening, got 0.5"):
        profile(task, 0.5)  # type: ignore[arg-type]
