"""RunSettings: what differs between the runs of a command with ``-m``, and how many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoquant.cli.overrides import parsed


@dataclass(frozen=True)
class RunSettings:
    """The settings that differ between runs.

    Attributes:
        keys: names of the settings with several values.
        count: number of runs.
    """

    keys: tuple[str, ...]
    count: int

    @classmethod
    def of(cls, overrides: Sequence[str]) -> RunSettings:
        """Read a command line.

        Args:
            overrides: as Hydra takes them, options included.
        """
        counts: dict[str, int] = {}
        for text in overrides:
            override = parsed(text)
            if override is not None and override.is_discrete_sweep():
                counts[override.key_or_group] = len([*override.sweep_string_iterator()])
        return cls(tuple(counts), math.prod(counts.values()))

    def of_this_run(self) -> dict[str, Any]:
        """The settings with several values and the value of each, while Hydra calls the command."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        overrides = [override for text in typed if (override := parsed(text)) is not None]
        return {
            each.key_or_group: each.value() for each in overrides if each.key_or_group in self.keys
        }
