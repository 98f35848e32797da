"""The mark of a model that was loaded from a packed file: which of its parameters are one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from autoquant.errors import UserError, shown

_ATTRIBUTE = "_autoquant_loaded"


@dataclass(frozen=True)
class Loaded:
    """What a loaded model keeps beside its layers, which hold a copy each of what they share.

    Attributes:
        tied: for each parameter that several modules have, its names.
    """

    tied: tuple[tuple[str, ...], ...]


def tied_names(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """For each parameter that a model has under several names, these names.

    Args:
        model: any.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


def mark_loaded(model: nn.Module, tied: tuple[tuple[str, ...], ...]) -> None:
    """Mark a model as loaded; copies and pickles of it are marked too.

    Args:
        model: that was loaded; changed in place.
        tied: what ``tied_names`` gave before it was loaded.
    """
    vars(model)[_ATTRIBUTE] = Loaded(tied)


def remove_mark(model: nn.Module) -> Loaded:
    """Take the mark from a model.

    Args:
        model: that was loaded; changed in place.

    Returns:
        the mark.
    """
    mark: Loaded = vars(model).pop(_ATTRIBUTE)
    return mark


def refuse_loaded(model: nn.Module) -> None:
    """Raise a UserError for a model that was loaded: its layers are packed already.

    Args:
        model: that a packed file is to be loaded into.

    Raises:
        UserError: it was loaded before.
    """
    if _ATTRIBUTE in vars(model):
        name = type(model).__name__
        raise UserError(f"model must be a new float instance, got a {name} that aq.load returned")


def check_loaded(model: object) -> nn.Module:
    """A value, if it is a model that was loaded.

    Args:
        model: any value.

    Raises:
        UserError: it is something else.
    """
    if isinstance(model, nn.Module) and _ATTRIBUTE in vars(model):
        return model
    came = f"a {type(model).__name__}" if isinstance(model, nn.Module) else shown(model)
    raise UserError(f"model must be what aq.load returned, got {came}")
