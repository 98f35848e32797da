import errno
from dataclasses import dataclass, field

import pytest
from hydra.errors import ConfigCompositionException, InstantiationException, OverrideParseException
from omegaconf import MISSING, OmegaConf

from autoquant.cli.error_messages import BAD_INPUT, FAILED, explain
from autoquant.errors import Diverged, RunError, UserError, first_line


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


@dataclass
class Section:
    rate: float = 0.1


@dataclass
class Settings:
    count: int = 1
    rate: float = 0.5
    whether: bool = True
    numbers: tuple[int, ...] = (1,)
    mixed: int | float = 1
    section: Section = field(default_factory=Section)
    mapping: dict[str, int] = field(default_factory=dict)
    name: str = MISSING


SECTION = "a section of settings, as in baseline.steps=100"
MAPPING = "a mapping, as in {decoder: {weight_bits: [4,8]}}"
UNKNOWN = "a setting must be one that --help lists"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("count", "x", "count must be a whole number, got 'x'"),
        ("count", 1.5, "count must be a whole number, got '1.5'"),
        ("rate", "x", "rate must be a number, got 'x'"),
        ("section.rate", "x", "section.rate must be a number, got 'x'"),
        ("whether", "x", "whether must be true or false, got 'x'"),
        ("numbers", 4, "numbers must be a list, as in [2,4]"),
        ("mixed", "x", "mixed must be a number, got 'x'"),
        ("section", 4, f"section must be {SECTION}, got '4'"),
        ("mapping", 4, f"mapping must be {MAPPING}, got 'int'"),
        ("count", None, "count must be given, not null"),
        ("section", None, "section must be given, not null"),
        ("name", {"a": 1}, "name must be one text, got '{'a': 1}'"),
        ("counts", 1, f"{UNKNOWN}, got 'counts' (near: count)"),
        ("section.rates", 1, f"{UNKNOWN}, got 'section.rates' (near: section.rate)"),
    ],
)
def test_what_omegaconf_refuses_is_told_in_terms_of_settings(key, value, line):
    config = OmegaConf.structured(Settings)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        OmegaConf.update(config, key, value)
    assert explain(caught.value) == (BAD_INPUT, line)


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(Exception) as caught:  # noqa: PT011
        OmegaConf.to_container(OmegaConf.structured(Settings), throw_on_missing=True)
    assert explain(caught.value) == (BAD_INPUT, "name must be given, as in name=...")


AMBIGUOUS = "Ambiguous value for argument 'budget=1x,2x'"
NO_MATCH = "Could not override '{}'. No match in the defaults list."


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OverrideParseException("a=b=c", "mismatched input"),
            "a setting must look like key=value (odd text as 'key=\"...\"'), got 'a=b=c'",
        ),
        (ConfigCompositionException(f"{AMBIGUOUS}\n1."), f"several values need -m: {AMBIGUOUS}"),
        (
            ConfigCompositionException(NO_MATCH.format("model")),
            "model must be left out: the task has no models",
        ),
        (
            ConfigCompositionException(NO_MATCH.format("modl")),
            f"{UNKNOWN}, got 'modl' (near: model)",
        ),
        (ConfigCompositionException("something else\nmore"), "something else"),
        (InstantiationException("Error in call"), "the task could not be built: Error in call"),
    ],
    ids=["grammar", "ambiguous", "model", "group", "other", "task"],
)
def test_what_hydra_refuses(error, line):
    assert explain(error, {"model": None, "study": None}) == (BAD_INPUT, line)
