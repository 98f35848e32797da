"""The packages that only the speech task needs."""

from __future__ import annotations

from importlib.util import find_spec

from autoquant.distribution import extra_command
from autoquant.errors import UserError

PACKAGES = {"jiwer": "jiwer", "kaldi_native_fbank": "kaldi-native-fbank", "soundfile": "soundfile"}
"""Names for pip, by the names of the modules."""


def need(module: str) -> None:
    """Raise a UserError where a package is not installed.

    Args:
        module: one of PACKAGES.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(module) is None:
        raise UserError(
            f"the speech task must have {PACKAGES[module]} installed "
            f"({extra_command('speech')}), got none"
        )
