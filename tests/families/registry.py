"""Every family of models that the tests grow and pack, and that the coverage table lists."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.families import others, own


@dataclass(frozen=True)
class Family:
    """A kind of model, built small.

    Attributes:
        build: a new instance, with random weights.
        inputs: of one forward pass.
        needs: libraries that must be installed.
        heavy: whether a test of it takes more than a few seconds.
        usual: one of the size that people use, where that is another.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    needs: tuple[str, ...] = ()
    heavy: bool = False
    usual: Callable[[], nn.Module] | None = None

    @property
    def missing(self) -> list[str]:
        """Libraries that it needs and that are not here."""
        return [each for each in self.needs if importlib.util.find_spec(each) is None]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _words(*shape: int, count: int = own.WORDS) -> Tensor:
    return torch.randint(1, count, shape, generator=torch.Generator().manual_seed(0))


def _image(size: int, batch: int = 2) -> Callable[[], tuple[Tensor]]:
    return lambda: (_random(batch, 3, size, size),)


def _sentences() -> tuple[Tensor]:
    words = _words(3, 7)
    words[1, 5:] = 0  # padding
    return (words,)


HUGGING_FACE, TORCHVISION, TIMM = ("transformers",), ("torchvision",), ("timm", "torchvision")

FAMILIES = (
    Family("MLP", own.mlp, lambda: (_random(6, 12),)),
    Family("AWD-LSTM", own.AwdLstm, lambda: (_words(7, 3),)),
    Family("GRU seq2seq with attention", own.Seq2Seq, lambda: (_words(3, 6), _words(3, 4))),
    Family("U-Net", own.UNet, _image(16)),
    Family("DenseNet-like", own.DenseNet, _image(8)),
    Family("MobileNet-like", own.mobile_net, _image(16)),
    Family("keyword spotter", own.KeywordSpotter, lambda: (_random(3, 20, 12),)),
    Family("nn.TransformerEncoderLayer", own.Transformer, _sentences),
    Family("loop over GRUCell", own.Loop, lambda: (_random(3, 6, 6),)),
    Family(
        "Hugging Face BERT",
        others.bert,
        lambda: (_words(2, 9),),
        HUGGING_FACE,
        usual=others.USUAL["bert"],
    ),
    Family(
        "Hugging Face GPT-2",
        others.gpt2,
        lambda: (_words(2, 9),),
        HUGGING_FACE,
        usual=others.USUAL["gpt2"],
    ),
    Family(
        "Hugging Face ViT",
        others.hugging_face_vit,
        _image(16),
        HUGGING_FACE,
        usual=others.USUAL["vit"],
    ),
    Family(
        "Hugging Face wav2vec2",
        others.wav2vec2,
        lambda: (_random(2, 800),),
        HUGGING_FACE,
        usual=others.USUAL["wav2vec2"],
    ),
    Family("torchvision ResNet-18", others.resnet18, _image(32), TORCHVISION, heavy=True),
    Family(
        "torchvision MobileNetV2",
        others.mobilenet_v2,
        _image(32),
        TORCHVISION,
        usual=others.USUAL["mobilenet_v2"],
    ),
    Family(
        "torchvision DenseNet",
        others.densenet,
        _image(32),
        TORCHVISION,
        usual=others.USUAL["densenet"],
    ),
    Family("timm ConvNeXt", others.convnext, _image(32), TIMM, usual=others.USUAL["convnext"]),
    Family("timm ViT", others.timm_vit, _image(16), TIMM, usual=others.USUAL["timm_vit"]),
    Family(
        "timm EfficientNet",
        others.efficientnet,
        _image(32),
        TIMM,
        usual=others.USUAL["efficientnet"],
    ),
)
