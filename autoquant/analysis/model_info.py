"""ModelInfo: what is known of a task's model before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from autoquant.analysis.profile import Profile, profile_model
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.settings import Search
from autoquant.space.search_space import SearchSpace, build_space
from autoquant.study.folder import Study
from autoquant.task import Task
from autoquant.training.baseline import float_model, load_weights, measure, weights_file


@dataclass(frozen=True)
class ModelInfo:
    """A model, looked at.

    Attributes:
        network: its layers.
        profile: their shares and growth costs.
        space: the choices that they have.
        float_bytes: of its tensors.
        parameters: how many it has.
    """

    network: Network
    profile: Profile
    space: SearchSpace
    float_bytes: int
    parameters: int


def model_info(task: Task, settings: Search, folder: Study) -> ModelInfo:
    """Build a task's float model and look at it.

    Args:
        folder: of the study that is to be; its own float model outdoes ``settings.pretrained``.

    Raises:
        UserError: ``settings.pretrained`` does not hold this model, or a rule does not suit it.
    """
    model = float_model(task)
    prepared: nn.Module = prepare(model)
    example = task.example()
    network = describe(prepared, example.inputs)
    profile = profile_model(prepared, network, example, settings.widening)
    if settings.pretrained is not None and not folder.baseline_file.is_file():
        load_weights(model, weights_file(settings.pretrained))  # refuses before there is a folder
    space = build_space(network, profile.widenable, settings.space, settings.rules)
    return ModelInfo(network, profile, space, *measure(model))
