"""ModelInfo: static facts about a task's model, computed before training."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from autoquant.analysis.model_checks import check_model
from autoquant.analysis.profile import Profile, profile_model
from autoquant.analysis.replacement_check import check_prepared, check_quantized
from autoquant.analysis.task_checks import check_example, check_task_runs
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.kernels.recurrent.registry import factories
from autoquant.quantization.scale_rules import rule_named
from autoquant.settings import Search, Widening, settings_for
from autoquant.space.search_space import SearchSpace, build_space
from autoquant.study.folder import Study
from autoquant.task import Example, Task, check_task
from autoquant.tasks.teacher import TeacherTask
from autoquant.training.fixed_loss import fixed_loss
from autoquant.training.float_model import (
    build_float_model,
    measure_size,
)
from autoquant.training.weights import load_weights


@dataclass(frozen=True)
class ModelInfo:
    """Static facts about a task's float model.

    Attributes:
        model: the prepared float model, in eval mode, with the weights that the task gave it.
        network: its layers, and which of their widths depend on each other.
        profile: the layers' shares, operations and growth costs, and which ones may be widened.
        run: of the example, by which models are compared with the float model.
        float_bytes: bytes of the float model's tensors.
        parameters: number of its parameters.
    """

    model: nn.Module = field(repr=False, compare=False)
    network: Network
    profile: Profile
    run: ExampleRun = field(repr=False, compare=False)
    float_bytes: int
    parameters: int


@dataclass(frozen=True)
class SearchInfo:
    """The facts about a model that a search or a sweep needs; the model itself is not kept.

    Attributes:
        network: its layers, and which of their widths depend on each other.
        profile: the layers' shares, operations and growth costs, and which ones may be widened.
        space: the choices that the settings give each layer.
        float_bytes: bytes of the float model's tensors.
        parameters: number of its parameters.
        notes: lines that the user should see before the search.
    """

    network: Network
    profile: Profile
    space: SearchSpace
    float_bytes: int
    parameters: int
    notes: tuple[str, ...] = ()


def network_of(task: Task) -> Network:
    """The network of a task's float model.

    Args:
        task: gives the model and an example of its inputs.

    Raises:
        UserError: the task is no autoquant.Task, ``check_model`` refuses the model, or it computes
            something else once its layers are replaced.
    """
    return _described(build_float_model(check_task(task)), task, task.example())[1]


def _described(
    model: nn.Module, task: Task, example: Example
) -> tuple[nn.Module, Network, ExampleRun]:
    """The prepared model, its network, and the run of the example by which models are compared.

    Args:
        model: the task's float model.
        task: gives the loss.
        example: of the task.
    """
    check_model(model)
    check_example(model, example)
    prepared = prepare(model)
    run = ExampleRun.of(model, example.inputs, example.keywords, fixed_loss(task))
    check_prepared(model, prepared, run)
    return prepared, describe(prepared, example.inputs, example.keywords, run), run


def inspect_task(
    task: Task, widening: Widening | None = None, model: nn.Module | None = None
) -> ModelInfo:
    """Prepare a task's float model, describe its network and profile it; nothing is trained.

    Args:
        task: gives the model and an example of its inputs.
        widening: thresholds that decide which layers may be widened; fields that are not named take
            what the task prefers, else their defaults.
        model: the task's float model, where it has been built already.

    Raises:
        UserError: the task is no autoquant.Task, ``check_model`` refuses the model, or it computes
            something else once its layers are replaced.
    """
    check_task(task)
    settings = settings_for(task, None if widening is None else Search(widening=widening))
    model = build_float_model(task) if model is None else model
    example = task.example()
    prepared, network, run = _described(model, task, example)
    profile = profile_model(prepared, network, example, settings.widening)
    return ModelInfo(prepared, network, profile, run, *measure_size(model))


def inspect_search(task: Task, settings: Search, study: Study) -> SearchInfo:
    """Inspect a task, and check the settings of a search or a sweep against its model.

    Args:
        task: gives the model and an example of its inputs.
        settings: of the search or the sweep.
        study: the folder that is to be used; where it holds a float model already, that one is
            used and ``settings.pretrained`` is not read.

    Raises:
        UserError: the model has no layer that autoquant knows, or computes something else once its
            layers are replaced; ``settings.pretrained`` does not hold this model; a rule for layers
            does not suit it; an import path of a scale rule or of an engine names none.
    """
    factories(settings.kernel)
    rule_named(settings.quantizer.scale)
    model = build_float_model(check_task(task))
    notes = check_task_runs(task, model, (settings.qat, settings.final))
    info = inspect_task(task, settings.widening, model)
    if settings.pretrained is not None and isinstance(task, TeacherTask):
        raise UserError("pretrained must be left out for a TeacherTask, whose model is its teacher")
    if settings.pretrained is not None and not study.baseline_file.is_file():
        load_weights(model, settings.pretrained)  # refused before there is a folder
        check_model(model)
    check_quantized(model, info.model, info.network, settings, info.run)
    widenable = info.profile.widenable
    space = build_space(info.network, widenable, settings.space, settings.rules)
    return SearchInfo(info.network, info.profile, space, info.float_bytes, info.parameters, notes)


def profile(task: Task, widening: Widening | None = None) -> Profile:
    """Profile a task's float model; nothing is trained.

    Args:
        task: gives the model and an example of its inputs.
        widening: thresholds that decide which layers may be widened; fields that are not named take
            what the task prefers, else their defaults.

    Returns:
        for each layer its share of the parameters, its operations, what growing it would cost, and
        whether the search may widen it.

    Raises:
        UserError: the model has no layer that autoquant knows, or ``check_model`` refuses it.
    """
    return inspect_task(task, widening).profile
