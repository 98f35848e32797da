"""StoredSpace: a study's network and its widenable layers, so that no model must be built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from autoquant.artifact.stored_network import decode_network, encode_network
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.reading import read_json_file


@dataclass(frozen=True)
class StoredSpace:
    """What a search space is built from, beside the settings.

    Attributes:
        network: before widening.
        widenable: names of the layers that the profile lets grow.
    """

    network: Network
    widenable: tuple[str, ...]

    def to_json(self) -> str:
        """The text of a study's ``network.json``."""
        content = {"widenable": self.widenable, "network": encode_network(self.network)}
        return json.dumps(content) + "\n"

    @classmethod
    def read(cls, path: Path) -> StoredSpace:
        """Read a study's ``network.json``.

        Args:
            path: of the file.

        Raises:
            UserError: it is not there, as in studies of earlier versions, or not as it was written.
        """
        if not path.is_file():
            raise UserError(
                f"the study must have '{path.name}', which searches of this version write, got none"
            )
        try:
            content = read_json_file(path)
            widenable = tuple(str(name) for name in content["widenable"])
            return cls(decode_network(content["network"]), widenable)
        except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            raise UserError(f"'{path}' must be as a search wrote it") from error
