"""The ready tasks: importing this registers stdlib, ptb, digits and speech.

Their models are apart from it, so that a packed file of theirs is loaded without the configuration.
"""

from autoquant.tasks import digits, language
from autoquant.tasks.speech import speech_task

__all__ = ["digits", "language", "speech_task"]
