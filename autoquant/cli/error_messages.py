"""Mistakes: an error as one line for the user, and the exit code that goes with it.

Hydra's and OmegaConf's errors are told apart by their texts, so that neither is imported here.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from autoquant.errors import RunError, UserError, first_line

BAD_INPUT, FAILED, STOPPED = 2, 1, 130  # exit codes


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the one line of an error."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for each in chain:
        if isinstance(each, UserError):
            return BAD_INPUT, str(each)
        if isinstance(each, RunError):
            return FAILED, str(each)
    if type(error).__module__.split(".")[0] in ("hydra", "omegaconf"):
        return BAD_INPUT, _explain_config(error, chain)
    if isinstance(error, OSError):
        return FAILED, f"{error.strerror}: '{error.filename}'"
    return FAILED, f"{type(error).__name__}: {first_line(error)}"


def _explain_config(error: BaseException, chain: list[BaseException]) -> str:
    """What Hydra or OmegaConf says, in the words of a user's settings."""
    for each in chain:
        text, key = str(each), _full_key(each)
        if re.search(r"Key '[^']*' (?:is )?not in ", text) and key:
            section = key.rpartition(".")[0]
            known = _setting_names(
                getattr(each, "parent_node", None), f"{section}." if section else ""
            )
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f" (near: {', '.join(near)})" if near else ""
            return f"a setting must be one that --help lists, got {key!r}{hint}"
        if key and text.startswith("Missing mandatory value"):
            return f"{key} must be given, as in {key}=..."
        group = re.search(r"Could not find '(\S+)/(\S*)'\s+Available options.*?:(.*)", text, re.S)
        if group:
            options = ", ".join(group.group(3).split("Config search path")[0].split())
            return f"{group.group(1)} must be one of {options}, got {group.group(2)!r}"
        if type(each).__name__ == "OverrideParseException":
            rule = "a setting must look like key=value (odd text as 'key=\"...\"')"
            return f"{rule}, got {getattr(each, 'override', '')!r}"
        if text.startswith("Ambiguous value"):
            return f"several values need -m: {first_line(each)}"
        if type(each).__name__ == "InstantiationException":
            return f"the task could not be built: {first_line(chain[-1])}"
        if key:
            return _explain_value(key, first_line(each))
    return first_line(error)


def _explain_value(key: str, text: str) -> str:
    """What a setting must be, from OmegaConf's words for what it is not."""
    for pattern, rule in _RULES.items():
        found = re.search(pattern, text)
        if found:
            return f"{key} must be {rule}" + "".join(f", got '{each}'" for each in found.groups())
    return f"{key}: {text}"


_RULES = {
    r"Value '(.*)' of type .* converted to Integer": "a whole number",
    r"Value '(.*)' of type .* converted to Float": "a number",
    r"Value '(.*)' of type .* with type hint 'Union\[int, float\]'": "a number",
    r"not a subclass of Union\[int, float\]\. value: (.*)": "a number",
    r"Value '(.*)' is not a valid bool": "true or false",
    r"is not a ListConfig": "a list, as in [2,4]",
    r"not a subclass of \w+\. value: (.*)": "a section of settings, as in baseline.steps=100",
    r"Cannot assign (\w+) to Dict": "a mapping, as in {decoder: {weight_bits: [4,8]}}",
    r"is not Optional": "given, not null",
}


def _full_key(error: BaseException) -> str:
    found = re.search(r"full_key: (\S+)", str(error))
    return found.group(1) if found else ""


def _setting_names(section: Any, prefix: str = "") -> list[str]:
    """The full names of a configuration's settings, and of those of its sections."""
    names: list[str] = []
    for key, inner in section.items_ex(resolve=False) if section is not None else ():
        names.append(f"{prefix}{key}")
        if hasattr(inner, "items_ex") and key != "hydra":
            names += _setting_names(inner, f"{prefix}{key}.")
    return names
