"""What is typed behind the name of a command: settings and options, refused where they are neither.

Hydra parses them too, but prints several lines about an option that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autoquant.cli.error_messages import near_hint
from autoquant.cli.setting_names import setting_names
from autoquant.errors import UserError, shown

FLAGS = ("--help", "-h", "--json", "--multirun", "-m", "--resolve")
"""Options without a value."""
_SHOWN = ("job", "hydra", "all")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
OPTIONS: dict[str, tuple[str, ...]] = {
    **{"--cfg": _SHOWN, "-c": _SHOWN, "--info": _INFO, "-i": _INFO},
    **{"--package": (), "-p": (), "--config-dir": (), "-cd": ()},
}
"""Options with a value, and the values that they take; nothing where they take any."""
WITHOUT_VALUE = ("--info", "-i")
"""Of these the ones that may stand without their value."""
FOLDERS = ("--config-dir", "-cd")
"""Those for a folder of a user's own configuration files."""
PLACES = ("study", "artifact")
"""Settings that a path stands for which is typed alone."""
PRINTING = ("--cfg", "-c", "--info", "-i")
"""Options that print something else than the answer of the command."""


def check_arguments(command: str, arguments: Sequence[str], *, as_json: bool = False) -> None:
    """Raise a UserError for what is neither a setting nor an option.

    Args:
        command: its name.
        arguments: what was typed after it.
        as_json: whether the answer is to be JSON.

    Raises:
        UserError: with what was probably meant.
    """
    words = iter(arguments)
    before = ""
    for word in words:
        if word.startswith("-"):
            option, value = _split(word)
            _check_option(command, option, word)
            if as_json and option in PRINTING:
                raise UserError(f"--json must be typed without {option}")
            if option in OPTIONS and value is None:
                value = _next_value(option, words)
            _check_value(option, value)
        elif "=" not in word and not word.startswith(
            "~"
        ):  # ~ removes a setting, in Hydra's grammar
            _refuse_word(command, word, before, next(words, ""))
        before = word


def options_last(arguments: Sequence[str]) -> list[str]:
    """The settings, then the options: Hydra's parser takes no settings behind an option.

    Args:
        arguments: what was typed behind the name of a command, checked.
    """
    settings: list[str] = []
    options: list[str] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            settings.append(word)
            continue
        options.append(word)
        option, value = _split(word)
        if option in OPTIONS and value is None:
            options += [word for word in (next(words, None),) if word is not None]
    return settings + options


def _split(word: str) -> tuple[str, str | None]:
    """An option and its value, where it is in the same word: ``--cfg=job`` or ``-cjob``."""
    option, equals, value = word.partition("=")
    if equals or option in OPTIONS or option.startswith("--"):
        return option, value if equals else None
    short = max((each for each in OPTIONS if word.startswith(each)), key=len, default=option)
    return short, word.removeprefix(short) or None


def _check_option(command: str, option: str, word: str) -> None:
    """Raise a UserError where there is no such option.

    Args:
        command: its name.
        option: without its value.
        word: as it was typed.
    """
    if option in FLAGS or option in OPTIONS:
        return
    name = option.lstrip("-")
    if name in setting_names(command):
        value = word.partition("=")[2] or "..."
        requirement = "a setting must look like key=value, without dashes"
        raise UserError(f"{requirement}, got {shown(word)} (near: {name}={value})")
    names = [each for each in (*FLAGS, *OPTIONS) if each.startswith("--")]
    hint = near_hint(option, names)
    raise UserError(f"an option must be one of {', '.join(names)}, got {shown(word)}{hint}")


def _next_value(option: str, words: Iterator[str]) -> str:
    """The value of an option, which is the next word.

    Args:
        option: that takes a value.
        words: behind it.
    """
    value = next(words, None)
    if value is None and option not in WITHOUT_VALUE:
        raise UserError(f"{option} must be followed by a value")
    return "all" if value is None else value


def _check_value(option: str, value: str | None) -> None:
    """Raise a UserError where an option does not take a value.

    Args:
        option: its name.
        value: that was typed.
    """
    allowed = OPTIONS.get(option, ())
    if allowed and value not in allowed:
        raise UserError(f"{option} must be one of {', '.join(allowed)}, got {shown(value)}")
    if option in FOLDERS:
        check_folder(str(value))
    if option in FLAGS and value is not None:
        raise UserError(f"{option} must have no value, got {shown(value)}")


def folders_in(arguments: Sequence[str]) -> list[str]:
    """The folders that a user names for configuration files, as they were typed.

    Args:
        arguments: what was typed behind the name of a command.
    """
    folders = []
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in FOLDERS:
            folders.append(value if equals else "".join(arguments[index + 1 : index + 2]))
    return folders


def check_folder(path: str) -> None:
    """Raise a UserError where there is no folder of configuration files.

    Args:
        path: that was typed.
    """
    if not Path(path).is_dir():
        raise UserError(f"--config-dir must be an existing folder, got {shown(path)}")


def _refuse_word(command: str, word: str, before: str, after: str) -> None:
    """Raise a UserError about a word that is no setting.

    Args:
        command: its name.
        word: without "=".
        before: the word before it.
        after: the word after it.
    """
    names = setting_names(command)
    known, meant = word in names or word.startswith("task."), ""
    if before.endswith("="):
        meant = f"{before}{word}"
    elif known and after.startswith("="):
        meant = f"{word}{after}"
    elif known:
        meant = f"{word}={after if after and '=' not in after else '...'}"
    elif Path(word).exists() and (places := [each for each in PLACES if each in names]):
        meant = f"{places[0]}={word}"
    hint = f" (near: {meant})" if meant else near_hint(word, names)
    raise UserError(f"a setting must look like key=value, got {shown(word)}{hint}")
