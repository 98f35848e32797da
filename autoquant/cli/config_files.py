"""Configuration files of a user's own folder, ``--config-dir``: read within bounds."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

from autoquant.cli.old_names import rename_in
from autoquant.errors import UserError
from autoquant.reading import UnreadableError, read_file
from autoquant.yaml_text import MAX_YAML_BYTES, read_yaml


class BoundedConfigSource(FileConfigSource):
    """Hydra's reader of a folder, which expands aliases without a limit, behind ours."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Args:
            config_path: of the file, in the folder.

        Raises:
            UserError: it is no YAML, too large or too deep, or it has a tag.
        """
        file = Path(self.path) / self._normalize_file_name(config_path)
        if file.is_file():
            try:
                read_yaml(read_file(file, MAX_YAML_BYTES))
            except UnreadableError as error:
                raise UserError(f"'{file}' must be valid YAML, got {error}") from error
        result = super().load_config(config_path)
        rename_in(result.config)
        return result


def register_source() -> None:
    """Let Hydra read folders by ``BoundedConfigSource``."""
    Plugins.instance()  # which registers Hydra's own
    SourcesRegistry.instance().types[BoundedConfigSource.scheme()] = BoundedConfigSource
