"""Corpus: the utterances of a folder, in three splits, whatever the layout of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from autoquant.errors import UserError, shown
from autoquant.tasks.speech.corpora import common_voice, librispeech, plain, sphinx, tedlium
from autoquant.tasks.speech.utterance import Utterance

SpeechSplit = Literal["train", "valid", "test"]
Lister = Callable[[Path, SpeechSplit], list[Utterance]]
"""(folder, split) -> the utterances, sorted by name; an empty list where the split is missing."""

LAYOUTS: dict[str, Lister] = {
    "librispeech": librispeech.utterances,
    "tedlium": tedlium.utterances,
    "common_voice": common_voice.utterances,
    "sphinx": sphinx.utterances,
    "plain": plain.utterances,
}
"""What reads a layout, by its name; the first one that finds training utterances is taken."""


def layout_of(folder: Path, layout: str = "auto") -> str:
    """The layout of a folder.

    Args:
        folder: of the corpus.
        layout: one of LAYOUTS, or "auto" for the first that finds training utterances.

    Raises:
        UserError: there is no such folder or layout, or nothing was found.
    """
    if not folder.is_dir():
        raise UserError(f"data_dir must be the folder of a speech corpus, got '{folder}'")
    if layout != "auto" and layout not in LAYOUTS:
        known = ", ".join(["auto", *LAYOUTS])
        raise UserError(f"layout must be one of {known}, got {shown(layout)}")
    names = [*LAYOUTS] if layout == "auto" else [layout]
    for name in names:
        if LAYOUTS[name](folder, "train"):
            return name
    wanted = "one of the layouts " + ", ".join(LAYOUTS) if layout == "auto" else f"layout {layout}"
    raise UserError(f"data_dir must have training utterances in {wanted}, got none in '{folder}'")
