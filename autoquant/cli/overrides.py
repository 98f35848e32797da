"""The arguments of a command in Hydra's grammar of overrides: what a user types is taken as meant.

Hydra's own parser decides which arguments have to be changed: paths that its grammar does not
take as they are, and ``rules``, whose keys are patterns such as ``rnn.*``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

PATHS = ("study", "artifact", "plan", "pretrained", "task.data_dir", "task.root")
"""Settings that are paths: any text, with spaces, commas and quotes."""
MULTIRUN = {"-m", "--multirun"}

_ESCAPES = {ord(character): f"\\{character}" for character in "\\()[]{}:=, \t"}
"""Characters of an unquoted text that have a meaning in Hydra's grammar."""


def to_overrides(arguments: Sequence[str], renamed: Mapping[str, str] | None = None) -> list[str]:
    """The arguments as Hydra's command line takes them.

    Args:
        arguments: of the command, without its name: ``key=value`` and options such as ``-m``.
        renamed: names of settings by those of earlier versions.
    """
    sweeps = bool(MULTIRUN & set(arguments))
    names = renamed or {}
    return [_to_override(_with_name(each, names), sweeps=sweeps) for each in arguments]


def _with_name(argument: str, renamed: Mapping[str, str]) -> str:
    """An argument with the present name of its setting.

    Args:
        argument: ``key=value`` or an option.
        renamed: names of settings by those of earlier versions.
    """
    key, equals, value = argument.partition("=")
    return f"{renamed.get(key, key)}{equals}{value}"


def _to_override(argument: str, *, sweeps: bool) -> str:
    key, _, value = argument.partition("=")
    if key.lstrip("+").partition(".")[0] == "rules":
        return _rules(key.lstrip("+"), value)
    if key in PATHS and not _is_read_as_typed(argument, sweeps=sweeps):
        return f"{key}={_quoted(value)}"
    return argument


def _is_read_as_typed(argument: str, *, sweeps: bool) -> bool:
    """Whether Hydra reads a path as the text that was typed, or as what the user's quotes say.

    Args:
        argument: ``key=value``.
        sweeps: whether values separated by commas are several runs.
    """
    override, value = _parsed(argument), argument.partition("=")[2]
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
    return f"++{key}={value if _parsed(f'{key}={value}') else _with_plain_keys(value)}"


def _with_plain_keys(value: str) -> str:
    """Mappings with quoted keys, which are YAML, in Hydra's grammar; any other text as it is."""
    try:
        mappings = yaml.safe_load(f"[{value.replace(':', ': ')}]")  # several with -m
    except yaml.YAMLError:
        return value
    are_mappings = all(isinstance(mapping, dict) for mapping in mappings)
    return ",".join(map(_in_grammar, mappings)) if are_mappings else value


def _parsed(argument: str) -> Override | None:
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
