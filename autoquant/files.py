"""Writing files atomically: a file has its old content or its new one, never a part.

An OSError of a write is a WriteError that names the file, so that it is not taken for one of the
user's own data.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoquant.errors import WriteError, first_line

BLOCK_BYTES = 65_536
"""Read at once from the end of a file, in search of the end of a line."""

STALE_SECONDS = 86_400.0
"""Age at which a temporary file is removed even if a process has the number in its name."""

_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise a WriteError in place of an OSError of the block.

    Args:
        path: of the file or folder that the block writes, named in the error.

    Raises:
        WriteError: the block raised an OSError, other than a TimeoutError.
    """
    try:
        yield
    except TimeoutError:  # of a lock: its owner says what that means
        raise
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise WriteError(f"'{path}' could not be written: {reason}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends.

    When the block raises, ``path`` is unchanged and the temporary file is removed. The content is
    on the disk before the name is, so that a power failure leaves the old file or the new one.

    Args:
        path: of the file to be written, in an existing folder.

    Raises:
        WriteError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            yield temporary
            _to_disk(temporary)
            temporary.replace(path)
            with suppress(OSError):  # not every file system does it for folders
                _to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, where they are missing.

    Args:
        path: of the folder.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"'{path}' cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically.

    Args:
        path: of the file, in an existing folder.
        text: its whole content.

    Raises:
        WriteError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, atomically.

    Args:
        path: of the file, in an existing folder.
        content: its whole content.

    Raises:
        WriteError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def append_text(path: Path, text: str) -> None:
    """Write lines at the end of a file; a killed process can leave a part of the last one.

    Args:
        path: of the file, in an existing folder; made where it is missing.
        text: whole lines, in UTF-8.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def remove_incomplete_line(path: Path) -> None:
    """Remove what follows the last end of a line: a killed process or a full disk may leave it.

    Args:
        path: of a file of lines, which may be missing.

    Raises:
        WriteError: it cannot be written.
    """
    if not path.is_file():
        return
    with writing(path), path.open("rb+") as file:
        size = start = file.seek(0, os.SEEK_END)
        kept = 0
        while start > 0 and not kept:
            end, start = start, max(0, start - BLOCK_BYTES)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            kept = start + found + 1 if found >= 0 else 0
        if kept < size:
            file.truncate(kept)


def to_disk(path: Path) -> None:
    """Wait until the content of a file is on the disk.

    Args:
        path: of the file, which may be missing.

    Raises:
        WriteError: it cannot be written.
    """
    if path.is_file():
        with writing(path):
            _to_disk(path)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files of processes that were killed.

    Args:
        folder: in which, and in whose folders, ``replacing`` was used.
    """
    for path in folder.rglob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if match and (_has_ended(int(match[1])) or _age(path) > STALE_SECONDS):
                path.unlink()


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file, in whose place a new one will be written, and print a line about it.

    Args:
        path: of the file; ``.damaged`` is added to its name.
        reason: what is wrong, and what happens now.

    Raises:
        WriteError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged")
    with writing(path):
        path.replace(aside)
    print(f"autoquant: '{path}' {reason}; it is kept as '{aside.name}'", file=sys.stderr)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_ended(process: int) -> bool:
    """Whether no other process has a number; this one has no temporary file while it cleans up."""
    if process == os.getpid():
        return True
    if os.name == "nt":  # a signal would end the process there
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
