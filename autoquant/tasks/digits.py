"""Handwritten digits, 8 x 8 pixels: scikit-learn's own data, read from the installed package."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autoquant.distribution import extra_command
from autoquant.errors import UserError, shown
from autoquant.task import task
from autoquant.tasks.argument_checks import check_whole
from autoquant.tasks.supervised import SupervisedTask
from autoquant.tasks.task_file import task_file

SIDE = 8
"""Pixels of an image's row and column."""
CLASSES = 10
HELD_OUT = 300
"""Images for validation, and as many for the test; of 1797."""

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"gru": nn.GRU, "lstm": nn.LSTM}
Kind = Literal["gru", "lstm", "conv"]


class RowReader(nn.Module):
    """Reads the rows of an image one after the other.

    Args:
        cell: "gru" or "lstm".
        hidden: units H of the recurrent layer.
        head: units of the linear layer before the classes.
    """

    def __init__(self, cell: str = "gru", hidden: int = 64, head: int = 32) -> None:
        super().__init__()
        self.rnn = CELLS[cell](SIDE, hidden, batch_first=True)
        self.head = nn.Linear(hidden, head)
        self.classes = nn.Linear(head, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: [B, 8, 8], in [0, 1].

        Returns:
            logits [B, 10].
        """
        outputs, _ = self.rnn(images)  # [B, 8, H]
        logits: Tensor = self.classes(torch.relu(self.head(outputs[:, -1])))
        return logits


class Convolutional(nn.Module):
    """Two convolutions, each halving the image, then two linear layers.

    Args:
        channels: C of the first convolution; the second has twice as many.
        head: units of the linear layer before the classes.
    """

    def __init__(self, channels: int = 16, head: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(2 * channels * (SIDE // 4) ** 2, head)
        self.classes = nn.Linear(head, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: [B, 1, 8, 8], in [0, 1].

        Returns:
            logits [B, 10].
        """
        values = self.pool(torch.relu(self.conv1(images)))  # [B, C, 4, 4]
        values = self.pool(torch.relu(self.conv2(values)))  # [B, 2C, 2, 2]
        logits: Tensor = self.classes(torch.relu(self.head(self.flatten(values))))
        return logits


@task("digits")
def digits(
    model: Kind = "gru",
    hidden: int = 64,
    channels: int = 16,
    head: int = 32,
    batch_size: int = 64,
    **options: Any,
) -> SupervisedTask:
    """The embedded task of images: ten digits, scored by accuracy.

    Args:
        model: "gru" or "lstm" (RowReader), or "conv" (Convolutional).
        hidden: units of the recurrent layer.
        channels: of the first convolution.
        head: units of the linear layer before the classes.
        batch_size: samples of a batch, at most.
        options: other arguments of SupervisedTask, ``preferred`` included; their defaults are in
            conf/task/digits.yaml.

    Raises:
        UserError: an argument is out of range, or scikit-learn is not installed.
    """
    if model not in (*CELLS, "conv"):
        raise UserError(f"model must be one of gru, lstm, conv, got {shown(model)}")
    check_whole(1, hidden=hidden, channels=channels, head=head)

    def build() -> nn.Module:
        if model == "conv":
            return Convolutional(channels, head)
        return RowReader(model, hidden, head)

    splits = _read_splits(channel_axis=model == "conv")
    defaults = task_file("digits").options("model", "hidden", "channels", "head", "batch_size")
    defaults |= {"batch_size": batch_size, "name": "digits", "unit": "image"}
    return SupervisedTask(build, *splits, **(defaults | options))


def _read_splits(channel_axis: bool) -> list[tuple[Tensor, Tensor]]:
    """Images and digits for training, validation and test; with an axis for the channel or not."""
    images, classes = _read()
    images = images[:, None] if channel_axis else images
    first, second = len(images) - 2 * HELD_OUT, len(images) - HELD_OUT
    parts = (slice(first), slice(first, second), slice(second, None))
    return [(images[part], classes[part]) for part in parts]


def _read() -> tuple[Tensor, Tensor]:
    """Images [1797, 8, 8] in [0, 1] and their digits, in an order that never changes."""
    if find_spec("sklearn") is None:
        raise UserError(
            f"task=digits must have scikit-learn installed ({extra_command('digits')}), got none"
        )
    from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

    loaded = load_digits()
    order = torch.randperm(len(loaded.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(loaded.images).float() / 16
    return images[order], torch.from_numpy(loaded.target).long()[order]
