"""Assets: what a task needs beside a model's weights, in the folder ``assets`` beside its file.

They are not part of the packed file, and do not count in its size. A file of version 3 can hold
assets too, which do (see ``packed_file.save``); both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from autoquant.artifact.reading import read
from autoquant.errors import UserError, shown
from autoquant.files import make_folder, write_bytes

FOLDER = "assets"
MAX_BYTES = 100_000_000
"""Of one asset that is read."""
MAX_FILES = 1000
"""Assets of one packed file that are read."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def assets(artifact: str | Path) -> dict[str, bytes]:
    """What a task stored beside a packed file, and in it, by name.

    Args:
        artifact: the packed file.

    Returns:
        the bytes of the files in the folder ``assets`` beside it, and of the assets inside it,
        which come first where both have a name. Empty where there are none. Hidden files are left
        out.

    Raises:
        UserError: the packed file is missing or damaged; the folder has something else than files,
            or too many or too large ones.
    """
    inside = read(artifact)[0].assets
    return {**_read_folder(Path(artifact).parent / FOLDER), **inside}


def check_assets(content: object) -> dict[str, bytes]:
    """What a task's ``assets`` returned, if it can be stored.

    Args:
        content: any value.

    Raises:
        UserError: it is no mapping of names to bytes, or a name is none of a plain file.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"assets of a task must be a mapping of bytes, got {shown(content)}")
    for name, data in content.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            requirement = "an asset's name must be of letters, digits, '.', '_' and '-'"
            raise UserError(f"{requirement}, without a '.' at its start, got {shown(name)}")
        if not isinstance(data, bytes) or len(data) > MAX_BYTES:
            came = f"{len(data)} bytes" if isinstance(data, bytes) else shown(data)
            raise UserError(f"asset {name} must be at most {MAX_BYTES} bytes, got {came}")
    return dict(content)


def write_assets(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write assets where ``assets`` finds them; nothing where there are none.

    Args:
        folder: of the packed file.
        content: by name, checked.

    Raises:
        WriteError: they cannot be written.
    """
    if content:
        make_folder(folder / FOLDER)
    for name, data in content.items():
        write_bytes(folder / FOLDER / name, data)


def _read_folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        if len(paths) > MAX_FILES:
            raise UserError(f"'{folder}' must have at most {MAX_FILES} files, got {len(paths)}")
        return {path.name: _read(path) for path in paths}
    except OSError as error:
        raise UserError(f"'{folder}' must be readable, got {error.strerror}") from error


def _read(path: Path) -> bytes:
    """The bytes of an asset; not through a link, whose target may be any file."""
    if path.is_symlink() or not path.is_file() or _NAME.fullmatch(path.name) is None:
        raise UserError(f"a folder of assets must have plain files alone, got {shown(str(path))}")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f"'{path}' must have at most {MAX_BYTES} bytes, got more")
    return data
