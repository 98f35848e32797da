import errno

import pytest

from autoquant.cli.error_messages import BAD_INPUT, FAILED, explain, first_line
from autoquant.errors import Diverged, RunError, UserError


def wrapped(inner: Exception) -> Exception:
    """An error that another one was raised from, as Hydra does with a task's errors."""
    outer = RuntimeError("Error in call to target")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("budget must be above 0"), BAD_INPUT, "budget must be above 0"),
        (RunError("training failed"), FAILED, "training failed"),
        (Diverged("loss is nan"), FAILED, "loss is nan"),
        (wrapped(UserError("inner")), BAD_INPUT, "inner"),
        (OSError(errno.ENOSPC, "No space left", "f"), FAILED, "No space left: 'f'"),
        (KeyError("x"), FAILED, "KeyError: 'x'"),
    ],
    ids=["user", "run", "diverged", "wrapped", "disk", "other"],
)
def test_an_error_is_one_line_and_a_code(error, code, line):
    assert explain(error) == (code, line)


def test_only_the_first_line_is_told():
    assert first_line(ValueError("\n  one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
