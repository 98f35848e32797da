import json
import math
from dataclasses import dataclass
from pathlib import Path

from autoquant.plain_values import plain_values, to_json
from autoquant.plan import LayerChoice, Plan


@dataclass(frozen=True)
class Inner:
    error: float
    path: Path


@dataclass(frozen=True)
class Record:
    plan: Plan
    inner: tuple[Inner, ...]
    missing: float | None = None


def test_a_record_is_what_json_holds():
    plan = Plan({"decoder": LayerChoice(4, 8)})
    record = Record(plan, (Inner(math.nan, Path("a b")), Inner(-math.inf, Path("c"))))
    values = plain_values(record)
    assert values == {
        "plan": {"layers": {"decoder": {"weight_bits": 4, "activation_bits": 8, "width": 1.0}}},
        "inner": [{"error": None, "path": "a b"}, {"error": None, "path": "c"}],
        "missing": None,
    }
    assert json.loads(to_json(values)) == values
    assert Plan.from_yaml(json.dumps(values["plan"])) == plan


def test_the_text_is_ascii():
    assert to_json({"ü": "\udcff"}).isascii()
