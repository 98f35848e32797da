"""The arguments of a command in Hydra's grammar of overrides: what a user types is taken as meant.

Hydra's own parser decides which arguments have to be changed: paths that its grammar does not
take as they are, and ``rules``, whose keys are patterns such as ``rnn.*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from autoquant.errors import UserError, shown
from autoquant.reading import UnreadableError
from autoquant.yaml_text import MAX_DEPTH, read_yaml

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

PATHS = (
    *("study", "artifact", "file", "plan", "pretrained", "cluster.folder"),
    *("task.data_dir", "task.root"),
)
"""Settings that are paths: any text, with spaces, commas and quotes."""
MULTIRUN = {"-m", "--multirun"}
_SHOWS = re.compile(r"(--cf|--i|-i).*|-c(=?(job|hydra|all))?")
"""``--cfg`` and ``--info``, which print the configuration, as Hydra's parser takes them."""
TRAININGS = ("baseline", "qat", "final")
"""Sections of settings with a length, in steps or in epochs."""

GROUPS = ("task", "model", "quantizer", "cluster")
"""Settings that choose an option of a group of conf/ by its name."""
MAX_CHARACTERS, MAX_NAME = 10_000, 500
"""Characters of one setting, and of its name."""
MAX_VALUES = 1000
"""Values in one setting; the time that Hydra takes grows with their square."""

_ESCAPES = {ord(character): f"\\{character}" for character in "\\()[]{}:=, \t"}
"""Characters of an unquoted text that have a meaning in Hydra's grammar."""


def to_overrides(
    arguments: Sequence[str],
    *,
    stored_task: bool = False,
) -> list[str]:
    """The arguments as Hydra's command line takes them.

    Args:
        arguments: of the command, without its name: ``key=value`` and options such as ``-m``.
        stored_task: whether settings of a task that is not named change those of a stored one.
    """
    sweeps = bool(MULTIRUN & set(arguments))
    keys = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    overrides: list[str] = []
    for argument in arguments:
        overrides.append(_to_override(argument, sweeps=sweeps))
        overrides += _without_steps(argument, keys)
    if stored_task and "task" not in keys:
        return [f"++{each}" if each.startswith("task.") else each for each in overrides]
    return overrides


def _without_steps(argument: str, keys: Collection[str]) -> list[str]:
    """What follows the epochs of a training, so that no steps of a file replace them.

    Args:
        argument: ``key=value`` or an option.
        keys: names of all settings that are typed.
    """
    section, _, field = argument.partition("=")[0].lstrip("+").rpartition(".")
    steps = f"{section}.steps"
    is_length = section in TRAININGS and field == "epochs" and steps not in keys
    return [f"{steps}=null"] if is_length else []


def shows_configuration(arguments: Sequence[str]) -> bool:
    """Whether Hydra prints the configuration instead of running the command.

    Args:
        arguments: of the command, without its name.
    """
    return any(_SHOWS.fullmatch(argument) for argument in arguments)


def _to_override(argument: str, *, sweeps: bool) -> str:
    _refuse_size(argument)
    key, _, value = argument.partition("=")
    if key in GROUPS:
        _refuse_no_name(key, argument)
    if key.lstrip("+").partition(".")[0] == "rules":
        return _rules(key.lstrip("+"), value)
    if key in PATHS and not _is_read_as_typed(argument, sweeps=sweeps):
        return f"{key}={_quoted(value)}"
    return argument


def _refuse_size(argument: str) -> None:
    """Raise a UserError where a setting has more, or deeper, values than Hydra soon parses."""
    if len(argument) > MAX_CHARACTERS or len(argument.partition("=")[0]) > MAX_NAME:
        requirement = f"a setting must have at most {MAX_CHARACTERS} characters"
        raise UserError(f"{requirement} ({MAX_NAME} in its name), got {shown(argument)}")
    if argument.count(",") + argument.count(":") > MAX_VALUES:
        requirement = f"a setting must have at most {MAX_VALUES} values"
        raise UserError(f"{requirement}, got {shown(argument)}")
    depth = 0
    for character in argument:
        depth += (character in "[{(") - (character in "]})")
        if depth > MAX_DEPTH:
            requirement = f"a setting must have at most {MAX_DEPTH} brackets inside one another"
            raise UserError(f"{requirement}, got {shown(argument)}")


def _refuse_no_name(group: str, argument: str) -> None:
    """Raise a UserError where several options of a group are chosen without -m.

    Args:
        group: of the configuration.
        argument: that chooses one of its options.
    """
    override, value = parsed(argument), argument.partition("=")[2]
    if override is None or override.is_sweep_override():
        return
    if isinstance(override.value(), list | None) or len(value) > MAX_NAME:
        raise UserError(f"{group} must be a name, got {shown(value)}")


def _is_read_as_typed(argument: str, *, sweeps: bool) -> bool:
    """Whether Hydra reads a path as the text that was typed, or as what the user's quotes say.

    Args:
        argument: ``key=value``.
        sweeps: whether values separated by commas are several runs.
    """
    override, value = parsed(argument), argument.partition("=")[2]
    if override is None:
        return False
    if override.is_sweep_override():
        return sweeps
    content = override.value()
    quoted = value[:1] in ("'", '"')
    return quoted or content is None or isinstance(content, dict | list) or str(content) == value


def _rules(key: str, value: str) -> str:
    """``rules={"a.*": {...}}`` or ``rules.a.*.width=...`` as an addition to a mapping.

    Args:
        key: "rules", or "rules", a pattern of layer names and a field, joined by dots.
        value: of the setting.
    """
    pattern, _, field = key.removeprefix("rules").removeprefix(".").rpartition(".")
    if pattern:
        return f"++rules={{{pattern.translate(_ESCAPES)}: {{{field}: {value}}}}}"
    return f"++{key}={value if parsed(f'{key}={value}') else _with_plain_keys(value)}"


def _with_plain_keys(value: str) -> str:
    """Mappings with quoted keys, which are YAML, in Hydra's grammar; any other text as it is."""
    try:
        mappings = read_yaml(f"[{value.replace(':', ': ')}]")  # several with -m
    except UnreadableError:
        return value
    are_mappings = all(isinstance(mapping, dict) for mapping in mappings)
    return ",".join(map(_in_grammar, mappings)) if are_mappings else value


def parsed(argument: str) -> Override | None:
    """What Hydra reads; None if it refuses the argument."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _in_grammar(value: Any) -> str:
    """A value of YAML in Hydra's grammar, which takes no quoted keys."""
    if isinstance(value, dict):
        items = (f"{str(key).translate(_ESCAPES)}: {_in_grammar(x)}" for key, x in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_grammar, value))}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value, default=str)


def _quoted(text: str) -> str:
    """A text in quotes of Hydra's grammar."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.double).with_quotes()
