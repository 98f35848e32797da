"""Rungs: the lengths of training on which the plans of a search are compared."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.settings import Search, Training


@dataclass(frozen=True)
class Rung:
    """One length of training.

    Attributes:
        name: "short", "medium" or "full".
        steps: training steps in all, cool-down included.
        training: how plans are trained on it.
        whole: whether they are trained exactly as ``training`` says, with its schedule and its
            intermediate scores; else at a constant rate and a cool-down, which a longer rung
            continues.
    """

    name: str
    steps: int
    training: Training
    whole: bool = False


def rungs_of(settings: Search, steps_per_epoch: int) -> tuple[Rung, ...]:
    """The rungs of a search, of rising length: short, and medium and full where they are longer.

    Args:
        settings: ``qat`` gives the short rung and the training of the medium one, ``final`` the
            full rung, ``rounds`` whether there are others than the short one.
        steps_per_epoch: number of batches of one pass over the training data.
    """
    short = settings.qat.length(steps_per_epoch)
    rungs = [Rung("short", short, settings.qat)]
    full = settings.final.length(steps_per_epoch) if settings.rounds.full else None
    medium = round(short * settings.rounds.medium)
    if short < medium and (full is None or medium < full):
        rungs.append(Rung("medium", medium, settings.qat))
    if full is not None and short < full:
        rungs.append(Rung("full", full, settings.final))
    return tuple(rungs)
