"""The progress bar: of the terminal, or of a notebook that can show one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

with warnings.catch_warnings():  # that a notebook without ipywidgets gets the terminal's bar
    warnings.filterwarnings("ignore", message="IProgress not found")
    from tqdm.auto import tqdm

__all__ = ["print_notes", "tqdm"]


def print_notes(notes: Sequence[str], *, progress: bool) -> None:
    """Print lines about a task, beside the progress bars.

    Args:
        notes: the lines.
        progress: whether they are printed; else they are warnings.
    """
    for note in notes:
        if progress:
            tqdm.write(note)
        else:
            warnings.warn(note, stacklevel=3)
