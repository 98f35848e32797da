"""RecordedModule: a marked model with a fixed signature, which torch.export records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.errors import UserError
from autoquant.exports.layers import StackLayer
from autoquant.exports.markers import StackCalls
from autoquant.task import Example

NOTHING = ""
"""In place of the name of an output that is None."""


@dataclass
class Seen:
    """What a pass returned; beside the module, since torch.export restores its attributes.

    Attributes:
        kept: the index of each returned tensor among the outputs, or the name of the state that it
            is.
        structure: of what the model returned.
        states: names of the states that went in.
    """

    kept: list[int | str] = field(default_factory=list)
    structure: pytree.TreeSpec | None = None
    states: list[str] = field(default_factory=list)


class RecordedModule(nn.Module):
    """A marked model with a fixed signature: tensors and states in, tensors and states out.

    Args:
        model: the marked model.
        example: what it is called with.
        stacks: of the model.
        calls: their states.
    """

    def __init__(
        self, model: nn.Module, example: Example, stacks: Sequence[StackLayer], calls: StackCalls
    ) -> None:
        super().__init__()
        self.model = model
        self.calls = calls
        self.stacks = stacks
        inputs = copy_inputs((example.inputs, {**example.keywords}), None)
        self.values, self.spec = pytree.tree_flatten(inputs)
        self.seen = Seen()

    def example_tensors(self) -> list[Tensor]:
        """The tensors of the example, in order."""
        return [value for value in self.values if isinstance(value, Tensor)]

    def forward(
        self, tensors: list[Tensor], states: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """A pass.

        Args:
            tensors: the inputs.
            states: of the stacks, part by part.
        """
        self._give(states)
        rest, seen = iter(tensors), self.seen
        leaves = [next(rest) if isinstance(value, Tensor) else value for value in self.values]
        inputs, keywords = pytree.tree_unflatten(leaves, self.spec)
        returned, seen.structure = pytree.tree_flatten(self.model(*inputs, **keywords))
        last = {
            f"{name}.{'hc'[i]}_next": part
            for name, parts in self.calls.last.items()
            for i, part in enumerate(parts)
        }
        owners = {id(part): name for name, part in last.items()}
        outputs: list[Tensor] = []
        seen.kept = []
        for leaf in returned:
            if leaf is None:
                seen.kept.append(NOTHING)
                continue
            if not isinstance(leaf, Tensor):
                raise UserError(
                    f"a model must return tensors to be exported, got a {type(leaf).__name__}"
                )
            seen.kept.append(owners.get(id(leaf), len(outputs)))
            outputs += [leaf] if id(leaf) not in owners else []
        missing = [
            name for name in owners.values() if name.removesuffix("_next") not in seen.states
        ]
        kept = [name for name in missing if name in seen.kept]
        outputs += [last[name] for name in kept]  # its state goes in as an input of the model
        first = len(outputs) - len(kept)
        seen.kept = [first + kept.index(str(k)) if k in kept else k for k in seen.kept]
        return outputs, [last[f"{name}_next"] for name in seen.states]

    def _give(self, states: Sequence[Tensor]) -> None:
        """Hand out states to stacks.

        Args:
            states: those of stacks that user code gives none, part by part.
        """
        rest, seen = [*states], self.seen
        seen.states = []
        self.calls.given.clear()
        self.calls.last.clear()
        for stack in self.stacks if rest else ():
            parts = tuple(rest.pop(0) for _ in stack.parts)
            self.calls.given[stack.name] = parts
            seen.states += [f"{stack.name}.{part}" for part in stack.parts]
