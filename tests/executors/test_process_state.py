import pickle
from typing import Any

import torch

from autoquant.executors.pickling import pickled
from autoquant.executors.process_state import ProcessState
from autoquant.kernels.recurrent import registry
from autoquant.quantization import scale_rules
from autoquant.settings import KERNELS, SCALES


class Rule:
    """A scale rule that nobody calls."""


def no_engine(job: Any, operands: Any) -> None:
    return None


def test_only_extensions_are_sent() -> None:
    state = ProcessState.current()
    assert len(state.extensions) == 4
    assert not any("autoquant." in value.__module__ for value in values_of(state))


def values_of(state: ProcessState) -> list[Any]:
    return [value for registry in state.extensions.values() for value in registry.values()]


def test_extensions_and_settings_of_torch_are_set_elsewhere() -> None:
    kernels, scales = [*KERNELS], [*SCALES]
    scale_rules.scale_rule("mine")(Rule)
    registry.engine("mine", before="native")(no_engine)
    torch.set_float32_matmul_precision("medium")
    try:
        content = pickled(ProcessState.current())
        order = [engine.name for engine in registry.ENGINES]
        forget(kernels, scales)
        state = pickle.loads(content)
        state.apply()
        state.apply()  # nothing is registered twice
        assert [engine.name for engine in registry.ENGINES] == order
        assert isinstance(scale_rules.rule_named("mine"), Rule)
        assert "mine" in KERNELS
        assert "mine" in SCALES
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        forget(kernels, scales)


def forget(kernels: list[str], scales: list[str]) -> None:
    KERNELS[:], SCALES[:] = kernels, scales
    scale_rules._RULES.pop("mine", None)
    registry.ENGINES[:] = [engine for engine in registry.ENGINES if engine.name != "mine"]
    torch.set_float32_matmul_precision("highest")
