"""What a command says while it works: lines in a log, or a live table in a terminal; on stderr."""

from autoquant.progress.bar import Bar
from autoquant.progress.choice import opened
from autoquant.progress.interface import SILENT, Progress, print_notes
from autoquant.progress.trial_row import TrialRow

__all__ = ["SILENT", "Bar", "Progress", "TrialRow", "opened", "print_notes"]
