"""The errors that a user sees as one line."""


class UserError(ValueError):
    """Bad input. The message says what must hold, then what came (exit code 2)."""


class RunError(RuntimeError):
    """A run that started well and could not end well (exit code 1)."""


class Diverged(RunError):
    """Training met a loss or a score that is not finite."""
