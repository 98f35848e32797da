"""LatencyTable: measured seconds of layers, kept by what decides them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from autoquant.costs.layer_timing import measure_layer, timing_choice
from autoquant.errors import UserError, shown
from autoquant.files import write_text
from autoquant.layers import LayerSpec
from autoquant.plan import LayerChoice
from autoquant.reading import read_json_file
from autoquant.settings import Scheme


@dataclass
class LatencyTable:
    """Seconds of one position of a layer, each measured once and then kept.

    A study keeps them in a file, so that it has the same limits when it is continued.

    Attributes:
        seconds: by the layer's kind and shapes and the bits that its kernels run with.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> float:
        """Seconds of one position; measured if they are not known.

        Args:
            layer: at the plan's width.
            choice: of the layer.
            scheme: how numbers become codes.
        """
        key = _key(layer, choice, scheme)
        if key not in self.seconds:
            self.seconds[key] = measure_layer(layer, choice, scheme)
        return self.seconds[key]

    def read(self, path: Path) -> None:
        """Take the measurements of a file, which count before those that are here.

        Args:
            path: of a file that ``write`` wrote; where there is none, nothing is taken.

        Raises:
            UserError: the file is not what ``write`` writes.
        """
        if not path.is_file():
            return
        try:
            self.seconds |= {str(key): float(s) for key, s in read_json_file(path).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"'{path}' must be as a search wrote it, got {shown(error)}") from error

    def write(self, path: Path) -> None:
        """Write all measurements into a file.

        Args:
            path: of the file, in an existing folder.
        """
        write_text(path, json.dumps(self.seconds, indent=2, sort_keys=True) + "\n")


def _key(layer: LayerSpec, choice: LayerChoice, scheme: Scheme) -> str:
    """What decides the time of a layer, as a text.

    Args:
        layer: at the plan's width.
        choice: of the layer.
        scheme: how numbers become codes.
    """
    shapes = ",".join(
        f"{parameter.name.removesuffix('_reverse')}:{'x'.join(map(str, parameter.shape))}"
        for parameter in layer.parameters
    )
    run = timing_choice(layer, choice)
    bits = f"w{run.weight_bits} r{run.recurrent_bits} a{run.activation_bits} h{run.hidden_bits}"
    return f"{layer.kind} {shapes} {bits} {scheme.grid} {scheme.granularity}"


LATENCIES = LatencyTable()
"""The measurements of this process."""
