"""``RecurrentCell``: replaces nn.LSTMCell, GRUCell and RNNCell in the user's own time loops."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.layers.recurrent import RecurrentKind, RecurrentLayer, copy_weights
from autoquant.layers.registry import layer_kind
from autoquant.layers.states import widen_state


class RecurrentCell(RecurrentLayer):
    """One time step at each call; parameters as in RecurrentLayer.

    The returned state is quantized, as it is inside a stack. A state of the width that the cell had
    before it was widened is accepted too: duplicated units get their source's value.

    Attributes:
        original_size: the width before widening.
    """

    original_size: int

    @classmethod
    def from_torch(cls, module: nn.RNNCellBase) -> RecurrentCell:
        """The same function as a torch module, with a copy of its weights.

        Args:
            module: of torch.
        """
        cell = cls(
            Cell(_kind(module)),  # type: ignore[arg-type]
            module.input_size,
            module.hidden_size,
            bidirectional=False,
            bias=module.bias,
        )
        cell.to(module.weight_ih.device, module.weight_ih.dtype)
        cell.original_size = module.hidden_size
        copy_weights(module, cell)
        return cell.train(module.training)

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        """One time step; the arguments have torch's names.

        Args:
            input: [B, I] or [I].
            hx: h or (h, c), each [B, H] or [H]; zeros where None.

        Returns:
            the next state in the form that torch's cells return.

        Raises:
            UserError: inputs or state have another shape.
        """
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            shape = list(input.shape)
            raise UserError(f"inputs of a cell must be [B, {self.input_size}], got {shape}")
        rows = input if input.ndim == 2 else input.unsqueeze(0)
        state = self._state(rows, hx)
        _, (last,) = super().forward(rows, [len(rows)], [state])
        if input.ndim == 1:
            last = tuple(part.squeeze(0) for part in last)
        return last if self.cell.kind == "lstm" else last[0]

    def _state(self, rows: Tensor, hx: Any) -> State:
        if hx is None:
            return self.initial_state(len(rows), rows)
        parts = hx if self.cell.kind == "lstm" else (hx,)
        parts = tuple(part if part.ndim == 2 else part.unsqueeze(0) for part in parts)
        for part in parts:
            if len(part) != len(rows) or part.shape[1] not in (self.units, self.original_size):
                wanted, came = [len(rows), self.units], list(part.shape)
                raise UserError(f"the state of a cell must be {wanted}, got {came}")
        return tuple(widen_state(part, self) for part in parts)


layer_kind(RecurrentCell)(RecurrentKind)


def _kind(module: nn.RNNCellBase) -> str:
    if isinstance(module, nn.RNNCell):
        return f"rnn_{module.nonlinearity}"
    return "lstm" if isinstance(module, nn.LSTMCell) else "gru"
