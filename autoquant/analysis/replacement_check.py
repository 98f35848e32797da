"""Replacement check: a model computes the same when its layers are replaced, before it is trained.

A forward pass may ask for the exact class of a layer (``type(m) is nn.Linear``), or read what only
torch's own modules have. Then it computes something else, without an error, once layers are
replaced: by the layers of ``prepare``, by quantized ones, or by those that run from a packed file.
Each of these models is compared with the one before it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.nn.utils import parametrize

from autoquant.artifact import packed_file
from autoquant.errors import RunError, UserError, first_line
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.tracing import lines
from autoquant.graph.tracing.first_difference import first_difference
from autoquant.graph.widen import sharing_copy
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Search
from autoquant.training.qat import quantize

log = logging.getLogger(__name__)


def check_prepared(model: nn.Module, prepared: nn.Module, run: ExampleRun) -> None:
    """Nothing where a prepared model computes what the float model does.

    Args:
        model: the task's float model.
        prepared: what ``prepare`` made of it.
        run: of the task's example, by the model.

    Raises:
        UserError: it computes something else; with the line of the user's code where it is known.
    """
    _check("autoquant's layers", model, prepared, run, lambda: run.check_same(model, prepared))


def check_quantized(
    model: nn.Module, prepared: nn.Module, network: Network, settings: Search, run: ExampleRun
) -> None:
    """Nothing where a model computes the same with quantized layers, and when packed and loaded.

    A line is logged where the model draws random numbers in eval mode.

    Args:
        model: the task's float model.
        prepared: what ``prepare`` made of it.
        network: of the prepared model.
        settings: give the quantizer, and the bits of the packed file that is tried.
        run: of the task's example, by the model.

    Raises:
        UserError: as ``check_prepared``.
    """
    if run.random:
        _log_randomness(run)
    stand_in = _parametrized(prepared, network)
    _check("quantized layers", prepared, stand_in, run, lambda: run.check_same(prepared, stand_in))
    _check_packed(model, prepared, network, settings, run)


def _log_randomness(run: ExampleRun) -> None:
    """Say that a model draws random numbers, and what follows."""
    where = f" ({run.line})" if run.line else ""
    what = "with constants in place of noise" if run.repeatable else "not at all"
    log.warning("the model's outputs are random in eval mode%s: they are compared %s", where, what)


def _parametrized(model: nn.Module, network: Network) -> nn.Module:
    """A model whose quantized parameters pass through an identity; their modules' classes change.

    Args:
        model: prepared; it is left as it is.
        network: of the model.
    """
    model = sharing_copy(model)
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        for parameter in layer.parameters:
            parametrize.register_parametrization(module, parameter.name, nn.Identity())
    return model


def _check_packed(
    model: nn.Module, prepared: nn.Module, network: Network, settings: Search, run: ExampleRun
) -> None:
    """Pack the model as it is and load it again.

    Args:
        model: the task's float model.
        prepared: what ``prepare`` made of it.
        network: of the prepared model.
        settings: give the quantizer, and the bits.
        run: of the task's example.
    """
    scheme, choice = settings.quantizer, LayerChoice(max(settings.space.weight_bits))
    plan = Plan(dict.fromkeys(network.names, choice))
    quantized = sharing_copy(prepared)
    quantize(quantized, network, plan, scheme)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        packed_file.save(path, quantized, network, plan, scheme)
        loaded = packed_file.load(path, model)

    def compare() -> None:
        if not run.equal(quantized, loaded):
            raise RunError("got other outputs")

    _check("layers of a packed file", quantized, loaded, run, compare)


def _check(
    what: str,
    before: nn.Module,
    after: nn.Module,
    run: ExampleRun,
    compare: Callable[[], object],
) -> None:
    """Raise a UserError where a comparison fails.

    Args:
        what: takes the place of layers.
        before: a model with the layers before.
        after: the same model with other layers.
        run: of the example.
        compare: raises a RunError where the two compute something else.
    """
    try:
        compare()
    except RunError as error:
        where = first_difference(before, after, *run.copies(before))
        difference = first_line(error).rpartition("got ")[2]
        came = f"got {difference}{where and f' from {where} on'}"
    except Exception as error:  # whatever user code raises when it meets other modules
        line = lines.raised(error)
        came = f"got an error{line and f' in {line}'}: {first_line(error)}"
    else:
        return
    raise UserError(
        f"the model must compute the same with {what} in place of its own, {came}; a forward pass "
        "must not ask for the exact class of a layer, nor for what only torch's class has"
    )
