"""An error as one line for the user, and the exit code of the program.

Errors of Hydra and OmegaConf are recognised by their types. Where one type stands for several
mistakes, the texts in ``AMBIGUOUS``, ``UNUSED_GROUP`` and ``VALUE_TEXTS`` tell them apart.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from autoquant.errors import MAX_SHOWN, RunError, UserError, first_line, shortened, shown

if TYPE_CHECKING:
    from hydra.errors import MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

BAD_INPUT, FAILED, STOPPED = 2, 1, 130
"""Exit codes; the last one is that of a command that the user has stopped."""

AMBIGUOUS = "Ambiguous value"
"""Of Hydra: several values, separated by commas, without -m."""
UNUSED_GROUP = "No match in the defaults list"
"""Of Hydra: an option of a group that the configuration does not have."""
VALUE_TEXTS: tuple[tuple[str, str, Callable[[Any], str] | None], ...] = (
    ("could not be converted to Integer", "a whole number", str),
    ("could not be converted to Float", "a number", str),
    ("Union[int, float]", "a number", str),
    ("is not a valid bool", "true or false", str),
    ("is not a ListConfig", "a list, as in [2,4]", None),
    ("is not a subclass of", "a section of settings, as in baseline.steps=100", str),
    (
        "Cannot assign",
        "a mapping, as in {decoder: {weight_bits: [4,8]}}",
        lambda value: type(value).__name__,
    ),
    ("is not Optional", "given, not null", None),
    ("to string", "one text", str),
)
"""Part of OmegaConf's text about a value, what the value must be, and what is shown of it."""


def explain(error: BaseException, settings: Collection[str] = ()) -> tuple[int, str]:
    """The exit code and the one line of an error.

    Args:
        error: what stopped a command.
        settings: names of the command's own settings.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    chain = _chain(error)
    for link in chain:
        if isinstance(link, UserError):
            return BAD_INPUT, _with_notes(link, str(link))
        if isinstance(link, RunError):
            return FAILED, _with_notes(link, str(link))
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = (_explain_configuration(link, chain, settings) for link in chain)
        return BAD_INPUT, next((line for line in lines if line), first_line(error))
    if isinstance(error, OSError) and error.strerror and error.filename:
        return FAILED, _with_notes(error, f"{error.strerror}: {shown(str(error.filename))}")
    return FAILED, _with_notes(error, f"{type(error).__name__}: {first_line(error)}")


def _with_notes(error: BaseException, line: str) -> str:
    """The line of an error, and what was going on when it was raised.

    Args:
        error: whose notes name the trial, for example.
        line: about the error itself.
    """
    notes = getattr(error, "__notes__", ())
    return f"{line} ({'; '.join(notes)})" if notes else line


def print_error(text: str) -> None:
    """Print an error as one line; what a terminal would obey is escaped.

    Args:
        text: whose parts may come from a file that somebody else has written.
    """
    line = " ".join(shortened(text).splitlines())
    escaped = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
    print(f"autoquant: {escaped}", file=sys.stderr)


def _chain(error: BaseException) -> list[BaseException]:
    """An error, the one that it was raised from, and so on."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _explain_configuration(
    error: BaseException, chain: list[BaseException], settings: Collection[str]
) -> str | None:
    """What an error of Hydra or OmegaConf means for the user; None if it says too little.

    Args:
        error: one of the chain.
        chain: all errors, from the last raised to the first.
        settings: names of the command's own settings.
    """
    from hydra import errors as hydra
    from omegaconf import errors as omegaconf

    match error:
        case omegaconf.OmegaConfBaseException():
            return None if error.full_key in (None, "") else _explain_setting(error)
        case hydra.MissingConfigException():
            return _explain_option(error)
        case hydra.OverrideParseException():
            requirement = "a setting must look like key=value (odd text as 'key=\"...\"')"
            typed = str(error.override).removeprefix("++")  # which overrides.py adds to rules
            return f"{requirement}, got {shown(typed)}"
        case hydra.InstantiationException():
            return f"the task could not be built: {first_line(chain[-1])}"
        case hydra.ConfigCompositionException():
            return _explain_composition(str(error), settings)
    return None


def _explain_setting(error: OmegaConfBaseException) -> str:
    """What is wrong with a setting that OmegaConf names."""
    from omegaconf import errors

    key = str(error.full_key)
    if isinstance(error, errors.ConfigKeyError | errors.ConfigAttributeError):
        section = key.rpartition(".")[0]
        names = _setting_names(error.parent_node, f"{section}." if section else "")
        return _unknown_setting(key, names)
    if isinstance(error, errors.MissingMandatoryValue):
        return f"{key} must be given, as in {key}=..."
    text = first_line(error)
    for fragment, requirement, describe in VALUE_TEXTS:
        if fragment in text:
            return f"{key} must be {requirement}" + (
                f", got '{shortened(describe(error.value), MAX_SHOWN)}'" if describe else ""
            )
    return f"{key}: {text}"


def _explain_option(error: MissingConfigException) -> str | None:
    """The options of a group of the configuration, where an unknown one was chosen."""
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group or not error.options:
        return None
    if group.startswith("model/"):  # chosen by model=..., in the folder of the task's models
        group = "model"
    requirement = f"{group} must be one of {', '.join(error.options)}"
    return f"{requirement}, got {shown(option)}{near_hint(option, error.options)}"


def _explain_composition(text: str, settings: Collection[str]) -> str | None:
    """What Hydra says where it has no type of its own for a mistake.

    Args:
        text: of the error.
        settings: names of the command's own settings.
    """
    if text.startswith(AMBIGUOUS):
        return f"several values need -m: {text.splitlines()[0]}"
    if UNUSED_GROUP in text:
        group = text.split("'")[1]
        if group == "model" and group in settings:
            return "model must be left out: the task has no models"
        return _unknown_setting(group, settings)
    return None


def _unknown_setting(key: str, names: Collection[str]) -> str:
    """The line about a setting that does not exist.

    Args:
        key: full name of the setting.
        names: full names of the settings that exist.
    """
    return f"a setting must be one that --help lists, got {shown(key)}{near_hint(key, names, 0.5)}"


def near_hint(name: str, names: Collection[str], cutoff: float = 0.6) -> str:
    """The names that an unknown one may stand for, in parentheses; nothing where none is similar.

    Args:
        name: the unknown name.
        names: those that exist.
        cutoff: share of the characters that must agree, about.
    """
    near = difflib.get_close_matches(name[:MAX_SHOWN], names, n=3, cutoff=cutoff)
    return f" (near: {', '.join(near)})" if near else ""


def _setting_names(section: Any, prefix: str = "") -> list[str]:
    """The full names of the settings of a section and of the sections in it.

    Args:
        section: a part of the configuration; None, and anything but a mapping, has no settings.
        prefix: name of the section, with a dot at its end.
    """
    from omegaconf import OmegaConf

    names: list[str] = []
    if not OmegaConf.is_dict(section) or not section:
        return names
    for key, value in section.items_ex(resolve=False):
        names.append(f"{prefix}{key}")
        if key != "hydra":
            names += _setting_names(value, f"{prefix}{key}.")
    return names
