"""The models of the speech task: Deep Speech and Deep Speech 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from autoquant.errors import UserError, shown
from autoquant.tasks.argument_checks import check_flags, check_whole

CLIP = 20.0
"""Largest value of a rectified output (Hannun et al. 2014, section 2)."""


class DeepSpeech(nn.Module):
    """Three linear layers, an LSTM, a linear layer and the output layer (Hannun et al. 2014).

    The layers have the layout of Mozilla's DeepSpeech 0.1.1, that the paper compresses: with the
    default widths 494 -> 2048 -> 2048 -> 4096 -> LSTM 2 x 2048 -> 2048 -> characters. All but the
    last one end with a ReLU that is clipped at 20.

    Args:
        inputs: entries F of a frame, its context included.
        outputs: characters C, the blank of CTC included.
        fc1: units of the first layer.
        fc2: units of the second layer.
        fc3: units of the third layer.
        hidden: units H of the LSTM in each direction.
        fc5: units of the layer behind the LSTM.
        dropout: probability behind the layers 1, 2, 3 and 5, in [0, 1).
        bidirectional: whether the LSTM reads the utterance backwards as well; without that it can
            be run chunk by chunk.
    """

    def __init__(
        self,
        inputs: int = 494,
        outputs: int = 29,
        *,
        fc1: int = 2048,
        fc2: int = 2048,
        fc3: int = 4096,
        hidden: int = 2048,
        fc5: int = 2048,
        dropout: float = 0.05,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        check_whole(1, inputs=inputs, outputs=outputs, fc1=fc1, fc2=fc2, fc3=fc3)
        check_whole(1, hidden=hidden, fc5=fc5)
        check_flags(bidirectional=bidirectional)
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(inputs, fc1),
            nn.Linear(fc1, fc2),
            nn.Linear(fc2, fc3),
        )
        self.rnn = nn.LSTM(fc3, hidden, batch_first=True, bidirectional=bidirectional)
        self.fc5 = nn.Linear(hidden * (2 if bidirectional else 1), fc5)
        self.fc6 = nn.Linear(fc5, outputs)
        self.rectify = nn.Hardtanh(0.0, CLIP)
        self.dropout = nn.Dropout(_probability(dropout))

    def forward(self, frames: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Score the characters of every frame.

        Args:
            frames: [B, T, F], padded behind each utterance.
            lengths: frames of each utterance, [B].
            state: of the LSTM after the chunk before, as nn.LSTM returns it; None at the start.

        Returns:
            logits [B, T, C], and the state of the LSTM after the last frame of each utterance.
        """
        values = self.dropout(self.rectify(self.fc1(frames)))  # [B, T, fc1]
        values = self.dropout(self.rectify(self.fc2(values)))
        values = self.dropout(self.rectify(self.fc3(values)))
        values, state = _run(self.rnn, values, lengths, state)  # [B, T, 2H]
        values = self.dropout(self.rectify(self.fc5(values)))
        return self.fc6(values), state


class DeepSpeech2(nn.Module):
    """Convolutions with batch norm, stacked GRUs and an output layer (Amodei et al. 2015).

    Args:
        inputs: entries F of a frame.
        outputs: characters C, the blank of CTC included.
        channels: of both convolutions over time.
        kernel: frames that a convolution sees, an odd number.
        hidden: units H of a GRU in each direction.
        layers: number of stacked GRUs.
        dropout: probability between the GRUs and before the output layer, in [0, 1).
        bidirectional: whether the GRUs read the utterance backwards as well.
    """

    def __init__(
        self,
        inputs: int = 26,
        outputs: int = 29,
        *,
        channels: int = 256,
        kernel: int = 11,
        hidden: int = 800,
        layers: int = 3,
        dropout: float = 0.1,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        check_whole(1, inputs=inputs, outputs=outputs, channels=channels, kernel=kernel)
        check_whole(1, hidden=hidden, layers=layers)
        check_flags(bidirectional=bidirectional)
        if kernel % 2 == 0:
            raise UserError(f"kernel must be an odd number, got {kernel}")
        self.conv1 = nn.Conv1d(inputs, channels, kernel, padding=kernel // 2)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.norm2 = nn.BatchNorm1d(channels)
        self.rectify = nn.Hardtanh(0.0, CLIP)
        between = _probability(dropout) if layers > 1 else 0.0
        self.rnn = nn.GRU(
            channels,
            hidden,
            layers,
            batch_first=True,
            dropout=between,
            bidirectional=bidirectional,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden * (2 if bidirectional else 1), outputs)

    def forward(self, frames: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Score the characters of every frame.

        Args:
            frames: [B, T, F], padded behind each utterance.
            lengths: frames of each utterance, [B].
            state: of the GRUs after the chunk before, as nn.GRU returns it; None at the start.

        Returns:
            logits [B, T, C], and the state of the GRUs after the last frame of each utterance.
        """
        values = frames.transpose(1, 2)  # [B, F, T]
        values = self.rectify(self.norm1(self.conv1(values)))  # [B, channels, T]
        positions = torch.arange(values.shape[2], device=values.device)
        inside = positions < lengths.to(values.device)[:, None]  # [B, T]
        values = values * inside[:, None]  # the padding of the next convolution is zero
        values = self.rectify(self.norm2(self.conv2(values))).transpose(1, 2)
        values, state = _run(self.rnn, values, lengths, state)  # [B, T, 2H]
        return self.output(self.dropout(values)), state


def _run(rnn: nn.Module, values: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The outputs [B, T, ...] of a recurrent layer, zero behind each utterance, and its state.

    Args:
        rnn: the layer.
        values: [B, T, ...].
        lengths: frames of each utterance, [B].
        state: before the first frame.
    """
    packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, state = rnn(packed, state)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=values.shape[1])
    return padded, state


MODELS: dict[str, Callable[..., nn.Module]] = {
    "deep_speech": DeepSpeech,
    "deep_speech_2": DeepSpeech2,
}


def _probability(value: Any) -> float:
    """A dropout probability; a UserError where it is none."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise UserError(f"dropout must be in [0, 1), got {shown(value)}")
    return float(value)
