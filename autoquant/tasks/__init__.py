"""Ready tasks: a model, its data, its loss and its score, one file each.

Importing this package registers those that a configuration can name: stdlib, ptb, digits, speech.
"""

from autoquant.tasks import digits, language
from autoquant.tasks.speech import speech_task

__all__ = ["digits", "language", "speech_task"]
