"""The progress bar: of the terminal, or of a notebook that can show one."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():  # that a notebook without ipywidgets gets the terminal's bar
    warnings.filterwarnings("ignore", message="IProgress not found")
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
