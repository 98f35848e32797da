"""Ready tasks: a model, its data, its loss and its score, one file each.

Importing this package registers those that a configuration can name: stdlib, ptb and digits.
"""

from autoquant.tasks import digits, language

__all__ = ["digits", "language"]
