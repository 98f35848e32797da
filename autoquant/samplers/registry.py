"""Samplers by name: how a search chooses its next point from the trials that have ended.

A sampler is a function that makes an Optuna sampler for a seed. Adding one is one decorated
function in any module. Its name, or its import path ("mymodule.my_sampler"), is the setting
``sampler``.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from autoquant.errors import UserError
from autoquant.plugins import resolve_callable
from autoquant.settings import SAMPLERS

STARTUP = 6  # trials that tpe and gp wait for before they model the scores; random until then

Sampler = Callable[[int], BaseSampler]
"""Makes an Optuna sampler: seed -> sampler, the same one for the same seed. A new one is made for
every proposal and sees all trials that have ended, so it must not remember earlier proposals. Of a
point it samples every dimension as an integer from 0: the index of a choice, in rising order."""

_SAMPLERS: dict[str, Sampler] = {}


def sampler(name: str) -> Callable[[Sampler], Sampler]:
    """Register a function as a sampler.

    Args:
        name: which the setting ``sampler`` then has; the last registration of a name counts.

    Returns:
        a decorator of ``function(seed) -> optuna.samplers.BaseSampler``.

    >>> import optuna
    >>> @sampler("nsga2")
    ... def nsga2(seed):
    ...     return optuna.samplers.NSGAIISampler(seed=seed)
    """

    def register(function: Sampler) -> Sampler:
        _SAMPLERS[name] = function
        SAMPLERS.register(name)
        return function

    return register


def new_sampler(name: str, seed: int) -> BaseSampler:
    """A new Optuna sampler.

    Args:
        name: of a registered sampler, or its import path.
        seed: of the sampler's random numbers.

    Raises:
        UserError: there is no such sampler, it does not make an Optuna sampler, or it needs a
            library that is not installed.
    """
    if name not in _SAMPLERS:
        requirement = "sampler must be a sampler or its import path"
        _SAMPLERS[name] = resolve_callable(name, requirement)
    instance = _SAMPLERS[name](seed)
    if not isinstance(instance, BaseSampler):
        raise UserError(
            f"sampler {name!r} must make an Optuna sampler of a seed, "
            f"got a {type(instance).__name__}"
        )
    return instance


@sampler("tpe")
def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimators, joint over the dimensions (Bergstra et al. 2011).

    Args:
        seed: of its random numbers.
    """
    return TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed)


@sampler("gp")
def gp(seed: int) -> BaseSampler:
    """Gaussian processes; slower, seconds a proposal.

    Args:
        seed: of its random numbers.
    """
    return GPSampler(n_startup_trials=STARTUP, seed=seed)


@sampler("random")
def random(seed: int) -> BaseSampler:
    """Uniform in every dimension.

    Args:
        seed: of its random numbers.
    """
    return RandomSampler(seed=seed)
