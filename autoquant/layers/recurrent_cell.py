"""``RecurrentCell``: replaces nn.LSTMCell, GRUCell and RNNCell in the user's own time loops."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.kernels import Cell, State
from autoquant.layers.recurrent import RecurrentKind, RecurrentLayer, copy_weights, torch_weight
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

    @staticmethod
    def from_torch(module: nn.RNNCellBase) -> RecurrentCell:
        """The same function as a torch module, with a copy of its weights.

        Args:
            module: of torch.
        """
        types = (c for torch_class, c in CELLS.items() if isinstance(module, torch_class))
        cell = next(types)(
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

    extra_repr = nn.Module.extra_repr  # torch's reads what a cell here does not have

    def __getattr__(self, name: str) -> Any:
        """A bias by the name that torch gives it; see ``torch_weight``.

        Args:
            name: of any attribute that is not found otherwise.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in ("bias_ih", "bias_hh") or not self.has_bias:
                raise
            return torch_weight(self, name)

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
        _, (last,) = super().forward(rows, [rows.shape[0]], [state])
        if input.ndim == 1:
            last = tuple(part.squeeze(0) for part in last)
        return last if self.cell.kind == "lstm" else last[0]

    def _state(self, rows: Tensor, hx: Any) -> State:
        if hx is None:
            return self.initial_state(rows.shape[0], rows)
        parts = hx if self.cell.kind == "lstm" else (hx,)
        parts = tuple(part if part.ndim == 2 else part.unsqueeze(0) for part in parts)
        for part in parts:
            if part.shape[0] != rows.shape[0] or part.shape[1] not in (
                self.units,
                self.original_size,
            ):
                wanted, came = [rows.shape[0], self.units], list(part.shape)
                raise UserError(f"the state of a cell must be {wanted}, got {came}")
        return tuple(widen_state(part, self) for part in parts)


class RecurrentLSTMCell(RecurrentCell, nn.LSTMCell):
    """A RecurrentCell that user code knows as nn.LSTMCell."""


class RecurrentGRUCell(RecurrentCell, nn.GRUCell):
    """A RecurrentCell that user code knows as nn.GRUCell."""


class RecurrentRNNCell(RecurrentCell, nn.RNNCell):
    """A RecurrentCell that user code knows as nn.RNNCell."""


CELLS: dict[type[nn.RNNCellBase], type[RecurrentCell]] = {
    nn.LSTMCell: RecurrentLSTMCell,
    nn.GRUCell: RecurrentGRUCell,
    nn.RNNCell: RecurrentRNNCell,
}
"""What takes the place of each class of torch, and is an instance of it."""

for _cell in CELLS.values():
    layer_kind(_cell)(RecurrentKind)


def _kind(module: nn.RNNCellBase) -> str:
    if isinstance(module, nn.RNNCell):
        return f"rnn_{module.nonlinearity}"
    return "lstm" if isinstance(module, nn.LSTMCell) else "gru"
