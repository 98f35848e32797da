"""Which fields were given: what keeps the record, and what does not depend on it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from autoquant.errors import UserError
from autoquant.settings import (
    Scheme,
    Search,
    Settings,
    Space,
    Training,
    Widening,
    from_dict,
    given_values,
)

DUPLICATES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda value, n=n: pickle.loads(pickle.dumps(value, n)) for n in range(6)},
}


@pytest.mark.parametrize("cls", [Search, Training, Scheme, Widening, Space])
def test_nothing_is_given_by_default(cls: type[Settings]) -> None:
    assert cls().given == frozenset()


def test_fields_are_given_by_place_by_name_and_with_the_value_of_the_default() -> None:
    assert Search("0.2x", 16, seed=0).given == {"budget", "trials", "seed"}
    assert Scheme.bit_rnn(norms="half").given == Scheme.bit_rnn().given | {"norms"}


def test_values_that_were_read_are_given() -> None:
    settings = from_dict(Search, {"seed": 0, "qat": {"lr": 1e-3}, "space": {}})
    assert (settings.given, settings.qat.given) == ({"seed", "qat", "space"}, {"lr"})


def test_given_fields_are_plain_values() -> None:
    settings = Search(
        seed=0, references=(4,), qat=Training(lr=0.1), rules={"a": {"weight_bits": 8}}
    )
    values = given_values(settings)
    assert values == {
        "seed": 0,
        "references": [4],
        "qat": {"lr": 0.1},
        "rules": {"a": {"weight_bits": [8]}},
    }
    read = from_dict(Search, values)
    assert (read, read.given, read.qat.given) == (settings, settings.given, {"lr"})


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_copies_keep_the_record(duplicate: Callable[[Search], Search]) -> None:
    settings = duplicate(Search(trials=16, qat=Training(steps=100)))
    assert settings == Search(qat=Training(steps=100))
    assert (settings.given, settings.qat.given) == ({"trials", "qat"}, {"steps"})


def test_the_record_is_no_part_of_the_value() -> None:
    plain, named = Training(), Training(epochs=1.0, lr=1e-3)
    assert plain.given != named.given
    assert (plain, hash(plain), repr(plain)) == (named, hash(named), repr(named))
    assert asdict(plain) == asdict(named)
    assert set(asdict(plain)) == set(Training.__dataclass_fields__)


def test_a_changed_copy_keeps_the_record_and_replace_gives_all_fields() -> None:
    settings = Search(trials=3, space=Space(width=(1.0,)))
    changed = settings.changed(seed=0)
    assert (changed, changed.given) == (settings, {"trials", "space", "seed"})
    assert settings.given == {"trials", "space"}
    assert changed.space.given == {"width"}
    assert replace(settings, seed=0).given == set(Search.__dataclass_fields__)


def test_a_changed_copy_is_checked() -> None:
    with pytest.raises(UserError, match="trials must be at least 1, got 0"):
        Search().changed(trials=0)
    with pytest.raises(TypeError, match="trails"):
        Search().changed(trails=0)
